"""A model of Envoy as an xDS client, and a server core to talk to it, without any transport.

Both directions are queues of values; a test decides which message is delivered next, what the configuration becomes,
and whether the stream breaks. The model asserts what must hold whenever it takes a response.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from controlplane.ads.contents import ServedSnapshot, SnapshotCache
from controlplane.ads.protocol import offer, receive
from controlplane.ads.responses import Plan, respond
from controlplane.ads.watch import CDS, EDS, LDS, RDS, TYPES, Request, StreamState, Variant
from controlplane.snapshots import Resource, Resources, ResourceType, Snapshot

BAD = "bad"


@dataclass(frozen=True)
class Part:
    """One resource of the little mesh: a counter that is its content, what it names, whether Envoy refuses it."""

    content: int = 0
    bad: bool = False
    clusters: frozenset[str] = frozenset()
    routes: frozenset[str] = frozenset()

    def resource(self, type_: ResourceType, name: str) -> Resource:
        text = f"{name} {self.content} {sorted(self.clusters)} {sorted(self.routes)} {BAD if self.bad else ''}"
        return Resource.of(
            type_, name, text.encode(), {ResourceType.CLUSTER: self.clusters, ResourceType.ROUTE: self.routes}
        )


@dataclass
class Mesh:
    """Configuration that a test edits; ``snapshot`` keeps the mapping of a type that did not change."""

    parts: dict[ResourceType, dict[str, Part]] = field(default_factory=lambda: {t: {} for t in TYPES.values()})
    revision: int = 0
    last: Snapshot = field(default_factory=Snapshot)

    def snapshot(self) -> Snapshot:
        wanted = {t: dict(parts) for t, parts in self.parts.items()}
        named = {route for part in wanted[ResourceType.LISTENER].values() for route in part.routes}
        routes = wanted[ResourceType.ROUTE]
        wanted[ResourceType.ROUTE] = {name: routes.get(name, Part()) for name in named}
        endpoints = wanted[ResourceType.ENDPOINT]
        wanted[ResourceType.ENDPOINT] = {name: endpoints.get(name, Part()) for name in wanted[ResourceType.CLUSTER]}
        self.revision += 1
        built: dict[ResourceType, Resources] = {}
        for type_, parts in wanted.items():
            fresh = {name: part.resource(type_, name) for name, part in parts.items()}
            old = self.last.of(type_)
            built[type_] = old if old == fresh and type_ in self.last.resources else fresh
        self.last = Snapshot(self.revision, built)
        return self.last


def missing(type_: ResourceType, name: str) -> Resource | None:
    """Empty load assignments and route configurations for names that do not exist."""
    return Resource.of(type_, name, b"empty") if type_ in {ResourceType.ENDPOINT, ResourceType.ROUTE} else None


class Sent(NamedTuple):
    """A response on its way, with the snapshot that it was decided on."""

    nonce: str
    version: str
    plan: Plan
    served: ServedSnapshot
    sequence: int = 0

    @property
    def resources(self) -> list[Resource]:
        return [*(self.plan.contents.resources[name] for name in self.plan.names), *self.plan.extras]

    @property
    def pairs(self) -> frozenset[tuple[str, str]]:
        return frozenset((r.name, r.version) for r in self.resources) | {(name, "") for name in self.plan.removed}


class Envoy:
    """What one proxy holds and has subscribed; ``outbox`` are its requests that the server has not read."""

    def __init__(self, variant: Variant) -> None:
        self.variant = variant
        self.held: dict[str, dict[str, Resource]] = {url: {} for url in (CDS, EDS, LDS, RDS)}
        self.subscribed: dict[str, set[str]] = {EDS: set(), RDS: set()}
        self.refused: dict[str, set[str]] = {url: set() for url in (CDS, EDS, LDS, RDS)}
        self.warming: set[str] = set()
        self.told: set[str] = set()  # clusters whose removal was sent, refused or not
        self.nonces: dict[str, str] = {}
        self.spoken: set[str] = set()  # types requested on this stream
        self.last_refused: dict[str, frozenset[tuple[str, str]]] = {}
        self.outbox: deque[Request] = deque()
        self.began_with_state = False
        self.dangling: dict[
            str, frozenset[str]
        ] = {}  # clusters that the snapshot never had, by version of who names them

    def connect(self) -> None:
        """Begin a stream: say again what is subscribed, and in delta what is held."""
        self.outbox.clear()
        self.nonces.clear()
        self.spoken.clear()
        self.last_refused.clear()
        self.told.clear()
        self.warming.clear()  # nothing a server could know: see the docstring of the convergence test
        self.began_with_state = any(self.held.values())
        self._request(CDS)
        if self.subscribed[EDS]:
            self._request(EDS)
        if self.began_with_state:
            self._request(LDS)
            if self.subscribed[RDS]:
                self._request(RDS)

    def _request(self, url: str, add: Iterable[str] = (), drop: Iterable[str] = ()) -> None:
        """Send a request about subscriptions that answers nothing."""
        first = url not in self.spoken
        self.spoken.add(url)
        names = frozenset(self.subscribed.get(url, ()))
        if self.variant is Variant.SOTW:
            self.outbox.append(Request(url, self.nonces.get(url, ""), None, names, resumed=bool(self.held[url])))
        elif first:
            held = {name: resource.version for name, resource in self.held[url].items()}
            self.outbox.append(Request(url, "", None, names, held=held, resumed=bool(held)))
        else:
            self.outbox.append(Request(url, "", None, frozenset(add), frozenset(drop)))

    def _answer(self, sent: Sent, error: str | None) -> None:
        url = sent.plan.type_url
        self.nonces[url] = sent.nonce
        names = frozenset(self.subscribed.get(url, ())) if self.variant is Variant.SOTW else frozenset()
        self.outbox.append(Request(url, sent.nonce, error, names))

    def take(self, sent: Sent, *, partly: bool) -> None:
        """Take one response: apply and acknowledge it, or refuse it, having applied its good part if ``partly``."""
        url = sent.plan.type_url
        if url in {CDS, LDS}:  # the others are sent again when a cluster warms anew, or when asked for
            assert sent.pairs != self.last_refused.get(url) or not sent.pairs, "a refused response was sent again"
        self.last_refused.pop(url, None)
        if url == CDS:
            names = {r.name for r in sent.resources}
            gone = set(sent.plan.removed) if self.variant is Variant.DELTA else self.held[CDS].keys() - names
            self._check_removals(sent, gone & self.held[CDS].keys() - self.told)
            self.told = (self.told - names) | gone  # a refused removal comes again, whatever is used by then
        bad = {r.name for r in sent.resources if BAD.encode() in r.body}
        if not bad:
            self.refused[url] -= {r.name for r in sent.resources}
            self._apply(sent, sent.resources)
            self._answer(sent, None)
            return
        self.last_refused[url] = sent.pairs
        if partly:
            self._apply(sent, [r for r in sent.resources if r.name not in bad], removals=False)
            self.refused[url] |= bad
        else:
            self.refused[url] |= {r.name for r in sent.resources}
        self._answer(sent, f"refused: {sorted(bad)}")

    def _apply(self, sent: Sent, resources: list[Resource], *, removals: bool = True) -> None:
        url, held = sent.plan.type_url, self.held[sent.plan.type_url]
        names = {r.name for r in resources}
        removed = set(sent.plan.removed)
        if self.variant is Variant.SOTW and url in {CDS, LDS} and removals:
            removed = held.keys() - names
        changed = {r.name for r in resources if held.get(r.name) != r}
        if url in {LDS, RDS}:
            self._check_references(sent, resources)
            clusters = sent.served.of(ResourceType.CLUSTER).names
            self.dangling.update({r.version: r.named(ResourceType.CLUSTER) - clusters for r in resources})
        for name in removed if removals else ():
            if url not in {EDS, RDS}:  # Envoy ignores removals of these
                held.pop(name, None)
        wanted = self.subscribed.get(url)
        held.update({r.name: r for r in resources if wanted is None or r.name in wanted})
        if url == EDS:
            self.warming -= names
        if url == CDS:
            self.warming = (self.warming | changed) & held.keys()
            self._subscribe(EDS, set(held), again=bool(changed))
            if LDS not in self.spoken:
                self._request(LDS)
        if url == LDS:
            self._subscribe(RDS, {name for r in held.values() for name in r.named(ResourceType.ROUTE)}, again=False)

    def _subscribe(self, url: str, wanted: set[str], *, again: bool) -> None:
        before = self.subscribed[url]
        if wanted == before and not (again and self.variant is Variant.SOTW and wanted):
            return
        self.subscribed[url] = wanted
        for name in before - wanted:
            self.held[url].pop(name, None)
        self._request(url, wanted - before, before - wanted)

    def _check_references(self, sent: Sent, resources: list[Resource]) -> None:
        clusters = sent.served.of(ResourceType.CLUSTER).resources
        for name in {c for r in resources for c in r.named(ResourceType.CLUSTER) if c in clusters} - self.refused[CDS]:
            assert name in self.held[CDS], f"{sent.plan.type_url} names {name}, which the proxy does not have yet"
            if self.began_with_state and name not in self.refused[EDS]:
                assert name in self.held[EDS], f"{sent.plan.type_url} names {name}, which has no endpoints yet"

    def _check_removals(self, sent: Sent, removed: set[str]) -> None:
        if self.variant is Variant.SOTW and self.began_with_state:
            return  # a SotW server cannot know what a reconnecting proxy still uses
        for url in (LDS, RDS):
            current = sent.served.of(TYPES[url]).resources
            for resource in self.held[url].values():
                if current.get(resource.name) != resource:
                    still = resource.named(ResourceType.CLUSTER) & removed - self.dangling[resource.version]
                    assert not still, f"{resource} still names {still}"


class Conversation:
    """A proxy and the server core, with what is on the way between them."""

    def __init__(self, variant: Variant, mesh: Mesh) -> None:
        self.cache = SnapshotCache()
        self.mesh = mesh
        self.envoy = Envoy(variant)
        self.inbox: deque[Sent] = deque()  # responses that the proxy has not read
        self.numbers = itertools.count(1)
        self.state: StreamState
        self.sent: list[Sent] = []
        self.connect()

    def connect(self) -> None:
        self.inbox.clear()
        served = self.cache.served(self.mesh.last)
        self.state = StreamState(self.envoy.variant, served, missing)
        self.envoy.connect()

    def publish(self) -> None:
        """Compile, and offer the snapshot to the stream."""
        self.state = offer(self.state, self.cache.served(self.mesh.snapshot()))
        self._pump()

    def serve_request(self) -> bool:
        """The server reads one request and sends what is due."""
        if not self.envoy.outbox:
            return False
        self.state, _ = receive(self.state, self.envoy.outbox.popleft(), now=0.0)
        self._pump()
        return True

    def take_response(self, *, partly: bool = False) -> bool:
        """The proxy reads one response."""
        if not self.inbox:
            return False
        self.envoy.take(self.inbox.popleft(), partly=partly)
        return True

    def _pump(self) -> None:
        def encode(plan: Plan, _after: int) -> Sent:
            nonce = str(next(self.numbers))
            unanswered = [s for s in self.inbox if s.plan.type_url == plan.type_url]
            answers = [r for r in self.envoy.outbox if r.type_url == plan.type_url and r.nonce and self._answers(r)]
            assert not unanswered, f"a second {plan.type_url} in flight: {unanswered}"
            assert not answers, f"a second {plan.type_url} before the server read {answers}"
            return Sent(nonce, nonce, plan, self.state.served)

        while True:
            self.state, sent = respond(self.state, encode, frozenset())
            if sent is None:
                return
            self.inbox.append(sent)
            self.sent.append(sent)

    def _answers(self, request: Request) -> bool:
        watch = self.state.watch(request.type_url)
        return watch is not None and watch.flight is not None and watch.flight.nonce == request.nonce

    def settle(self) -> None:
        """Deliver everything until nothing is on the way."""
        for _ in range(1000):
            if not (self.serve_request() or self.take_response()):
                return
        raise AssertionError("the conversation does not end")

    def heal(self) -> None:
        """Make every resource acceptable, under a new version where it was not."""
        for parts in self.mesh.parts.values():
            for name, part in parts.items():
                if part.bad:
                    parts[name] = replace(part, bad=False, content=part.content + 1)

    def versions(self, url: str) -> Mapping[str, str]:
        return {name: resource.version for name, resource in self.envoy.held[url].items()}
