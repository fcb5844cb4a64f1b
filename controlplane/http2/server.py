"""Listens, and keeps the connections."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping

from controlplane.http2.connection import Connection, Handler
from controlplane.http2.options import ConnectionOptions

_BACKLOG = 4096  # all proxies of a mesh may come at once


class Server:
    """A gRPC server on any number of ports, plaintext or TLS."""

    def __init__(self, handlers: Mapping[str, Handler], options: ConnectionOptions) -> None:
        """Prepare a server; ``handlers`` by method, as ``/package.Service/Method``."""
        self._handlers = handlers
        self._options = options
        self._connections: set[Connection] = set()
        self._servers: list[asyncio.Server] = []

    async def add_port(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Bind a port, which refuses connections until ``start``; return it, chosen by the system if it was 0.

        Raises:
            OSError: the address cannot be had.
        """
        if tls is not None:
            tls.set_alpn_protocols(["h2"])
        server = await asyncio.get_running_loop().create_server(
            self._connection, host, port, ssl=tls, backlog=_BACKLOG, start_serving=False
        )
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    def _connection(self) -> Connection:
        return Connection(self._handlers, self._options, self._connections)

    async def start(self) -> None:
        """Accept connections."""
        for server in self._servers:
            await server.start_serving()

    def close_ports(self) -> None:
        """Accept no more connections."""
        for server in self._servers:
            server.close()

    def leave(self) -> None:
        """Accept no more connections, and tell the peers to open no more calls; those that are open go on."""
        self.close_ports()
        for connection in tuple(self._connections):
            connection.leave()

    async def stop(self) -> None:
        """Close what is still open."""
        self.leave()
        connections = tuple(self._connections)
        for connection in connections:
            connection.cut()
        await asyncio.gather(*(connection.lost for connection in connections))
