"""Something happened: told to several at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Broadcast:
    """Wakes all subscribers; each has an event of its own, and clears it itself."""

    def __init__(self) -> None:
        self._events: list[asyncio.Event] = []

    @contextmanager
    def subscribe(self, event: asyncio.Event | None = None) -> Iterator[asyncio.Event]:
        """Give an event that is set each time, until the context ends: this one, if another broadcast sets it too."""
        event = event or asyncio.Event()
        self._events.append(event)
        try:
            yield event
        finally:
            self._events.remove(event)

    def send(self) -> None:
        """Set the events of all subscribers."""
        for event in self._events:
            event.set()
