"""The DNS name table over the wire, in both forms of the protocol: asked for like listeners, pushed when it changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)

from controlplane.messages.name_table_pb2 import NameTable
from controlplane.snapshots import ResourceType
from tests.feature.client import NODE_ID, SERVICE, Variant
from tests.feature.objects import MESH, service
from tests.feature.server import serving
from tests.patience import patience

NDS = ResourceType.NAME_TABLE.value
MESSAGES: dict[Variant, tuple[Any, Any]] = {
    Variant.SOTW: (DiscoveryRequest, DiscoveryResponse),
    Variant.DELTA: (DeltaDiscoveryRequest, DeltaDiscoveryResponse),
}


def node(*, capture: bool) -> Node:
    found = Node(id=NODE_ID)
    found.metadata.update({"DNS_CAPTURE": "true"} if capture else {})
    return found


def tables(variant: Variant, response: Any) -> list[NameTable]:
    """Return the tables of a response; it has at most the one without a name."""
    assert response.type_url == NDS
    if variant is Variant.SOTW:
        return [NameTable.FromString(held.value) for held in response.resources]
    assert [held.name for held in response.resources] in ([], [""])
    return [NameTable.FromString(held.resource.value) for held in response.resources]


@pytest.mark.parametrize("variant", Variant)
async def test_a_sidecar_that_answers_dns_follows_the_table(variant: Variant, tmp_path: Path) -> None:
    request, response = MESSAGES[variant]
    with serving(tmp_path, *MESH) as server:
        async with grpc.aio.insecure_channel(server.xds) as channel, patience():
            method: Any = channel.stream_stream(
                f"{SERVICE}{variant.value}",
                request_serializer=request.SerializeToString,
                response_deserializer=response.FromString,
            )
            call = method()
            await call.write(request(type_url=NDS, node=node(capture=True)))
            first: Any = await call.read()
            (table,) = tables(variant, first)
            names = set(table.table)
            assert "reviews.shop.svc.cluster.local" in names
            assert table.table["reviews.shop.svc.cluster.local"].registry == "Kubernetes"
            ack = {"version_info": first.version_info} if variant is Variant.SOTW else {}
            await call.write(request(type_url=NDS, response_nonce=first.nonce, **ack))
            server.write("more.yaml", *service("more", 77))
            (changed,) = tables(variant, await call.read())
            assert set(changed.table) - names == {"more.shop.svc.cluster.local"}
            assert list(changed.table["more.shop.svc.cluster.local"].ips) == ["10.9.0.77"]
            call.cancel()


@pytest.mark.parametrize("variant", Variant)
async def test_another_proxy_is_answered_with_nothing(variant: Variant, tmp_path: Path) -> None:
    request, response = MESSAGES[variant]
    with serving(tmp_path, *MESH) as server:
        async with grpc.aio.insecure_channel(server.xds) as channel, patience():
            method: Any = channel.stream_stream(
                f"{SERVICE}{variant.value}",
                request_serializer=request.SerializeToString,
                response_deserializer=response.FromString,
            )
            call = method()
            await call.write(request(type_url=NDS, node=node(capture=False)))
            assert tables(variant, await call.read()) == []
            call.cancel()
