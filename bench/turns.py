"""How long one turn of an event loop takes, in processor time: what other programs of the machine take has no part."""

from __future__ import annotations

import asyncio
import time


class Turns:
    """Takes part in each turn of the running loop from ``begin`` to ``end``."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None
        self.longest = 0.0
        """The most seconds of processor time that the loop's thread took in one turn."""

    def begin(self) -> None:
        """Begin to watch, anew."""
        self.end()
        self.longest = 0.0
        self._task = asyncio.create_task(self._run())

    def end(self) -> None:
        """Watch no more."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        before = time.thread_time()
        while True:
            await asyncio.sleep(0)
            now = time.thread_time()
            self.longest = max(self.longest, now - before)
            before = now
