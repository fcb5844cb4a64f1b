"""Keeps the authority and the serving certificate as they should be, as time passes and sources change."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import timedelta

import structlog

from controlplane.security.ca import Authority, Lifetimes
from controlplane.security.handover import Memory
from controlplane.security.issuer import InvalidIssuerError
from controlplane.security.refusal import CallRefused
from controlplane.security.serving import ServingTls
from controlplane.security.serving_files import InvalidServingError
from controlplane.security.sources import IssuerSource, SourceUnavailableError

log = structlog.get_logger(__name__)


async def open_authority(source: IssuerSource, lifetimes: Lifetimes, memory: Memory | None = None) -> Authority:
    """Return an authority with what the source holds.

    What the source holds now and did not when the memory was last written is only trusted at first: see ``Authority``.

    Raises:
        InvalidIssuerError: the source holds what cannot sign; that is for somebody to repair.
        SourceUnavailableError: it, or the memory, cannot be read just now.
    """
    issuer = await source.read()
    authority = Authority(issuer, lifetimes, past=await memory.read() if memory is not None else None)
    if memory is not None:
        await memory.write(authority.past)
    return authority


class ServingKeeper:
    """Lets the serving certificate follow its source every ``interval``.

    A source that cannot be read, or holds nonsense, changes nothing; it is logged when that begins and when it ends.
    ``changed`` is called after something new is shown; it must not raise.
    """

    def __init__(self, serving: ServingTls, interval: timedelta, changed: Callable[[], None] = lambda: None) -> None:
        self._serving = serving
        self._interval = interval
        self._changed = changed
        self.problem = ""
        """Why the source could not be used at the last reading; empty if it could."""

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            await asyncio.sleep(self._interval.total_seconds() * random.uniform(0.8, 1.0))  # noqa: S311 - a jitter
            await self.once()

    async def once(self) -> None:
        """Read the source and do what is due."""
        problem = await self._read()
        for step in (self._serving.prepare, self._update):  # roots may be others although nothing new is signed
            try:
                await step()
            except (CallRefused, InvalidServingError, SourceUnavailableError) as error:
                problem = problem or str(error)
        if problem and problem != self.problem:
            log.error("security.source_unusable", reason=problem)
        elif self.problem and not problem:
            log.info("security.source_usable")
        self.problem = problem

    async def _update(self) -> None:
        if self._serving.update():
            self._changed()

    async def _read(self) -> str:
        """Prepare what the serving certificate is made of; return what is wrong, empty if nothing is."""
        return ""


class Rotator(ServingKeeper):
    """Reads where the issuer comes from, too, and lets the authority do what is due.

    What the authority does is kept in ``memory``, if there is one, for the next process and other replicas.
    """

    def __init__(
        self,
        source: IssuerSource,
        authority: Authority,
        serving: ServingTls,
        interval: timedelta,
        memory: Memory | None = None,
    ) -> None:
        super().__init__(serving, interval)
        self._source = source
        self._authority = authority
        self._memory = memory

    async def _read(self) -> str:
        try:
            issuer = await self._source.read()
            if self._memory is None:
                self._authority.offer(issuer)
            else:
                self._authority.offer(issuer, await self._memory.read())
                await self._memory.write(self._authority.past)
        except (InvalidIssuerError, SourceUnavailableError) as error:
            self._authority.update()
            return str(error)
        return ""
