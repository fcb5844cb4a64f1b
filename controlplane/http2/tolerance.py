"""How much a connection may make us work for nothing.

Each useless thing has a price: the processor time that it costs here, about. A connection has a little of its own to
spend, and earns more by asking for things and by being sent some; beyond that its address pays, which all its
connections share, those that come later too. Who keeps to its business never pays from there.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from controlplane.http2.addresses import Address, Addresses
from controlplane.http2.frames import ConnectionFailed, ErrorCode

FRAME = 4e-6
"""Seconds that a frame costs which changes nothing."""
MESSAGE = 2e-5
"""Seconds that a message costs which says nothing."""
CALL = 5e-4
"""Seconds that a call costs which the peer gives up, or breaks."""
CONNECTION = {False: 3e-4, True: 2e-3}
"""Seconds that a connection costs of which nothing comes, by whether it is TLS."""
_OWN = 1e-3  # seconds that a connection may waste before its address pays
_MOST_OWN = 2e-2
_EARNED = 2e-5  # seconds, by each message of its own, and each frame of ours that it has to take
_MOST_UNREAD_REPLIES = 1000  # to pings and settings, of a peer that does not read them
_MOST_PING_STRIKES = 2


class Tolerance:
    """Counts what one connection wastes, and ends it where it is too much.

    Methods that say so raise ``ConnectionFailed`` (``ENHANCE_YOUR_CALM``) then.
    """

    def __init__(self, addresses: Addresses, address: Address, interval: timedelta) -> None:
        """``interval`` is that of the keepalive."""
        self._addresses, self._address = addresses, address
        self._interval = interval.total_seconds()
        self._loop = asyncio.get_running_loop()
        self._own = _OWN
        self._pinged_at = 0.0
        self._strikes = 0
        self._replies = 0

    def earn(self) -> None:
        """Note something useful that passed."""
        if self._own < _MOST_OWN:
            self._own += _EARNED

    def waste(self, seconds: float, what: str) -> None:
        """Note something useless; ``what`` it is, in the plural, is what the peer is told. Raises."""
        if self._own >= seconds:
            self._own -= seconds
        elif self._addresses.exhausted(self._address, seconds):
            raise ConnectionFailed(ErrorCode.ENHANCE_YOUR_CALM, f"too many {what}")

    def ended(self, *, secure: bool) -> None:
        """Note that the connection has ended and that nothing came of it."""
        self._addresses.exhausted(self._address, CONNECTION[secure])

    def wrote(self) -> None:
        """Note that we had something to say: pings are in order again (gRPC, "keepalive", ping strikes)."""
        self._strikes = 0

    def read(self) -> None:
        """Note that the peer reads what we write."""
        self._replies = 0

    def pinged(self) -> None:
        """Note a ping, of which two in an interval are enough. Raises."""
        now = self._loop.time()
        if now - self._pinged_at < self._interval / 2:
            self._strikes += 1
            if self._strikes > _MOST_PING_STRIKES:
                raise ConnectionFailed(ErrorCode.ENHANCE_YOUR_CALM, "too_many_pings")
        self._pinged_at = now

    def unread(self) -> None:
        """Note an answer that waits for the peer to read what was written before it. Raises."""
        self._replies += 1
        if self._replies > _MOST_UNREAD_REPLIES:
            raise ConnectionFailed(ErrorCode.ENHANCE_YOUR_CALM, "answers that are not read pile up")
