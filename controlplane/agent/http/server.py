"""Serves a few paths: a function from request to response, behind bounds of size and time."""

from __future__ import annotations

import asyncio
import gzip
import ipaddress
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

import h11
import structlog

from controlplane.agent.addresses import TcpAddress

_AT_ONCE = 1 << 16
_LARGEST_BODY = 1 << 20
_MOST_CONNECTIONS = 500
_IDLE_SECONDS = 75.0
_WORTH_COMPRESSING = 1024

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked: the path without its query, headers by their name in lower case, and whether from this host."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    local: bool


@dataclass(frozen=True, slots=True)
class Response:
    """What is answered."""

    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = field(default=())


Answer = Callable[[Request], Awaitable[Response]]


class HttpServer:
    """Listens on one port. An error of our own is answered with 500 and logged; it ends nothing."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._waiting: dict[asyncio.Task[None], None] = {}  # for a request; who has waited longest comes first

    async def start(self, where: TcpAddress) -> TcpAddress:
        """Listen, and return where; port 0 takes a free one. Raises ``OSError``."""
        self._server = await asyncio.start_server(self._connected, where.host, where.port)
        return TcpAddress(where.host, self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop listening and end every connection."""
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or (len(self._connections) >= _MOST_CONNECTIONS and not self._made_room()):
            writer.transport.abort()
            return
        self._connections.add(task)
        try:
            await self._serve(task, reader, writer)
        except (TimeoutError, asyncio.CancelledError):
            writer.transport.abort()  # too slow, or out of place; what it has not read would be kept for ever
        except (OSError, h11.RemoteProtocolError):
            pass  # the peer is gone, or speaks no HTTP
        finally:
            self._connections.discard(task)
            self._waiting.pop(task, None)
            writer.close()

    def _made_room(self) -> bool:
        """End the connection that has waited longest for a request, so that idle ones keep no probe out."""
        oldest = next(iter(self._waiting), None)
        if oldest is None:
            return False
        del self._waiting[oldest]
        return oldest.cancel()

    async def _serve(
        self, task: asyncio.Task[None], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        peer = writer.get_extra_info("peername")
        local = peer is not None and _is_loopback(peer[0])
        connection = h11.Connection(h11.SERVER)
        while True:
            self._waiting[task] = None
            request = await _request(connection, reader, local=local)
            self._waiting.pop(task, None)
            if request is None:
                return
            try:
                response = await self._answer(request)
            except Exception:
                log.exception("agent.answer_failed", path=request.path)
                response = Response(HTTPStatus.INTERNAL_SERVER_ERROR)
            writer.write(_encoded(connection, request, response))
            async with asyncio.timeout(_IDLE_SECONDS):
                await writer.drain()
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                return
            connection.start_next_cycle()


async def _request(connection: h11.Connection, reader: asyncio.StreamReader, *, local: bool) -> Request | None:
    """Return the next request, its body passed over; nothing when the peer has ended the connection."""
    found: Request | None = None
    size = 0
    async with asyncio.timeout(_IDLE_SECONDS):
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await reader.read(_AT_ONCE))
            elif isinstance(event, h11.Request):
                path, _, query = event.target.decode("ascii", "replace").partition("?")
                headers = {name.decode(): value.decode(errors="replace") for name, value in event.headers}
                found = Request(event.method.decode(), path, query, headers, local)
            elif isinstance(event, h11.Data):
                size += len(event.data)
                if size > _LARGEST_BODY:
                    return None
            elif isinstance(event, h11.EndOfMessage):
                return found
            else:
                return None


def _encoded(connection: h11.Connection, request: Request, response: Response) -> bytes:
    body, headers = response.body, [("Content-Type", response.content_type), *response.headers]
    if len(body) >= _WORTH_COMPRESSING and "gzip" in request.headers.get("accept-encoding", ""):
        body, headers = gzip.compress(body, 1), [*headers, ("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding")]
    headers.append(("Content-Length", str(len(body))))
    stated = [(name.encode(), value.encode(errors="surrogateescape")) for name, value in headers]  # as it came
    parts = [connection.send(h11.Response(status_code=response.status, headers=stated))]
    if request.method != "HEAD":
        parts.append(connection.send(h11.Data(data=body)))
    parts.append(connection.send(h11.EndOfMessage()))
    return b"".join(part for part in parts if part)


def _is_loopback(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)
