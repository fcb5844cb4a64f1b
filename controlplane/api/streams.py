"""Places for streams of events: how many are open at a time, and which makes room for another one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

MOST_STREAMS = 64
"""At a time: each keeps a connection of the port."""


class Streams:
    """Those that are open, by the address that reads them, the oldest first.

    While all places are taken, an address that has fewer than another gets one: the oldest of the address that has
    most is ended. So nobody keeps others out by opening very many.
    """

    def __init__(self) -> None:
        self._open: dict[web.RequestHandler, str] = {}

    @contextmanager
    def place(self, request: web.Request) -> Iterator[bool]:
        """Give whether there is a place to stream in here."""
        address = request.remote or ""
        there_is = len(self._open) < MOST_STREAMS or self._made_room(address)
        if there_is:
            self._open[request.protocol] = address
        try:
            yield there_is
        finally:
            self._open.pop(request.protocol, None)

    def _made_room(self, address: str) -> bool:
        """End one of whoever has most, if it would still have as many as this address then."""
        counts = Counter(self._open.values())
        largest, most = counts.most_common(1)[0]
        if most <= counts[address] + 1:
            return False
        oldest = next(each for each, reader in self._open.items() if reader == largest)
        del self._open[oldest]
        if oldest.transport is not None:
            oldest.transport.abort()
        return True
