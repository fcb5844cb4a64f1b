"""Asks one thing of one server over a connection of its own, which is closed afterwards unless somebody keeps it.

Over TLS whose context offers it, servers may choose HTTP/2.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import h11

from controlplane.agent.addresses import TcpAddress

HTTP2 = "h2"
"""What a context of TLS offers for HTTP/2."""
_AT_ONCE = 1 << 16
Headers = Iterable[tuple[str, str]]


class NoAnswerError(Exception):
    """There was no answer: no connection, not in time, or no HTTP. The text says which."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked, and how long it may take. A ``tls`` of ``None`` is plaintext; ``source`` is a local address.

    ``server_name`` is what the server's certificate must be for, the host of the address where it is ``None``.
    """

    address: TcpAddress
    target: str
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    timeout: timedelta | None = timedelta(seconds=10)
    limit: int = 64 << 20
    tls: ssl.SSLContext | None = None
    source: str | None = None
    server_name: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; header names are in lower case. The body ends at the limit of the request, and ``cut`` says so.

    ``url`` is that of who answered, where somebody has followed redirections.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: bool = False
    url: str = ""


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Kept:
    """Connections of HTTP/1.1 that are kept for the next request to the same server, one for each.

    One over which something came that was not asked for is not used again: it would be taken for the next answer.
    """

    def __init__(self) -> None:
        self._held: dict[tuple[TcpAddress, bool, str | None], Connection] = {}

    async def take(self, request: Request) -> Connection | None:
        """Return a connection that the server has not ended, which is no longer kept; ``None`` without one."""
        found = self._held.pop(_server(request), None)
        if found is not None and (found[1].is_closing() or await _has_come(found[0])):
            found[1].transport.abort()
            return None
        return found

    def keep(self, request: Request, connection: Connection) -> None:
        """Keep a connection; another one to the same server is closed."""
        if (other := self._held.pop(_server(request), None)) is not None:
            other[1].transport.abort()
        self._held[_server(request)] = connection

    def close(self) -> None:
        """Close all of them."""
        for _, writer in self._held.values():
            writer.transport.abort()
        self._held.clear()


def _server(request: Request) -> tuple[TcpAddress, bool, str | None]:
    return request.address, request.tls is not None, request.source


async def _has_come(reader: asyncio.StreamReader) -> bool:
    """Whether there is something to read already, the end too."""
    try:
        async with asyncio.timeout(0):
            await reader.read(1)
    except TimeoutError:
        return False
    return True


async def ask(request: Request, kept: Kept | None = None) -> Reply:
    """Return the answer, over a kept connection if there is one, and keep it again. Raises ``NoAnswerError``."""
    seconds = request.timeout.total_seconds() if request.timeout is not None else None
    try:
        async with asyncio.timeout(seconds):
            if kept is not None and (connection := await kept.take(request)) is not None:
                with contextlib.suppress(OSError, h11.RemoteProtocolError):  # the server has ended it meanwhile
                    return await _over(connection, request, kept)
            return await _over(await _connected(request), request, kept)
    except TimeoutError:
        raise NoAnswerError(f"{request.address} did not answer within {seconds:g} s") from None
    except (OSError, h11.RemoteProtocolError, ssl.SSLError) as error:
        raise NoAnswerError(f"{request.address}: {error}") from None


async def _connected(request: Request) -> Connection:
    return await asyncio.open_connection(
        request.address.host,
        request.address.port,
        ssl=request.tls,
        server_hostname=(request.server_name or request.address.host) if request.tls is not None else None,
        local_addr=(request.source, 0) if request.source is not None else None,
    )


async def _over(held: Connection, request: Request, kept: Kept | None) -> Reply:
    reader, writer = held
    done = False
    try:
        tls: ssl.SSLObject | None = writer.get_extra_info("ssl_object")
        if tls is not None and tls.selected_alpn_protocol() == HTTP2:
            return await _by_http2(reader, writer, request)
        connection = h11.Connection(h11.CLIENT)
        once = [("Connection", "close")] if kept is None else []
        headers = [*_host(request), *request.headers, *once]
        writer.write(connection.send(h11.Request(method=request.method, target=request.target, headers=headers)) or b"")
        writer.write(connection.send(h11.EndOfMessage()) or b"")
        await writer.drain()
        reply = await _reply(connection, reader, request.limit)
        ends = {connection.our_state, connection.their_state}
        if kept is not None and ends == {h11.DONE} and connection.trailing_data == (b"", False):
            kept.keep(request, held)
            done = True
        return reply
    finally:
        if not done:
            writer.transport.abort()


def _host(request: Request) -> list[tuple[str, str]]:
    names = {name.lower() for name, _ in request.headers}
    return [("Host", str(request.address))] if "host" not in names else []


async def _by_http2(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: Request) -> Reply:
    from controlplane.agent.http.http2 import asked  # noqa: PLC0415 - hardly any application speaks nothing else

    stated = (*_host(request), *request.headers)
    host = next(value for name, value in stated if name.lower() == "host")
    first = ((":method", request.method), (":scheme", "https"), (":authority", host), (":path", request.target))
    return Reply(*await asked(reader, writer, (*first, *stated), request.limit))


async def _reply(connection: h11.Connection, reader: asyncio.StreamReader, limit: int) -> Reply:
    status, headers, body = 0, {}, bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(_AT_ONCE))
        elif isinstance(event, h11.Response):
            status = event.status_code
            headers = {name.decode(): value.decode(errors="replace") for name, value in event.headers}
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > limit:
                return Reply(status, headers, bytes(body[:limit]), cut=True)
        elif isinstance(event, (h11.EndOfMessage, h11.ConnectionClosed)):
            if not status:
                raise h11.RemoteProtocolError("the connection ended before an answer")
            return Reply(status, headers, bytes(body))
