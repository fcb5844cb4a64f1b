"""Listens for questions on UDP and TCP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import NamedTuple, cast

import structlog

from controlplane.agent.addresses import TcpAddress
from controlplane.agent.dns.answers import NotAQuestionError, failure, local_answer, parsed, size_of
from controlplane.agent.dns.forward import Forwarder
from controlplane.agent.dns.table import Names, names
from controlplane.agent.metrics import DNS_REQUESTS

_LENGTH_BYTES = 2
_MOST_AT_ONCE = 1000
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
        self._tasks: set[asyncio.Task[None]] = set()

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
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def received(self, wire: bytes, transport: asyncio.DatagramTransport, peer: tuple[str, int]) -> None:
        """Answer a datagram; when too many wait already, the client asks again."""
        if len(self._tasks) >= _MOST_AT_ONCE:
            return

        async def answered() -> None:
            answer = await self._answer(wire, tcp=False)
            if answer and not transport.is_closing():
                transport.sendto(answer, peer)

        self._keep(asyncio.create_task(answered()))

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._tasks) >= _MOST_AT_ONCE:
            writer.transport.abort()
            return
        self._keep(task)
        try:
            while True:
                async with asyncio.timeout(_IDLE_SECONDS):
                    length = int.from_bytes(await reader.readexactly(_LENGTH_BYTES))
                    wire = await reader.readexactly(length)
                answer = await self._answer(wire, tcp=True)
                if not answer:
                    return
                writer.write(len(answer).to_bytes(_LENGTH_BYTES) + answer)
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass  # the client is gone, or has no more questions
        except asyncio.CancelledError:
            pass  # the server stops; the stream's callback must not see it
        finally:
            writer.close()

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, wire: bytes, *, tcp: bool) -> bytes:
        """Return an answer, nothing where the bytes are no question."""
        DNS_REQUESTS.inc()
        try:
            question = parsed(wire)
        except NotAQuestionError as error:
            log.debug("agent.dns_unreadable", reason=str(error))
            return b""
        size = size_of(question, tcp=tcp)
        if not question.question or (self._names is None and not self.early):
            return failure(question, size)
        found = local_answer(question, self._names, size) if self._names is not None else None
        if found is None:
            found = await self._forwarder.ask(wire, tcp=tcp)
        return failure(question, size) if found is None else found


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
