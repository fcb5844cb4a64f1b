"""Writes lines without ever failing or waiting: a disk may be full, and nobody may read a pipe."""

from __future__ import annotations

import atexit
import os
import threading
from collections import deque
from contextlib import suppress
from time import sleep
from typing import TextIO

MOST_BYTES = 4 << 20
"""Of lines that wait to be written; what comes then is dropped, and counted."""
END_SECONDS = 2.0
"""How long the end of the program waits for lines to be written."""
_PAUSE_SECONDS, _SHORT_PAUSE_SECONDS = 1.0, 0.01
_GATHER_SECONDS = 0.02
"""How long lines are gathered: to wake the thread for each one costs the loop more than the line itself."""


class Sink:
    """A place for lines, in the shape of a text stream. ``write`` returns at once.

    A stream with a file descriptor is written to by a thread of its own; one without, as tests have, directly. Lines
    that could not be written are lost; once that works again, a line says how many, as JSON.
    """

    def __init__(self, stream: TextIO, most_bytes: int = MOST_BYTES) -> None:
        self._stream = stream
        self._descriptor = _descriptor(stream)
        self._most_bytes = most_bytes
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._lock = threading.Lock()
        self._arrived = threading.Event()
        self._hurry = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._thread: threading.Thread | None = None
        self.dropped = 0
        """Lines lost since the last time that some could be written."""

    def write(self, text: str) -> int:
        """Take text to be written. It never raises."""
        if self._descriptor is None:
            with suppress(OSError, ValueError):
                self._stream.write(text)
            return len(text)
        line = text.encode(errors="backslashreplace")
        with self._lock:
            if self._size + len(line) > self._most_bytes:
                self.dropped += 1
                return len(text)
            if not self._lines:
                self._idle.clear()
                self._arrived.set()
            self._lines.append(line)
            self._size += len(line)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                self._thread.start()
                atexit.register(self.drain)
        return len(text)

    def flush(self) -> None:
        """Do nothing: whoever logs does not wait."""

    def drain(self, seconds: float = END_SECONDS) -> None:
        """Wait until everything is written, but not for long."""
        if self._descriptor is not None and self._thread is not threading.current_thread():
            self._hurry.set()
            self._idle.wait(seconds)
            self._hurry.clear()

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        return self._stream.isatty()

    def _run(self) -> None:
        while True:
            self._arrived.wait()
            self._arrived.clear()
            self._hurry.wait(_GATHER_SECONDS)
            batch = self._taken()
            if batch is not None:
                self._put(*batch)
            with self._lock:
                if not self._lines:
                    self._idle.set()

    def _taken(self) -> tuple[bytes, int] | None:
        """Take what waits, and how many lines were lost before it."""
        with self._lock:
            if not self._lines:
                return None
            lines, dropped = tuple(self._lines), self.dropped
            self._lines.clear()
            self._size, self.dropped = 0, 0
        told = b'{"event": "logs.dropped", "level": "warning", "lines": %d}\n' % dropped if dropped else b""
        return b"".join((told, *lines)), dropped

    def _put(self, batch: bytes, dropped: int) -> None:
        """Write a batch; where that fails the rest of it is lost, and the next one waits a moment."""
        descriptor, rest = self._descriptor, memoryview(batch)
        while rest and descriptor is not None:
            try:
                rest = rest[os.write(descriptor, rest) :]
            except BlockingIOError:  # somebody has made it so: others may have it too
                sleep(_SHORT_PAUSE_SECONDS)
            except OSError:
                lost = bytes(rest).count(b"\n")
                with self._lock:
                    self.dropped += lost + (dropped if len(rest) == len(batch) else 0)
                sleep(_PAUSE_SECONDS)
                return


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None
