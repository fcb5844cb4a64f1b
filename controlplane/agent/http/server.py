"""Serves a few paths: a function from request to response, behind bounds of size and time.

No caller keeps another out. Where all connections are taken, the address that has most of them loses one; where answers
that nobody reads are too many bytes, the address that has most of those.
"""

from __future__ import annotations

import asyncio
import gzip
import ipaddress
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from http import HTTPStatus

import h11
import structlog

from controlplane.agent.addresses import TcpAddress

_AT_ONCE = 1 << 16
_LARGEST_BODY = 1 << 20
_MOST_CONNECTIONS = 500
_IDLE_SECONDS = 75.0
_MOST_UNREAD = 64 << 20
"""Bytes of answers that wait for their readers, of which one may be larger."""
_WORTH_COMPRESSING = 1024
_WORTH_A_THREAD = 1 << 20

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked: the path without its query, headers by their name in lower case, and whether from this host.

    ``peer`` is the address of who asks.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    local: bool
    peer: str = ""


@dataclass(frozen=True, slots=True)
class Response:
    """What is answered."""

    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = field(default=())


Answer = Callable[[Request], Awaitable[Response]]


class _State(IntEnum):
    """What a connection does, the first that makes room first."""

    WAITING = 0
    """For a request."""
    UNREAD = 1
    """Its answer is not taken."""
    ANSWERING = 2


@dataclass(slots=True)
class _Held:
    """A connection: whose it is, what it does, and how large an answer waits for its reader."""

    peer: str
    state: _State = _State.WAITING
    unread: int = 0


class HttpServer:
    """Listens on one port. An error of our own is answered with 500 and logged; it ends nothing."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], _Held] = {}
        """Who has done what it does for the longest time comes first."""

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
        task, peername = asyncio.current_task(), writer.get_extra_info("peername")
        peer = str(peername[0]) if peername else ""
        if task is None or (len(self._connections) >= _MOST_CONNECTIONS and not self._made_room(peer)):
            writer.transport.abort()
            return
        self._connections[task] = _Held(peer)
        try:
            await self._serve(task, reader, writer)
            writer.close()
            self._does(task, _State.UNREAD)
            async with asyncio.timeout(_IDLE_SECONDS):
                await writer.wait_closed()
        except (TimeoutError, asyncio.CancelledError, OSError, h11.RemoteProtocolError):
            pass  # too slow or out of place, the peer is gone, or it speaks no HTTP
        finally:
            self._connections.pop(task, None)
            writer.transport.abort()  # what it has not read would be kept for ever

    def _does(self, task: asyncio.Task[None], state: _State, unread: int = 0) -> None:
        """Note what a connection does from now on, unless it has had to make room."""
        held = self._connections.pop(task, None)
        if held is None:
            raise asyncio.CancelledError
        held.state, held.unread = state, unread
        self._connections[task] = held

    def _made_room(self, peer: str) -> bool:
        """End a connection of the address that has most, so that nobody is kept out by another.

        Of several that have most, one that does least. Of the address that asks, none is ended that is being answered.
        """
        counts = Counter(held.peer for held in self._connections.values())
        most = max(counts.values())
        task, held = min(
            (each for each in self._connections.items() if counts[each[1].peer] == most),
            key=lambda each: (each[1].state, each[1].peer != peer),
        )
        if held.peer == peer and held.state is _State.ANSWERING:
            return False
        self._end(task)
        return True

    def _end(self, task: asyncio.Task[None]) -> None:
        del self._connections[task]
        task.cancel()

    def _make_room_for(self, size: int) -> None:
        """End connections whose answers nobody takes until another of a size has room."""
        sizes: Counter[str] = Counter()
        for held in self._connections.values():
            sizes[held.peer] += held.unread
        while sizes.total() and sizes.total() + size > _MOST_UNREAD:
            largest = sizes.most_common(1)[0][0]
            task, held = next(one for one in self._connections.items() if one[1].peer == largest and one[1].unread)
            sizes[largest] -= held.unread
            self._end(task)

    async def _serve(
        self, task: asyncio.Task[None], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        connection, peer = h11.Connection(h11.SERVER), self._connections[task].peer
        while True:
            self._does(task, _State.WAITING)
            request = await _request(connection, reader, peer)
            if request is None:
                return
            self._does(task, _State.ANSWERING)
            try:
                response = await self._answer(request)
            except Exception:
                log.exception("agent.answer_failed", path=request.path)
                response = Response(HTTPStatus.INTERNAL_SERVER_ERROR)
            encoded = _encoded(connection, request, await _compressed(request, response))
            self._make_room_for(len(encoded))
            self._does(task, _State.UNREAD, len(encoded))
            writer.write(encoded)
            async with asyncio.timeout(_IDLE_SECONDS):
                await writer.drain()
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                return
            connection.start_next_cycle()


async def _request(connection: h11.Connection, reader: asyncio.StreamReader, peer: str) -> Request | None:
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
                found = Request(event.method.decode(), path, query, headers, _is_loopback(peer), peer)
            elif isinstance(event, h11.Data):
                size += len(event.data)
                if size > _LARGEST_BODY:
                    return None
            elif isinstance(event, h11.EndOfMessage):
                return found
            else:
                return None


async def _compressed(request: Request, response: Response) -> Response:
    """Return the response as the caller understands it, a large one made beside the loop."""
    body = response.body
    if len(body) < _WORTH_COMPRESSING or "gzip" not in request.headers.get("accept-encoding", ""):
        return response
    small = await asyncio.to_thread(gzip.compress, body, 1) if len(body) >= _WORTH_A_THREAD else gzip.compress(body, 1)
    said = (*response.headers, ("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding"))
    return replace(response, body=small, headers=said)


def _encoded(connection: h11.Connection, request: Request, response: Response) -> bytes:
    body, headers = response.body, [("Content-Type", response.content_type), *response.headers]
    headers.append(("Content-Length", str(len(body))))
    stated = [(name.encode(), value.encode(errors="surrogateescape")) for name, value in headers]  # as it came
    parts = [connection.send(h11.Response(status_code=response.status, headers=stated))]
    if request.method != "HEAD":
        parts.append(connection.send(h11.Data(data=body)))
    parts.append(connection.send(h11.EndOfMessage()))
    return b"".join(part for part in parts if part)


def _is_loopback(text: str) -> bool:
    if not text:
        return False
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)
