"""List and watch one low-rate kind as raw JSON."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from contextlib import aclosing
from datetime import timedelta
from http import HTTPStatus
from typing import Any, TypeVar

import structlog
from aiohttp import ClientError
from kubernetes.aio.client import ApiException

log = structlog.get_logger(__name__)

Value = TypeVar("Value")
Read = Callable[..., Awaitable[Any]]
"""A ``list_..._without_preload_content`` of the client library."""

_TIMEOUT = 10  # seconds
_WATCH_SECONDS = 300
_FIRST_RETRY = timedelta(seconds=0.5)
_LONGEST_RETRY = timedelta(seconds=30)


async def follow(
    read: Read,
    entry: Callable[[Any], tuple[str, Value]],
    known: MutableMapping[str, Value],
    changed: Callable[[], None],
) -> None:
    """Keep ``known`` as the cluster has it, until cancelled; ``changed`` is called after a list and after each event.

    ``entry`` makes a key and a value of a raw object. A watch that ends, for whatever reason, is begun anew with a
    list, so nothing that happened in between is missed.
    """
    retry = _FIRST_RETRY
    while True:
        try:
            listing = await _list(read)
            fresh = dict(entry(each) for each in listing["items"])
            for gone in known.keys() - fresh.keys():
                del known[gone]
            known.update(fresh)
            changed()
            retry = _FIRST_RETRY
            async with aclosing(_events(read, listing["metadata"]["resourceVersion"])) as events:
                async for event in events:
                    key, value = entry(event["object"])
                    if event["type"] == "DELETED":
                        known.pop(key, None)
                    else:
                        known[key] = value
                    changed()
            continue
        except ApiException as error:
            reason = f"{error.status} {error.reason}"
        except (ClientError, OSError, TimeoutError, ValueError) as error:
            reason = str(error) or type(error).__name__
        log.warning("controllers.watch_ended", reason=reason)
        await asyncio.sleep(retry.total_seconds() * random.uniform(0.5, 1.0))  # noqa: S311 - a jitter
        retry = min(retry * 2, _LONGEST_RETRY)


async def _list(read: Read) -> Any:  # noqa: ANN401 - JSON
    response = await read(_request_timeout=_TIMEOUT)
    body = await response.read()
    _check(response)
    return json.loads(body)


async def _events(read: Read, resource_version: str) -> AsyncGenerator[Any, None]:
    """Yield each change until the server ends the watch."""
    response = await read(
        watch=True,
        resource_version=resource_version,
        timeout_seconds=_WATCH_SECONDS,
        _request_timeout=_WATCH_SECONDS + 30,
    )
    try:
        _check(response)
        rest = b""
        async for chunk in response.content.iter_any():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    status = event["object"]
                    raise ApiException(status=status.get("code"), reason=status.get("message"))
                yield event
    finally:
        response.close()


def _check(response: Any) -> None:  # noqa: ANN401 - aiohttp's, through a library without types
    if response.status != HTTPStatus.OK:
        raise ApiException(status=response.status, reason=response.reason)
