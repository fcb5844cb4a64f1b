"""What a change costs, and that sharing changes no result."""

from __future__ import annotations

import random

import pytest

from controlplane.registry.scopes import EgressKey
from controlplane.translate.routes import host_sets
from controlplane.translate.routes.claims import ListenerKey
from controlplane.translate.routes.domains import Sight
from controlplane.translate.routes.selection import HostsKey
from tests.translate.routes.world import World, client, istio, service, virtual_service

SPACES = ["default", "shop", "bank"]


def built(world: World) -> dict[str, int]:
    """Return how often each query has run."""
    return dict(world.registry.memo.runs)


def cost(world: World, before: dict[str, int], *queries: str) -> list[int]:
    return [world.registry.memo.runs.get(name, 0) - before.get(name, 0) for name in queries]


def routed(name: str, weight: int, namespace: str = "default") -> str:
    rule = f"""
hosts: [{name}]
http:
- route:
  - {{destination: {{host: {name}, subset: v1}}, weight: {weight}}}
  - {{destination: {{host: {name}, subset: v2}}, weight: {100 - weight}}}
"""
    return virtual_service(name, rule, namespace)


def world_of_many() -> World:
    world = World(*(service(f"s{i}", space) for i in range(5) for space in SPACES))
    world.add(*(routed(f"s{i}", 10, space) for i in range(3) for space in SPACES))
    for space in SPACES:
        world.resource("80", client(space))
    return world


def everyone(world: World) -> None:
    for space in SPACES:
        world.resource("80", client(space))


def test_changed_routes_are_encoded_once() -> None:
    """Two virtual hosts: with the short names of the own namespace, and for all others."""
    world = world_of_many()
    before = built(world)
    world.add(routed("s1", 20, "shop"))
    everyone(world)
    assert cost(world, before, "http_routes", "virtual_host", "shared_route_configuration") == [1, 2, 3]


def test_new_service_is_encoded_once() -> None:
    world = world_of_many()
    before = built(world)
    world.add(service("new", "shop"))
    everyone(world)
    assert cost(world, before, "http_routes", "virtual_host", "shared_route_configuration") == [0, 2, 3]


def test_equal_object_costs_nothing() -> None:
    world = world_of_many()
    before = built(world)
    world.add(routed("s1", 10, "shop"), service("s1", "shop"))
    everyone(world)
    assert built(world) == before


def test_other_port_is_not_touched() -> None:
    world = world_of_many()
    world.add(service("far", ports=[8080]))
    for space in SPACES:
        world.resource("8080", client(space))
    before = built(world)
    world.add(routed("s1", 20, "shop"))
    for space in SPACES:
        world.resource("8080", client(space))
    assert cost(world, before, "host_set", "shared_route_configuration") == [0, 0]


def test_clients_alike_share_the_resource() -> None:
    """What routes do not depend on makes no difference, not even a second copy."""
    world = world_of_many()
    plain = world.resource("80", client("shop"))
    assert world.resource("80", client("shop", node="n1", network="far", http10=True)) is plain


def test_only_labels_that_routes_name_tell_clients_apart() -> None:
    world = world_of_many()
    plain = world.resource("80", client("shop"))
    who = client("shop", labels=frozenset({("app", "x"), ("zone", "b")}))
    assert world.resource("80", who) is plain
    rule = "{match: [{sourceLabels: {app: x}}], route: [{destination: {host: s1}}]}"
    world.add(virtual_service("s4", f"{{hosts: [s4], http: [{rule}]}}", "shop"))
    assert world.resource("80", who) != world.resource("80", client("shop"))
    assert world.resource("80", who) is world.resource("80", client("shop", labels=frozenset({("app", "x")})))


def random_document(rng: random.Random) -> str:
    space, name = rng.choice(SPACES), f"s{rng.randrange(4)}"
    kind = rng.choice(["service", "service", "routes", "routes", "rule", "entry", "private", "wild"])
    if kind == "service":
        return service(name, space, rng.sample([80, 8080], rng.randint(1, 2)))
    if kind == "rule":
        hashed = rng.choice(["", ", trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x}}}"])
        export = rng.choice(["", ", exportTo: ['.']"])
        return istio("DestinationRule", name, f"{{host: {name}{hashed}{export}}}", space)
    if kind == "entry":
        host = rng.choice(["s1", f"s1.{space}", "a.example.com", f"s2.{space}.svc.cluster.local"])
        ports = "[{number: 80, name: http, protocol: HTTP}]"
        return istio("ServiceEntry", f"e{rng.randrange(2)}", f"{{hosts: [{host}.x, {host}], ports: {ports}}}", space)
    host = {"wild": "'*.cluster.local'", "private": name}.get(kind, rng.choice([name, "a.example.com"]))
    export = "exportTo: ['.']" if kind == "private" else "exportTo: ['*']"
    match = rng.choice(["", f"match: [{{sourceNamespace: {rng.choice(SPACES)}}}],", "match: [{port: 8080}],"])
    rule = f"{{{match} route: [{{destination: {{host: {name}}}}}]}}"
    return virtual_service(f"v{rng.randrange(3)}", f"{{hosts: [{host}], {export}, http: [{rule}]}}", space)


@pytest.mark.parametrize("seed", range(25))
def test_derived_sets_equal_those_built_from_the_start(seed: int) -> None:
    """After any history, what is shared or kept is what a fresh registry builds alone."""
    rng = random.Random(seed)
    world = World()
    for _ in range(25):
        world.add(random_document(rng))
        space, port = rng.choice(SPACES), rng.choice([80, 8080, 0])
        key = HostsKey(
            ListenerKey(EgressKey(space, None), 0),
            port,
            f"{space}.svc.cluster.local",
            Sight(with_port=port == 0),
            frozenset(),
        )
        kept = world.registry.memo.get(host_sets.host_set, key)
        assert kept == world.again().registry.memo.get(host_sets.built, key)
