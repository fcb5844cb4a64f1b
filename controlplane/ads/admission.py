"""When new streams are let in: one by one, each address in its turn, as fast as the event loop takes them."""

from __future__ import annotations

import asyncio

from controlplane.ads.fair import FairQueue
from controlplane.ads.refusal import Refusal, StreamRefused
from controlplane.limits import Reached, unheard

_FASTEST, _SLOWEST = 0.001, 0.04
"""Seconds between two streams where there is no fixed rate."""
_LATE = 0.03
"""Seconds by which the event loop may be late before streams are let in more slowly."""


class Admission:
    """Streams begin some time apart, and wait for that: those of one address behind each other.

    With a ``rate`` in streams per second it is a fixed one. With 0 it depends on the event loop: the time grows while
    the loop is late, and shrinks while it is not.
    """

    def __init__(self, rate: float, most_waiting: int, reached: Reached = unheard) -> None:
        """``most_waiting`` streams of one address may wait."""
        self._interval = 1 / rate if rate else _FASTEST
        self._adapts = not rate
        self._most_waiting = most_waiting
        self._reached = reached
        self._queue = FairQueue()
        self._closed = False  # until the time since the last stream has passed

    @property
    def interval(self) -> float:
        """Seconds between two streams, at present."""
        return self._interval

    async def admit(self, address: str) -> None:
        """Return when it is the turn of a stream of this address.

        Raises:
            StreamRefused: too many of this address wait already.
        """
        if not self._closed:
            self._close()
            return
        if self._queue.length(address) >= self._most_waiting:
            self._reached("max_waiting_calls")
            raise StreamRefused(Refusal.TOO_MANY, f"more than {self._most_waiting} new streams of {address} wait")
        await self._queue.add(address)

    def _close(self) -> None:
        self._closed = True
        loop = asyncio.get_running_loop()
        loop.call_later(self._interval, self._open, loop.time() + self._interval)

    def _open(self, due: float) -> None:
        """Let the next one in; ``due`` is when this should have happened."""
        if self._adapts:
            late = asyncio.get_running_loop().time() - due > _LATE
            self._interval = min(_SLOWEST, self._interval * 2) if late else max(_FASTEST, self._interval * 0.9)
        self._closed = False
        for _ in range(1 if self._adapts else self._most_at_once(due)):
            if not self._queue.next():
                return
            if not self._closed:
                self._close()

    def _most_at_once(self, due: float) -> int:
        """Return how many a fixed rate lets in by now: the loop may go round less often."""
        return 1 + int((asyncio.get_running_loop().time() - due) / self._interval)
