"""What the protocol asks of a server, and what it must survive: RFC 9113 and gRPC over HTTP/2."""

from __future__ import annotations

import asyncio
import socket
import tracemalloc
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest

from controlplane.http2 import frames
from controlplane.http2.call import Call
from controlplane.http2.frames import ACK, END_HEADERS, END_STREAM, PADDED, PREFACE, ErrorCode, Kind, Setting
from controlplane.http2.headers import Status
from controlplane.http2.options import ConnectionOptions
from controlplane.limits import Limits
from controlplane.rope import Rope, Strand
from tests.http2.client import ECHO, Client, connected, frame, message, serving
from tests.patience import in_time


async def test_message_there_and_back() -> None:
    async with connected() as client:
        await client.open()
        await client.say(frame(Kind.DATA, message(b"hello"), END_STREAM))
        assert await client.response() == {":status": "200", "content-type": "application/grpc"}
        assert (await client.hear(Kind.DATA)).payload == message(b"hello")
        assert await client.status() == {"grpc-status": "0"}


@pytest.mark.parametrize("size", [1, 3, 9, 16, 100], ids=lambda size: f"{size}-bytes-at-a-time")
async def test_anything_may_come_in_pieces(size: int) -> None:
    async with serving() as (_, port):
        client = await Client.connect(port)
        body = message(b"one") + message(b"") + message(b"three" * 50)
        said = PREFACE + frames.settings({}) + frame(Kind.HEADERS, client.headers(), END_HEADERS)
        said += frame(Kind.DATA, body[:4]) + frame(Kind.DATA, body[4:30]) + frame(Kind.DATA, body[30:], END_STREAM)
        for start in range(0, len(said), size):
            await client.say(said[start : start + size])
            await asyncio.sleep(0)
        heard = b"".join([(await client.hear(Kind.DATA)).payload for _ in range(3)])
        assert heard == body
        client.close()


async def test_padding_priority_and_continuations_are_understood() -> None:
    async with connected() as client:
        block = client.headers()
        await client.say(frame(Kind.HEADERS, b"\x02" + bytes(5) + block[:10] + b"\0\0", PADDED | 0x20))
        await client.say(frame(Kind.CONTINUATION, block[10:20]) + frame(Kind.CONTINUATION, block[20:], END_HEADERS))
        await client.say(frame(Kind.DATA, b"\x03" + message(b"padded") + bytes(3), PADDED))
        assert (await client.hear(Kind.DATA)).payload == message(b"padded")


async def test_second_header_block_builds_on_the_first() -> None:
    """Indexed fields refer to what the connection's first block has put into the table."""
    async with connected() as client:
        for stream_id in (1, 3, 5):
            await client.open(stream_id)
            await client.say(frame(Kind.DATA, message(b"x"), stream_id=stream_id))
            assert (await client.hear(Kind.DATA)).stream_id == stream_id


@pytest.mark.parametrize("window", [1, 100, 20_000, 65_535])
async def test_a_large_message_waits_for_the_peers_windows(window: int) -> None:
    """Never more than the stream's and the connection's window; then the rest, as they open."""
    body = bytes(range(256)) * (4 if window == 1 else 1000)
    async with connected(settings={Setting.INITIAL_WINDOW_SIZE: window}) as client:
        await client.open()
        said = message(body)
        for start in range(0, len(said), 16_384):
            await client.say(frame(Kind.DATA, said[start : start + 16_384]))
        heard, connection, stream = b"", 65_535, window
        while len(heard) < len(said):
            data = await client.hear(Kind.DATA)
            heard += data.payload
            connection, stream = connection - len(data.payload), stream - len(data.payload)
            assert min(connection, stream) >= 0, "more than the window"
            if not stream:
                await client.say(frames.window_update(1, window))
                stream += window
            if connection < 20_000:
                await client.say(frames.window_update(0, 65_535))
                connection += 65_535
        assert heard == said


class Counted(Rope):
    """A rope that counts what was taken of it."""

    __slots__ = ("taken",)

    def __init__(self, parts: Iterable[bytes | Strand | Rope]) -> None:
        super().__init__(parts)
        self.taken = 0

    def runs(self) -> Iterator[bytes]:
        for run in super().runs():
            self.taken += len(run)
            yield run


async def test_wide_windows_are_no_reason_to_hold_a_message() -> None:
    """What a peer does not read is not made to frames, however much it says it takes; in the end it has all of it."""
    whole = Counted([Strand.of((bytes(range(250)) * 100,) * 2000)])

    def begin(call: Call) -> None:
        call.accept()
        call.send(whole)
        call.finish(Status.OK)

    small = socket.socket()
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
    small.setblocking(False)
    async with serving(handlers={ECHO: begin}) as (_, port):
        await asyncio.get_running_loop().sock_connect(small, ("127.0.0.1", port))
        client = Client(small)
        await client.begin({Setting.INITIAL_WINDOW_SIZE: frames.LARGEST_WINDOW})
        await client.say(frames.window_update(0, 1 << 30))
        await client.open()
        heard = (await client.hear(Kind.DATA)).payload
        assert whole.taken < len(whole) // 2
        left = len(whole) + 5 - len(heard)
        while left:
            left -= len((await client.hear(Kind.DATA)).payload)
        assert heard[:5] == len(whole).to_bytes(5)
        assert (await client.status())["grpc-status"] == "0"
        client.close()


async def test_a_window_that_shrinks_holds_the_rest_back() -> None:
    async with connected(settings={Setting.INITIAL_WINDOW_SIZE: 10}) as client:
        await client.open()
        await client.say(frame(Kind.DATA, message(b"0123456789")))
        assert (await client.hear(Kind.DATA)).payload == message(b"0123456789")[:10]
        await client.say(frames.settings({Setting.INITIAL_WINDOW_SIZE: 0}) + frames.window_update(1, 10))
        await client.hear(Kind.SETTINGS)
        await client.say(frames.ping(b"12345678"))
        assert (await client.next()) == (Kind.PING, ACK, 0, b"12345678"), "the window is 10 - 10 + 10 - 10"
        await client.say(frames.settings({Setting.INITIAL_WINDOW_SIZE: 5}))
        assert (await client.hear(Kind.DATA)).payload == b"56789"


async def test_the_peers_window_is_opened_as_its_requests_are_read() -> None:
    async with connected() as client:
        await client.open()
        chunk, sent = bytes(16_000), 0
        for _ in range(100):  # 1.6 MB: more than a stream's window
            await client.say(frame(Kind.DATA, message(chunk)[:16_005]))
            sent += 16_005
        while (update := await client.hear(Kind.WINDOW_UPDATE)).stream_id != 1:
            assert update.stream_id == 0
        assert int.from_bytes(update.payload) > 500_000


async def test_unknown_method() -> None:
    async with connected() as client:
        await client.open(path="/no.Such/Method")
        got = await client.status()
        assert (got["grpc-status"], got["grpc-message"]) == ("12", "there is no method /no.Such/Method")


async def test_what_is_not_grpc_gets_415() -> None:
    async with connected() as client:
        await client.open(content_type="text/html")
        assert (await client.response())[":status"] == "415"


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        pytest.param(b"\1\0\0\0\1x", "12", "compressed messages are not supported", id="compressed"),
        pytest.param(b"\0\0\1\0\0", "8", "a message of 65536 bytes is over the limit of 1000", id="large"),
        pytest.param(
            message(bytes(1001)), "8", "a message of 1001 bytes is over the limit of 1000", id="large-in-one-frame"
        ),
    ],
)
async def test_refused_message(body: bytes, status: str, reason: str) -> None:
    async with connected(ConnectionOptions(largest_message=1000)) as client:
        await client.open()
        await client.say(frame(Kind.DATA, body))
        got = await client.status()
        assert (got["grpc-status"], got["grpc-message"]) == (status, reason)
        assert (await client.hear(Kind.RST_STREAM)).payload == ErrorCode.NO_ERROR.to_bytes(4)
        await client.open(3)  # the connection goes on
        await client.say(frame(Kind.DATA, message(b"next"), stream_id=3))
        assert (await client.hear(Kind.DATA)).payload == message(b"next")


@pytest.mark.slow
async def test_a_message_in_crumbs_takes_no_more_room_than_it_has_bytes() -> None:
    async with connected(ConnectionOptions(limits=Limits(wasted_work=timedelta(seconds=5)))) as client:
        await client.open()
        size, crumb = 100_000, frame(Kind.DATA, b"xy") * 1000
        await client.say(frame(Kind.DATA, message(bytes(size))[:5]))
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(49):
            await client.say(crumb)
        await client.say(frames.ping(bytes(8)))
        await client.hear(Kind.PING)
        taken = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        assert taken < 3 * size
        await client.say(crumb)
        assert (await client.hear(Kind.DATA)).payload[:7] == message(bytes(size))[:5] + b"xy"


async def test_nothing_may_follow_the_last_message() -> None:
    async with connected() as client:
        await client.open()
        await client.say(frame(Kind.DATA, message(b"short")[:-1], END_STREAM))
        assert (await client.status())["grpc-message"] == "the last message is cut short"
        await client.open(3)
        await client.say(frame(Kind.DATA, b"", END_STREAM, 3) + frame(Kind.DATA, message(b"late"), 0, 3))
        assert (await client.status())["grpc-status"] == "0", "the echo was ended by then"
        assert (await client.goodbye())[0] == ErrorCode.STREAM_CLOSED


async def test_a_flood_of_cancelled_calls() -> None:
    async with connected() as client:
        with suppress(ConnectionError):
            for number in range(1, 2_500, 2):
                block = client.headers()
                await client.say(
                    frame(Kind.HEADERS, block, END_HEADERS, number) + frames.reset(number, ErrorCode.CANCEL)
                )
        assert await client.goodbye() == (ErrorCode.ENHANCE_YOUR_CALM, "too many calls were cancelled")


async def test_too_many_streams() -> None:
    async with connected(ConnectionOptions(max_streams=1)) as client:
        await client.open(1)
        await client.open(3)
        reset = await client.hear(Kind.RST_STREAM)
        assert (reset.stream_id, reset.payload) == (3, ErrorCode.REFUSED_STREAM.to_bytes(4))
        await client.say(frames.reset(1, ErrorCode.CANCEL))
        await client.open(5)
        await client.say(frame(Kind.DATA, message(b"x"), stream_id=5))
        assert (await client.hear(Kind.DATA)).stream_id == 5


@pytest.mark.parametrize(
    ("said", "code"),
    [
        pytest.param(frame(Kind.DATA, b"x", stream_id=7), ErrorCode.PROTOCOL_ERROR, id="data-without-stream"),
        pytest.param(frame(Kind.DATA, b"x", stream_id=0), ErrorCode.PROTOCOL_ERROR, id="data-on-0"),
        pytest.param(frame(Kind.HEADERS, b"\xff\xff", END_HEADERS), ErrorCode.COMPRESSION_ERROR, id="headers"),
        pytest.param(frame(Kind.HEADERS, b"\x82", END_HEADERS, 2), ErrorCode.PROTOCOL_ERROR, id="even-stream"),
        pytest.param(frame(Kind.HEADERS, b"\x09x", PADDED), ErrorCode.PROTOCOL_ERROR, id="padding"),
        pytest.param(
            frame(Kind.HEADERS, b"\x82") + frame(Kind.PING, bytes(8), 0, 0), ErrorCode.PROTOCOL_ERROR, id="interrupted"
        ),
        pytest.param(frame(Kind.CONTINUATION, b"\x82", END_HEADERS), ErrorCode.PROTOCOL_ERROR, id="continuation"),
        pytest.param(
            frame(Kind.HEADERS, bytes(16_000)) + frame(Kind.CONTINUATION, bytes(16_000)) * 2,
            ErrorCode.ENHANCE_YOUR_CALM,
            id="endless-headers",
        ),
        pytest.param(frames.head(1 << 20, Kind.DATA, 0, 1), ErrorCode.FRAME_SIZE_ERROR, id="frame-size"),
        pytest.param(frame(Kind.PUSH_PROMISE, bytes(8)), ErrorCode.PROTOCOL_ERROR, id="push"),
        pytest.param(frame(Kind.PING, bytes(7), 0, 0), ErrorCode.FRAME_SIZE_ERROR, id="ping-size"),
        pytest.param(frame(Kind.PING, bytes(8), 0, 1), ErrorCode.PROTOCOL_ERROR, id="ping-stream"),
        pytest.param(frame(Kind.SETTINGS, bytes(5), 0, 0), ErrorCode.FRAME_SIZE_ERROR, id="settings-size"),
        pytest.param(frame(Kind.SETTINGS, bytes(6), 0, 1), ErrorCode.PROTOCOL_ERROR, id="settings-stream"),
        pytest.param(
            frames.settings({Setting.INITIAL_WINDOW_SIZE: 1 << 31}), ErrorCode.FLOW_CONTROL_ERROR, id="window-size"
        ),
        pytest.param(frames.window_update(0, 0), ErrorCode.PROTOCOL_ERROR, id="window-0"),
        pytest.param(
            frame(Kind.SETTINGS, bytes(6), frames.ACK, 0), ErrorCode.FRAME_SIZE_ERROR, id="settings-acknowledged"
        ),
        pytest.param(frame(Kind.HEADERS, b"\x82", 0x20 | END_HEADERS), ErrorCode.FRAME_SIZE_ERROR, id="priority"),
        pytest.param(frames.window_update(0, (1 << 31) - 1), ErrorCode.FLOW_CONTROL_ERROR, id="window-overflow"),
        pytest.param(frame(Kind.WINDOW_UPDATE, bytes(3), 0, 0), ErrorCode.FRAME_SIZE_ERROR, id="window-update-size"),
        pytest.param(frames.reset(9, ErrorCode.CANCEL), ErrorCode.PROTOCOL_ERROR, id="reset-idle"),
        pytest.param(frame(Kind.RST_STREAM, bytes(3)), ErrorCode.FRAME_SIZE_ERROR, id="reset-size"),
        pytest.param(frames.ping(bytes(8)) * 10, ErrorCode.ENHANCE_YOUR_CALM, id="ping-flood"),
    ],
)
async def test_a_peer_that_breaks_the_protocol_is_told_how(said: bytes, code: ErrorCode) -> None:
    async with connected() as client:
        await client.say(said)
        got, reason = await client.goodbye()
        assert (ErrorCode(got), bool(reason)) == (code, True)
        await client.closed()


async def test_a_peer_that_breaks_the_protocol_while_we_leave_is_told_how() -> None:
    """Its last call ends with the connection; closing it then, with something unread, would take the reason away."""
    async with connected(ConnectionOptions(max_age=timedelta(seconds=0.1))) as client:
        await client.open()
        assert await client.goodbye() == (ErrorCode.NO_ERROR, "max_age")
        await client.say(frame(Kind.DATA, b"x", stream_id=9))
        for _ in range(5):
            await asyncio.sleep(0.02)
            await client.say(frames.ping(bytes(8)))
        assert (await client.goodbye())[0] == ErrorCode.PROTOCOL_ERROR
        await client.closed()


@pytest.mark.parametrize(
    "said", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01 a TLS hello to a plaintext port"]
)
async def test_another_protocol_is_shown_the_door(said: bytes) -> None:
    async with serving() as (_, port):
        client = await Client.connect(port)
        await client.say(said)
        assert await client.goodbye() == (ErrorCode.PROTOCOL_ERROR, "this port speaks HTTP/2 only")
        await client.closed()
        client.close()


async def test_unknown_frames_and_settings_are_ignored() -> None:
    async with connected() as client:
        await client.say(frames.head(3, 0x2A, 0, 0) + b"abc" + frame(Kind.SETTINGS, b"\0\x99\0\0\0\1", 0, 0))
        await client.say(frame(Kind.PRIORITY, bytes(5)) + frame(Kind.GOAWAY, bytes(8), 0, 0))
        await client.open()
        await client.say(frame(Kind.DATA, message(b"x")))
        assert (await client.hear(Kind.DATA)).payload == message(b"x")


async def test_a_silent_peer_is_pinged_and_then_dropped() -> None:
    options = ConnectionOptions(keepalive_interval=timedelta(seconds=0.05), keepalive_timeout=timedelta(minutes=10))
    async with connected(options) as client:
        for _ in range(3):
            ping = await client.hear(Kind.PING)
            await client.say(frames.ping(ping.payload, ack=True))
    async with connected(replace(options, keepalive_timeout=timedelta(seconds=0.1))) as client:
        await client.hear(Kind.PING)
        await client.closed()  # unanswered


async def test_an_old_connection_is_told_to_go_and_cut_after_its_grace() -> None:
    options = ConnectionOptions(max_age=timedelta(seconds=0.3), max_age_grace=timedelta(seconds=0.1))
    async with connected(options) as client:
        await client.open()
        assert await client.goodbye() == (ErrorCode.NO_ERROR, "max_age")
        await client.closed()


async def test_an_old_connection_closes_with_its_last_call() -> None:
    options = ConnectionOptions(max_age=timedelta(seconds=0.1), max_age_grace=timedelta(minutes=10))
    async with connected(options) as client:
        await client.open()
        await client.goodbye()
        await client.say(frame(Kind.DATA, message(b"still here")))
        assert (await client.hear(Kind.DATA)).payload == message(b"still here")
        await client.say(frame(Kind.DATA, b"", END_STREAM))
        assert (await client.status())["grpc-status"] == "0"
        await in_time(client.closed())


async def test_nobody_piles_up_answers_that_the_peer_does_not_read() -> None:
    async with connected(ConnectionOptions(keepalive_interval=timedelta(milliseconds=1))) as client:

        async def ask_without_end() -> None:
            while True:
                await client.say(frames.settings({}) * 1000)

        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            await in_time(ask_without_end())
