"""What one peer may take: of the event loop, of memory, of places. The others are served as if it were not there."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest

from controlplane.http2 import frames
from controlplane.http2.call import Call
from controlplane.http2.connection import Handler
from controlplane.http2.frames import END_HEADERS, END_STREAM, PREFACE, ErrorCode, Kind, Setting
from controlplane.http2.options import ConnectionOptions
from controlplane.http2.server import Server
from controlplane.limits import Limits
from tests.http2.client import ECHO, Client, connected, echo, frame, message
from tests.http2.test_grpc import certificate
from tests.patience import patience, until


def strangers(call: Call) -> None:
    """Answer nobody, and hear all: whoever calls stays pending."""
    call.listen(lambda _: None, lambda: None, lambda: None)


@asynccontextmanager
async def limited(
    limits: Limits, handlers: Mapping[str, Handler] | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[Server, int, list[str]]]:
    """Serve with these limits; the list says which ones were reached."""
    reached: list[str] = []
    options = ConnectionOptions(limits=limits, reached=reached.append, largest_message=1 << 20)
    server = Server(handlers or {ECHO: echo}, options)
    port = await server.add_port("127.0.0.1", 0, tls)
    await server.start()
    try:
        yield server, port, reached
    finally:
        await server.stop()


async def begun(port: int, source: str = "127.0.0.1") -> Client:
    client = await Client.connect(port, source)
    await client.begin()
    return client


FLOOD = 10_000
"""More than enough where nothing that was wasted comes back."""


@pytest.fixture
def standing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no time pass: a fiftieth of it comes back, which is all that this process gets on a very busy machine."""
    monkeypatch.setattr("controlplane.http2.addresses.monotonic", lambda: 1000.0)


USELESS = {
    "empty-data": frame(Kind.DATA),
    "crumbs": frame(Kind.DATA, b"\0"),
    "padding": frame(Kind.DATA, b"\x05" + bytes(5), frames.PADDED),
    "empty-messages": frame(Kind.DATA, message(b"")),
    "priority": frame(Kind.PRIORITY, bytes(5)),
    "unknown": frames.head(0, 0x2A, 0, 0),
    "window-update": frames.window_update(1, 1),
    "settings": frames.settings({}),
    "settings-acknowledged": frame(Kind.SETTINGS, b"", frames.ACK, 0),
    "ping-acknowledged": frame(Kind.PING, bytes(8), frames.ACK, 0),
    "goodbye": frame(Kind.GOAWAY, bytes(8), 0, 0),
}


@pytest.mark.usefixtures("standing")
@pytest.mark.parametrize("kind", USELESS)
async def test_useless_frames_end_the_connection(kind: str) -> None:
    limits = Limits(wasted_work=timedelta(milliseconds=20))
    async with limited(limits) as (_, port, reached):
        client = await begun(port)
        await client.open()
        if kind == "crumbs":
            await client.say(frame(Kind.DATA, message(bytes(60_000))[:5]))
        with suppress(ConnectionError):
            for _ in range(FLOOD):
                await client.say(USELESS[kind] * 100)
        code, reason = await client.goodbye()
        assert (code, reason.startswith("too many ")) == (ErrorCode.ENHANCE_YOUR_CALM, True)
        assert reached == ["wasted_work"]
        client.close()


@pytest.mark.usefixtures("standing")
async def test_useless_continuations_end_the_connection() -> None:
    async with limited(Limits(wasted_work=timedelta(milliseconds=20))) as (_, port, _):
        client = await begun(port)
        await client.say(frame(Kind.HEADERS, client.headers()))
        with suppress(ConnectionError):
            for _ in range(FLOOD):
                await client.say(frame(Kind.CONTINUATION) * 100)
        assert await client.goodbye() == (ErrorCode.ENHANCE_YOUR_CALM, "too many pieces of headers")
        client.close()


RESETS = {
    "window-overflow": frames.window_update(1, (1 << 31) - 1),
    "content-length": frame(Kind.DATA, b"too long for its length"),
    "compressed": frame(Kind.DATA, b"\1\0\0\0\1x"),
    "trailers": frame(Kind.HEADERS, b"\x82", END_HEADERS | END_STREAM),
}


@pytest.mark.usefixtures("standing")
@pytest.mark.parametrize("kind", RESETS)
async def test_resets_that_a_peer_makes_us_send_are_not_free(kind: str) -> None:
    """As those that it sends itself: CVE-2025-8671 is the other side of CVE-2023-44487."""
    async with limited(Limits(wasted_work=timedelta(milliseconds=20))) as (_, port, _):
        client = await begun(port)
        with suppress(ConnectionError):
            for number in range(1, FLOOD, 2):
                more = (("content-length", "3"),) if kind == "content-length" else ()
                said = frame(Kind.HEADERS, client.headers(*more), END_HEADERS, number) + RESETS[kind]
                await client.say(said[:-4] + said[-4:] if number == 1 else _on(said, number))
        code, _ = await client.goodbye()
        assert code == ErrorCode.ENHANCE_YOUR_CALM
        client.close()


def _on(said: bytes, number: int) -> bytes:
    """Return two frames, both of them on this stream."""
    size = int.from_bytes(said[:3]) + 9
    return said[: size + 5] + number.to_bytes(4) + said[size + 9 :]


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param((("x-name", b"\xff\xfe"),), id="not-utf8"),
        pytest.param((("X-Name", "x"),), id="upper-case"),
        pytest.param((("x-name", "a\nb"),), id="line-break"),
        pytest.param((("x-name", " x"),), id="space-before"),
        pytest.param((("", "x"),), id="no-name"),
        pytest.param((("x name", "x"),), id="space-in-a-name"),
        pytest.param((("content-length", "-1"),), id="negative-length"),
        pytest.param((("content-length", "9" * 5000),), id="length-without-end"),
        pytest.param(((":path", "/again"),), id="late-pseudo-header"),
        pytest.param((("connection", "close"),), id="connection"),
    ],
)
async def test_a_malformed_request_ends_its_stream_alone(headers: tuple[tuple[str, str], ...]) -> None:
    async with connected() as client:
        await client.say(frame(Kind.HEADERS, client.headers(*headers), END_HEADERS))
        reset = await client.hear(Kind.RST_STREAM)
        assert (reset.stream_id, reset.payload) == (1, ErrorCode.PROTOCOL_ERROR.to_bytes(4))
        await client.say(frame(Kind.DATA, message(b"it was on its way"), END_STREAM))
        await client.open(3)
        await client.say(frame(Kind.DATA, message(b"next"), stream_id=3))
        assert (await client.hear(Kind.DATA)).payload == message(b"next")


@pytest.mark.slow
async def test_what_an_address_has_wasted_counts_on_its_next_connections_and_no_other_address_pays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr("controlplane.http2.addresses.monotonic", lambda: now)
    monkeypatch.setattr("controlplane.http2.server._TIRED_SECONDS", 3600.0)
    async with limited(Limits(wasted_work=timedelta(milliseconds=100))) as (_, port, _):
        flood = frame(Kind.PRIORITY, bytes(5)) * 30_000  # 120 ms
        first = await begun(port, "127.0.0.2")
        quiet = await begun(port, "127.0.0.2")
        with suppress(ConnectionError):
            await first.say(flood)
        await first.goodbye()
        await quiet.open()  # it shares the address, and wastes nothing
        await quiet.say(frame(Kind.DATA, message(b"x")))
        assert (await quiet.hear(Kind.DATA)).payload == message(b"x")
        tired = await Client.connect(port, "127.0.0.2")
        waiting = asyncio.create_task(tired.begin())
        other = await begun(port, "127.0.0.3")
        assert not waiting.done(), "a tired address waits"
        waiting.cancel()
        await asyncio.wait([waiting])
        now += 2
        second = await begun(port, "127.0.0.2")
        with suppress(ConnectionError):
            await second.say(flood[: 14 * 20_000])  # 80 ms, and 40 came back
        assert (await second.goodbye())[0] == ErrorCode.ENHANCE_YOUR_CALM
        for client in (first, second, other, quiet, tired):
            client.close()


async def test_only_the_last_value_of_settings_counts() -> None:
    async with connected(settings={Setting.INITIAL_WINDOW_SIZE: 0}) as client:
        await client.open()
        await client.say(frame(Kind.DATA, message(b"waits for room")))
        values = b"".join(b"\0\4" + size.to_bytes(4) for size in (100, 0, 7, 1))
        await client.say(frame(Kind.SETTINGS, values, 0, 0))
        assert (await client.hear(Kind.DATA)).payload == message(b"waits")[:1]


async def test_settings_times_calls_is_no_work() -> None:
    """1,800 bytes of settings with a few thousand open calls once took fourteen seconds."""
    async with connected(ConnectionOptions(max_streams=10_000)) as client:
        await client.open()
        for number in range(3, 4_003, 2):
            await client.say(frame(Kind.HEADERS, client.headers(), END_HEADERS, number))
        await client.say(frames.ping(bytes(8)))
        await client.hear(Kind.PING)
        entries = b"".join(b"\0\4" + (number % 2 * 9).to_bytes(4) for number in range(300))
        began = time.process_time()
        await client.say(frame(Kind.SETTINGS, entries, 0, 0) + frames.ping(bytes(8)))
        await client.hear(Kind.PING)
        assert time.process_time() - began < 3


async def test_a_pending_connection_has_few_streams_until_a_call_is_accepted() -> None:
    handlers = {ECHO: echo, "/strangers": strangers}
    async with limited(Limits(max_pending_connection_streams=2), handlers) as (server, port, _):
        client = await Client.connect(port)
        await client.say(PREFACE + frames.settings({}))
        settings = await client.hear(Kind.SETTINGS)
        assert settings.payload[:6] == b"\0\3" + (2).to_bytes(4)
        for number in (1, 3, 5):
            await client.open(number, path="/strangers")
        reset = await client.hear(Kind.RST_STREAM)
        assert (reset.stream_id, reset.payload) == (5, ErrorCode.REFUSED_STREAM.to_bytes(4))
        assert server.pending_count == 1
        await client.say(frames.reset(3, ErrorCode.CANCEL))
        await client.open(7)
        while (settings := await client.hear(Kind.SETTINGS)).flags:
            pass
        assert settings.payload[:6] == b"\0\3" + (4_000).to_bytes(4)
        assert server.pending_count == 0
        client.close()


async def test_a_pending_connection_of_which_nothing_comes_is_ended() -> None:
    limits = Limits(pending_connection_timeout=timedelta(seconds=1))
    async with limited(limits, {ECHO: strangers}) as (_, port, reached):
        client = await begun(port)
        await client.open()
        assert await client.goodbye() == (ErrorCode.NO_ERROR, "no call was accepted in time")
        await client.closed()
        assert reached == ["pending_connection_timeout"]
        client.close()


@pytest.mark.parametrize("said", [b"", PREFACE[:9]], ids=["nothing", "half-a-preface"])
async def test_a_preface_that_does_not_come(said: bytes) -> None:
    async with limited(Limits(handshake_timeout=timedelta(seconds=0.2))) as (_, port, reached):
        client = await Client.connect(port)
        await client.say(said)
        assert await client.goodbye() == (ErrorCode.ENHANCE_YOUR_CALM, "no preface of HTTP/2 came in time")
        await client.closed()
        assert reached == ["handshake_timeout"]
        client.close()


async def test_a_handshake_that_does_not_come(tmp_path: Path) -> None:
    key, crt = certificate(tmp_path, "server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(crt, key)
    async with limited(Limits(handshake_timeout=timedelta(seconds=0.2)), tls=context) as (server, port, _):
        client = await Client.connect(port)
        await client.closed()
        client.close()
        await until(lambda: server.connection_count == 0)


@pytest.mark.parametrize(
    ("limits", "name", "open_"),
    [
        (Limits(max_connections=2), "max_connections", True),
        (Limits(max_connections_per_address=2), "max_connections_per_address", True),
        (Limits(max_pending_connections=2), "max_pending_connections", False),
        (Limits(max_pending_connections_per_address=2), "max_pending_connections_per_address", False),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_places_are_limited(limits: Limits, name: str, *, open_: bool) -> None:
    async with limited(limits) as (server, port, reached):
        clients = [await begun(port) for _ in range(2)]
        if open_:
            for client in clients:
                await client.open()
                await client.say(frame(Kind.DATA, message(b"x")))
                await client.hear(Kind.DATA)
        third = await Client.connect(port)
        assert await third.next() is None
        assert reached == [name]
        clients[0].close()
        while server.connection_count == 2:
            await asyncio.sleep(0)
        fourth = await begun(port)
        for client in (*clients, third, fourth):
            client.close()


async def test_unfinished_messages_of_one_connection() -> None:
    limits = Limits(max_unfinished_per_connection=1 << 20)
    async with limited(limits) as (server, port, reached):
        client = await begun(port)
        part = message(bytes(600_000))[:400_000]
        for number in (1, 3, 5):
            await client.open(number)
            for start in range(0, len(part), 16_000):
                await client.say(frame(Kind.DATA, part[start : start + 16_000], 0, number))
        status = await client.status()
        assert (status["grpc-status"], reached) == ("8", ["max_unfinished_per_connection"])
        assert server.held_bytes <= 1 << 20
        await client.say(frame(Kind.DATA, message(bytes(600_000))[400_000:416_000]))  # the others go on
        client.close()
        while server.connection_count:
            await asyncio.sleep(0)
        assert server.held_bytes == 0


async def test_a_pending_connection_holds_little() -> None:
    async with limited(Limits(), {ECHO: strangers}) as (server, port, _):
        client = await begun(port)
        await client.open()
        with suppress(ConnectionError):
            await client.say(frame(Kind.DATA, message(bytes(600_000))[:16_000]))
            for _ in range(20):
                await client.say(frame(Kind.DATA, bytes(16_000)))
        assert (await client.goodbye())[0] == ErrorCode.FLOW_CONTROL_ERROR, "it was given no more room"
        assert server.held_bytes == 0
        client.close()


async def test_a_large_first_request_waits_until_its_sender_is_let_in() -> None:
    """It takes a while to find out who that is; meanwhile it has little room, and is not refused for it."""
    known = asyncio.Event()

    def slow(call: Call) -> None:
        async def serve() -> None:
            await known.wait()
            call.accept()
            body = await call.message()
            assert body is not None
            call.send(len(body).to_bytes(4))

        tasks.append(asyncio.create_task(serve()))

    tasks: list[asyncio.Task[None]] = []
    async with limited(Limits(), {ECHO: slow}) as (server, port, reached):
        client = await begun(port)
        await client.open()
        said = message(bytes(500_000))
        await client.say(frame(Kind.DATA, said[:16_000]) + frame(Kind.DATA, said[16_000:32_000]))
        await client.say(frame(Kind.DATA, said[32_000:48_000]) + frame(Kind.DATA, said[48_000:64_000]))
        await client.say(frames.ping(bytes(8)))
        await client.hear(Kind.PING)
        assert server.held_bytes == 64_000
        known.set()
        while (update := await client.hear(Kind.WINDOW_UPDATE)).stream_id:
            pass
        assert int.from_bytes(update.payload) > 1 << 20
        for start in range(64_000, len(said), 16_000):
            await client.say(frame(Kind.DATA, said[start : start + 16_000]))
        assert (await client.hear(Kind.DATA)).payload == message((500_000).to_bytes(4))
        assert reached == []
        client.close()


async def test_unfinished_messages_of_all_connections() -> None:
    """The connection that holds most of all goes, whoever is the last to ask for room."""
    async with limited(Limits(max_unfinished=1 << 20)) as (server, port, reached):
        heavy, light = await begun(port), await begun(port)
        part = message(bytes(1_000_000))
        for client, size in ((heavy, 900_000), (light, 200_000)):
            await client.open()
            for start in range(0, size, 16_000):
                await client.say(frame(Kind.DATA, part[start : start + 16_000]))
            await client.say(frames.ping(bytes(8)))
        assert await heavy.goodbye() == (ErrorCode.ENHANCE_YOUR_CALM, "too much of unfinished messages")
        await light.hear(Kind.PING)
        assert (reached, server.held_bytes < 210_000) == (["max_unfinished"], True)
        heavy.close()
        light.close()


async def test_keepalive_counts_answers_only() -> None:
    options = ConnectionOptions(keepalive_interval=timedelta(seconds=0.2), keepalive_timeout=timedelta(seconds=0.2))
    async with connected(options) as client:
        await client.open()
        gone = asyncio.create_task(client.closed())
        with suppress(ConnectionError):
            async with patience():
                while not gone.done():
                    await client.say(frame(Kind.DATA, message(b"I am here")))
                    await client.say(frame(Kind.PING, bytes(8), frames.ACK, 0))
                    await asyncio.sleep(0.02)
        await gone


@pytest.mark.slow
async def test_the_loop_goes_round_between_the_turns_of_busy_connections() -> None:
    """Ten connections have thousands of messages each: whoever else waits for the loop waits for one turn only.

    Measured in processor time of this thread, which other programs do not lengthen.
    """
    worked: list[float] = []

    def slow(call: Call) -> None:
        def hear(_: bytes) -> None:
            end = time.thread_time() + 1e-4
            while time.thread_time() < end:
                pass
            worked.append(time.thread_time())

        call.accept()
        call.listen(hear, lambda: None, lambda: None)

    async with limited(Limits(), {ECHO: slow}) as (_, port, _):
        clients = [await begun(port) for _ in range(10)]
        for client in clients:
            await client.open()
            await client.say(frame(Kind.DATA, message(b"x")) * 500)
        lags = []
        while len(worked) < 5000:
            began = time.thread_time()
            await asyncio.sleep(0)
            lags.append(time.thread_time() - began)
        for client in clients:
            client.close()
    assert sorted(lags)[len(lags) * 9 // 10] < 0.02
    assert len(lags) > 50
