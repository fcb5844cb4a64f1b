"""Proxies that come, take what they are served, and leave, thousands of times, while no configuration changes."""

from __future__ import annotations

import asyncio
from itertools import count

from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest

from controlplane.http2.frames import Kind
from tests.attack.beside import memory
from tests.attack.floods import CDS, SOTW
from tests.feature.server import Server
from tests.http2.client import Client, frame, message

AT_ONCE = 8
SAMPLES = 40


async def connects(server: Server, total: int) -> list[int]:
    """Return the resident bytes at even distances; every other proxy leaves without a word."""
    numbers = iter(range(total))
    resident: list[int] = []
    passed = count(1)

    async def come_and_go() -> None:
        for number in numbers:
            await _once(server, number)
            if next(passed) % max(total // SAMPLES, 1) == 0:
                resident.append(memory(server))

    await asyncio.gather(*(come_and_go() for _ in range(AT_ONCE)))
    return resident


async def _once(server: Server, number: int) -> None:
    client = await Client.connect(int(server.xds.rpartition(":")[2]), f"127.0.{number % 50 + 1}.{number % 200 + 1}")
    node = f"sidecar~10.8.{number >> 8 & 255}.{number & 255}~come-{number}.shop~shop.svc.cluster.local"
    request = DiscoveryRequest(node=Node(id=node), type_url=CDS).SerializeToString()
    await client.begin()
    await client.open(path=SOTW)
    await client.say(frame(Kind.DATA, message(request)))
    heard = await client.hear(Kind.DATA)
    assert heard.payload
    if number % 2:
        await client.say(frame(Kind.DATA, b"", 1))
        await client.status()
    client.close()
