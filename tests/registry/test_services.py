"""Services: in which order clients see them."""

from __future__ import annotations

from controlplane.registry.services import visible_services
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
