"""The clusters and endpoints that one proxy gets for a text of YAML."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import MappingProxyType

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment

from controlplane.compiler.compiler import Compiler
from controlplane.model.objects import ChangeSet
from controlplane.model.proxy import Proxy
from controlplane.registry.store import Registry
from controlplane.snapshots import ResourceType, Snapshot
from controlplane.watchers.reading import read
from tests.translate.listeners.world import sidecar


def snapshot(yaml: str, proxy: Proxy | None = None, environment: Mapping[str, str] = MappingProxyType({})) -> Snapshot:
    """Return what a proxy (a sidecar of namespace ``default`` where none is given) holds."""
    reading = read(yaml.encode(), "world.yaml")
    assert not reading.rejections, reading.rejections

    async def build() -> Snapshot:
        compiler = Compiler(Registry(environment=environment))
        await compiler.apply(ChangeSet(upserts=tuple(reading.objects.values())))
        return (await compiler.open(proxy or sidecar(), lambda: None)).snapshot

    return asyncio.run(build())


def clusters(
    yaml: str, proxy: Proxy | None = None, environment: Mapping[str, str] = MappingProxyType({})
) -> dict[str, Cluster]:
    """Return a proxy's clusters by name."""
    held = snapshot(yaml, proxy, environment).of(ResourceType.CLUSTER)
    return {name: Cluster.FromString(resource.body) for name, resource in held.items()}


def addresses(yaml: str, proxy: Proxy | None = None) -> dict[str, dict[str, int]]:
    """Return the priority of each address, by cluster, of those that have load assignments."""
    found: dict[str, dict[str, int]] = {}
    for name, resource in snapshot(yaml, proxy).of(ResourceType.ENDPOINT).items():
        places = found[name] = {}
        for group in ClusterLoadAssignment.FromString(resource.body).endpoints:
            for endpoint in group.lb_endpoints:
                socket = endpoint.endpoint.address.socket_address
                places[f"{socket.address}:{socket.port_value}"] = group.priority
    return found
