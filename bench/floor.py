"""The least that a gRPC server in Python can do for the same proxies: send bytes that are already there.

It decodes each request, as any server must, and answers from recordings of what the control plane sent to one proxy;
all streams are given the same bytes object. No configuration, no translation, no acknowledgement kept. What the control
plane needs beyond this is its own work.

    python -m bench.floor RECORDINGS PORT

Commands on standard input, one a line: ``answer PHASE``: first requests of a stream are answered from
``RECORDINGS/PHASE``; ``push NAME``: the responses in ``RECORDINGS/NAME`` go to every stream.
"""

from __future__ import annotations

import asyncio
import struct
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TypeAlias

import grpc
import uvloop
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from bench.subject import LOOPBACK

SERVICE, METHOD = "envoy.service.discovery.v3.AggregatedDiscoveryService", "DeltaAggregatedResources"
ServicerContext: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


def responses(path: Path) -> list[bytes]:
    """Read a recording: four bytes of length before each serialised response."""
    content, found = path.read_bytes(), []
    while content:
        (length,) = struct.unpack_from(">I", content)
        found.append(content[4 : 4 + length])
        content = content[4 + length :]
    return found


def by_type(bodies: list[bytes]) -> dict[str, list[bytes]]:
    """Sort responses by their type URL."""
    sorted_bodies = defaultdict(list)
    for body in bodies:
        sorted_bodies[DeltaDiscoveryResponse.FromString(body).type_url].append(body)
    return dict(sorted_bodies)


class Floor:
    """Every stream, and what to send to it."""

    def __init__(self, recordings: Path) -> None:
        self._recordings = {path.name: responses(path) for path in recordings.iterdir()}
        self._answers: dict[str, list[bytes]] = {}
        self._streams: set[asyncio.Queue[bytes]] = set()

    def command(self, line: str) -> None:
        """Do what a line of standard input says."""
        word, _, name = line.strip().partition(" ")
        if word == "answer":
            self._answers = by_type(self._recordings[name])
        elif word == "push":
            for body in self._recordings[name]:
                for stream in self._streams:
                    stream.put_nowait(body)

    async def stream(self, requests: AsyncIterator[bytes], context: ServicerContext) -> None:
        """Serve one stream until its client leaves."""
        outgoing: asyncio.Queue[bytes] = asyncio.Queue()
        self._streams.add(outgoing)
        reader = asyncio.create_task(self._read(requests, outgoing))
        try:
            while True:
                await context.write(await outgoing.get())
        finally:
            reader.cancel()
            self._streams.discard(outgoing)

    async def _read(self, requests: AsyncIterator[bytes], outgoing: asyncio.Queue[bytes]) -> None:
        answered = set()
        async for body in requests:
            request = DeltaDiscoveryRequest.FromString(body)
            if request.response_nonce or request.type_url in answered:
                continue
            answered.add(request.type_url)
            for response in self._answers.get(request.type_url, ()):
                outgoing.put_nowait(response)


async def serve(recordings: Path, port: int) -> None:
    """Serve until standard input ends."""
    floor = Floor(recordings)
    server = grpc.aio.server(options=OPTIONS)
    method = grpc.stream_stream_rpc_method_handler(floor.stream)  # no serializers: bytes in, bytes out
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {METHOD: method}),))
    server.add_insecure_port(f"{LOOPBACK}:{port}")
    await server.start()
    loop, commands = asyncio.get_running_loop(), asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        floor.command(line.decode())
    await server.stop(None)


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1]), int(sys.argv[2])))
