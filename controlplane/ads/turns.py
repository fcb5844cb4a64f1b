"""Turns at the event loop, for streams that have something to send."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Protocol


class Sender(Protocol):
    """Something that may have to send."""

    def turn(self) -> None:
        """Send what is due, if there is room."""
        ...


class Turns:
    """Lets the streams that have something to send do so in turn, and the event loop breathe in between."""

    SLICE = 0.02  # seconds; between two slices answers are read, and the streams whose turn is last wait for that

    def __init__(self) -> None:
        self._due: deque[Sender] = deque()

    @property
    def due(self) -> bool:
        """Whether somebody waits for a turn."""
        return bool(self._due)

    def add(self, stream: Sender) -> None:
        """Give a stream its turn, soon."""
        if not self._due:
            asyncio.get_running_loop().call_soon(self._run)
        self._due.append(stream)

    def _run(self) -> None:
        end = time.perf_counter() + self.SLICE
        while self._due:
            self._due[0].turn()
            self._due.popleft()
            if self._due and time.perf_counter() > end:
                asyncio.get_running_loop().call_soon(self._run)
                return
