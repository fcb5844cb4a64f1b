"""How many new streams are let in per second."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable

from controlplane.ads.refusal import Refusal, StreamRefused

LONGEST_WAIT = 1.0  # seconds; istiod's


def default_rate() -> float:
    """Return istiod's number of new streams per second for this machine: between 20 and 100."""
    return float(min(15 + 5 * (os.cpu_count() or 1), 100))


class StreamRate:
    """A token bucket of one token: streams begin at least ``1 / rate`` seconds apart, first come first served."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Make a full bucket; ``rate`` is in streams per second, 0 for no limit."""
        self._interval = 1 / rate if rate else 0.0
        self._rate = rate
        self._clock = clock
        self._next = clock()

    def reserve(self) -> float:
        """Take a place in the queue: return the seconds to wait for one's turn.

        Raises:
            StreamRefused: that would be longer than a second; no place was taken.
        """
        now = self._clock()
        wait = max(0.0, self._next - now)
        if wait > LONGEST_WAIT:
            raise StreamRefused(
                Refusal.TOO_MANY, f"request rate limit exceeded: more than {self._rate:g} new streams per second"
            )
        self._next = now + wait + self._interval
        return wait

    async def admit(self) -> None:
        """Return when it is this stream's turn.

        Raises:
            StreamRefused: see ``reserve``.
        """
        wait = self.reserve()
        if wait:
            await asyncio.sleep(wait)
