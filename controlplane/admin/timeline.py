"""Remembers what happened lately, for those who look."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from controlplane.model.events import Event

MOST_EVENTS = 500
"""That are remembered."""


class Timeline:
    """The last events, and a way to wait for the next."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque(maxlen=MOST_EVENTS)
        self._number = 0
        self._waiting: set[asyncio.Future[None]] = set()

    @property
    def last(self) -> int:
        """The number of the last event, 0 where there was none."""
        return self._number

    def add(self, event: Event) -> None:
        """Give an event its number and its time, remember it, and wake who waits."""
        self._number += 1
        self._events.append(replace(event, number=self._number, at=datetime.now(UTC)))
        waiting, self._waiting = self._waiting, set()
        for each in waiting:
            if not each.done():
                each.set_result(None)

    def after(self, number: int) -> Sequence[Event]:
        """Return the events after this one that are remembered, the oldest first."""
        return [event for event in self._events if event.number > number]

    async def wait(self, number: int) -> None:
        """Return when there is an event after this one."""
        while self._number <= number:
            woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.add(woken)
            try:
                await woken
            finally:
                self._waiting.discard(woken)
