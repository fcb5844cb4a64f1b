"""The stream of Istio's agent: Envoy's requests as they are, between them its own, without node and names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc.aio
import pytest
from envoy.config.core.v3.base_pb2 import Node

from controlplane.messages.name_table_pb2 import NameTable
from controlplane.snapshots import ResourceType
from tests.feature.client import NODE_ID, SERVICE, Variant
from tests.feature.objects import MESH, service
from tests.feature.server import serving
from tests.feature.test_name_table import MESSAGES, tables
from tests.patience import patience

if TYPE_CHECKING:
    from pathlib import Path

CLUSTER, LISTENER = ResourceType.CLUSTER.value, ResourceType.LISTENER.value
NAMES, ROOTS = ResourceType.NAME_TABLE.value, ResourceType.TRUST_BUNDLE.value


@pytest.mark.parametrize("variant", Variant)
async def test_the_agents_own_requests_are_answered_beside_envoys(variant: Variant, tmp_path: Path) -> None:
    """It asks for names, and for roots, right after the first request for listeners, and acknowledges by the nonce."""
    request, response = MESSAGES[variant]
    node = Node(id=NODE_ID)
    node.metadata.update({"DNS_CAPTURE": "true"})
    with serving(tmp_path, *MESH) as server:
        async with grpc.aio.insecure_channel(server.xds) as channel, patience():
            method: Any = channel.stream_stream(
                f"{SERVICE}{variant.value}",
                request_serializer=request.SerializeToString,
                response_deserializer=response.FromString,
            )
            call = method()
            for asked in (request(type_url=CLUSTER, node=node), request(type_url=LISTENER)):
                await call.write(asked)
            for own in (NAMES, ROOTS):
                await call.write(request(type_url=own))
            seen: dict[str, Any] = {}
            while seen.keys() < {CLUSTER, LISTENER, NAMES}:
                answer: Any = await call.read()
                seen[answer.type_url] = answer
            (table,) = tables(variant, seen[NAMES])
            assert isinstance(table, NameTable)
            assert "reviews.shop.svc.cluster.local" in table.table
            version = {"version_info": seen[NAMES].version_info} if variant is Variant.SOTW else {}
            await call.write(request(type_url=NAMES, response_nonce=seen[NAMES].nonce, **version))
            server.write("more.yaml", *service("more", 77))
            while (answer := await call.read()).type_url != NAMES:
                pass
            assert "more.shop.svc.cluster.local" in tables(variant, answer)[0].table
            call.cancel()
