"""Something happened: told to several at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Bell:
    """Wakes all who listen; each has an event of its own, and clears it itself."""

    def __init__(self) -> None:
        self._events: list[asyncio.Event] = []

    @contextmanager
    def listen(self) -> Iterator[asyncio.Event]:
        """Give an event that is set at each ring, until the context ends."""
        event = asyncio.Event()
        self._events.append(event)
        try:
            yield event
        finally:
            self._events.remove(event)

    def ring(self) -> None:
        """Set the events of all who listen."""
        for event in self._events:
            event.set()
