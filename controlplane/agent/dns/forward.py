"""Passes questions on to the name servers of the pod, as they are and over the transport they came by."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from controlplane.agent.addresses import TcpAddress
from controlplane.agent.environment import StartError
from controlplane.agent.metrics import DNS_UPSTREAM_FAILURES, DNS_UPSTREAM_REQUESTS, DNS_UPSTREAM_SECONDS
from controlplane.documents.words import is_ip

RESOLVER = Path("/etc/resolv.conf")
_PORT = 53
_LENGTH_BYTES = 2
_ID_BYTES = 2


@dataclass(frozen=True, slots=True)
class Resolver:
    """What the resolver's file says: name servers in its order, and the first domain it searches in."""

    servers: tuple[str, ...]
    search: str

    @classmethod
    def read(cls, path: Path = RESOLVER) -> Resolver:
        """Read the file. Raises ``StartError``: without it nobody would answer for names outside the mesh."""
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError as error:
            raise StartError(f"{path} cannot be read: {error.strerror}") from None
        words = [line.split() for line in lines]
        servers = [
            each[1] for each in words if len(each) > 1 and each[0] == "nameserver" and is_ip(each[1].partition("%")[0])
        ]
        searched = [each[1] for each in words if len(each) > 1 and each[0] == "search"]
        return cls(tuple(servers), searched[-1].strip(".").lower() if searched else "")


class Forwarder:
    """Asks one server after the other in random order, or all at once; the first answer counts, whatever it says."""

    def __init__(self, servers: Sequence[TcpAddress], timeout: timedelta, *, at_once: bool) -> None:
        self._servers = tuple(servers)
        self._timeout = timeout.total_seconds()
        self._at_once = at_once

    async def ask(self, question: bytes, *, tcp: bool) -> bytes | None:
        """Return an answer, ``None`` where nobody gives one."""
        DNS_UPSTREAM_REQUESTS.inc()
        started = time.monotonic()
        servers = random.sample(self._servers, len(self._servers))
        answer = await (
            self._first(question, servers, tcp=tcp) if self._at_once else self._each(question, servers, tcp=tcp)
        )
        DNS_UPSTREAM_SECONDS.observe(time.monotonic() - started)
        if answer is None:
            DNS_UPSTREAM_FAILURES.inc()
        return answer

    async def _each(self, question: bytes, servers: Sequence[TcpAddress], *, tcp: bool) -> bytes | None:
        for server in servers:
            if (answer := await self._one(question, server, tcp=tcp)) is not None:
                return answer
        return None

    async def _first(self, question: bytes, servers: Sequence[TcpAddress], *, tcp: bool) -> bytes | None:
        tasks = [asyncio.create_task(self._one(question, server, tcp=tcp)) for server in servers]
        try:
            for done in asyncio.as_completed(tasks):
                if (answer := await done) is not None:
                    return answer
        finally:
            for task in tasks:
                task.cancel()
        return None

    async def _one(self, question: bytes, server: TcpAddress, *, tcp: bool) -> bytes | None:
        try:
            async with asyncio.timeout(self._timeout):
                return await (_over_tcp(question, server) if tcp else _over_udp(question, server))
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            return None


async def _over_tcp(question: bytes, server: TcpAddress) -> bytes:
    reader, writer = await asyncio.open_connection(server.host, server.port)
    try:
        writer.write(len(question).to_bytes(_LENGTH_BYTES) + question)
        length = int.from_bytes(await reader.readexactly(_LENGTH_BYTES))
        return await reader.readexactly(length)
    finally:
        writer.transport.abort()


class _Asked(asyncio.DatagramProtocol):
    """Waits for the answer that has the question's number; the socket takes datagrams of its server only."""

    def __init__(self, number: bytes) -> None:
        self._number = number
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: object) -> None:  # noqa: ARG002 - asyncio's
        """Take an answer."""
        if data[:_ID_BYTES] == self._number and not self.answer.done():
            self.answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        """Nobody listens there."""
        if not self.answer.done():
            self.answer.set_exception(exc)


async def _over_udp(question: bytes, server: TcpAddress) -> bytes:
    loop = asyncio.get_running_loop()
    transport, asked = await loop.create_datagram_endpoint(
        lambda: _Asked(question[:_ID_BYTES]), remote_addr=(server.host, server.port)
    )
    try:
        transport.sendto(question)
        return await asked.answer
    finally:
        transport.abort()


def upstreams(resolver: Resolver, port: int = _PORT) -> tuple[TcpAddress, ...]:
    """Return where the name servers are."""
    return tuple(TcpAddress(server, port) for server in resolver.servers)
