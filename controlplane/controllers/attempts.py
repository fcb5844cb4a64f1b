"""Attempts to make configurations of webhooks right: after each change, and after growing pauses while they are not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import aiohttp
from kubernetes.aio.client import ApiClient, ApiException

from controlplane.backoff import Backoff
from controlplane.controllers.operator import Kind, Operator
from controlplane.documents.json_reader import json_value

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 60.0


class Configurations(NamedTuple):
    """Which objects are looked after: ``plural`` of ``admissionregistration.k8s.io/v1``, by labels and by fields."""

    plural: str
    labels: str
    fields: str = ""


class Attempts:
    """Calls ``reconcile`` after each change of the objects, again and again until it returns true.

    Failures of the API server, or to reach it, go to ``failed`` (a reason, and a status if there is one); with any
    other ``run`` ends. ``signals`` is what an ``Operator`` needs.
    """

    def __init__(
        self,
        client: ApiClient,
        configurations: Configurations,
        reconcile: Callable[[], Awaitable[bool]],
        failed: Callable[[str, int | None], None],
        *,
        signals: Callable[[], None],
    ) -> None:
        self._reconcile = reconcile
        self._failed = failed
        self._awake = asyncio.Event()
        kind = Kind(
            ("admissionregistration.k8s.io", "v1", configurations.plural),
            lambda obj: (obj["metadata"]["name"], None),
            lambda _: self._awake.set(),
            fields=configurations.fields,
            labels=configurations.labels,
        )
        self._operator = Operator(client, (kind,), signals)

    def again(self) -> None:
        """Look at them now."""
        self._awake.set()

    async def run(self) -> None:
        """Attempt until cancelled.

        Raises:
            ExceptionGroup: the operator or an attempt failed.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._operator.run())
            backoff = Backoff(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
            while True:
                self._awake.clear()
                if await self._attempt():
                    backoff.reset()
                    await self._awake.wait()
                else:
                    await self._awake_within(backoff.pause())

    async def _attempt(self) -> bool:
        """Reconcile; return whether nothing is left to do, and false after a failure that another try may not meet."""
        try:
            return await self._reconcile()
        except ApiException as error:
            self._failed(message_of(error), error.status)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self._failed(f"{type(error).__name__}: {error}", None)
        return False

    async def _awake_within(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._awake.wait()
        except TimeoutError:
            return


def message_of(error: ApiException) -> str:
    """Return the API server's own words."""
    return said(error, "message")


def said(error: ApiException, field: str) -> str:
    """Return a field of the API server's answer; the HTTP reason where it is not there."""
    try:
        return str(json_value(error.body or "")[field])
    except (ValueError, KeyError, TypeError):
        return str(error.reason)
