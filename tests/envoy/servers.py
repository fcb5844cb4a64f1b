"""Servers of protocols other than plain HTTP, each of which says its name, and clients to ask them."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import grpc
import grpc.aio
from aiohttp import WSMsgType, web

from controlplane.agent.identity import WorkloadIdentity
from samples.control_plane import LOOPBACK
from samples.process import ChildProcess

SAY, CHAT = "/test.Echo/Say", "/test.Echo/Chat"
_TIMEOUT = 30.0  # of one answer; those who wait for one that may not come ask again
_LONGEST = timedelta(seconds=120)  # until a program listens


@dataclass(slots=True)
class LineServer:
    """Answers each line with ``<name> <line>``; over TLS if it has an identity; ``names`` are the SNI values seen."""

    name: str
    identity: WorkloadIdentity | None = None
    port: int = 0
    names: list[str] = field(default_factory=list)
    _server: asyncio.Server | None = field(default=None, init=False, repr=False)

    async def start(self) -> None:
        """Listen on a free port of loopback."""
        context = None if self.identity is None else server_context(self.identity, self.names)
        self._server = await asyncio.start_server(self._answer, LOOPBACK, self.port, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the port; connections end with their clients."""
        if self._server is not None:
            self._server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(self.name.encode() + b" " + line)
                await writer.drain()
        except OSError:  # the client went away
            pass
        finally:
            writer.close()


def server_context(identity: WorkloadIdentity, names: list[str]) -> ssl.SSLContext:
    """Return what a TLS server needs; each SNI value it is asked for is added to ``names``."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    load(context, identity)

    def note(_: ssl.SSLObject, name: str | None, __: ssl.SSLContext) -> None:
        names.append(name or "")

    context.sni_callback = note
    return context


def load(context: ssl.SSLContext, identity: WorkloadIdentity) -> None:
    """Give a context a certificate; Python reads them from files only."""
    with tempfile.TemporaryDirectory(prefix="cert-") as directory:
        chain, key = Path(directory) / "chain.pem", Path(directory) / "key.pem"
        chain.write_bytes(identity.certificate_chain)
        key.write_bytes(identity.private_key)
        context.load_cert_chain(chain, key)


async def say(port: int, text: str, server_name: str | None = None) -> str:
    """Send a line and return the answer, over TLS where a name is asked for; empty when the connection is closed."""
    context = None
    if server_name is not None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # the test is about where it leads
    try:
        async with asyncio.timeout(_TIMEOUT):
            reader, writer = await asyncio.open_connection(LOOPBACK, port, ssl=context, server_hostname=server_name)
            try:
                writer.write(text.encode() + b"\n")
                return (await reader.readline()).decode().strip()
            finally:
                writer.close()
    except (OSError, asyncio.IncompleteReadError):
        return ""


@dataclass(slots=True)
class EchoServer:
    """A gRPC server, so one of HTTP/2 alone, whose methods ``SAY`` and ``CHAT`` (a stream) answer ``<name> <message>``.

    The next ``fail_next`` calls end with ``UNAVAILABLE``; ``attempts`` counts all calls.
    """

    name: str
    fail_next: int = 0
    attempts: int = 0
    port: int = 0
    _server: grpc.aio.Server | None = field(default=None, init=False, repr=False)

    async def start(self) -> None:
        """Listen on a free port of loopback."""
        server = grpc.aio.server()
        handlers = {
            "Say": grpc.unary_unary_rpc_method_handler(self._say),
            "Chat": grpc.stream_stream_rpc_method_handler(self._chat),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", handlers),))
        self.port = server.add_insecure_port(f"{LOOPBACK}:0")
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """Close the port and every connection."""
        if self._server is not None:
            await self._server.stop(None)

    async def _say(self, message: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        self.attempts += 1
        if self.fail_next > 0:
            self.fail_next -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "told to fail")
        return self.name.encode() + b" " + message

    async def _chat(
        self, messages: AsyncIterator[bytes], _: grpc.aio.ServicerContext[bytes, bytes]
    ) -> AsyncIterator[bytes]:
        async for message in messages:
            yield self.name.encode() + b" " + message


@dataclass(slots=True)
class WebSocketServer:
    """Answers each message of a WebSocket with ``<name> <message>``, and any other request with 426."""

    name: str
    port: int = 0
    _runner: web.AppRunner | None = field(default=None, init=False, repr=False)

    async def start(self) -> None:
        """Listen on a free port of loopback."""
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, LOOPBACK, self.port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Close the port and every connection."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        if not socket.can_prepare(request):
            return web.Response(status=426)
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await socket.send_str(f"{self.name} {message.data}")
        return socket


@asynccontextmanager
async def started(name: str, command: Sequence[str], log: Path, port: int, **environment: str) -> AsyncIterator[None]:
    """Run a program until it listens, and end it."""

    async def listens() -> bool:
        try:
            _, writer = await asyncio.open_connection(LOOPBACK, port)
        except OSError:
            return False
        writer.close()
        return True

    process = ChildProcess(name, command, log, environment, folder=log.parent)
    await process.start()
    try:
        await process.wait_until(listens, _LONGEST)
        yield
    finally:
        await process.stop()
