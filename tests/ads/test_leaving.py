"""A proxy that leaves takes everything with it."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from controlplane.ads.server import AdsServer, ServerOptions
from controlplane.ads.source import Session
from controlplane.ads.watch import CDS, Variant
from controlplane.compiler.compiler import Compiler
from controlplane.model.proxy import Proxy
from controlplane.registry.store import Registry
from tests.ads.client import Client, serving
from tests.ads.test_server import both
from tests.patience import until

pytestmark = pytest.mark.slow


class Endless:
    """A source that never has a first snapshot."""

    def __init__(self) -> None:
        self.opening: list[str] = []

    async def open(self, proxy: Proxy, changed: Callable[[], None]) -> Session:
        del changed  # there is nothing to tell
        self.opening.append(proxy.id)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.opening.remove(proxy.id)
        raise AssertionError("nobody ends it")


@both
async def test_what_a_proxy_waits_for_is_given_up_when_it_leaves(variant: Variant) -> None:
    source = Endless()
    server = AdsServer(source, ServerOptions(new_streams_per_second=0))
    port = await server.add_port("127.0.0.1", 0)
    await server.start()
    try:
        leaves, stays = Client(port, variant), Client(port, variant, "sidecar~10.0.0.2~b.shop~shop.svc.cluster.local")
        for client in (leaves, stays):
            await client.ask(CDS)
        await until(lambda: sorted(source.opening) == ["app.shop", "b.shop"])
        await leaves.close()
        await until(lambda: source.opening == ["b.shop"])
        await stays.close()
        await until(lambda: not source.opening)
    finally:
        await server.stop()


@both
@pytest.mark.parametrize("leaving", ["cancelled", "cut"])
async def test_a_stream_that_ended_is_gone_without_the_collector(variant: Variant, leaving: str) -> None:
    """Nothing of it is in a circle: the collector comes seldom, and proxies come and go by the thousand."""
    source = Compiler(Registry())
    gc.collect()
    gc.disable()
    try:
        async with serving(source) as (server, port):
            client: Any = Client(port, variant)
            await client.ask(CDS)
            answer = await client.read()
            await client.ask(CDS, response_nonce=answer.nonce)
            (stream,) = map(weakref.ref, server.connections.streams.values())
            if leaving == "cancelled":
                client.call.cancel()
            else:
                await client.channel.close()
            await until(lambda: not server.connections.streams)
            await until(lambda: stream() is None)
            await client.close()
    finally:
        gc.enable()
