"""What streams leave behind when they end: nothing."""

from __future__ import annotations

import asyncio
import gc

import pytest
from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest

from controlplane.ads.server import AdsServer, ServerOptions
from controlplane.ads.watch import CDS
from controlplane.http2.frames import Kind
from controlplane.snapshots import Resource, ResourceType, Snapshot
from tests.ads.client import NODE_ID, OneSnapshot, serving
from tests.http2.client import Client as RawClient
from tests.http2.client import frame, message

pytestmark = pytest.mark.slow

SOTW = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
ONE = Snapshot(1, {ResourceType.CLUSTER: {"a": Resource.of(ResourceType.CLUSTER, "a", b"a")}})


async def come_and_go(server: AdsServer, port: int, *, politely: bool) -> None:
    client = await RawClient.connect(port)
    await client.begin()
    await client.open(path=SOTW)
    request = DiscoveryRequest(node=Node(id=NODE_ID), type_url=CDS).SerializeToString()
    await client.say(frame(Kind.DATA, message(request)))
    await client.hear(Kind.DATA)
    if politely:
        await client.say(frame(Kind.DATA, b"", 1))
        await client.status()
    client.close()
    while server.server.connection_count or len(server.connections):
        await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_streams_that_ended_form_no_cycles() -> None:
    async with serving(OneSnapshot(ONE), ServerOptions()) as (server, port):
        await come_and_go(server, port, politely=True)
        gc.collect()
        gc.disable()
        try:
            for politely in (True, False) * 5:
                await come_and_go(server, port, politely=politely)
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            left = [each for each in gc.garbage if type(each).__module__.startswith("controlplane.")]
            assert not left, {type(each).__name__ for each in left}
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
