"""What classes have in common is one object, as long as they have it in common."""

from __future__ import annotations

from typing import Any

from controlplane.compiler.compiler import Compiler
from controlplane.frontends import FRONTENDS
from controlplane.model.objects import ChangeSet
from controlplane.model.proxy import Proxy
from controlplane.registry.store import Registry
from controlplane.snapshots import ResourceType
from tests.compiler.histories import manifest, parsed
from tests.compiler.scratch import assert_as_from_scratch

SPACES = ("one", "two", "three")
CLIENTS = [
    Proxy("sidecar", f"web.{space}", (f"10.9.0.{number}",), space, f"{space}.svc.cluster.local", {"app": "web"})
    for number, space in enumerate(SPACES)
]


def service(space: str, name: str, **spec: Any) -> ChangeSet:
    ports = [{"name": "http", "port": 80, "targetPort": 8080}]
    raw = manifest("v1", "Service", space, name, spec={"clusterIP": "10.0.0.1", "ports": ports, **spec})
    return ChangeSet(upserts=(parsed(raw),))


async def test_classes_with_equal_clusters_share_them() -> None:
    compiler = Compiler(Registry(frontends=FRONTENDS))
    for number in range(70):
        await compiler.apply(service("shop", f"s{number}"))
    sessions = [await compiler.open(client, lambda: None) for client in CLIENTS]

    def held(type_: ResourceType) -> list[int]:
        return [id(session.snapshot.of(type_)) for session in sessions]

    assert len({session.proxy_class for session in sessions}) == len(SPACES)
    assert len(set(held(ResourceType.CLUSTER))) == 1
    first = held(ResourceType.CLUSTER)
    await compiler.apply(service("shop", "new"))
    assert len(set(held(ResourceType.CLUSTER))) == 1
    assert held(ResourceType.CLUSTER) != first
    await compiler.apply(service("two", "own", selector={"app": "web"}))  # an inbound cluster for one of them
    one, two, three = held(ResourceType.CLUSTER)
    assert one == three != two
    await assert_as_from_scratch(compiler, sessions)
