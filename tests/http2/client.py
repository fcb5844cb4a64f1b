"""An HTTP/2 client that says exactly the frames that a test wants, and a server to say them to."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple

from hpack import Decoder, Encoder

from controlplane.http2 import frames
from controlplane.http2.call import Call
from controlplane.http2.connection import Handler
from controlplane.http2.frames import END_HEADERS, HEAD_SIZE, PREFACE, Kind, Setting
from controlplane.http2.headers import Status
from controlplane.http2.options import ConnectionOptions
from controlplane.http2.server import Server
from tests.patience import patience

ECHO = "/test.Echo/Stream"
REQUEST = ((":method", "POST"), (":scheme", "http"), (":path", ECHO), ("content-type", "application/grpc"))


def echo(call: Call) -> None:
    """Send every message back, and end when the peer does."""
    call.accept()
    waiting: list[bytes] = []
    ended: list[bool] = []

    def move() -> None:
        while waiting and call.writable:
            call.send(waiting.pop(0))
        if ended and not waiting:
            call.finish(Status.OK)

    def message(body: bytes) -> None:
        waiting.append(body)
        move()

    def end() -> None:
        ended.append(True)
        move()

    call.listen(message, move, end)


class Frame(NamedTuple):
    kind: Kind
    flags: int
    stream_id: int
    payload: bytes


def frame(kind: Kind, payload: bytes = b"", flags: int = 0, stream_id: int = 1) -> bytes:
    return frames.head(len(payload), kind, flags, stream_id) + payload


def message(body: bytes) -> bytes:
    return len(body).to_bytes(5) + body


class Client:
    """One connection. It reads only when it is asked to.

    What was sent before the server closed the connection can be read after a write has failed: streams of asyncio
    would lose it.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._heard = b""
        self.encoder, self.decoder = Encoder(), Decoder()

    @classmethod
    async def connect(cls, port: int, source: str = "127.0.0.1") -> Client:
        """Connect from one of this machine's addresses."""
        connection = socket.socket()
        connection.setblocking(False)
        connection.bind((source, 0))
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
        return cls(connection)

    def end(self) -> None:
        """Say nothing more."""
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._socket.close()

    async def begin(self, settings: Mapping[Setting, int] | None = None) -> None:
        await self.say(PREFACE + frames.settings(dict(settings or {})))
        assert (await self.hear(Kind.SETTINGS)).flags == 0

    async def say(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._socket, data)

    def headers(self, *more: tuple[str, str], **changed: str) -> bytes:
        pairs = [(name, changed.get(name.strip(":").replace("-", "_"), value)) for name, value in REQUEST]
        return bytes(self.encoder.encode([*pairs, *more]))

    async def open(self, stream_id: int = 1, flags: int = END_HEADERS, **changed: str) -> None:
        await self.say(frame(Kind.HEADERS, self.headers(**changed), flags, stream_id))

    async def next(self) -> Frame | None:
        """Return the next frame; ``None`` when the server has closed the connection."""
        try:
            async with patience():
                head = await self._read(HEAD_SIZE)
                payload = await self._read(int.from_bytes(head[:3]))
        except (EOFError, ConnectionError):
            return None
        return Frame(Kind(head[3]), head[4], int.from_bytes(head[5:9]), payload)

    async def _read(self, size: int) -> bytes:
        while len(self._heard) < size:
            piece = await asyncio.get_running_loop().sock_recv(self._socket, 1 << 16)
            if not piece:
                raise EOFError
            self._heard += piece
        found, self._heard = self._heard[:size], self._heard[size:]
        return found

    async def hear(self, kind: Kind) -> Frame:
        """Return the next frame of a kind."""
        while (found := await self.next()) is not None:
            if found.kind is kind:
                return found
        raise AssertionError(f"the connection ended without {kind.name}")

    async def response(self) -> dict[str, str]:
        """Return the next headers."""
        return {str(n): str(v) for n, v in self.decoder.decode((await self.hear(Kind.HEADERS)).payload)}

    async def status(self) -> dict[str, str]:
        """Return the trailers of the call that ends next."""
        while True:
            headers = await self.response()
            if "grpc-status" in headers:
                return headers

    async def goodbye(self) -> tuple[int, str]:
        """Return the error code and the reason of the GOAWAY that ends the connection."""
        payload = (await self.hear(Kind.GOAWAY)).payload
        return int.from_bytes(payload[4:8]), payload[8:].decode()

    async def closed(self) -> None:
        while await self.next() is not None:
            pass


@asynccontextmanager
async def serving(
    options: ConnectionOptions | None = None, handlers: Mapping[str, Handler] | None = None
) -> AsyncIterator[tuple[Server, int]]:
    server = Server(handlers or {ECHO: echo}, options or ConnectionOptions())
    port = await server.add_port("127.0.0.1", 0)
    await server.start()
    try:
        yield server, port
    finally:
        await server.stop()


@asynccontextmanager
async def connected(
    options: ConnectionOptions | None = None, settings: Mapping[Setting, int] | None = None
) -> AsyncIterator[Client]:
    """Connect to a fresh server and exchange settings."""
    async with serving(options) as (_, port):
        client = await Client.connect(port)
        await client.begin(settings)
        try:
            yield client
        finally:
            client.close()
