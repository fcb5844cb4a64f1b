"""How many things are asked about at once, so that those of one sort do not hold up those of another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from controlplane.security.refusal import CallRefused, Refusal


class Lane:
    """So many at once, and so many that wait for it."""

    def __init__(self, at_once: int, waiting: int) -> None:
        self._places = asyncio.Semaphore(at_once)
        self._longest = waiting
        self._waiting = 0

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Give a place when there is one.

        Raises:
            CallRefused: too many wait already.
        """
        if self._places.locked() and self._waiting >= self._longest:
            raise CallRefused(Refusal.UNAVAILABLE, "token: too many wait to be checked; try again later")
        self._waiting += 1
        try:
            await self._places.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._places.release()
