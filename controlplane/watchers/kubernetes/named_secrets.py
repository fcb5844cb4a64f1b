"""The Secrets of a cluster that something names: of all others only the version is known.

A watch of the metadata of all Secrets says which have changed; of those that are wanted the content is then asked for.
So no private key comes here that no proxy may need, and none of the large Secrets that other programs keep.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from controlplane.backoff import Backoff
from controlplane.documents.json_reader import json_pruned
from controlplane.watchers.kubernetes.api import JSON
from controlplane.watchers.kubernetes.cache import NOTHING, Cache, Held
from controlplane.watchers.kubernetes.errors import RefusedError, UnreachableError
from controlplane.watchers.kubernetes.resources import SECRETS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from controlplane.watchers.kubernetes.api import Api
    from controlplane.watchers.kubernetes.cache import Place, RawObject, Scope
    from controlplane.watchers.kubernetes.change_buffer import ChangeBuffer
    from controlplane.watchers.kubernetes.timing import Timing

log = structlog.get_logger()

_AT_ONCE = 16
_NOT_FOUND = 404


class NamedSecrets(Cache):
    """What is held of Secrets; a ``Reflector`` keeps the versions right, and ``run`` the contents.

    Secrets count whatever their namespace is: proxies of any may be gateways.
    """

    def __init__(self, api: Api, scope: Scope, buffer: ChangeBuffer, timing: Timing) -> None:
        super().__init__(SECRETS, scope, buffer)
        self._api = api
        self._backoff = Backoff(timing.first_pause, timing.longest_pause)
        self._wanted: frozenset[Place] = frozenset()
        self._contents: dict[Place, Held] = {}
        self._due: dict[Place, None] = {}
        self._arrived = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()
        self.problem = ""
        """Why something that is wanted could not be read the last time; empty if nothing."""

    def want(self, names: frozenset[Place]) -> None:
        """Read Secrets of these names from now on, and no others; an empty namespace stands for any."""
        if names == self._wanted:
            return
        self._wanted = names
        for place in [each for each in self._contents if not self._is_wanted(each)]:
            self._forget(place)
        for place in self._held:
            if self._is_wanted(place) and place not in self._contents:
                self._ask_for(place)

    async def settled(self) -> None:
        """Return once there is the content of all that is wanted and exists."""
        await self._settled.wait()

    async def run(self) -> None:
        """Read what is due until cancelled."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            problem = await self._round()
            if problem and problem != self.problem:
                log.warning("watchers.secret_unread", reason=problem)
            self.problem = problem
            if problem:
                with suppress(TimeoutError):  # what comes meanwhile does not wait
                    await asyncio.wait_for(self._arrived.wait(), self._backoff.pause())
                self._arrived.set()
                continue
            self._backoff.reset()
            if not self._due:
                self._settled.set()

    def odd(self) -> Iterator[Held]:
        """Yield what is held of those whose newest version is refused."""
        return (held for held in list(self._contents.values()) if held.rejected is not None)

    def select(self, admitted_before: frozenset[str] | None) -> None:
        """Do nothing: they all count."""

    def _read(self, place: Place, raw: RawObject, version: str) -> Held:  # noqa: ARG002 - only metadata comes
        return Held(raw["metadata"].get("resourceVersion", ""))

    def _tell(self, place: Place, before: Held, after: Held) -> None:
        if after is NOTHING:
            self._forget(place)
        elif before.resource_version != after.resource_version and self._is_wanted(place):
            self._ask_for(place)

    def _is_wanted(self, place: Place) -> bool:
        return place in self._wanted or ("", place[1]) in self._wanted

    def _ask_for(self, place: Place) -> None:
        self._due[place] = None
        self._settled.clear()
        self._arrived.set()

    def _forget(self, place: Place) -> None:
        self._due.pop(place, None)
        held = self._contents.pop(place, None)
        if held is not None:
            self._announce(place, held, NOTHING)

    async def _round(self) -> str:
        """Ask for all that is due, once; return what went wrong with the last that could not be read."""
        due, problem = list(self._due), ""
        for at in range(0, len(due), _AT_ONCE):
            found = await asyncio.gather(*(self._fetch(place) for place in due[at : at + _AT_ONCE]))
            problem = next((each for each in reversed(found) if each), problem)
        return problem

    async def _fetch(self, place: Place) -> str:
        """Ask for one; it stays due where that fails, and the reason is returned."""
        namespace, name = place
        version = self.resource.versions[0]
        if place not in self._due:
            return ""
        del self._due[place]
        try:
            raw = json_pruned(await self._api.get(f"{self.resource.path(version, namespace)}/{name}", {}, JSON))
        except RefusedError as refused:
            if refused.code != _NOT_FOUND:
                return self._failed(place, str(refused))
            self._forget(place)
        except (UnreachableError, ValueError) as error:
            return self._failed(place, str(error))
        else:
            if place in self._held and self._is_wanted(place):  # it may have gone meanwhile
                before = self._contents.get(place, NOTHING)
                after = self._contents[place] = super()._read(place, raw, version)
                self._announce(place, before, after)
        return ""

    def _failed(self, place: Place, reason: str) -> str:
        if place in self._held and self._is_wanted(place):
            self._due[place] = None
        return f"Secret {'/'.join(place)}: {reason}"
