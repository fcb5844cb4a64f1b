"""What a hostile peer does, one kind at a time: ``python -m tests.attack.floods KIND HOST PORT SECONDS [tls]``.

Each kind comes from an address of its own, beside an honest neighbour at 127.0.0.1. It says how it went as JSON.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import cache

from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DiscoveryRequest
from hpack import Encoder

from controlplane.http2 import frames
from controlplane.http2.frames import END_HEADERS, END_STREAM, PREFACE, ErrorCode, Kind, Setting
from tests.http2.client import frame, message

SOTW = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
DELTA = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
CREATE = "/istio.v1.auth.IstioCertificateService/CreateCertificate"
EDS = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
CDS = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
AT_ONCE = 16  # connections


class Attacker:
    """Where it attacks, until when, and how it goes. ``connections`` counts those that it opened."""

    def __init__(self, place: tuple[str, int], source: str, seconds: float, *, tls: bool) -> None:
        (self._host, self._port), self._source = place, source
        self._end = time.monotonic() + seconds
        self._context = None
        if tls:
            self._context = ssl.create_default_context()
            self._context.check_hostname, self._context.verify_mode = False, ssl.CERT_NONE
            self._context.set_alpn_protocols(["h2"])
        self.connections = self.sent = 0
        self._open = set[asyncio.StreamWriter]()

    @property
    def goes_on(self) -> bool:
        return time.monotonic() < self._end

    async def connect(self, preface: bytes = PREFACE + frames.settings({})) -> asyncio.StreamWriter:
        """Open a connection, whose answers nobody looks at."""
        reader, writer = await asyncio.open_connection(
            self._host, self._port, local_addr=(self._source, 0), ssl=self._context
        )
        self.connections += 1
        writer.write(preface)
        self._open.add(writer)
        sink = asyncio.create_task(self._discard(reader, writer))
        _SINKS.add(sink)
        sink.add_done_callback(_SINKS.discard)
        return writer

    async def _discard(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while await reader.read(1 << 16):
                pass
        writer.close()
        self._open.discard(writer)

    async def say(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        if writer not in self._open or writer.is_closing():  # one over TLS does not say that it is lost
            raise ConnectionResetError
        self.sent += len(data)
        writer.write(data)
        await writer.drain()

    async def again(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do something until the end, again after each connection that is cut."""
        while self.goes_on:
            with suppress(OSError, asyncio.TimeoutError):
                async with asyncio.timeout_at(asyncio.get_running_loop().time() + self._end - time.monotonic()):
                    await work()
            await asyncio.sleep(0.001)


_SINKS: set[asyncio.Task[None]] = set()


def headers(path: str = SOTW, *more: tuple[str, str]) -> bytes:
    pairs = ((":method", "POST"), (":scheme", "http"), (":path", path), ("content-type", "application/grpc"), *more)
    return bytes(Encoder().encode(pairs))


def opened(stream_id: int, path: str = SOTW) -> bytes:
    return frame(Kind.HEADERS, headers(path), END_HEADERS, stream_id)


def node(number: int = 0, **metadata: str) -> Node:
    made = Node(id=f"sidecar~10.66.{number >> 8 & 255}.{number & 255}~bad-{number}.evil~evil.svc.cluster.local")
    made.metadata.update(metadata)
    return made


def _repeated(begin: bytes, piece: bytes) -> Callable[[Attacker], Awaitable[None]]:
    """Say the same over and over, after a beginning."""

    async def flood(attacker: Attacker) -> None:
        writer = await attacker.connect()
        await attacker.say(writer, begin)
        while attacker.goes_on:
            await attacker.say(writer, piece)

    return flood


def _stream_ids() -> Iterator[int]:
    return iter(range(1, 1 << 31, 2))


def _on_each_stream(said: Callable[[int], bytes]) -> Callable[[Attacker], Awaitable[None]]:
    """Open calls without end, and say something on each."""

    async def flood(attacker: Attacker) -> None:
        writer = await attacker.connect()
        numbers = _stream_ids()
        while attacker.goes_on:
            await attacker.say(writer, b"".join(said(next(numbers)) for _ in range(50)))

    return flood


async def settings_times_calls(attacker: Attacker) -> None:
    writer = await attacker.connect(PREFACE + frames.settings({Setting.INITIAL_WINDOW_SIZE: 0}))
    await attacker.say(writer, b"".join(opened(number) for number in range(1, 4_000, 2)))
    entries = b"".join(b"\0\4" + (number % 2 * 9).to_bytes(4) for number in range(300))
    while attacker.goes_on:
        await attacker.say(writer, frame(Kind.SETTINGS, entries, 0, 0))


async def unfinished_messages(attacker: Attacker) -> None:
    writer = await attacker.connect()
    part = message(bytes(4 << 20))[: (4 << 20) - 10_000]
    path = SOTW if attacker._context is None else CREATE  # noqa: SLF001
    for number in range(1, 1_000, 2):
        await attacker.say(writer, opened(number, path))
        for start in range(0, len(part), 16_384):
            await attacker.say(writer, frame(Kind.DATA, part[start : start + 16_384], 0, number))
    await asyncio.sleep(60)


async def prefaces_that_trickle(attacker: Attacker) -> None:
    writer = await attacker.connect(b"")
    for byte in PREFACE:
        await attacker.say(writer, bytes((byte,)))
        await asyncio.sleep(0.5)


async def connections(attacker: Attacker) -> None:
    kept = []
    while attacker.goes_on:
        kept.append(await attacker.connect())
        if len(kept) > 200:
            for writer in kept:
                writer.close()
            kept.clear()


async def names_one_by_one(attacker: Attacker) -> None:
    writer = await attacker.connect()
    first = DeltaDiscoveryRequest(node=node(), type_url=EDS, resource_names_subscribe=["first"])
    await attacker.say(writer, opened(1, DELTA) + frame(Kind.DATA, message(first.SerializeToString())))
    number = 0
    while attacker.goes_on:
        number += 1
        body = DeltaDiscoveryRequest(type_url=EDS, resource_names_subscribe=[f"name-{number}"]).SerializeToString()
        await attacker.say(writer, frame(Kind.DATA, message(body)))


async def names_by_the_thousand(attacker: Attacker) -> None:
    writer = await attacker.connect()
    names = [f"outbound|80||name-{number}.evil.svc.cluster.local" for number in range(30_000)]
    body = message(DiscoveryRequest(node=node(), type_url=EDS, resource_names=names).SerializeToString())
    await attacker.say(writer, opened(1))
    for start in range(0, len(body), 16_384):
        await attacker.say(writer, frame(Kind.DATA, body[start : start + 16_384]))
    await asyncio.sleep(0.3)
    writer.close()


@cache
def _long_refusal() -> bytes:
    refusal = DiscoveryRequest(type_url=CDS)
    refusal.error_detail.message = "no\x1b" * (1 << 20)
    said = message(refusal.SerializeToString())
    return b"".join(frame(Kind.DATA, said[start : start + 16_384]) for start in range(0, len(said), 16_384))


async def long_refusals(attacker: Attacker) -> None:
    refusal = _long_refusal()
    writer = await attacker.connect()
    first = DiscoveryRequest(node=node(), type_url=CDS)
    await attacker.say(writer, opened(1) + frame(Kind.DATA, message(first.SerializeToString())))
    await asyncio.sleep(0.1)  # one that nobody knows yet may not say so much
    while attacker.goes_on:
        await attacker.say(writer, refusal)


_NUMBERS = iter(range(1 << 30))


async def ever_new_kinds_of_proxies(attacker: Attacker) -> None:
    writer = await attacker.connect()
    for stream_id in _stream_ids():
        number = next(_NUMBERS)
        body = DiscoveryRequest(node=node(number, NETWORK=f"network-{number}"), type_url=CDS).SerializeToString()
        await attacker.say(writer, opened(stream_id) + frame(Kind.DATA, message(body), 0, stream_id))
        await asyncio.sleep(0.005)


async def reconnects(attacker: Attacker) -> None:
    writer = await attacker.connect()
    body = DiscoveryRequest(node=node(), type_url=CDS).SerializeToString()
    await attacker.say(writer, opened(1) + frame(Kind.DATA, message(body)))
    await asyncio.sleep(0.01)
    writer.close()


FLOODS: dict[str, Callable[[Attacker], Awaitable[None]]] = {
    "empty-data": _repeated(opened(1), frame(Kind.DATA) * 1000),
    "crumbs": _repeated(opened(1) + frame(Kind.DATA, message(bytes(1 << 20))[:5]), frame(Kind.DATA, b"\0") * 1000),
    "empty-messages": _repeated(opened(1), frame(Kind.DATA, message(b"") * 1000)),
    "compressed-messages": _on_each_stream(lambda number: opened(number) + frame(Kind.DATA, b"\1\0\0\0\1x", 0, number)),
    "priorities": _repeated(opened(1), frame(Kind.PRIORITY, bytes(5)) * 1000),
    "unknown-frames": _repeated(opened(1), frames.head(0, 0x2A, 0, 0) * 1000),
    "window-updates": _repeated(opened(1), frames.window_update(0, 1) * 1000),
    "continuations": _repeated(frame(Kind.HEADERS, headers()), frame(Kind.CONTINUATION) * 1000),
    "pings": _repeated(b"", frames.ping(bytes(8)) * 100),
    "resets": _on_each_stream(lambda number: opened(number) + frames.reset(number, ErrorCode.CANCEL)),
    "resets-that-we-send": _on_each_stream(lambda number: opened(number) + frames.window_update(number, (1 << 31) - 1)),
    "unknown-methods": _on_each_stream(lambda number: opened(number, "/no/such")),
    "empty-calls": _on_each_stream(lambda number: opened(number) + frame(Kind.DATA, b"", END_STREAM, number)),
    "settings-times-calls": settings_times_calls,
    "unfinished-messages": unfinished_messages,
    "prefaces-that-trickle": prefaces_that_trickle,
    "connections": connections,
    "reconnects": reconnects,
    "names-one-by-one": names_one_by_one,
    "names-by-the-thousand": names_by_the_thousand,
    "long-refusals": long_refusals,
    "ever-new-kinds-of-proxies": ever_new_kinds_of_proxies,
}


async def main(kind: str, host: str, port: int, seconds: float, *, tls: bool) -> None:
    source = f"127.0.{1 + tls}.{1 + list(FLOODS).index(kind)}"
    attacker = Attacker((host, port), source, seconds, tls=tls)
    flood = FLOODS[kind]
    print("begun", flush=True)
    await asyncio.gather(*(attacker.again(lambda: flood(attacker)) for _ in range(AT_ONCE)))
    print(json.dumps({"connections": attacker.connections, "sent_bytes": attacker.sent}))


if __name__ == "__main__":
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # that connections are cut off is the point
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), tls=len(sys.argv) > 5))
