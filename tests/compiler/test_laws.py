"""The laws of the compiler: what it keeps is what it would build, and it does no work that changes nothing."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, note, settings, strategies

from controlplane.compiler.classes import KEEP_SECONDS
from controlplane.compiler.compiler import Compiler, Session
from controlplane.compiler.holdoff import Holdoff
from controlplane.frontends import FRONTENDS
from controlplane.model import kinds
from controlplane.model.objects import ChangeSet, Object, ObjectKey
from controlplane.model.proxy import Locality, Proxy
from controlplane.registry import portions
from controlplane.registry.store import Registry
from controlplane.snapshots import ResourceType
from tests.compiler.histories import PROXIES, edit, manifest, parsed
from tests.compiler.scratch import assert_as_from_scratch, assert_nothing_left
from tests.compiler.virtual import advance, run, turns


async def opened(compiler: Compiler, proxies: tuple[Proxy, ...]) -> list[Session]:
    return [await compiler.open(proxy, lambda: None) for proxy in proxies]


class History:
    """One compiler behind a holdoff, proxies that come and go, and objects that change, in an order drawn at random."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._objects: dict[ObjectKey, Object] = {}
        self.compiler = Compiler(Registry(frontends=FRONTENDS), slice_seconds=0)
        self._holdoff = Holdoff(self.compiler.apply, timedelta(milliseconds=100), timedelta(seconds=1))
        self._holding = asyncio.create_task(self._holdoff.run())
        self._opening: list[asyncio.Task[Session]] = []
        self.sessions: list[Session] = []

    async def step(self) -> None:
        """Do one thing, and perhaps let others have a few turns."""
        act = self._rng.choice((self._edit, self._edit, self._edit, self._open, self._close, self._cancel, self._wait))
        note(f"{act.__name__.strip('_')}{act()}")
        await turns(self._rng.choice((0, 0, 1, 2, 5, 20, 100)))
        self._take_opened()

    async def settled(self) -> None:
        """Wait until all that was begun is done."""
        advance(5)
        await asyncio.sleep(5)
        if self._opening:
            await asyncio.wait(self._opening)
        self._take_opened()

    async def end(self) -> None:
        """Close everything; nothing may be left of it."""
        await self.settled()
        self._holding.cancel()
        await assert_nothing_left(self.compiler, self.sessions, KEEP_SECONDS)

    def _edit(self) -> str:
        changes = edit(self._rng, self._objects)
        self._holdoff.add(changes)
        return f" {[str(obj.key) for obj in changes.upserts]} gone {[str(key) for key in changes.deletes]}"

    def _open(self) -> str:
        proxy = self._rng.choice(PROXIES)  # often one that is there already, or was
        self._opening.append(asyncio.create_task(self.compiler.open(proxy, lambda: None)))
        return f" {proxy.id}"

    def _close(self) -> str:
        if not self.sessions:
            return " nothing"
        session = self.sessions.pop(self._rng.randrange(len(self.sessions)))
        session.close()
        return f" {session.proxy.id}"

    def _cancel(self) -> str:
        if not self._opening:
            return " nothing"
        opening = self._rng.choice(self._opening)
        return f" one that opens: {opening.cancel()}"

    def _wait(self) -> str:
        seconds = self._rng.choice((0.05, 0.2, KEEP_SECONDS / 2, KEEP_SECONDS + 1))
        advance(seconds)
        return f" {seconds} s"

    def _take_opened(self) -> None:
        for opening in [each for each in self._opening if each.done()]:
            self._opening.remove(opening)
            if not opening.cancelled():
                self.sessions.append(opening.result())


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    rng=strategies.randoms(use_true_random=True),
    steps=strategies.integers(1, 60),
    many=strategies.sampled_from((1, 512)),
)
def test_kept_snapshots_equal_a_build_from_scratch(rng: random.Random, steps: int, many: int) -> None:
    """After any history each kept snapshot is, byte for byte, that of a fresh compiler; nothing is left at its end.

    Lists are made in portions, also where they are as short as here (``many``), or are not.

    Objects change while snapshots are built for others, proxies come, go before they are served, come back, and are
    there twice, classes retire; between any two steps of a build.
    """

    async def history() -> None:
        past = History(rng)
        for step in range(steps):
            await past.step()
            if step % 10 == 9 or step == steps - 1:
                await past.settled()
                await assert_as_from_scratch(past.compiler, past.sessions, f"step {step}")
        await past.end()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(portions, "MANY", many)
        run(history())


@settings(max_examples=8, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(rng=strategies.randoms(use_true_random=True))
def test_lists_in_portions_give_what_whole_ones_give(rng: random.Random) -> None:
    """The kept snapshots are made with the shortest lists divided, those from scratch with none."""

    async def history(patch: pytest.MonkeyPatch) -> None:
        past = History(rng)
        for step in range(24):
            patch.setattr(portions, "MANY", 1)
            await past.step()
            if step % 8 == 7:
                await past.settled()
                patch.setattr(portions, "MANY", 1 << 30)
                await assert_as_from_scratch(past.compiler, past.sessions, f"step {step}")
        await past.end()

    with pytest.MonkeyPatch.context() as patch:
        run(history(patch))


def _mesh(count: int) -> list[Object]:
    objects = []
    for number in range(count):
        namespace, name = f"ns-{number % 20}", f"svc-{number}"
        objects.append(_service(namespace, name, number))
        objects.append(_slice(namespace, name, [f"10.2.{number >> 8}.{number & 255}"]))
    return objects


def _service(namespace: str, name: str, number: int) -> Object:
    spec = {"clusterIP": f"10.0.{number >> 8}.{number & 255}", "ports": [{"name": "http", "port": 80}]}
    return parsed(manifest("v1", "Service", namespace, name, spec=spec))


def _slice(namespace: str, name: str, addresses: list[str]) -> Object:
    return parsed(
        manifest(
            "discovery.k8s.io/v1",
            "EndpointSlice",
            namespace,
            name,
            labels={"kubernetes.io/service-name": name},
            addressType="IPv4",
            ports=[{"name": "http", "port": 8080, "protocol": "TCP"}],
            endpoints=[{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
        )
    )


CLIENTS = tuple(
    Proxy("sidecar", f"c{n}.ns-{n}", (f"10.3.0.{n + 1}",), f"ns-{n}", f"ns-{n}.svc.cluster.local") for n in range(5)
)
BUILDS = ("load_assignment", "cluster", "special_cluster", "inbound_cluster", "_outbound_listener")


@pytest.mark.slow
def test_scaling_one_service_of_a_thousand_rebuilds_one_target() -> None:
    """Only the load assignment of the scaled service runs, and every class gets the same new resource."""

    async def scale() -> None:
        compiler = Compiler(Registry(frontends=FRONTENDS))
        await compiler.apply(ChangeSet(upserts=tuple(_mesh(1000))))
        sessions = await opened(compiler, CLIENTS)
        before = [session.snapshot for session in sessions]
        runs, builds = dict(compiler.registry.memo.runs), compiler.builds
        await compiler.apply(ChangeSet(upserts=(_slice("ns-7", "svc-7", ["10.2.0.7", "10.2.9.9"]),)))
        after = compiler.registry.memo.runs
        assert {name: after[name] - runs.get(name, 0) for name in BUILDS if after.get(name) != runs.get(name)} == {
            "load_assignment": 1
        }
        assert compiler.builds == builds + 1
        name = "outbound|80||svc-7.ns-7.svc.cluster.local"
        changed = [session.snapshot.of(ResourceType.ENDPOINT)[name] for session in sessions]
        assert all(resource is changed[0] for resource in changed)
        for session, old in zip(sessions, before, strict=True):
            for type_ in (ResourceType.CLUSTER, ResourceType.LISTENER, ResourceType.ROUTE):
                assert session.snapshot.of(type_) is old.of(type_), type_

    asyncio.run(scale())


def test_a_new_service_asks_only_the_workloads_it_may_select() -> None:
    """Which services select a workload is looked up by its labels, not by walking every service of the namespace."""

    async def added() -> None:
        compiler = Compiler(Registry(frontends=FRONTENDS))
        await compiler.apply(ChangeSet(upserts=tuple(_mesh(40))))
        labelled = replace(CLIENTS[0], labels={"app": "c0", "version": "v1"})
        sessions = await opened(compiler, (labelled, *CLIENTS[1:]))
        runs = compiler.registry.memo.runs["inbound_targets"]
        spec = {"clusterIP": "10.0.9.9", "ports": [{"name": "http", "port": 80}]}
        other = manifest("v1", "Service", "ns-0", "other", spec={**spec, "selector": {"app": "other"}})
        await compiler.apply(ChangeSet(upserts=(parsed(other),)))
        assert compiler.registry.memo.runs["inbound_targets"] == runs
        own = manifest("v1", "Service", "ns-0", "own", spec={**spec, "selector": {"version": "v1", "app": "c0"}})
        await compiler.apply(ChangeSet(upserts=(parsed(own),)))
        assert compiler.registry.memo.runs["inbound_targets"] == runs + 1
        assert "inbound|80||" in sessions[0].snapshot.of(ResourceType.CLUSTER)

    asyncio.run(added())


def test_a_route_that_asks_for_no_client_classifies_nobody() -> None:
    """Which labels tell clients apart is found once for all namespaces; where that is equal, nothing follows."""

    async def routed() -> None:
        compiler = Compiler(Registry(frontends=FRONTENDS))
        await compiler.apply(ChangeSet(upserts=tuple(_mesh(20))))
        await opened(compiler, CLIENTS)
        runs = dict(compiler.registry.memo.runs)
        host = "svc-1.ns-1.svc.cluster.local"
        for headers in ("a", "b"):
            match = {"headers": {"x": {"exact": headers}}}
            http = [{"match": [match], "route": [{"destination": {"host": host}}]}]
            spec = {"hosts": [host], "http": http}
            rule = manifest("networking.istio.io/v1", "VirtualService", "ns-1", "svc-1", spec=spec)
            await compiler.apply(ChangeSet(upserts=(parsed(rule),)))
        for name in ("source_pairs", "classify"):
            assert compiler.registry.memo.runs[name] == runs[name], name

    asyncio.run(routed())


def test_an_equal_object_changes_nothing() -> None:
    """Applying the same objects again runs nothing and tells nobody."""

    async def repeat() -> None:
        compiler = Compiler(Registry(frontends=FRONTENDS))
        await compiler.apply(ChangeSet(upserts=tuple(_mesh(20))))
        told: list[str] = []
        session = await compiler.open(CLIENTS[0], lambda: told.append("changed"))
        runs, snapshot = dict(compiler.registry.memo.runs), session.snapshot
        assert not await compiler.apply(ChangeSet(upserts=tuple(_mesh(20))))
        assert (compiler.registry.memo.runs, session.snapshot, told) == (runs, snapshot, [])

    asyncio.run(repeat())


def test_a_change_outside_the_scope_of_a_class_is_no_work_for_it() -> None:
    """A Sidecar that imports its own namespace only: a change elsewhere leaves the class's snapshot as it is."""

    async def elsewhere() -> None:
        compiler = Compiler(Registry(frontends=FRONTENDS))
        scope = parsed(
            manifest("networking.istio.io/v1", "Sidecar", "ns-1", "default", spec={"egress": [{"hosts": ["./*"]}]})
        )
        await compiler.apply(ChangeSet(upserts=(*_mesh(40), scope)))
        told: list[str] = []
        session = await compiler.open(CLIENTS[1], lambda: told.append("changed"))
        assert "outbound|80||svc-1.ns-1.svc.cluster.local" in session.snapshot.of(ResourceType.CLUSTER)
        assert "outbound|80||svc-2.ns-2.svc.cluster.local" not in session.snapshot.of(ResourceType.CLUSTER)
        before = session.snapshot
        await compiler.apply(ChangeSet(upserts=(_slice("ns-2", "svc-2", ["10.2.9.1"]),)))
        assert (session.snapshot, told) == (before, [])
        assert session.snapshot is before

    asyncio.run(elsewhere())


def test_provenance_names_the_objects_behind_a_resource() -> None:
    """A load assignment is made of its service and its slice."""

    async def provenance() -> None:
        compiler = Compiler(Registry(frontends=FRONTENDS))
        await compiler.apply(ChangeSet(upserts=tuple(_mesh(3))))
        await compiler.open(CLIENTS[0], lambda: None)
        name = "outbound|80||svc-1.ns-1.svc.cluster.local"
        behind = set(compiler.behind(CLIENTS[0], ResourceType.ENDPOINT, name))
        assert ObjectKey(kinds.ENDPOINT_SLICE, "ns-1", "svc-1") in behind
        assert ObjectKey(kinds.ENDPOINT_SLICE, "ns-2", "svc-2") not in behind

    asyncio.run(provenance())


def test_a_failure_of_ours_stays_with_its_object() -> None:
    """An object that our code cannot handle costs neither the others nor its own last good version."""

    async def broken() -> None:
        compiler = Compiler(Registry(frontends=FRONTENDS))
        await compiler.apply(ChangeSet(upserts=tuple(_mesh(3))))
        session = await compiler.open(CLIENTS[0], lambda: None)
        good = _service("ns-1", "svc-1", 1)
        await compiler.apply(ChangeSet(upserts=(replace(good, spec="not a service"),)))
        assert "outbound|80||svc-1.ns-1.svc.cluster.local" in session.snapshot.of(ResourceType.CLUSTER)
        await compiler.apply(ChangeSet(upserts=(_service("ns-4", "svc-4", 4),)))
        assert "outbound|80||svc-4.ns-4.svc.cluster.local" in session.snapshot.of(ResourceType.CLUSTER)
        fresh = await compiler.open(CLIENTS[1], lambda: None)
        assert "outbound|80||svc-4.ns-4.svc.cluster.local" in fresh.snapshot.of(ResourceType.CLUSTER)
        await compiler.apply(ChangeSet(deletes=(good.key,)))
        assert "outbound|80||svc-1.ns-1.svc.cluster.local" not in session.snapshot.of(ResourceType.CLUSTER)

    asyncio.run(broken())


def test_a_destination_rule_builds_each_target_once() -> None:
    """A changed rule makes other targets; those of before are not built again first."""

    async def ruled() -> None:
        compiler = Compiler(Registry(frontends=FRONTENDS))
        await compiler.apply(ChangeSet(upserts=tuple(_mesh(20))))
        await opened(compiler, CLIENTS)
        for connections in (7, 8):
            policy = {"connectionPool": {"tcp": {"maxConnections": connections}}}
            spec = {"host": "*.svc.cluster.local", "trafficPolicy": policy}
            rule = manifest("networking.istio.io/v1", "DestinationRule", "istio-system", "all", spec=spec)
            builds = compiler.builds
            await compiler.apply(ChangeSet(upserts=(parsed(rule),)))
            assert compiler.builds - builds == 2 * 20, "the cluster and the load assignment of each service"

    asyncio.run(ruled())


def test_an_endpoint_of_a_headless_service_is_no_news_to_other_proxies() -> None:
    """It classifies nobody anew, apart from those whose own address it is."""

    async def headless() -> None:
        compiler = Compiler(Registry(frontends=FRONTENDS))
        ports = [{"name": "tcp-x", "port": 80}]
        database = parsed(manifest("v1", "Service", "ns-0", "db", spec={"clusterIP": "None", "ports": ports}))

        def addressed(*addresses: str) -> Object:
            made = manifest(
                "discovery.k8s.io/v1", "EndpointSlice", "ns-0", "db-1",
                labels={"kubernetes.io/service-name": "db"},
                addressType="IPv4",
                ports=[{"name": "tcp-x", "port": 80, "protocol": "TCP"}],
                endpoints=[{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
            )  # fmt: skip
            return parsed(made)

        await compiler.apply(ChangeSet(upserts=(*_mesh(3), database, addressed("10.9.0.1"))))
        sessions = await opened(compiler, CLIENTS)
        runs = compiler.registry.memo.runs["classify"]
        await compiler.apply(ChangeSet(upserts=(addressed("10.9.0.1", "10.9.0.2"),)))
        assert compiler.registry.memo.runs["classify"] == runs
        own = CLIENTS[1].ips[0]
        listeners = {f"10.9.0.{n}_80" for n in (1, 2)} | {f"{own}_80"}
        await compiler.apply(ChangeSet(upserts=(addressed("10.9.0.1", "10.9.0.2", own),)))
        assert compiler.registry.memo.runs["classify"] == runs + 1
        assert listeners <= set(sessions[0].snapshot.of(ResourceType.LISTENER))
        assert f"{own}_80" not in sessions[1].snapshot.of(ResourceType.LISTENER)

    asyncio.run(headless())


def test_where_a_proxy_runs_makes_no_routes_of_its_own() -> None:
    """Three namespaces in six zones: three sets of route configurations."""

    async def routed() -> None:
        compiler = Compiler(Registry(frontends=FRONTENDS))
        await compiler.apply(ChangeSet(upserts=tuple(_mesh(20))))
        clients = [
            replace(
                client, id=f"c{zone}.{client.namespace}", network=f"n{zone}", locality=Locality("r", f"z{zone}", "")
            )
            for client in CLIENTS[:3]
            for zone in range(6)
        ]
        sessions = await opened(compiler, tuple(clients))
        assert len({id(session.snapshot.of(ResourceType.ROUTE)) for session in sessions}) == 3

    asyncio.run(routed())


def test_endpoints_in_another_order_change_nothing() -> None:
    """The order of the endpoints of a slice is no change at all; that of slices shows in no byte."""

    async def turned() -> None:
        compiler = Compiler(Registry(frontends=FRONTENDS))
        addresses = [f"10.2.7.{n}" for n in range(1, 20)]
        await compiler.apply(ChangeSet(upserts=(*_mesh(3), _slice("ns-1", "svc-1", addresses))))
        told: list[int] = []
        session = await compiler.open(CLIENTS[0], lambda: told.append(1))
        before = session.snapshot
        for seed in range(5):
            random.Random(seed).shuffle(addresses)
            assert not await compiler.apply(ChangeSet(upserts=(_slice("ns-1", "svc-1", addresses),)))
        moved = (
            _slice("ns-1", "svc-1", addresses[7:]),
            replace(  # seven endpoints go to a slice of their own
                first := _slice("ns-1", "svc-1", addresses[:7]), meta=replace(first.meta, name="svc-1-b")
            ),
        )
        assert await compiler.apply(ChangeSet(upserts=moved))
        assert told == []
        assert session.snapshot is before

    asyncio.run(turned())


def test_a_proxy_that_comes_back_waits_for_nobody() -> None:
    """Its class is known and current: it is served at once, in the turn of the loop in which it asks."""

    async def comes_back() -> None:
        compiler = Compiler(Registry(frontends=FRONTENDS))
        await compiler.apply(ChangeSet(upserts=tuple(_mesh(3))))
        (session,) = await opened(compiler, CLIENTS[:1])
        session.close()
        opening = compiler.open(CLIENTS[0], lambda: None)
        with pytest.raises(StopIteration) as done:
            opening.send(None)
        assert done.value.value.snapshot is session.snapshot

    asyncio.run(comes_back())
