"""Listens for questions on UDP and TCP.

What the table answers is answered at once. What others have to be asked, and connections, are bounded each by itself:
names of the mesh are found however many wait for names outside it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import NamedTuple, cast

import dns.message
import structlog

from controlplane.agent.addresses import TcpAddress
from controlplane.agent.dns.answers import NotAQuestionError, failure, local_answer, parsed, size_of
from controlplane.agent.dns.forward import Forwarder
from controlplane.agent.dns.table import Names, names
from controlplane.agent.metrics import DNS_REQUESTS

_LENGTH_BYTES = 2
_MOST_WAITING = 1000
"""Questions over UDP that others are asked."""
_MOST_CONNECTIONS = 500
_IDLE_SECONDS = 30.0

log = structlog.get_logger(__name__)


class Place(NamedTuple):
    """Where names are asked from: the proxy's namespace and domain, and the first domain that is searched in."""

    namespace: str
    domain: str
    search: str


class NameServer:
    """Answers from the newest table; ``ready`` once there is one."""

    def __init__(self, forwarder: Forwarder, place: Place, *, early: bool = False) -> None:
        """``early`` passes questions on that come before the first table."""
        self._forwarder = forwarder
        self.place = place
        self.early = early
        self._names: Names | None = None
        self._transports: list[asyncio.BaseTransport] = []
        self._servers: list[asyncio.Server] = []
        self._waiting: set[asyncio.Task[None]] = set()
        self._connections: dict[asyncio.Task[None], None] = {}  # who has not asked for the longest time comes first

    @property
    def ready(self) -> bool:
        """Whether a table has come."""
        return self._names is not None

    def take(self, encoded: bytes) -> None:
        """Answer from this table from now on. Raises ``ValueError``."""
        self._names = names(encoded, *self.place)

    def page(self) -> bytes | None:
        """Return the table for people, ``None`` without one."""
        if self._names is None:
            return None
        shown = {name: [*found.v4, *found.v6] for name, found in sorted(self._names.addresses.items())}
        return json.dumps({"table": shown, "aliases": dict(sorted(self._names.aliases.items()))}, indent=2).encode()

    async def start(self, addresses: Sequence[TcpAddress]) -> None:
        """Listen. Raises ``OSError``."""
        loop = asyncio.get_running_loop()
        for where in addresses:
            transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), local_addr=where)
            self._transports.append(transport)
            self._servers.append(await asyncio.start_server(self._connected, where.host, where.port))

    async def stop(self) -> None:
        """Stop listening."""
        for transport in self._transports:
            transport.close()
        for server in self._servers:
            server.close()
        tasks = [*self._waiting, *self._connections]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def received(self, wire: bytes, transport: asyncio.DatagramTransport, peer: tuple[str, int]) -> None:
        """Answer a datagram; when too many wait for others already, the client asks again."""
        asked = self._question(wire, tcp=False)
        if asked is None:
            return
        if asked.answer is not None:
            transport.sendto(asked.answer, peer)
            return
        if len(self._waiting) >= _MOST_WAITING:
            return

        async def forwarded() -> None:
            answer = await self._forwarded(wire, asked, tcp=False)
            if not transport.is_closing():
                transport.sendto(answer, peer)

        task = asyncio.create_task(forwarded())
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            return
        if len(self._connections) >= _MOST_CONNECTIONS:
            oldest = next(iter(self._connections))
            del self._connections[oldest]
            oldest.cancel()
        self._connections[task] = None
        try:
            await self._serve(task, reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass  # the client is gone, has no more questions, or takes no answers
        except asyncio.CancelledError:
            pass  # it makes room, or the server stops; the stream's callback must not see it
        finally:
            self._connections.pop(task, None)
            writer.transport.abort()

    async def _serve(
        self, task: asyncio.Task[None], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while True:
            async with asyncio.timeout(_IDLE_SECONDS):
                length = int.from_bytes(await reader.readexactly(_LENGTH_BYTES))
                wire = await reader.readexactly(length)
            if self._connections.pop(task, self) is self:
                return  # it has had to make room
            self._connections[task] = None
            asked = self._question(wire, tcp=True)
            if asked is None:
                return
            answer = asked.answer or await self._forwarded(wire, asked, tcp=True)
            writer.write(len(answer).to_bytes(_LENGTH_BYTES) + answer)
            async with asyncio.timeout(_IDLE_SECONDS):
                await writer.drain()

    def _question(self, wire: bytes, *, tcp: bool) -> _Asked | None:
        """Return a question, with its answer unless others have to be asked; nothing where the bytes are none."""
        DNS_REQUESTS.inc()
        try:
            question = parsed(wire)
        except NotAQuestionError as error:
            log.debug("agent.dns_unreadable", reason=str(error))
            return None
        size = size_of(question, tcp=tcp)
        if not question.question or (self._names is None and not self.early):
            return _Asked(question, size, failure(question, size))
        return _Asked(question, size, local_answer(question, self._names, size) if self._names is not None else None)

    async def _forwarded(self, wire: bytes, asked: _Asked, *, tcp: bool) -> bytes:
        """Return what others answer, or that nobody does."""
        found = await self._forwarder.ask(wire, tcp=tcp)
        return failure(asked.question, asked.size) if found is None else found


class _Asked(NamedTuple):
    """A question, how large its answer may be, and the answer if it is known here."""

    question: dns.message.Message
    size: int
    answer: bytes | None


class _Datagrams(asyncio.DatagramProtocol):
    """Hands each datagram to the server."""

    def __init__(self, server: NameServer) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what answers are sent by."""
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Take a question."""
        if self._transport is not None:
            self._server.received(data, self._transport, addr)
