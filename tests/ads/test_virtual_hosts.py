"""Virtual hosts one by one: cut from route configurations, and at the proxy whenever it has a shell for them."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pytest
from envoy.config.route.v3.route_components_pb2 import VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from controlplane.ads.contents import ServedSnapshot, SnapshotCache
from controlplane.ads.lockstep import Lockstep
from controlplane.ads.protocol import offer, receive
from controlplane.ads.responses import Plan, respond
from controlplane.ads.virtual_hosts import SplitRoute, Splitter, route_of, takes_virtual_hosts
from controlplane.ads.watch import CDS, RDS, VHDS, Kind, Request, StreamState, Variant
from controlplane.ads.wire import Decoder, Encoder
from controlplane.model.proxy import Proxy
from controlplane.rope import Rope, Strand
from controlplane.snapshots import Resource, ResourceType, Snapshot

R, V, C = ResourceType.ROUTE, ResourceType.VIRTUAL_HOST, ResourceType.CLUSTER


def host(name: str, content: int = 0) -> VirtualHost:
    """Return a virtual host; ``content`` tells versions of it apart."""
    return VirtualHost(name=name, domains=[name, f"{name}.{content}"])


def route(name: str, hosts: Iterable[VirtualHost], clusters: Iterable[str] = ()) -> Resource:
    """Return a route configuration in one piece."""
    message = RouteConfiguration(name=name, virtual_hosts=hosts, ignore_port_in_host_matching=True)
    return Resource.of(R, name, message.SerializeToString(deterministic=True), {C: clusters})


def split(whole: Resource) -> SplitRoute:
    """Return both halves of one that has them."""
    found = Splitter().split(whole)
    assert found is not None
    return found


def joined(halves: SplitRoute) -> RouteConfiguration:
    """Put them together as Envoy does, and undo the names."""
    out = RouteConfiguration.FromString(halves.shell.body)
    assert out.vhds.config_source.HasField("ads")
    out.ClearField("vhds")
    for name, each in halves.hosts.items():
        message = VirtualHost.FromString(each.body)
        assert message.name == name  # by which Envoy takes it away
        message.name = name.removeprefix(f"{out.name}/")
        out.virtual_hosts.append(message)
    return out


def test_both_halves_are_the_whole() -> None:
    """Nothing is lost, nothing added; small ones are cut like those that are ropes."""
    hosts = [host("a:80", 1), host("b:80", 2), host("any", 3)]
    whole = route("80", hosts)
    assert joined(split(whole)) == RouteConfiguration.FromString(whole.body)
    fields = [RouteConfiguration(virtual_hosts=[each]).SerializeToString() for each in hosts]
    strand = Strand.of((fields[0], fields[1])).swapping({0: fields[2]})
    rope = Resource(R, "80", "v", Rope([RouteConfiguration(name="80").SerializeToString(), strand, fields[0]]))
    assert sorted(split(rope).hosts) == ["80/a:80", "80/any", "80/b:80"] == sorted(split(rope).names)
    assert list(joined(split(rope)).virtual_hosts) == [hosts[2], hosts[1], hosts[0]]


def test_what_is_shared_is_cut_once() -> None:
    """Two configurations with the same pieces have the same resources, and the same set of names."""
    fields = tuple(RouteConfiguration(virtual_hosts=[host(f"h{n}")]).SerializeToString() for n in range(5))
    other = RouteConfiguration(virtual_hosts=[host("h0", 1)]).SerializeToString()
    strand, splitter = Strand.of(fields), Splitter()
    first = splitter.split(Resource(R, "80", "1", Rope([strand])))
    second = splitter.split(Resource(R, "80", "2", Rope([strand.swapping({0: other})])))
    assert first is not None
    assert second is not None
    assert first.names is second.names
    same = [name for name in first.hosts if first.hosts[name] is second.hosts[name]]
    assert same == ["80/h1", "80/h2", "80/h3", "80/h4"]


@pytest.mark.parametrize("seed", range(30))
def test_what_follows_from_before_is_what_would_be_cut_anew(seed: int) -> None:
    """Pieces are changed, put in, taken out and doubled in a long list; only what differs is cut."""
    rng, splitter = random.Random(seed), Splitter()
    pieces = [_piece(f"h{place:03}", 0) for place in range(40)]
    before = None
    for number in range(1, 13):
        for _ in range(rng.randrange(3)):
            at = rng.randrange(len(pieces))
            match rng.choice(("change", "change", "add", "remove", "double", "settings")):
                case "change":
                    pieces[at] = _piece(f"h{at:03}", number)
                case "add":
                    pieces.insert(at, _piece(f"n{number}-{at}", number))
                case "remove":
                    del pieces[at]
                case "double":
                    pieces.append(pieces[at])
                case _:
                    pieces.insert(at, RouteConfiguration(name="80").SerializeToString())
        whole = Resource(R, "80", str(number), Rope([Strand.of(tuple(pieces))]))
        found, anew = splitter.split(whole), split(whole)
        assert found is not None
        assert (dict(found.hosts), found.names, found.shell) == (dict(anew.hosts), anew.names, anew.shell)
        assert all(found.get(name) is each for name, each in anew.hosts.items()), "the same objects, by which all go"
        if before is not None:
            differing = found.differing(before)
            for name in found.names | before.names:
                assert found.get(name) is before.get(name) or name in differing
        before = found


def _piece(name: str, content: int) -> bytes:
    return bytes(RouteConfiguration(virtual_hosts=[host(name, content)]).SerializeToString(deterministic=True))


async def test_an_answer_of_a_proxy_lists_no_versions() -> None:
    """There is one for each virtual host, and a set of them for each namespace: listing them took most of a change."""
    served = SnapshotCache().served(Snapshot(1, {R: {"80": route("80", [host("a"), host("b")])}}), split=True)
    lockstep = Lockstep()
    state = lockstep.begin(Variant.DELTA, served, _unknown)
    asked = DeltaDiscoveryRequest(type_url=VHDS, resource_names_subscribe=["*"])
    state = lockstep.receive(state, asked.SerializeToString()).state or state
    move = lockstep.move(state, served, frozenset())
    assert move.response is not None
    answer = DeltaDiscoveryRequest(type_url=VHDS, response_nonce=move.response.nonce)
    assert lockstep.receive(move.state or state, answer.SerializeToString()).kind is Kind.ACK
    assert "versions" not in vars(served.of(V))
    assert served.of(V).versions == {name: each.version for name, each in served.of(V).resources.items()}
    assert set(served.of(V).versions) == {"80/a", "80/b"}


@pytest.mark.parametrize("changed", [None, "80/h0", "80/h3"])
def test_a_proxy_that_comes_back_states_what_it_is_served(changed: str | None) -> None:
    """Its own virtual hosts and those that all have; in an order of its own, and in another version it is not that."""
    fields = tuple(_piece(f"h{number}", 0) for number in range(5))
    strand = Strand.of(fields).swapping({0: _piece("h0", 1)})
    cache, whole = SnapshotCache(), Resource(R, "80", "1", Rope([strand]))
    plain = Resource(R, "80", "2", Rope([Strand.of(fields)]))
    for each in (whole, plain):
        served = cache.served(Snapshot(1, {R: {"80": each}}), split=True)
        contents = served.of(V)
        said = {name: held.version for name, held in sorted(contents.resources.items(), reverse=True)}
        if changed is not None:
            said[changed] = "another"
        request = DeltaDiscoveryRequest(type_url=VHDS, initial_resource_versions=said)
        held = Decoder(Variant.DELTA).request(request.SerializeToString(), served).held
        assert (held is contents.versions) is (changed is None)
        assert held == said


def test_a_listener_of_its_own_keeps_its_route_in_one_piece() -> None:
    """There is nothing to gain for a single virtual host; a socket's path is a name like another."""
    assert Splitter().split(route("web.test:80", [host("web.test:80")])) is None
    assert sorted(split(route("unix:///run/a", [host("b/c")])).hosts) == ["unix:///run/a/b%2Fc"]


@pytest.mark.parametrize(
    ("minor", "stated", "offered", "taken"),
    [
        (37, None, True, True),
        (37, None, False, False),
        (37, True, False, True),
        (40, False, True, False),
        (36, True, True, False),
        (None, True, True, False),
    ],
)
def test_who_takes_them(minor: int | None, stated: bool | None, offered: bool, taken: bool) -> None:  # noqa: FBT001
    """Envoy 1.37 and newer; the proxy's own word goes before the server's."""
    metadata = {} if stated is None else {"VIRTUAL_HOST_DISCOVERY": stated}
    proxy = Proxy("sidecar", "a.b", ("10.0.0.1",), "b", "", metadata=metadata, envoy_minor=minor)
    assert takes_virtual_hosts(proxy, offered=offered) is taken


def test_nothing_is_said_of_what_is_not_there() -> None:
    """A route configuration without virtual hosts has an empty resource, without which Envoy waits for ever."""
    snapshot = Snapshot(1, {R: {"80": route("80", [])}})
    contents = SnapshotCache().served(snapshot, split=True).of(V)
    response = Encoder().encode(Plan(Variant.DELTA, VHDS, contents, contents.names), 0, 1)
    decoded = DeltaDiscoveryResponse.FromString(bytes(response.body))
    assert [(each.name, each.HasField("resource")) for each in decoded.resources] == [("80/-", False)]


def test_clusters_stay_until_no_virtual_host_names_them() -> None:
    """Make before break: the shells name no clusters, the virtual hosts do."""
    cache = SnapshotCache()
    before = Snapshot(1, {C: _clusters("a", "b"), R: {"80": route("80", [host("x")], ["a", "b"])}})
    after = Snapshot(2, {C: _clusters("a"), R: {"80": route("80", [host("x", 1)], ["a"])}})
    state = StreamState(Variant.DELTA, cache.served(before, split=True), lambda _type, _name: None)
    talk = _Talk(state)
    for url, names in ((CDS, ()), (RDS, ("80",)), (VHDS, ())):
        talk.ask(Request(url, subscribe=frozenset(names)))
    talk.state = offer(talk.state, cache.served(after, split=True))
    said = talk.run()
    assert [(plan.type_url, sorted(plan.names), sorted(plan.removed)) for plan in said] == [
        (VHDS, ["80/x"], []),
        (CDS, [], ["b"]),
    ]


def test_a_route_configuration_that_leaves_keeps_its_virtual_hosts() -> None:
    """As long as a listener of the proxy uses it, requests find them; if it comes back, what did not is taken away."""
    cache = SnapshotCache()
    both = {"80": route("80", [host("a"), host("b")]), "81": route("81", [host("c")])}
    talk = _Talk(StreamState(Variant.DELTA, cache.served(Snapshot(1, {R: both}), split=True), _unknown))
    talk.ask(Request(RDS, subscribe=frozenset(both)))
    talk.ask(Request(VHDS))

    def publish(**routes: Resource) -> list[tuple[str, list[str], list[str]]]:
        talk.state = offer(
            talk.state, cache.served(Snapshot(2, {R: {each.name: each for each in routes.values()}}), split=True)
        )
        return [(plan.type_url, sorted(plan.names), sorted(plan.removed)) for plan in talk.run()]

    assert publish(other=both["81"]) == [(RDS, [], ["80"])]  # which Envoy passes over
    back = publish(other=both["81"], back=route("80", [host("a")]))
    assert back == [(RDS, ["80"], []), (VHDS, ["80/a"], ["80/b"])]


def _clusters(*names: str) -> Mapping[str, Resource]:
    return {name: Resource.of(C, name, name.encode()) for name in names}


@dataclass
class _Sent:
    """A response on its way."""

    nonce: str
    version: str
    plan: Plan
    sequence: int


class _Talk:
    """A stream's core, whose responses wait to be delivered."""

    def __init__(self, state: StreamState) -> None:
        self.state = state
        self.sent: deque[_Sent] = deque()
        self._count = 0

    def ask(self, request: Request) -> None:
        self.state, _ = receive(self.state, request, 0.0)
        self.send()
        if not request.nonce:
            self.run()

    def send(self) -> None:
        while True:
            self.state, reply = respond(self.state, self._encoded, frozenset())
            if reply is None:
                return
            self.sent.append(reply)

    def _encoded(self, plan: Plan, _after: int) -> _Sent:
        self._count += 1
        return _Sent(f"n{self._count}", f"v{self._count}", plan, self._count)

    def run(self) -> list[Plan]:
        """Acknowledge everything until nothing comes; return what was said."""
        self.send()
        said = []
        while self.sent:
            reply = self.sent.popleft()
            said.append(reply.plan)
            self.state, _ = receive(self.state, Request(reply.plan.type_url, reply.nonce), 0.0)
            self.send()
        return said


@dataclass
class _Envoy:
    """What Envoy does with shells and virtual hosts, as its sources and its logs say.

    ``watched`` are the route configurations that listeners use, with the virtual hosts of those that are shells.
    ``told`` is all that was ever said of virtual hosts on any stream: what a next stream begins with.
    """

    watched: dict[str, dict[str, str] | None] = field(default_factory=dict)
    routes: dict[str, str] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)
    discovers: bool = False

    def take(self, plan: Plan) -> None:
        """Take a response."""
        resources = [*(plan.contents.resources[name] for name in plan.names), *plan.extras]
        if plan.type_url == RDS:
            for each in resources:
                if each.name in self.watched:
                    self.routes[each.name] = each.version
                    if b"unknown" in each.body:  # in one piece, and empty
                        continue
                    if self.watched[each.name] is None:
                        self.watched[each.name] = {}
            return
        for each in resources:
            self.told[each.name] = each.version
            hosts = self.watched.get(route_of(each.name))
            if hosts is not None:
                hosts[each.name] = each.version
        for name in plan.removed:
            self.told.pop(name, None)
            (self.watched.get(route_of(name)) or {}).pop(name, None)


def _unknown(type_: ResourceType, name: str) -> Resource | None:
    return Resource.of(R, name, b"unknown") if type_ is R else None


class _World:
    """A configuration that changes, a proxy, and their stream, which may break."""

    names = ("80", "81", "unix:///x")

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.envoy = _Envoy()
        self.mesh: dict[str, dict[str, int]] = {}
        self.snapshot = Snapshot(1, {R: {}})
        self.cache = SnapshotCache()
        self.talk = self._connected()

    @property
    def served(self) -> ServedSnapshot:
        return self.cache.served(self.snapshot, split=True)

    def publish(self) -> None:
        built = {name: route(name, [host(each, n) for each, n in hosts.items()]) for name, hosts in self.mesh.items()}
        self.snapshot = Snapshot(self.snapshot.revision + 1, {R: built})
        self.talk.state = offer(self.talk.state, self.served)

    def step(self) -> None:
        self.rng.choice([self._host, self._host, self._gone, self._route, self._less, self._watch, self._drop,
                         self._deliver, self._deliver, self._break])()  # fmt: skip
        if self.rng.random() < 0.5:
            self.publish()
        self.talk.send()

    def settle(self) -> None:
        self.publish()
        self.talk.send()
        while self.talk.sent:
            self._deliver()

    def _host(self) -> None:
        if self.mesh:
            self.mesh[self.rng.choice(sorted(self.mesh))][self.rng.choice("abc")] = self.rng.randrange(9)

    def _gone(self) -> None:
        if self.mesh:
            self.mesh[self.rng.choice(sorted(self.mesh))].pop(self.rng.choice("abc"), None)

    def _route(self) -> None:
        self.mesh.setdefault(self.rng.choice(self.names), {})

    def _less(self) -> None:
        self.mesh.pop(self.rng.choice(self.names), None)

    def _watch(self) -> None:
        name = self.rng.choice(self.names)
        if name not in self.envoy.watched:
            self.envoy.watched[name] = None
            self._ask(Request(RDS, subscribe=frozenset({name})))

    def _drop(self) -> None:
        if self.envoy.watched:
            name = self.rng.choice(sorted(self.envoy.watched))
            del self.envoy.watched[name]
            self.envoy.routes.pop(name, None)
            self._ask(Request(RDS, unsubscribe=frozenset({name})))

    def _deliver(self) -> None:
        if not self.talk.sent:
            return
        reply = self.talk.sent.popleft()
        self.envoy.take(reply.plan)
        self._ask(Request(reply.plan.type_url, reply.nonce))
        if any(hosts is not None for hosts in self.envoy.watched.values()) and not self.envoy.discovers:
            self.envoy.discovers = True
            self._ask(Request(VHDS))
        self.talk.send()

    def _break(self) -> None:
        if self.rng.random() < 0.3:
            self.talk = self._connected()

    def _connected(self) -> _Talk:
        """Begin a stream with what the proxy holds; the server may answer one request before it reads the next."""
        self.talk, envoy = _Talk(StreamState(Variant.DELTA, self.served, _unknown)), self.envoy
        if envoy.watched:
            names = frozenset(envoy.watched)
            self._ask(Request(RDS, subscribe=names, held=dict(envoy.routes), resumed=bool(envoy.routes)))
            if self.rng.random() < 0.5:
                self.talk.send()
        if envoy.discovers:
            self._ask(Request(VHDS, held=dict(envoy.told), resumed=bool(envoy.told)))
        self.talk.send()
        return self.talk

    def _ask(self, request: Request) -> None:
        self.talk.state, _ = receive(self.talk.state, request, 0.0)


@pytest.mark.parametrize("seed", range(150))
def test_a_proxy_has_the_virtual_hosts_of_each_shell(seed: int) -> None:
    """Whatever is subscribed, dropped, changed, lost and resumed: in the end each shell has its virtual hosts.

    Envoy asks for them once a stream, by a wildcard, and forgets what comes for route configurations that it does not
    watch.
    """
    world = _World(seed)
    for _ in range(60):
        world.step()
    world.settle()
    contents = world.served.of(V)
    for name, hosts in world.envoy.watched.items():
        if name in world.mesh:
            assert hosts == {each: contents.resources[each].version for each in contents.routes[name]}
