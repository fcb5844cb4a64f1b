"""What a change costs, and which proxies hold the same resource."""

from __future__ import annotations

from tests.translate.listeners.test_outbound import entry, service, slice_of, virtual_service
from tests.translate.listeners.world import World, sidecar

WORLD = service("web", "{name: http, port: 80}") + service("db", "{name: tcp, port: 5432}", ip="10.0.0.6")


def built(world: World, name: str = "_outbound_listener") -> int:
    return world.registry.memo.runs.get(name, 0)


def test_http_service_on_a_known_port_rebuilds_nothing() -> None:
    world = World(WORLD)
    before, count = world.resources(sidecar("ns1")), built(world)
    world.apply(service("more", "{name: http, port: 80}", ip="10.0.0.7"))
    after = world.resources(sidecar("ns1"))
    assert built(world) == count
    assert after["0.0.0.0_80"] is before["0.0.0.0_80"]


def test_tcp_service_builds_its_own_listener_only() -> None:
    world = World(WORLD)
    before, count = world.resources(sidecar("ns1")), built(world)
    world.apply(service("more", "{name: tcp, port: 5432}", ip="10.0.0.7"))
    after = world.resources(sidecar("ns1"))
    assert built(world) == count + 1
    assert set(after) - set(before) == {"10.0.0.7_5432"}
    assert all(after[name] is before[name] for name in before)


def test_namespaces_share_listeners() -> None:
    world = World(WORLD)
    first, second = world.resources(sidecar("ns1")), world.resources(sidecar("ns2", "10.9.0.2"))
    for name in ("0.0.0.0_80", "10.0.0.6_5432", "virtualOutbound"):
        assert first[name] is second[name]
    assert built(world, "_planned_keys") == 1


def test_namespace_with_a_route_of_its_own_is_apart() -> None:
    """Its own VirtualService changes one listener; the others stay shared."""
    route = "hosts: [db.ns1.svc.cluster.local], exportTo: ['.'], tcp: [{route: [{destination: {host: web}}]}]"
    world = World(WORLD + virtual_service(route))
    first, second = world.resources(sidecar("ns1")), world.resources(sidecar("ns2", "10.9.0.2"))
    assert first["0.0.0.0_80"] is second["0.0.0.0_80"]
    assert first["10.0.0.6_5432"] != second["10.0.0.6_5432"]


def test_private_service_is_seen_by_its_namespace_only() -> None:
    hidden = "hosts: [x.ext], exportTo: ['.'], resolution: DNS, ports: [{number: 443, name: t, protocol: TLS}]"
    world = World(WORLD + entry("x", hidden))
    assert "0.0.0.0_443" in world.resources(sidecar("ns1"))
    assert "0.0.0.0_443" not in world.resources(sidecar("ns2", "10.9.0.2"))


def test_stock_and_istio_proxies_differ() -> None:
    world = World(WORLD)
    first, second = world.resources(sidecar("ns1")), world.resources(sidecar("ns1", istio=False))
    assert first["0.0.0.0_80"] != second["0.0.0.0_80"]
    assert first["10.0.0.6_5432"].version == second["10.0.0.6_5432"].version


def test_policy_change_rebuilds_inbound_only() -> None:
    world = World(WORLD)
    before, count = world.resources(sidecar("ns1")), built(world)
    world.apply("""
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
""")
    after = world.resources(sidecar("ns1"))
    assert built(world) == count
    assert {name for name in after if after[name] != before[name]} == {"virtualInbound"}


def test_replicas_of_a_headless_service_share_a_plan() -> None:
    """Each replica leaves out its own address only; the plan is made once."""
    headless = service("db", "{name: tcp, port: 5432}", ip="None")
    world = World(headless + slice_of("db", "tcp", 5432, "10.9.0.1", "10.9.0.2", "10.9.0.3"))
    names = [set(world.resources(sidecar("ns1", f"10.9.0.{last}"))) for last in (1, 2)]
    assert "10.9.0.1_5432" not in names[0]
    assert names[0] - names[1] == {"10.9.0.2_5432"}
    assert names[1] - names[0] == {"10.9.0.1_5432"}
    assert built(world, "_planned_keys") == 1
