"""Keeps the objects of one resource equal to the cluster: a list, then a watch, for as long as it runs."""

from __future__ import annotations

import asyncio
import random
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from controlplane.backoff import Backoff
from controlplane.model.feeds import Feed, Standing
from controlplane.watchers.kubernetes.decoding import LARGE_BYTES, LARGE_PAGE_BYTES, event_value, page_value
from controlplane.watchers.kubernetes.errors import NonsenseError, RefusedError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from controlplane.watchers.kubernetes.api import Api
    from controlplane.watchers.kubernetes.cache import Cache, Held, Place
    from controlplane.watchers.kubernetes.timing import Timing

log = structlog.get_logger()

_BUSY_SECONDS = 0.005
"""How long one feed works before it lets others: proxies are served by the same loop."""
_FORBIDDEN, _NOT_FOUND, _GONE = 403, 404, 410
_SERVER_ERROR = 500
_JSON = "application/json"
_METADATA = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1,application/json"


class Reflector:
    """One feed: a resource of one namespace, or of all (empty). ``named`` is the only object read, if not all are.

    It never ends by itself. What the server or the network do wrong is in ``state``, and is tried again.
    """

    def __init__(self, api: Api, cache: Cache, timing: Timing, *, namespace: str = "", named: str = "") -> None:
        self.resource = cache.resource
        self.cache = cache
        self.ready = asyncio.Event()
        """The first list is complete and is being followed, or the resource is not served, or none of it is needed."""
        self._api = api
        self._timing = timing
        self._namespace = namespace
        selector = f"metadata.name={named}" if named else self.resource.selector
        self._filter = {"fieldSelector": selector} if selector else {}
        self._backoff = Backoff(timing.first_pause, timing.longest_pause)
        self._forbidden_backoff = Backoff(timing.first_pause, timing.forbidden)
        self._version = self.resource.versions[0]
        self._served = asyncio.Event()
        if not self.resource.definition:
            self._served.set()
        self._position = ""
        self._list_next = True
        self._doubtful = False
        self._verb = "list"
        self._standing = Standing.LISTING
        self._problem = self._logged = ""
        self._events = self._lists = self._size_bytes = self._page_bytes = 0
        self._last_event = 0.0
        self._current_at = time.time()
        self._busy_since = 0.0

    @property
    def state(self) -> Feed:
        """How it is doing."""
        known = self._standing in (Standing.CURRENT, Standing.ABSENT)
        return Feed(
            resource=str(self.resource),
            namespace=self._namespace,
            standing=self._standing,
            objects=len(self.cache),
            events=self._events,
            lists=self._lists,
            size_bytes=self._size_bytes,
            last_event=self._last_event,
            lag_seconds=0.0 if known else time.time() - self._current_at,
            problem=self._problem,
        )

    def serve(self, version: str | None) -> None:
        """Take the news that the resource is served in this API version; ``None``: it seems not to be.

        An absence counts once a list confirms it: an API server that has just started does not tell of all yet.
        """
        if version is not None:
            self._version = version
        if version is not None or self._standing is Standing.LISTING:
            self._served.set()

    async def run(self) -> None:
        """List and watch until cancelled."""
        while True:
            await self._served.wait()
            try:
                await self._round()
            except RefusedError as refused:
                await self._after(refused)
            except NonsenseError as error:
                self._list_next = True
                await self._pause(str(error))
            except UnreachableError as error:
                self._doubtful = True
                self._problem = str(error)  # not logged here: it is the same for all feeds
                await asyncio.sleep(self._backoff.pause())

    async def _round(self) -> None:
        """Bring the cache up to date, then follow the watch until the server ends it."""
        self._busy_since = time.monotonic()
        self._verb = "list"
        if self._doubtful and not self._list_next:
            await self._check_history()
        if self._list_next:
            await self._list()
        self._verb = "watch"
        begun = time.monotonic()
        try:
            await self._watch()
        finally:
            if time.monotonic() - begun >= self._timing.settled:
                self._backoff.reset()
        if time.monotonic() - begun < self._timing.settled:
            await self._pause("the API server ends watches as soon as they begin")

    async def _check_history(self) -> None:
        """After a cut, make sure that what the server knows is not older than what was read.

        It is where etcd was restored to an older state, and then a watch from its future is silently accepted.
        """
        try:
            page = await self._page({"limit": "1"})
        except RefusedError as refused:
            if refused.code != _NOT_FOUND:
                raise
            self._list_next = True
        else:
            self._list_next = _older(page["metadata"]["resourceVersion"], self._position)
        self._doubtful = False

    async def _list(self) -> None:
        """Read everything and tell what differs; nothing is told while a page is missing."""
        position, held = await self._everything()
        self.cache.replace(held)
        self._position, self._list_next, self._doubtful = position, False, False
        self._lists += 1
        self._heard()

    async def _everything(self) -> tuple[str, dict[Place, Held]]:
        """Read a complete list, in another version where the one read before is no longer served."""
        versions = (self._version, *(each for each in self.resource.versions if each != self._version))
        for version in versions:
            self._version = version
            try:
                return await self._pages({"limit": str(self.resource.page)})
            except RefusedError as refused:
                if refused.code == _GONE:
                    break  # it is compacted faster than pages come: all at once
                if refused.code != _NOT_FOUND or version == versions[-1]:
                    raise
        return await self._pages({})

    async def _pages(self, parameters: dict[str, str]) -> tuple[str, dict[Place, Held]]:
        held: dict[Place, Held] = {}
        while True:
            page = await self._page(parameters)
            metadata, version = page["metadata"], self._version
            position: str = metadata["resourceVersion"]
            same_history = not _older(position, self._position)
            items = page.get("items") or ()
            large = self._page_bytes > (LARGE_BYTES if self.resource.definition else 4 * LARGE_PAGE_BYTES)
            for raw in items:
                stage = partial(self.cache.staged, raw, version, same_history=same_history)
                place, read = await asyncio.to_thread(stage) if large else stage()
                held[place] = read
                await self._breathe()
            if not metadata.get("continue"):
                return position, held
            parameters = {**parameters, "continue": metadata["continue"]}

    async def _page(self, parameters: dict[str, str]) -> dict[str, Any]:
        accept = _METADATA.format("List") if self.resource.metadata_only else _JSON
        path = self.resource.path(self._version, self._namespace)
        body = await self._api.get(path, {**self._filter, **parameters}, accept)
        self._page_bytes = len(body)
        self._size_bytes += len(body)
        page = await _object(page_value(body, self._breathe))
        metadata = page.get("metadata")
        if not isinstance(metadata, dict) or not metadata.get("resourceVersion"):
            raise NonsenseError("a list without a resourceVersion")
        return page

    async def _watch(self) -> None:
        seconds = int(self._timing.watch * random.uniform(1.0, 2.0))  # noqa: S311 - no secret
        parameters = {
            **self._filter,
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._position,
            "timeoutSeconds": str(max(seconds, 1)),
        }
        accept = _METADATA.format("") if self.resource.metadata_only else _JSON
        path, version = self.resource.path(self._version, self._namespace), self._version
        try:
            async with self._api.lines(path, parameters, accept) as batches:
                self._caught_up()
                async for lines in batches:
                    self._heard()
                    for line in lines:
                        self._size_bytes += len(line)
                        await self._event(await _object(event_value(line, self._breathe)), version, len(line))
                        await self._breathe()
        finally:
            if self._standing is Standing.CURRENT:
                self._standing, self._current_at = Standing.BEHIND, time.time()

    async def _event(self, event: dict[str, Any], version: str, size: int) -> None:
        kind, raw = event.get("type"), event.get("object")
        if not isinstance(raw, dict):
            raise NonsenseError("an event without an object")
        if kind == "ERROR":
            raise RefusedError(int(raw.get("code") or 0), str(raw.get("message")))
        if kind in ("ADDED", "MODIFIED"):
            self._events += 1
            if size > LARGE_BYTES:  # beside the loop, where Python's lock is handed over every few milliseconds
                stage = partial(self.cache.staged, raw, version, same_history=False)
                self.cache.take(*await asyncio.to_thread(stage))
            else:
                self.cache.put(raw, version)
        elif kind == "DELETED":
            self._events += 1
            self.cache.drop(raw)
        metadata = raw.get("metadata")
        if isinstance(metadata, dict):
            self._position = metadata.get("resourceVersion") or self._position

    # what became of it

    def _heard(self) -> None:
        """The server said something."""
        self._last_event = time.time()

    def _caught_up(self) -> None:
        """The list is complete and the watch stands."""
        if self._logged:
            log.info("watchers.recovered", resource=str(self.resource), namespace=self._namespace or None)
        self._problem = self._logged = ""
        self._standing = Standing.CURRENT
        self._forbidden_backoff.reset()
        self.ready.set()

    async def _after(self, refused: RefusedError) -> None:
        if refused.code == _GONE:
            again, self._list_next = self._list_next, True
            if again:
                await self._pause(f"the API server refuses: {refused}")
        elif refused.code == _NOT_FOUND and self._verb == "watch":
            self._list_next = True
        elif refused.code == _NOT_FOUND and self.resource.definition:
            self._absent()
        elif refused.code == _FORBIDDEN:
            await self._forbidden(refused)
        else:
            self._doubtful |= refused.code >= _SERVER_ERROR
            await self._pause(f"the API server refuses: {refused}", refused.retry_after_seconds)

    def _absent(self) -> None:
        """The resource is served in no version: nobody has installed it, or somebody has removed it."""
        if len(self.cache):
            log.info("watchers.kind_left", resource=str(self.resource), objects=len(self.cache))
        self.cache.replace({})
        self._position, self._list_next = "", True
        self._standing, self._problem, self._logged = Standing.ABSENT, "", ""
        self._served.clear()
        self._backoff.reset()
        self.ready.set()

    async def _forbidden(self, refused: RefusedError) -> None:
        problem = f"may not {self._verb} {self.resource.plural} in API group {self.resource.group!r}: {refused.message}"
        self._problem = problem
        if problem != self._logged:
            log.error(
                "watchers.forbidden",
                verb=self._verb,
                resource=self.resource.plural,
                group=self.resource.group,
                namespace=self._namespace or None,
                reason=refused.message,
            )
            self._logged = problem
        if self.resource.optional:
            self.ready.set()
        await asyncio.sleep(self._forbidden_backoff.pause())

    async def _pause(self, problem: str, at_least: float = 0.0) -> None:
        """Wait before the next try; the reason is logged when it is another one."""
        self._problem = problem
        if problem != self._logged:
            log.warning(
                "watchers.failed", resource=str(self.resource), namespace=self._namespace or None, reason=problem
            )
            self._logged = problem
        await asyncio.sleep(self._backoff.pause(at_least))

    async def _breathe(self) -> None:
        """Let others work from time to time."""
        if time.monotonic() - self._busy_since > _BUSY_SECONDS:
            await asyncio.sleep(0)
            self._busy_since = time.monotonic()


async def _object(decoding: Awaitable[Any]) -> dict[str, Any]:
    try:
        value = await decoding
    except ValueError:
        raise NonsenseError("an answer that is not JSON") from None
    if not isinstance(value, dict):
        raise NonsenseError("an answer that is no object")
    return value


def _older(now: str, before: str) -> bool:
    """Whether a resource version is of an earlier state; unknown ones are not. Kubernetes 1.35 made them numbers."""
    return now.isdecimal() and before.isdecimal() and int(now) < int(before)
