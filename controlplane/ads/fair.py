"""Who waits, in fairness: those of one key among themselves, and each key in its turn.

Whoever comes a thousand times waits behind himself, and the others beside him do not.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from time import monotonic
from types import TracebackType

from controlplane.ads.refusal import Refusal, StreamRefused
from controlplane.limits import Reached


class FairQueue:
    """Futures that wait to be done, by key."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def length(self, key: str) -> int:
        """Return how many wait of one key, some of which may have given up."""
        return len(self._waiting.get(key, ()))

    def add(self, key: str) -> asyncio.Future[None]:
        """Return a future that is done when its turn has come; cancel it to give up."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, deque()).append(future)
        return future

    def next(self) -> bool:
        """Let the next one go; return whether there was one."""
        while self._waiting:
            key, waiting = self._waiting.popitem(last=False)
            future = waiting.popleft()
            if waiting:
                self._waiting[key] = waiting  # behind the others
            if not future.done():
                future.set_result(None)
                return True
        return False


class Gate:
    """Lets so many do something at a time; ``limit`` of one key may wait for it."""

    def __init__(self, at_once: int, limit: tuple[str, int], reached: Reached) -> None:
        """``limit`` is the name of it, and how many."""
        self._free = at_once
        self._name, self._most = limit
        self._reached = reached
        self._queue = FairQueue()

    def entered(self, key: str) -> Place:
        """Do something in here.

        Raises:
            StreamRefused: too many of this key wait.
        """
        return Place(self, key)

    async def enter(self, key: str) -> None:
        """Begin. Raises ``StreamRefused`` as ``entered`` does."""
        if self._free and not self._queue:
            self._free -= 1
        else:
            await self._wait(key)

    def leave(self) -> None:
        """End."""
        if not self._queue.next():
            self._free += 1

    async def _wait(self, key: str) -> None:
        if self._queue.length(key) >= self._most:
            self._reached(self._name)
            raise StreamRefused(Refusal.TOO_MANY, f"more than {self._most} of such requests wait")
        turn = self._queue.add(key)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and not self._queue.next():
                self._free += 1
            raise


class Place:
    """One place behind a gate, taken for as long as the context lasts."""

    __slots__ = ("_gate", "_key")

    def __init__(self, gate: Gate, key: str) -> None:
        self._gate, self._key = gate, key

    async def __aenter__(self) -> None:
        await self._gate.enter(self._key)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._gate.leave()


class Rates:
    """A bucket of tokens for each key: ``burst`` at once, and so many a second after that."""

    _MOST_KEYS = 10_000

    def __init__(self, per_second: float, burst: float) -> None:
        self._per_second, self._burst = per_second, burst
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens as they were at a time

    def allows(self, key: str) -> bool:
        """Take a token; return whether there was one."""
        now = monotonic()
        tokens, at = self._left.get(key, (self._burst, now))
        tokens = min(self._burst, tokens + (now - at) * self._per_second)
        allowed = tokens >= 1
        self._left[key] = (tokens - allowed, now)
        self._left.move_to_end(key)
        if len(self._left) > self._MOST_KEYS:
            self._left.popitem(last=False)
        return allowed
