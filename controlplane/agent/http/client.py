"""Asks one thing of one server over a connection of its own, which is closed afterwards."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import h11

from controlplane.agent.addresses import TcpAddress

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


async def ask(request: Request) -> Reply:
    """Return the answer. Raises ``NoAnswerError``."""
    seconds = request.timeout.total_seconds() if request.timeout is not None else None
    try:
        async with asyncio.timeout(seconds):
            return await _ask(request)
    except TimeoutError:
        raise NoAnswerError(f"{request.address} did not answer within {seconds:g} s") from None
    except (OSError, h11.RemoteProtocolError, ssl.SSLError) as error:
        raise NoAnswerError(f"{request.address}: {error}") from None


async def _ask(request: Request) -> Reply:
    reader, writer = await asyncio.open_connection(
        request.address.host,
        request.address.port,
        ssl=request.tls,
        server_hostname=(request.server_name or request.address.host) if request.tls is not None else None,
        local_addr=(request.source, 0) if request.source is not None else None,
    )
    try:
        connection = h11.Connection(h11.CLIENT)
        names = {name.lower() for name, _ in request.headers}
        own = [("Host", str(request.address))] if "host" not in names else []
        headers = [*own, *request.headers, ("Connection", "close")]
        writer.write(connection.send(h11.Request(method=request.method, target=request.target, headers=headers)) or b"")
        writer.write(connection.send(h11.EndOfMessage()) or b"")
        await writer.drain()
        return await _reply(connection, reader, request.limit)
    finally:
        writer.transport.abort()


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
