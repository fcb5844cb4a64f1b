"""How often one peer may cause one event to be written."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from structlog.typing import EventDict, WrappedLogger

BURST, PER_SECOND = 10, 1.0
"""Of one event of one peer: so many at once, and then so many a second."""
ALL_BURST, ALL_PER_SECOND = 1_000, 100.0
"""Of one event of all peers together; there may be thousands of them."""
LIBRARY_BURST, LIBRARY_PER_SECOND = 50, 5.0
"""Of all that one logger of a library says."""
MOST_KEYS = 10_000
LONGEST_KEY = 200

PEERS = ("peer", "connection", "node_id", "proxy", "client", "remote")
"""The keys by which events name a peer."""


@dataclass(slots=True)
class _Bucket:
    """``tokens`` are left at ``at``; ``more`` were left out since the last event that was written."""

    tokens: float
    at: float
    more: int = 0


class PeerLimit:
    """A processor of events that drops those of a peer which come too fast.

    The next one that is written says how many ``more`` there were. Events that name no peer are never dropped, but for
    what libraries say: its text may be a peer's. Several threads may log.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: OrderedDict[tuple[str, str], _Bucket] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        """Let an event pass.

        Raises:
            structlog.DropEvent: there were too many.
        """
        name = str(event.get("event", ""))[:LONGEST_KEY]
        if "logger" in event:
            self._pass(event, (str(event["logger"]), "a library"), LIBRARY_BURST, LIBRARY_PER_SECOND)
            return event
        for key in PEERS:
            if peer := event.get(key):
                self._pass(event, (name, address(str(peer))), BURST, PER_SECOND)
                self._pass(event, (name, ""), ALL_BURST, ALL_PER_SECOND)
                break
        return event

    def _pass(self, event: EventDict, key: tuple[str, str], burst: float, per_second: float) -> None:
        with self._lock:
            now = self._clock()
            bucket = self._buckets.get(key)
            if bucket is None:
                bucket = self._buckets[key] = _Bucket(burst, now)
            self._buckets.move_to_end(key)
            if len(self._buckets) > MOST_KEYS:
                self._buckets.popitem(last=False)
            bucket.tokens = min(burst, bucket.tokens + (now - bucket.at) * per_second)
            bucket.at = now
            if bucket.tokens < 1:
                bucket.more += 1 + event.pop("more", 0)
                raise structlog.DropEvent
            bucket.tokens -= 1
            if bucket.more:
                event["more"] = event.get("more", 0) + bucket.more
                bucket.more = 0


def address(peer: str) -> str:
    """Return what stays the same of a peer that comes again: an address without its port, an id without its number."""
    head, colon, port = peer.rpartition(":")
    if colon and port.isdigit():
        return head[:LONGEST_KEY]
    head, dash, number = peer.rpartition("-")
    return (head if dash and number.isdigit() else peer)[:LONGEST_KEY]
