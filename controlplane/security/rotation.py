"""Keeps the authority and the serving certificate as they should be, as time passes and sources change."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta

import structlog

from controlplane.security.ca import Authority, Lifetimes
from controlplane.security.handover import Memory
from controlplane.security.issuer import InvalidIssuerError
from controlplane.security.refusal import CallRefused
from controlplane.security.serving import ServingTls
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


class Rotator:
    """Reads the source every ``interval`` and lets the authority and the serving certificate do what is due.

    A source that cannot be read, or holds nonsense, changes nothing; it is logged when that begins and when it ends.
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
        self._source = source
        self._authority = authority
        self._serving = serving
        self._interval = interval
        self._memory = memory
        self.problem = ""
        """Why the source could not be used at the last reading; empty if it could."""

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            await asyncio.sleep(self._interval.total_seconds() * random.uniform(0.8, 1.0))  # noqa: S311 - a jitter
            await self.once()

    async def once(self) -> None:
        """Read the source and do what is due."""
        problem = ""
        try:
            issuer = await self._source.read()
            if self._memory is None:
                self._authority.offer(issuer)
            else:
                self._authority.offer(issuer, await self._memory.read())
                await self._memory.write(self._authority.past)
        except (InvalidIssuerError, SourceUnavailableError) as error:
            problem = str(error)
            self._authority.update()
        try:
            self._serving.update()
        except CallRefused as refused:
            problem = problem or str(refused)
        if problem and problem != self.problem:
            log.error("security.source_unusable", reason=problem)
        elif self.problem and not problem:
            log.info("security.source_usable")
        self.problem = problem
