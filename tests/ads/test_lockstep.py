"""Streams that share states and steps are served as each would be alone."""

from __future__ import annotations

import asyncio
import gc
from functools import partial

import pytest
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DiscoveryRequest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.ads.contents import ServedSnapshot, SnapshotCache
from controlplane.ads.lockstep import Lockstep
from controlplane.ads.watch import CDS, EDS, StreamState, Variant
from controlplane.ads.wire import Response
from controlplane.snapshots import Resource, ResourceType, Snapshot
from tests.patience import until

C, E = ResourceType.CLUSTER, ResourceType.ENDPOINT
NAMES = ("a", "b", "c")
OVERDUE: frozenset[str] = frozenset()


def missing(type_: ResourceType, name: str) -> Resource | None:
    return Resource.of(type_, name, b"empty") if type_ is E else None


def request(
    variant: Variant, type_url: str, names: frozenset[str] = frozenset(), nonce: str = "", *, refuse: bool = False
) -> bytes:
    made = DiscoveryRequest(type_url=type_url, resource_names=sorted(names), response_nonce=nonce)
    if variant is Variant.DELTA:
        made = DeltaDiscoveryRequest(
            type_url=type_url, resource_names_subscribe=sorted(names) if not nonce else (), response_nonce=nonce
        )
    if refuse:
        made.error_detail.message = "no"
    encoded: bytes = made.SerializeToString()
    return encoded


class Proxy:
    """One stream, which remembers what it was sent. It answers the last response of each type."""

    def __init__(self, lockstep: Lockstep, variant: Variant, served: ServedSnapshot) -> None:
        self.lockstep, self.variant = lockstep, variant
        self.state: StreamState = lockstep.begin(variant, served, missing)
        self.sent: list[Response] = []
        self.names: dict[str, frozenset[str]] = {}

    def ask(self, type_url: str, names: frozenset[str]) -> None:
        self.names[type_url] = names
        self._receive(request(self.variant, type_url, names))

    def answer(self, type_url: str, *, refuse: bool) -> None:
        nonce = next((r.nonce for r in reversed(self.sent) if r.type_url == type_url), None)
        if nonce is not None:
            self._receive(request(self.variant, type_url, self.names[type_url], nonce, refuse=refuse))

    def _receive(self, body: bytes) -> None:
        self.state = self.lockstep.receive(self.state, body).state or self.state

    def serve(self, served: ServedSnapshot) -> None:
        while True:
            move = self.lockstep.move(self.state, served, OVERDUE)
            self.state = move.state or self.state
            if move.response is None:
                return
            self.sent.append(move.response)


class World:
    """A few proxies and a little configuration; each proxy has its own lockstep unless one is given."""

    def __init__(self, variant: Variant, shared: Lockstep | None) -> None:
        self.contents = dict.fromkeys(NAMES, 0)
        self.cache = SnapshotCache()
        self.served = self._published()
        self.proxies = [Proxy(shared or Lockstep(), variant, self.served) for _ in range(3)]

    def _published(self) -> ServedSnapshot:
        of = {
            type_: {name: Resource.of(type_, name, f"{name}{n}".encode()) for name, n in self.contents.items()}
            for type_ in (C, E)
        }
        self.snapshot = Snapshot(sum(self.contents.values()), of)
        return self.cache.served(self.snapshot)

    def take(self, deed: tuple[object, ...]) -> None:
        match deed:
            case ("ask", int(who), str(type_url), frozenset(names)):
                self.proxies[who].ask(type_url, names)
            case ("again", int(who), str(type_url)):
                self.proxies[who].ask(type_url, self.proxies[who].names.get(type_url, frozenset()))
            case ("answer", int(who), str(type_url), bool(refuse)):
                self.proxies[who].answer(type_url, refuse=refuse)
            case ("change", str(name)):
                self.contents[name] += 1
                self.served = self._published()
        for proxy in self.proxies:
            proxy.serve(self.served)


who, types = st.integers(0, 2), st.sampled_from((CDS, EDS))
deeds = st.one_of(
    st.tuples(st.just("ask"), who, types, st.frozensets(st.sampled_from((*NAMES, "nowhere")), max_size=3)),
    st.tuples(st.just("again"), who, types),
    st.tuples(st.just("answer"), who, types, st.booleans()),
    st.tuples(st.just("change"), st.sampled_from(NAMES)),
)


@pytest.mark.parametrize("variant", list(Variant))
@given(history=st.lists(deeds, max_size=30))
@settings(max_examples=60, deadline=None)
def test_a_shared_step_is_the_step_that_each_would_take(variant: Variant, history: list[tuple[object, ...]]) -> None:
    async def run() -> None:
        together, alone = World(variant, Lockstep()), World(variant, None)
        for deed in history:
            together.take(deed)
            alone.take(deed)
        for one, other in zip(together.proxies, alone.proxies, strict=True):
            assert [(r.type_url, r.version) for r in one.sent] == [(r.type_url, r.version) for r in other.sent]
            nonces = [(r.type_url, r.nonce) for r in one.sent]
            assert len(set(nonces)) == len(nonces), "a nonce is unique on its stream"

    asyncio.run(run())


async def test_streams_that_went_the_same_way_are_one_state() -> None:
    world = World(Variant.DELTA, Lockstep())
    for deed in (("ask", CDS), ("ask", EDS), ("answer", CDS), ("answer", EDS)):
        for number in (0, 1):
            extra: object = frozenset(NAMES) if deed == ("ask", EDS) else frozenset() if deed[0] == "ask" else False
            world.take((deed[0], number, deed[1], extra))
    one, other, silent = (proxy.state for proxy in world.proxies)
    assert one is other
    assert silent is not one
    world.take(("change", "a"))
    assert world.proxies[0].sent[-1] is world.proxies[1].sent[-1]
    world.take(("answer", 0, EDS, True))
    world.take(("answer", 1, EDS, False))
    assert world.proxies[0].state is not world.proxies[1].state


async def test_streams_that_came_at_different_times_are_one_state_once_they_are_sent_the_same() -> None:
    """For that no type has to change but the one that changed between them: what is still valid was sent alike."""
    clusters = {name: Resource.of(C, name, name.encode()) for name in NAMES}
    cache, lockstep = SnapshotCache(), Lockstep()
    snapshots = [
        cache.served(Snapshot(n, {C: clusters, E: {"a": Resource.of(E, "a", f"{n}".encode())}})) for n in range(1, 4)
    ]
    proxies: list[Proxy] = []
    for served in snapshots:
        if len(proxies) < 2:
            proxies.append(Proxy(lockstep, Variant.DELTA, served))
            for type_url, names in ((CDS, OVERDUE), (EDS, frozenset(NAMES))):
                proxies[-1].ask(type_url, names)
        for proxy in proxies:
            proxy.serve(served)
            for type_url in (CDS, EDS):
                proxy.answer(type_url, refuse=False)
            proxy.serve(served)
    early, late = proxies
    assert len(early.sent) == len(late.sent) + 1
    assert early.state is late.state


def holds(lockstep: Lockstep, states: int) -> bool:
    gc.collect()
    return lockstep.state_count == states


async def test_states_that_nobody_is_in_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controlplane.ads.lockstep._KEPT_SECONDS", 0.01)
    lockstep = Lockstep()
    world = World(Variant.DELTA, lockstep)
    world.take(("ask", 0, CDS, frozenset()))
    world.take(("answer", 0, CDS, False))
    for name in NAMES * 5:
        world.take(("change", name))
        world.take(("answer", 0, CDS, False))
    assert lockstep.state_count > len(world.proxies)
    await until(partial(holds, lockstep, 2), "one proxy has asked, two have not")


async def test_a_stream_that_cannot_move_on_does_not_keep_what_the_others_were_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("controlplane.ads.lockstep._KEPT_SECONDS", 0.01)
    lockstep = Lockstep()
    world = World(Variant.DELTA, lockstep)
    for number in range(3):
        world.take(("ask", number, CDS, frozenset()))
    for number in range(3):
        world.take(("answer", number, CDS, False))
    slow = world.proxies.pop()
    assert slow.state is world.proxies[0].state, "so the steps of the others begin where it is"
    for name in NAMES * 5:
        world.take(("change", name))
        for number in (0, 1):
            world.take(("answer", number, CDS, False))
    await until(partial(holds, lockstep, 2))
    slow.serve(world.served)
    assert {r.nonce for r in slow.sent[1:]}.isdisjoint(r.nonce for r in slow.sent[:1])
    slow.answer(CDS, refuse=False)
    assert slow.state.watches[CDS].acked_nonce == slow.sent[-1].nonce
