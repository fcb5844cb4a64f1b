"""Services: in which order clients see them."""

from __future__ import annotations

import pytest

from controlplane.model import kinds
from controlplane.model.objects import ObjectKey
from controlplane.registry.scopes import EgressKey, egress_scope
from controlplane.registry.services import service_table, visible_services
from tests.translate.routes.world import World, istio

OLD, NEW = "2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z"


def entry(name: str, namespace: str, export: str, created: str) -> str:
    spec = f"{{hosts: [{name}.com], exportTo: ['{export}'], ports: [{{number: 80, name: http, protocol: HTTP}}]}}"
    return istio("ServiceEntry", name, spec, namespace, created)


def test_order_of_visibility() -> None:
    """What a namespace keeps to itself comes first, then what is exported to it by name, then what all see."""
    world = World(
        entry("public", "other", "*", OLD),
        entry("named", "other", "shop", OLD),
        entry("own-by-name", "shop", "shop", NEW),
        entry("own", "shop", ".", OLD),
        entry("hidden", "other", ".", OLD),
    )
    found = world.registry.memo.get(visible_services, "shop")
    assert [service.hostname for service in found] == ["own.com", "own-by-name.com", "named.com", "public.com"]


def test_destination_that_several_objects_state() -> None:
    """What a Sidecar leaves out but a VirtualService leads to is the oldest object's, not the ports of all."""

    def part(name: str, number: int, created: str) -> str:
        port = f"{{number: {number}, name: http-{number}, protocol: HTTP}}"
        return istio("ServiceEntry", name, f"{{hosts: [ext.com], ports: [{port}]}}", "other", created)

    world = World(
        part("young", 81, NEW),
        part("old", 82, OLD),
        istio("VirtualService", "v", "{hosts: [a.com], http: [{route: [{destination: {host: ext.com}}]}]}", "shop"),
        istio("Sidecar", "s", "{egress: [{hosts: [./*]}]}", "shop"),
    )
    scope = world.registry.memo.get(egress_scope, EgressKey("shop", ObjectKey(kinds.SIDECAR, "shop", "s")))
    assert [(service.hostname, service.ports[0].number) for service in scope.services] == [("ext.com", 82)]
    assert len(scope.by_host["ext.com"].ports) == 1


@pytest.mark.parametrize(
    ("objects", "chosen"),
    [
        pytest.param([("young", "shop", NEW)], "old", id="oldest-not-who-names-us"),
        pytest.param([("young", "*", NEW)], "old", id="oldest"),
        pytest.param([("shop", "*", NEW)], "shop", id="own-namespace"),
    ],
)
def test_owner_of_a_destination(objects: list[tuple[str, str, str]], chosen: str) -> None:
    """Of several namespaces that have the host of a destination, the client's own counts, else the oldest object."""

    def host(namespace: str, export: str, created: str) -> str:
        return entry("same", namespace, export, created)

    world = World(
        host("old", "*", OLD),
        *(host(*each) for each in objects),
        istio("VirtualService", "v", "{hosts: [a.com], http: [{route: [{destination: {host: same.com}}]}]}", "shop"),
        istio("Sidecar", "s", "{egress: [{hosts: [./a.com]}]}", "shop"),
    )
    scope = world.registry.memo.get(egress_scope, EgressKey("shop", ObjectKey(kinds.SIDECAR, "shop", "s")))
    assert scope.by_host["same.com"].namespace == chosen


def test_services_are_in_the_order_of_age_name_and_namespace() -> None:
    """Whatever portion their objects are in, and where a name begins with another one too."""
    names = ["a", "a-b", "a.b", "a0", "ab", "b"]
    made = [(created, name, space) for created in (OLD, NEW) for name in names for space in ("x", "x-y")]
    world = World(*(entry(name, f"{space}-{created[:4]}", "*", created) for created, name, space in reversed(made)))
    found = [service.age_order for service in world.registry.memo.get(service_table, ()).public]
    hosts = [(created, f"{name}.com", f"{space}-{created[:4]}") for created, name, space in made]
    assert found == sorted(hosts)
    world.add(entry("a-a", "x", "*", OLD))
    found = [service.age_order for service in world.registry.memo.get(service_table, ()).public]
    assert found == sorted([*hosts, (OLD, "a-a.com", "x")])
