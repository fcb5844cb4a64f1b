"""What has to happen in time, which is the same for all: one timer looks after everybody."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from datetime import timedelta
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class Deadlines(Generic[T]):
    """Those that something is awaited of, in the order in which they came; ``late`` is told of one that is late."""

    def __init__(self, time: timedelta, late: Callable[[T], None]) -> None:
        self._seconds = time.total_seconds()
        self._late = late
        self._until: dict[T, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, awaited: T) -> None:
        """Await something from now on."""
        self._until[awaited] = asyncio.get_running_loop().time() + self._seconds
        if self._timer is None:
            self._look_later()

    def met(self, awaited: T) -> None:
        """Await it no longer."""
        self._until.pop(awaited, None)

    def _look_later(self) -> None:
        first = next(iter(self._until.values()), None)
        self._timer = asyncio.get_running_loop().call_at(first, self._look) if first is not None else None

    def _look(self) -> None:
        first = next(iter(self._until), None)
        if first is None or self._until[first] > asyncio.get_running_loop().time():
            self._look_later()
            return
        del self._until[first]
        self._look_later()  # whatever becomes of this one
        self._late(first)
