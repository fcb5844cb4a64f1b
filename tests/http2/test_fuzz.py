"""Frames at random, most of them nearly right: no error of ours, no wait without end, nothing held afterwards."""

from __future__ import annotations

import asyncio
import os
import random
from contextlib import suppress
from typing import Any

import pytest
from hpack import Encoder

from controlplane.http2 import frames
from controlplane.http2.frames import END_HEADERS, LARGEST_WINDOW, PREFACE, ErrorCode, Kind
from controlplane.http2.options import ConnectionOptions
from controlplane.http2.server import Server
from controlplane.limits import Limits
from tests.http2.client import ECHO, REQUEST, Client, echo, frame, message
from tests.patience import in_time, patience

pytestmark = pytest.mark.slow

CONNECTIONS = int(os.environ.get("FUZZ_CONNECTIONS", "300"))
FRAMES = 60
BATCH = 50
STREAMS = (*(1, 3, 5) * 12, 0, 7, 9, 2, LARGEST_WINDOW)
KINDS = (*(Kind.DATA, Kind.HEADERS, Kind.WINDOW_UPDATE, Kind.SETTINGS, Kind.PRIORITY, 0x2A) * 5, *Kind)
NAMES = (":path", ":method", ":status", "te", "content-length", "x-name", "X-Upper", "", "connection", ":scheme")
VALUES = ("", "0", "5", "x" * 200, "trailers", "a\nb", "\N{SNOWMAN}", "9" * 30, " x")


class Peer:
    """One connection's worth of frames, from its seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.encoder = Encoder()

    def noise(self, most: int = 40) -> bytes:
        return self.random.randbytes(self.random.randrange(most))

    def number(self) -> bytes:
        return self.random.choice((*(1, 5, 65_535, 1) * 4, 0, LARGEST_WINDOW, 1 << 31)).to_bytes(4)

    def block(self) -> bytes:
        pairs = list(REQUEST)
        for _ in range(self.random.choice((0, 0, 0, 1, 2))):
            pairs.insert(self.random.randrange(len(pairs) + 1), (self.random.choice(NAMES), self.random.choice(VALUES)))
        return self.random.choice((bytes(self.encoder.encode(pairs)),) * 5 + (self.noise(),))

    def payload(self, kind: int) -> bytes:
        choose = self.random.choice
        usual: dict[int, bytes] = {
            Kind.DATA: choose((b"", message(b"x" * 50), message(b""), message(bytes(9_000))[:6_000], self.noise())),
            Kind.HEADERS: self.block() if kind == Kind.HEADERS else b"",
            Kind.PRIORITY: self.number() + b"\1",
            Kind.RST_STREAM: self.number(),
            Kind.SETTINGS: b"".join(choose((0, 1, 2, 3, 4, 5, 6, 99)).to_bytes(2) + self.number() for _ in range(2)),
            Kind.PING: bytes(8),
            Kind.GOAWAY: bytes(8),
            Kind.WINDOW_UPDATE: self.number(),
            Kind.CONTINUATION: self.noise(),
        }
        return choose((usual.get(kind, b""),) * 20 + (self.noise(),))

    def frame(self) -> bytes:
        kind = self.random.choice(KINDS)
        flags = self.random.choice((0, 0, 0, 0, 4, 4, 4, 1, 5, 8, 0x20, 0x2D, 0xFF))
        payload = self.payload(kind)
        size = len(payload) if self.random.random() < 0.995 else self.random.randrange(1 << 15)
        stream_id = self.random.choice((0, 1)) if kind in {Kind.SETTINGS, Kind.PING} else self.random.choice(STREAMS)
        return frames.head(size, kind, flags, stream_id) + payload

    def said(self) -> bytes:
        block = bytes(self.encoder.encode(REQUEST))
        begun = b"".join(frame(Kind.HEADERS, block, END_HEADERS, number) for number in (1, 3, 5))
        return PREFACE + frames.settings({}) + begun + b"".join(self.frame() for _ in range(FRAMES))


async def talk(port: int, seed: int) -> list[int]:
    """Say it, in pieces of any size; return the error codes of the goodbyes that come back."""
    peer, codes = Peer(seed), []
    client = await Client.connect(port)
    said = peer.said()
    with suppress(OSError):
        while said:
            size = peer.random.choice((1, 9, 100, 5_000))
            await client.say(said[:size])
            said = said[size:]
            await asyncio.sleep(0)
        client.end()
    while (found := await client.next()) is not None:
        if found.kind is Kind.GOAWAY:
            codes.append(int.from_bytes(found.payload[4:8]))
    client.close()
    return codes


@pytest.mark.parametrize("first", range(0, CONNECTIONS, BATCH))
async def test_any_frames(first: int) -> None:
    problems: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
    server = Server({ECHO: echo}, ConnectionOptions(max_streams=4, limits=Limits(max_unfinished=1 << 20)))
    port = await server.add_port("127.0.0.1", 0)
    await server.start()
    seeds = range(first, first + BATCH)
    codes = await in_time(asyncio.gather(*(talk(port, seed) for seed in seeds)))
    wrong = [seed for seed, said in zip(seeds, codes, strict=True) if ErrorCode.INTERNAL_ERROR in said]
    assert not wrong, f"errors of ours with the seeds {wrong}"
    async with patience():
        while server.connection_count:
            await asyncio.sleep(0.01)
    assert (server.held_bytes, server.pending_count, problems) == (0, 0, [])
    assert any(codes), "some goodbyes come back; a reset on its way to a slow peer may take others with it"
    await server.stop()
