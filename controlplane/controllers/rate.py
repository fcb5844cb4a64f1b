"""A limit of how often something is done."""

from __future__ import annotations

import asyncio


class Rate:
    """Grants ``per_second`` on average, after a quiet time up to ``burst`` at once. For one waiter at a time."""

    def __init__(self, per_second: float, burst: int) -> None:
        self._per_second = per_second
        self._burst = burst
        self._granted_until = 0.0

    async def take(self) -> None:
        """Wait for the next grant."""
        pause = self.pause(asyncio.get_running_loop().time())
        if pause > 0:
            await asyncio.sleep(pause)

    def pause(self, now: float) -> float:
        """Grant once; return the seconds from ``now`` until the grant holds. ``now`` never runs backwards."""
        every = 1 / self._per_second
        self._granted_until = max(self._granted_until, now) + every
        return max(self._granted_until - now - self._burst * every, 0.0)
