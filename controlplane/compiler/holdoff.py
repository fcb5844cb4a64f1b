"""Batching with a leading edge: the first change of a quiet period goes out at once, a burst is gathered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

from controlplane.model.objects import ChangeSet, Gathered


class Holdoff:
    """Gathers change sets and hands them on one at a time.

    ``holdoff`` is how long it must have been quiet for a change to go out at once, and for a burst to be over;
    ``max_holdoff`` bounds how long a change of an endless burst waits.
    """

    def __init__(
        self, publish: Callable[[ChangeSet], Awaitable[object]], holdoff: timedelta, max_holdoff: timedelta
    ) -> None:
        self._publish = publish
        self.changed_at = 0.0
        """When the oldest change of the last change set handed on arrived, by the event loop's clock."""
        self._quiet_seconds = holdoff.total_seconds()
        self._max_seconds = max_holdoff.total_seconds()
        self._pending = Gathered()
        self._arrived = asyncio.Event()
        self._first_at = 0.0
        self._last_at = float("-inf")
        self._quiet_before = float("inf")

    def add(self, changes: ChangeSet) -> None:
        """Take a change set; ``run`` hands it on."""
        now = asyncio.get_running_loop().time()
        if not self._arrived.is_set():
            self._first_at = now
            self._quiet_before = now - self._last_at
        self._last_at = now
        self._pending.add(changes)
        self._arrived.set()

    async def run(self) -> None:
        """Hand on change sets until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._arrived.wait()
            if self._quiet_before < self._quiet_seconds:
                await self._until_quiet(loop)
            changes = self._pending.taken()
            self._arrived.clear()
            self.changed_at = self._first_at
            await self._publish(changes)

    async def _until_quiet(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            now = loop.time()
            due = min(self._last_at + self._quiet_seconds, self._first_at + self._max_seconds)
            if now >= due:
                return
            await asyncio.sleep(due - now)
