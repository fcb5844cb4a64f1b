"""A source of snapshots and an ADS client over gRPC, for tests of the server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)

from controlplane.ads.server import METHODS, AdsServer, Environment, ServerOptions
from controlplane.ads.source import SnapshotSource
from controlplane.ads.watch import Variant
from controlplane.model.proxy import Proxy
from controlplane.snapshots import Resource, ResourceType, Snapshot
from tests.patience import in_time

NODE_ID = "sidecar~10.0.0.1~app.shop~shop.svc.cluster.local"


class OneSnapshot:
    """A source that gives every proxy the same snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.sessions: set[OneSession] = set()

    async def open(self, proxy: Proxy, changed: Callable[[], None]) -> OneSession:
        session = OneSession(self, proxy, changed)
        self.sessions.add(session)
        return session

    def publish(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        for session in self.sessions:
            session.snapshot = snapshot
            session.changed()


class OneSession:
    def __init__(self, source: OneSnapshot, proxy: Proxy, changed: Callable[[], None]) -> None:
        self.source, self.proxy, self.changed = source, proxy, changed
        self.snapshot = source.snapshot

    @property
    def proxy_class(self) -> str:
        return self.proxy.domain

    @staticmethod
    def missing(type_: ResourceType, name: str) -> Resource | None:
        return Resource.of(type_, name, b"") if type_ is ResourceType.ENDPOINT else None

    def close(self) -> None:
        self.source.sessions.remove(self)
        self.changed = lambda: None  # as the compiler does: it leads back to the stream, which has the session


class Client:
    """One stream on a connection of its own."""

    def __init__(self, port: int, variant: Variant, node_id: str = NODE_ID) -> None:
        self.variant = variant
        self.node: Node | None = Node(id=node_id)
        # Two channels with equal options would share a connection.
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
        self.channel: Any = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options)
        method = next(method for method, found in METHODS.items() if found is variant)
        open_stream: Any = self.channel.stream_stream
        self.call: Any = open_stream(method)()

    async def ask(self, type_url: str, *names: str, **fields: Any) -> None:
        if self.variant is Variant.DELTA:
            request = DeltaDiscoveryRequest(type_url=type_url, resource_names_subscribe=names, **fields)
        else:
            request = DiscoveryRequest(type_url=type_url, resource_names=names, **fields)
        if self.node is not None:
            request.node.CopyFrom(self.node)
            self.node = None
        await self.call.write(request.SerializeToString())

    async def read_bytes(self) -> bytes:
        read = await in_time(self.call.read())
        assert isinstance(read, bytes), f"the stream ended: {await self.call.code()} {await self.call.details()}"
        return read

    async def read(self) -> Any:
        body = await self.read_bytes()
        return (DeltaDiscoveryResponse if self.variant is Variant.DELTA else DiscoveryResponse).FromString(body)

    async def ended(self) -> tuple[grpc.StatusCode, str]:
        code = await in_time(self.call.code())
        return code, await self.call.details()

    async def close(self) -> None:
        self.call.cancel()
        await self.channel.close()


@asynccontextmanager
async def serving(
    source: SnapshotSource, options: ServerOptions | None = None, ready: Callable[[], bool] = lambda: True
) -> AsyncIterator[tuple[AdsServer, int]]:
    """Run a server on a free port."""
    server = AdsServer(source, options or ServerOptions(new_streams_per_second=0), Environment(ready=ready))
    port = await server.add_port("127.0.0.1", 0)
    await server.start()
    try:
        yield server, port
    finally:
        await server.stop()
