"""What a change costs, and that sharing changes no result."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

import pytest

from controlplane.engine.recording import query
from controlplane.registry import portions
from controlplane.registry.scopes import EgressKey
from controlplane.registry.store import View
from controlplane.rope import Rope
from controlplane.snapshots import Resource
from controlplane.translate.routes import contested, host_sets, sidecar
from controlplane.translate.routes.claims import ListenerKey
from controlplane.translate.routes.domains import DomainOptions
from controlplane.translate.routes.portioned import real_names
from controlplane.translate.routes.selection import HostsKey, virtual_host_keys
from controlplane.translate.routes.virtual_hosts import EncodedHosts
from controlplane.translate.routes.virtual_hosts import virtual_host as encoded_host
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


def held(resources: Iterable[Resource]) -> dict[int, int]:
    """Return the bytes that these hold: the size of each piece, by the object."""
    found: dict[int, int] = {}
    for resource in resources:
        strands = resource.content.strands if isinstance(resource.content, Rope) else ()
        for strand in strands:
            found.update((id(piece), len(piece)) for piece in (*strand.pieces, *strand.swaps.values()))
    return found


def test_namespaces_share_the_bytes_of_their_virtual_hosts() -> None:
    """All together hold what one does, and the virtual hosts with short names; a change brings a few new ones."""
    spaces = [f"space{number}" for number in range(20)]
    world = World(*(service(f"s{number}", space) for number in range(10) for space in spaces))
    before = [world.resource("80", client(space)) for space in spaces]
    assert min(len(resource.content) for resource in before) > 50_000
    assert sum(held(before).values()) < 2.2 * len(before[0].content)
    world.add(routed("s1", 20, "space3"))
    after = [world.resource("80", client(space)) for space in spaces]
    assert all(new.version != old.version for new, old in zip(after, before, strict=True))
    fresh = [size for piece, size in held(after).items() if piece not in held(before)]
    assert sum(fresh) < 5_000, "with its name and settings, once a namespace"


def test_equal_routes_have_one_version_however_they_came_to_be() -> None:
    """Another control plane built it at once; this one replaced virtual hosts in what it had, and put them back."""
    world = world_of_many()
    first = world.resource("80", client("shop"))
    world.add(routed("s1", 20, "shop"))
    assert world.resource("80", client("shop")).version != first.version
    world.add(routed("s1", 10, "shop"))
    assert world.resource("80", client("shop")).version == first.version
    assert world.again().resource("80", client("shop")).version == first.version
    neutral = HostsKey(
        ListenerKey(EgressKey("shop", None), 0), 80, "shop.svc.cluster.local", DomainOptions(), frozenset()
    )
    alone = EncodedHosts.of(world.registry.memo.get(host_sets.built, neutral).hosts)
    assert alone.digest == world.registry.memo.get(host_sets.host_set, neutral).encoded.digest


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
        taken = rng.choice(["", ", addresses: [240.0.0.1]"])  # by all that have it
        spec = f"{{hosts: [{host}.x, {host}], ports: {ports}{taken}}}"
        return istio("ServiceEntry", f"e{rng.randrange(2)}", spec, space)
    host = {"wild": "'*.cluster.local'", "private": name}.get(kind, rng.choice([name, "a.example.com"]))
    export = "exportTo: ['.']" if kind == "private" else "exportTo: ['*']"
    match = rng.choice(["", f"match: [{{sourceNamespace: {rng.choice(SPACES)}}}],", "match: [{port: 8080}],"])
    rule = f"{{{match} route: [{{destination: {{host: {name}}}}}]}}"
    return virtual_service(f"v{rng.randrange(3)}", f"{{hosts: [{host}], {export}, http: [{rule}]}}", space)


def built_together(view: View, key: HostsKey) -> host_sets.BuiltHosts:
    """Return virtual hosts as they are if all of them are looked at, in the order of precedence."""
    keys = list(virtual_host_keys(view, key))
    hosts = [encoded_host(view, each) for each in keys]
    contested.drop_shadowing(view, keys, hosts, real_names(keys))
    contested.leave_to_the_first(view, keys, hosts)
    order = sorted(range(len(hosts)), key=[host.name for host in hosts].__getitem__)
    kept = [index for index in order if hosts[index].domains]
    held = tuple([hosts[index] for index in kept])
    encoded = EncodedHosts.of(held)
    everybody = any("*" in host.domains for host in held)
    return host_sets.BuiltHosts(encoded.digest, tuple(keys[index] for index in kept), held, everybody, encoded)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(25))
def test_derived_sets_equal_those_built_from_the_start(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """After any history, what is shared or kept, in portions or not, is what a fresh registry builds alone."""
    monkeypatch.setattr(portions, "MANY", 2 if seed % 2 else portions.MANY)
    rng = random.Random(seed)
    world = World()
    for _ in range(25):
        world.add(random_document(rng))
        space, port = rng.choice(SPACES), rng.choice([80, 8080, 0])
        key = HostsKey(
            ListenerKey(EgressKey(space, None), 0),
            port,
            f"{space}.svc.cluster.local",
            DomainOptions(with_port=port == 0),
            frozenset(),
        )
        kept = world.registry.memo.get(host_sets.host_set, key)
        again = world.again()
        fresh = again.registry.memo.get(query(built_together), key)
        assert [kept.key(position) for position in range(len(kept))] == list(fresh.keys)
        assert [kept.host(position) for position in range(len(kept))] == list(fresh.hosts)
        assert kept.clusters == again.registry.memo.get(host_sets.host_clusters, key)
        assert kept.clusters == frozenset().union(*[host.clusters for host in fresh.hosts])
        assert kept.catches_all == fresh.catches_all
        assert kept.encoded.digest == fresh.encoded.digest
        assert b"".join(kept.encoded.strand.runs()) == b"".join(host.body for host in fresh.hosts)


def test_a_domain_of_two_makes_a_change_no_work_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two entries have one address: virtual hosts are put together from portions all the same."""
    monkeypatch.setattr(portions, "MANY", 8)
    entries = (entry(name, f"{name}.com", "10.1.1.1", DAYS[0]) for name in "ab")
    world = World(*(service(f"s{i}") for i in range(200)), *entries)
    world.resource("80")
    memo = world.registry.memo
    read = [len(memo.node(host_sets.built, key).reads) for key in memo.keys(host_sets.built)]
    assert read
    assert max(read) <= portions.PORTIONS + 8


def test_the_version_of_a_route_configuration_covers_all_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is the same in every configuration too: a newer control plane may write something else there."""
    before = world_of_many().resource()
    monkeypatch.setattr(sidecar, "_SETTINGS", b"")
    after = world_of_many().resource()
    assert before.body != after.body
    assert before.version != after.version


DAYS = [f"2026-01-0{day}T00:00:00Z" for day in range(1, 5)]
ROUTES = "http: [{route: [{destination: {host: s2}}]}]"
YOUNG_SERVICE = service("s1", clusterIP="10.1.1.1").replace(
    "metadata:\n", f"metadata:\n  creationTimestamp: '{DAYS[3]}'\n"
)


def entry(name: str, host: str, address: str, created: str) -> str:
    ports = "[{number: 80, name: http, protocol: HTTP}]"
    return istio("ServiceEntry", name, f"{{hosts: [{host}], addresses: [{address}], ports: {ports}}}", created=created)


@pytest.mark.parametrize(
    ("others", "again"),
    [
        pytest.param(
            [service("s1"), service("s2"), virtual_service("v2", f"{{hosts: [s1], {ROUTES}}}", created=DAYS[1])],
            lambda created: virtual_service("v1", f"{{hosts: [s1.default], {ROUTES}}}", created=created),
            id="routes",
        ),
        pytest.param(
            [entry("b", "b.com", "10.1.1.1", DAYS[1])],
            lambda created: entry("a", "a.com", "10.1.1.1", created),
            id="services",
        ),
        pytest.param(
            [YOUNG_SERVICE, entry("b", "b.com", "10.1.1.1", DAYS[1])],
            lambda created: entry("a", "s1.default.svc.cluster.local", "10.1.1.2", created),
            id="the-place-of-a-service-alone",
        ),
    ],
)
def test_who_is_made_anew_gives_way_to_who_is_older(others: list[str], again: Callable[[str], str]) -> None:
    """Of two that have the same domain the older one has it, also where the other was the older one before."""
    world = World(again(DAYS[0]), *others)
    before = world.resource("80").body
    world.add(again(DAYS[2]))
    after = world.resource("80").body
    assert after == world.again().resource("80").body
    assert after != before
