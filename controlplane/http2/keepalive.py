"""Whether the peer of a connection is still there."""

from __future__ import annotations

import asyncio
import secrets
from datetime import timedelta
from typing import Protocol

PING_SIZE = 8  # bytes


class Probed(Protocol):
    """A connection, as far as it concerns whether anybody is there."""

    def probe(self, opaque: bytes) -> None:
        """Send a ping."""
        ...

    def gone(self) -> None:
        """Hear that nobody is there any more."""
        ...

    @property
    def progress(self) -> tuple[int, int]:
        """How many bytes the peer's side has taken so far, and how many more were written."""
        ...


class Keepalive:
    """Pings the peer every ``interval``; the connection is ``gone`` when no answer comes within ``timeout``.

    Only the answer counts, which nobody can give ahead of the ping: a peer may send all it likes. While a lot is on
    its way to the peer the ping is behind that, and it counts too that it takes some of it.
    """

    def __init__(self, connection: Probed, interval: timedelta, timeout: timedelta) -> None:
        self._connection = connection
        self._interval, self._timeout = interval.total_seconds(), timeout.total_seconds()
        self._loop = asyncio.get_running_loop()
        self._awaited = b""
        self._progress = (0, 0)
        self._timer = self._loop.call_later(self._interval, self._ask)

    def answered(self, opaque: bytes) -> None:
        """Note the answer to a ping."""
        if self._awaited and opaque == self._awaited:
            self._awaited = b""
            self._timer.cancel()
            self._timer = self._loop.call_later(self._interval, self._ask)

    def stop(self) -> None:
        """Look no more."""
        self._timer.cancel()

    def _ask(self) -> None:
        self._awaited = secrets.token_bytes(PING_SIZE)
        self._progress = self._connection.progress
        self._timer = self._loop.call_later(self._timeout, self._look)
        self._connection.probe(self._awaited)

    def _look(self) -> None:
        before, waiting = self._progress
        self._progress = taken, _ = self._connection.progress
        # Where nothing waited, the system's buffer takes what is written whether anybody is there or not.
        if not waiting or taken <= before:
            self._connection.gone()
            return
        self._timer = self._loop.call_later(self._timeout, self._look)
