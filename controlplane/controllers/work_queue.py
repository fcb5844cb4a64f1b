"""Things to be made right, each by itself: one that fails waits for its next try, and no other waits with it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from controlplane.backoff import Backoff

WORKERS = 4
"""How many are being made right at once."""


class WorkQueue:
    """Keys to make right while ``run`` runs, which may be cancelled and run again.

    ``right`` is called for one key at a time, and never for the same key twice at once; it returns whether the key is
    right now. If not, it is tried again after a pause that grows from ``first`` to ``longest`` seconds for this key
    alone.
    """

    def __init__(self, right: Callable[[str], Awaitable[bool]], first: float = 0.5, longest: float = 30.0) -> None:
        self._right = right
        self._pauses = first, longest
        self._waiting: dict[str, None] = {}
        self._busy: set[str] = set()
        self._backoffs: dict[str, Backoff] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._arrived = asyncio.Event()

    def add(self, *keys: str) -> None:
        """Have keys looked at soon, those included that wait for their next try."""
        for key in keys:
            if (timer := self._timers.pop(key, None)) is not None:
                timer.cancel()
            self._waiting[key] = None
        self._arrived.set()

    async def run(self) -> None:
        """Make keys right until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(WORKERS):
                    group.create_task(self._work())
        finally:
            for timer in self._timers.values():
                timer.cancel()
            for held in (self._waiting, self._busy, self._backoffs, self._timers):
                held.clear()

    async def _work(self) -> None:
        while True:
            key = await self._next()
            self._busy.add(key)
            try:
                done = await self._right(key)
            finally:
                self._busy.discard(key)
                self._arrived.set()
            if done:
                self._backoffs.pop(key, None)
            elif key not in self._waiting:
                self._again(key)

    async def _next(self) -> str:
        while True:
            for key in self._waiting:
                if key not in self._busy:
                    del self._waiting[key]
                    return key
            self._arrived.clear()
            await self._arrived.wait()

    def _again(self, key: str) -> None:
        backoff = self._backoffs.setdefault(key, Backoff(*self._pauses))
        self._timers[key] = asyncio.get_running_loop().call_later(backoff.pause(), self.add, key)
