"""Connections to a port: how many there may be, and which make room for others."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from controlplane.limits import Reached

if TYPE_CHECKING:
    from aiohttp import web


class Places:
    """Makes what serves each new connection. Above ``most``, the idle one that is oldest has to go.

    It is one of the address that has most of them: the API server's few stay while somebody else floods. ``limit`` is
    the name of the limit that ``most`` is.
    """

    def __init__(self, server: web.Server, most: int, limit: str, reached: Reached) -> None:
        self._server = server
        self._most = most
        self._limit = limit
        self._reached = reached
        self._busy: set[object] = set()

    def made(self) -> asyncio.Protocol:
        """Return what serves a connection that has just come; nobody's if all are busy."""
        connections = self._server.connections
        if len(connections) >= self._most:
            self._reached(self._limit)
            idle = self._idle(connections)
            if idle is None:
                return _Refused()
            idle.force_close()
        return self._server()

    @contextmanager
    def busy(self, request: web.Request) -> Iterator[None]:
        """Answer a request in here."""
        self._busy.add(request.protocol)
        try:
            yield
        finally:
            self._busy.discard(request.protocol)

    def _idle(self, connections: list[web.RequestHandler]) -> web.RequestHandler | None:
        addressed = [(_address(each), each) for each in connections if each.transport is not None]
        counts = Counter(address for address, _ in addressed)
        idle = [(address, each) for address, each in addressed if each not in self._busy]
        return max(idle, key=lambda one: counts[one[0]])[1] if idle else None  # the first of several


def _address(connection: web.RequestHandler) -> str:
    peer = connection.transport.get_extra_info("peername") if connection.transport is not None else None
    return str(peer[0]) if peer else ""


class _Refused(asyncio.Protocol):
    """A connection that is closed at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()
