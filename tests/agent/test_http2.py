"""What servers send that the agent asks over HTTP/2, in frames as RFC 9113 has them, right and wrong ones."""

from __future__ import annotations

import asyncio
import socket

import hpack
import pytest

from controlplane.agent.http.http2 import BrokenPeerError, asked
from tests.patience import in_time

QUESTION = ((":method", "GET"), (":scheme", "https"), (":authority", "a.test"), (":path", "/"), ("Host", "a.test"))
DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, CONTINUATION = 0, 1, 3, 4, 6, 7, 9


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def block(*headers: tuple[str, str]) -> bytes:
    return hpack.Encoder().encode(headers)


OK = block((":status", "200"), ("x-kind", "a"))


async def answered(*frames: bytes, limit: int = 10) -> tuple[tuple[int, dict[str, str], bytes, bool], bytes]:
    """Return what comes of these frames, and what the server was sent."""
    sent = bytearray()

    served = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await speak(reader, writer)
        finally:
            writer.transport.abort()
            served.set()

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sent.extend(await reader.readexactly(24 + 15 + 9))
        writer.write(b"".join(frames))
        await writer.drain()
        if not frames or frames[-1] == b"":
            writer.close()
        while more := await reader.read(1 << 16):
            sent.extend(more)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
    try:
        return await in_time(asked(reader, writer, QUESTION, limit)), bytes(sent)
    finally:
        writer.close()
        await in_time(served.wait())
        server.close()


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        pytest.param([frame(HEADERS, 5, 1, OK)], (b"", False), id="no-body"),
        pytest.param([frame(HEADERS, 4, 1, OK), frame(DATA, 1, 1, b"fine")], (b"fine", False), id="body"),
        pytest.param([frame(HEADERS, 4, 1, OK), frame(DATA, 9, 1, b"\x02fine..")], (b"fine", False), id="padded"),
        pytest.param([frame(HEADERS, 0x2C, 1, b"\x01" + bytes(5) + OK + b"."), frame(DATA, 1, 1, b"a")], (b"a", False),
                     id="priority-and-padding"),
        pytest.param([frame(HEADERS, 1, 1, OK[:3]), frame(CONTINUATION, 4, 1, OK[3:])], (b"", False), id="continued"),
        pytest.param([frame(HEADERS, 4, 1, OK), frame(DATA, 0, 1, b"x" * 11)], (b"x" * 10, True), id="cut"),
        pytest.param([frame(HEADERS, 4, 1, block((":status", "103"))), frame(HEADERS, 5, 1, OK)], (b"", False),
                     id="early-hints"),
        pytest.param([frame(HEADERS, 4, 1, OK), frame(DATA, 0, 1, b"a"), frame(HEADERS, 5, 1, block(("t", "1")))],
                     (b"a", False), id="trailers"),
        pytest.param([frame(SETTINGS, 0, 0), frame(PING, 0, 0, b"8 bytes!"), frame(DATA, 0, 3, b"other"),
                      frame(GOAWAY, 0, 0, bytes([0, 0, 0, 1, 0, 0, 0, 0])), frame(99, 0, 1), frame(HEADERS, 5, 1, OK)],
                     (b"", False), id="of-the-connection"),
    ],
)  # fmt: skip
async def test_answers(frames: list[bytes], expected: tuple[bytes, bool]) -> None:
    (status, headers, body, cut), _ = await answered(*frames)
    assert (status, headers, body, cut) == (200, {"x-kind": "a"}, *expected)


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        pytest.param([b""], "the connection ended", id="nothing"),
        pytest.param([frame(HEADERS, 4, 1, OK), b""], "the connection ended", id="half"),
        pytest.param([b"HTTP/1.1 400 Bad Request\r\n\r\n"], "no HTTP/2", id="http1"),
        pytest.param([frame(RESET, 0, 1, bytes([0, 0, 0, 7]))], "reset the request: error 7", id="reset"),
        pytest.param([frame(GOAWAY, 0, 0, bytes(8) + b"busy")], "takes no request: busy", id="goaway"),
        pytest.param([frame(HEADERS, 5, 1, block(("a", "b")))], "no status", id="no-status"),
        pytest.param([frame(DATA, 1, 1, b"fine")], "no status", id="no-headers"),
        pytest.param([frame(HEADERS, 5, 1, block((":status", "5" * 5_000)))], "no status", id="endless-status"),
        pytest.param([frame(HEADERS, 5, 1, block((":status", "\u0662\u0660\u0660")))], "no status", id="odd-digits"),
        pytest.param([frame(HEADERS, 5, 1, block((":status", "200"), ("content-type", "a\r\nb: c")))], "a line end",
                     id="line-end"),
        pytest.param(
            [frame(HEADERS, 5, 1, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")], "cannot be read", id="headers"
        ),
        pytest.param([frame(HEADERS, 4, 1, OK), frame(DATA, 9, 1, b"\x05ab")], "more padding", id="padding"),
        pytest.param([frame(HEADERS, 0, 1, b"x" * 16384)] * 5, "too long", id="endless-headers"),
    ],
)  # fmt: skip
async def test_peers_that_break_it(frames: list[bytes], reason: str) -> None:
    with pytest.raises(BrokenPeerError, match=reason):
        await answered(*frames)


async def test_a_peer_that_asks_and_does_not_read_is_not_answered_without_end() -> None:
    """What it is owed does not pile up: nothing more is read of it until it has taken that."""
    ours, theirs = socket.socketpair()
    (_, writer), (peer, other) = [await asyncio.open_connection(sock=each) for each in (ours, theirs)]
    pings = asyncio.StreamReader()
    pings.feed_data(frame(PING, 0, 0, bytes(16_000)) * 500)
    pings.feed_eof()
    waiting = []

    async def take() -> None:
        while await peer.read(1 << 16):
            waiting.append(writer.transport.get_write_buffer_size())

    taking = asyncio.create_task(take())
    with pytest.raises(BrokenPeerError, match="the connection ended"):
        await in_time(asked(pings, writer, QUESTION, 10))
    writer.close()
    await in_time(taking)
    other.close()
    assert max(waiting) < 1 << 20
