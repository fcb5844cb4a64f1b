"""What is watched of a peer: whether it is still there, and whether it makes us work for nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

from controlplane.http2.frames import ConnectionFailed, ErrorCode

_MOST_UNREAD_REPLIES = 1000  # to pings and settings, of a peer that does not read them
_MOST_PING_STRIKES = 2
_MOST_CANCELLED = 1000  # in a keepalive interval; each cost us more than its peer


class Keepalive:
    """Pings a peer that has been quiet for ``interval``; calls ``gone`` when no answer comes within ``timeout``."""

    def __init__(
        self, interval: timedelta, timeout: timedelta, ping: Callable[[], None], gone: Callable[[], None]
    ) -> None:
        self._interval, self._timeout = interval.total_seconds(), timeout.total_seconds()
        self._ping, self._gone = ping, gone
        self._loop = asyncio.get_running_loop()
        self._heard_at = self._loop.time()
        self._pinged_at = 0.0
        self._timer = self._loop.call_later(self._interval, self._look)

    def heard(self) -> None:
        """Note that something came from the peer."""
        self._heard_at = self._loop.time()

    def stop(self) -> None:
        """Look no more."""
        self._timer.cancel()

    def _look(self) -> None:
        if self._pinged_at > self._heard_at:
            self._gone()
            return
        now = self._loop.time()
        quiet = now - self._heard_at
        if quiet < self._interval:
            self._timer = self._loop.call_later(self._interval - quiet, self._look)
            return
        self._pinged_at = now
        self._ping()
        self._timer = self._loop.call_later(self._timeout, self._look)


class Tolerance:
    """Counts what costs us more than the peer, and ends the connection where it is too much.

    All methods raise ``ConnectionFailed`` (``ENHANCE_YOUR_CALM``) then. ``interval`` is that of the keepalive.
    """

    def __init__(self, interval: timedelta) -> None:
        self._interval = interval.total_seconds()
        self._loop = asyncio.get_running_loop()
        self._pinged_at = 0.0
        self._strikes = 0
        self._replies = 0
        self._cancelled = 0
        self._cancelled_since = self._loop.time()

    def wrote(self) -> None:
        """Note that we had something to say: pings are in order again (gRPC, "keepalive", ping strikes)."""
        self._strikes = 0

    def read(self) -> None:
        """Note that the peer reads what we write."""
        self._replies = 0

    def pinged(self) -> None:
        """Note a ping, of which two in an interval are enough."""
        now = self._loop.time()
        if now - self._pinged_at < self._interval / 2:
            self._strikes += 1
            if self._strikes > _MOST_PING_STRIKES:
                raise ConnectionFailed(ErrorCode.ENHANCE_YOUR_CALM, "too_many_pings")
        self._pinged_at = now

    def unread(self) -> None:
        """Note an answer that waits for the peer to read what was written before it."""
        self._replies += 1
        if self._replies > _MOST_UNREAD_REPLIES:
            raise ConnectionFailed(ErrorCode.ENHANCE_YOUR_CALM, "answers that are not read pile up")

    def cancelled(self) -> None:
        """Note a call that the peer began and cancelled."""
        now = self._loop.time()
        if now - self._cancelled_since > self._interval:
            self._cancelled, self._cancelled_since = 0, now
        self._cancelled += 1
        if self._cancelled > _MOST_CANCELLED:
            raise ConnectionFailed(ErrorCode.ENHANCE_YOUR_CALM, "too many calls were cancelled")


def address(name: object) -> str:
    """Write a socket's address as people do."""
    if isinstance(name, tuple) and len(name) >= 2:  # noqa: PLR2004 - address and port, more for IPv6
        return f"[{name[0]}]:{name[1]}" if ":" in str(name[0]) else f"{name[0]}:{name[1]}"
    return str(name or "unknown")
