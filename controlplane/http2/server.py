"""Listens, and keeps the connections."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping

import structlog

from controlplane.http2.addresses import Address, host
from controlplane.http2.connection import Connection, Handler
from controlplane.http2.options import ConnectionOptions
from controlplane.http2.shared import Shared
from controlplane.http2.tolerance import CONNECTION

log = structlog.get_logger(__name__)

_BACKLOG = 4096  # all proxies of a mesh may come at once
_AT_ONCE = 4
"""Connections that are taken before everything else has its turn: each means a handshake, a millisecond or two."""
_PAUSE_SECONDS = 0.5  # where there are no more file descriptors
_TIRED_SECONDS = 2.0  # that a connection waits whose address has wasted more than it may


class Server:
    """A gRPC server on any number of ports, plaintext or TLS."""

    def __init__(self, handlers: Mapping[str, Handler], options: ConnectionOptions) -> None:
        """Prepare a server; ``handlers`` by method, as ``/package.Service/Method``."""
        self._shared = Shared(handlers, options)
        self._ports: list[tuple[socket.socket, ssl.SSLContext | None]] = []
        self._listening = 0  # ports of these
        self._beginning: set[asyncio.Task[None]] = set()

    @property
    def connection_count(self) -> int:
        """How many connections are open."""
        return self._shared.addresses.connections

    @property
    def pending_count(self) -> int:
        """How many of them are pending; see ``limits``."""
        return self._shared.addresses.pending

    @property
    def held_bytes(self) -> int:
        """Bytes of messages that are not complete, or that nobody has taken yet."""
        return self._shared.held

    async def add_port(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Bind a port, which refuses connections until ``start``; return it, chosen by the system if it was 0.

        Raises:
            OSError: the address cannot be had.
        """
        if tls is not None:
            tls.set_alpn_protocols(["h2"])
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, address in dict.fromkeys((family, address) for family, *_, address in found):
            chosen = (address[0], port, *address[2:])
            bound = _bound(socket.AddressFamily(family), chosen)
            self._ports.append((bound, tls))
            port = bound.getsockname()[1]  # the same one for every address
        return port

    async def start(self) -> None:
        """Accept connections, on the ports that were added since the last time too."""
        for port, tls in self._ports[self._listening :]:
            port.listen(_BACKLOG)
            self._listen(port, tls)
        self._listening = len(self._ports)

    def _listen(self, port: socket.socket, tls: ssl.SSLContext | None) -> None:
        if port.fileno() >= 0:  # it is not closed
            asyncio.get_running_loop().add_reader(port, self._accept, port, tls)

    def _accept(self, port: socket.socket, tls: ssl.SSLContext | None) -> None:
        """Take some of the connections that have come."""
        for _ in range(_AT_ONCE):
            try:
                accepted, peername = port.accept()
            except BlockingIOError:
                return
            except ConnectionError:
                continue  # it is gone already
            except OSError as error:
                log.warning("http2.cannot_accept", reason=str(error))
                loop = asyncio.get_running_loop()
                loop.remove_reader(port)
                loop.call_later(_PAUSE_SECONDS, self._listen, port, tls)
                return
            address = self._shared.addresses.enter(host(peername))
            if address is None:
                accepted.close()
                continue
            beginning = asyncio.create_task(self._begin(accepted, address, tls))
            self._beginning.add(beginning)
            beginning.add_done_callback(self._beginning.discard)

    async def _begin(self, accepted: socket.socket, address: Address, tls: ssl.SSLContext | None) -> None:
        """Shake hands and serve."""
        loop, shared = asyncio.get_running_loop(), self._shared
        connection: Connection | None = None
        timeout = shared.options.limits.handshake_timeout.total_seconds()

        def serve() -> Connection:
            nonlocal connection
            connection = Connection(shared, address)
            return connection

        try:
            if shared.addresses.tired(address):
                await asyncio.sleep(_TIRED_SECONDS)
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            handshake = timeout if tls is not None else None
            await loop.connect_accepted_socket(serve, accepted, ssl=tls, ssl_handshake_timeout=handshake)
        except (OSError, TimeoutError) as error:
            log.debug("http2.no_handshake", reason=str(error))
        finally:
            if connection is None or not connection.made:
                accepted.close()
                shared.addresses.exhausted(address, CONNECTION[tls is not None])
                shared.addresses.leave(address, pending=True)

    def close_ports(self) -> None:
        """Accept no more connections."""
        for port, _ in self._ports:
            if port.fileno() >= 0:
                asyncio.get_running_loop().remove_reader(port)
            port.close()

    def leave(self) -> None:
        """Accept no more connections, and tell the peers to open no more calls; those that are open go on."""
        self.close_ports()
        for connection in tuple(self._shared.connections):
            connection.leave()

    async def stop(self) -> None:
        """Close what is still open."""
        self.leave()
        for task in tuple(self._beginning):
            task.cancel()
        connections = tuple(self._shared.connections)
        for connection in connections:
            connection.cut()
        await asyncio.gather(*self._beginning, return_exceptions=True)
        await asyncio.gather(*(connection.lost for connection in connections))


def _bound(family: socket.AddressFamily, address: tuple[object, ...]) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setblocking(False)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound
