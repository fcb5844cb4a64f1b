"""Writes to the status of objects, at a bounded rate, what a plan wants there. Only the leader runs it.

What should stand in a status is computed from what is known now, compared with what does, and only a difference is
written. A write comes back through the watch; until then its object is left alone.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import aiohttp
import structlog
from kubernetes.aio.client import ApiClient, ApiException, CustomObjectsApi

from controlplane.backoff import Backoff
from controlplane.controllers.json_patch import Operations
from controlplane.controllers.rate import Rate
from controlplane.documents.json_reader import json_value
from controlplane.model.objects import ObjectKey
from controlplane.model.status import Received

log = structlog.get_logger()

FIELD_MANAGER = "controlplane"
_ANSWER_SECONDS = 10
_NOT_FOUND, _CONFLICT, _SERVER_ERROR = 404, 409, 500
_NOBODYS_FAULT = frozenset({401, 429})
"""Our token has run out, or there are too many requests."""
_BUSY_SECONDS = 0.005
"""How long a scan works before it lets others."""
_REST = 10
"""How many times as long as a scan takes the next one waits: somebody may change statuses all the time."""


@dataclass(frozen=True, slots=True)
class Write:
    """A patch of one object's status; of several those come first whose ``order`` is smaller.

    ``resource`` is the API group and the plural name of the kind, ``what`` says for the log what it brings about.
    """

    resource: tuple[str, str]
    operations: Operations
    what: str
    order: str = ""


class Plan(Protocol):
    """What should stand in some part of the status of some objects."""

    def candidates(self) -> Iterable[Received]:
        """Yield the newest version of every object that may need a write, also while those change."""

    def find(self, key: ObjectKey) -> Received | None:
        """Return the newest version of one of them."""

    def write(self, received: Received) -> Write | None:
        """Return what makes the status right that was received; ``None`` where it is, or cannot be told yet."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast to write: ``per_second`` on average, ``burst`` at once after a quiet time.

    The others are in seconds. ``scan`` is the shortest time between two looks at everything, ``again`` the time after
    which objects that were given up are tried anew. ``first_pause`` and ``longest_pause`` are those of a ``Backoff``,
    after refusals of an object, and while the API server is away; an object that is refused ``tries`` times is given
    up.
    """

    per_second: float = 50.0
    burst: int = 100
    scan: float = 0.5
    again: float = 600.0
    first_pause: float = 0.5
    longest_pause: float = 30.0
    tries: int = 5

    def backoff(self) -> Backoff:
        """Return the pauses of something that has not failed yet."""
        return Backoff(self.first_pause, self.longest_pause)


@dataclass(slots=True)
class _Attempt:
    """What was tried with an object in this resource version, and when (loop time) to try that again, if at all."""

    resource_version: str
    backoff: Backoff
    due: float = math.inf


class Outcome(StrEnum):
    """What became of one write: it succeeded, the object was newer, gone, or refused it, or no answer was had."""

    WRITTEN = "written"
    CONFLICT = "conflict"
    GONE = "gone"
    REFUSED = "refused"
    UNAVAILABLE = "unavailable"


class _AwayError(Exception):
    """The API server is away or overloaded: no object's fault. ``retry_after`` is what it asks for, in seconds."""

    def __init__(self, reason: str, retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


@dataclass(slots=True)
class Counts:
    """What was done since the start: writes that succeeded, and answers of 409, of 404, and other refusals."""

    written: int = 0
    conflicts: int = 0
    gone: int = 0
    refused: int = 0
    given_up: set[ObjectKey] = field(default_factory=set)


class StatusWriter:
    """Keeps statuses as a plan wants them while ``run`` runs, which may be cancelled and run again.

    The only verb it needs is patch of the kinds' ``status``. ``changed`` is set whenever the plan may want something
    else; it is cleared here. ``tell`` is told of each write.
    """

    def __init__(
        self,
        client: ApiClient,
        plan: Plan,
        changed: asyncio.Event,
        pace: Pace | None = None,
        tell: Callable[[Outcome], None] = lambda _: None,
    ) -> None:
        self.counts = Counts()
        self._tell = tell
        self._objects = CustomObjectsApi(client)
        self._plan = plan
        self._changed = changed
        self._pace = pace or Pace()
        self._rate = Rate(self._pace.per_second, self._pace.burst)
        self._attempts: dict[ObjectKey, _Attempt] = {}
        self._away = self._pace.backoff()
        self._complained: set[tuple[str, int]] = set()

    async def run(self) -> None:
        """Write what differs until cancelled; for the leader alone."""
        loop = asyncio.get_running_loop()
        self._begin_anew()
        anew = loop.time() + self._pace.again
        while True:
            self._changed.clear()
            scanned = loop.time()
            if scanned >= anew:
                self._begin_anew()
                anew = scanned + self._pace.again
            found = await self._differing()
            pause = max(self._pace.scan, _REST * (loop.time() - scanned))
            try:
                await self._write(found, scanned + pause)
            except _AwayError as error:
                await self._wait_out(error)
                continue
            due = min((each.due for each in self._attempts.values()), default=math.inf)
            await self._rest(min(due, anew))
            await asyncio.sleep(max(scanned + pause - loop.time(), 0))

    async def _rest(self, until: float) -> None:
        """Wait for a change, but not beyond a time of the loop."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self._changed.wait()

    async def _differing(self) -> list[ObjectKey]:
        """Return the objects to write, the most urgent first."""
        loop = asyncio.get_running_loop()
        found: list[tuple[str, ObjectKey]] = []
        present: set[ObjectKey] = set()
        busy_since = loop.time()
        for received in self._plan.candidates():
            present.add(received.key)
            if (wanted := self._wanted(received)) is not None:
                found.append((wanted.order, received.key))
            if loop.time() - busy_since > _BUSY_SECONDS:
                await asyncio.sleep(0)
                busy_since = loop.time()
        for gone in self._attempts.keys() - present:
            del self._attempts[gone]
        self.counts.given_up &= present
        return [key for _, key in sorted(found)]

    def _wanted(self, received: Received) -> Write | None:
        """Return what is to be written of an object now; ``None`` for nothing."""
        attempt = self._attempts.get(received.key)
        if attempt is not None:
            if attempt.resource_version != received.resource_version:
                del self._attempts[received.key]
                self.counts.given_up.discard(received.key)
            elif asyncio.get_running_loop().time() < attempt.due:
                return None
        wanted = self._plan.write(received)
        if wanted is None and attempt is not None:
            self._attempts.pop(received.key, None)  # what was refused is no longer wanted
        return wanted

    async def _write(self, keys: Iterable[ObjectKey], until: float) -> None:
        """Write objects one after the other; stop where there may be more important ones, from that time on."""
        loop = asyncio.get_running_loop()
        for key in keys:
            await self._rate.take()
            await self._bring(key)
            if self._changed.is_set() and loop.time() > until:
                return

    async def _bring(self, key: ObjectKey) -> None:
        """Write one object, as it is by now.

        Raises:
            _AwayError: nothing can be written at present.
        """
        received = self._plan.find(key)
        wanted = self._wanted(received) if received is not None else None
        if received is None or wanted is None:
            return
        try:
            await self._patch(received, wanted)
        except ApiException as error:
            if error.status in _NOBODYS_FAULT or error.status >= _SERVER_ERROR:
                self._tell(Outcome.UNAVAILABLE)
                raise _AwayError(_message(error), _retry_after(error)) from error
            self._refused(received, error)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self._tell(Outcome.UNAVAILABLE)
            raise _AwayError(f"{type(error).__name__}: {error}") from error
        else:
            self._attempts[key] = self._attempt(received)
            self.counts.written += 1
            self._tell(Outcome.WRITTEN)
            log.debug("status.written", object=str(key), what=wanted.what)
        self._away.reset()

    async def _patch(self, received: Received, wanted: Write) -> None:
        group, plural = wanted.resource
        await self._objects.patch_namespaced_custom_object_status(
            group,
            received.version,
            received.key.namespace,
            plural,
            received.key.name,
            wanted.operations,
            field_manager=FIELD_MANAGER,
            _content_type="application/json-patch+json",
            _request_timeout=_ANSWER_SECONDS,
        )

    def _refused(self, received: Received, error: ApiException) -> None:
        """Leave an object alone that is gone, or is newer than was known, until the watch tells; try others again."""
        key = received.key
        if error.status == _NOT_FOUND:
            self.counts.gone += 1
            self._tell(Outcome.GONE)
            self._attempts[key] = self._attempt(received)
            return
        if error.status == _CONFLICT:
            self.counts.conflicts += 1
            self._tell(Outcome.CONFLICT)
            self._attempts[key] = self._attempt(received)
            return
        self.counts.refused += 1
        self._tell(Outcome.REFUSED)
        attempt = self._attempts[key] = self._attempts.get(key) or self._attempt(received)
        pause = attempt.backoff.pause()
        if (key.kind.name, error.status) not in self._complained:
            self._complained.add((key.kind.name, error.status))
            log.error("status.refused", object=str(key), status=error.status, reason=_message(error))
        if attempt.backoff.failures >= self._pace.tries:
            self.counts.given_up.add(key)
            attempt.due = math.inf
            return
        attempt.due = asyncio.get_running_loop().time() + pause

    def _attempt(self, received: Received) -> _Attempt:
        return _Attempt(received.resource_version, self._pace.backoff())

    def _begin_anew(self) -> None:
        """Try again whatever was tried, that given up included."""
        self._attempts.clear()
        self.counts.given_up.clear()
        self._complained.clear()

    async def _wait_out(self, error: _AwayError) -> None:
        """Pause; longer each time in a row."""
        if not self._away.failures:
            log.warning("status.waiting", reason=str(error))
        await asyncio.sleep(self._away.pause(error.retry_after))


def _message(error: ApiException) -> str:
    """Return the API server's own words."""
    try:
        return str(json_value(error.body or "")["message"])
    except (ValueError, KeyError, TypeError):
        return str(error.reason)


def _retry_after(error: ApiException) -> float:
    """Return the seconds that the API server asks for; 0 where it asks for nothing."""
    try:
        return float((error.headers or {}).get("Retry-After", 0))
    except ValueError:  # it may be a date, which nobody here sends
        return 0.0
