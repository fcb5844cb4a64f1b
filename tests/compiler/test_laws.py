"""The laws of the compiler: what it keeps is what it would build, and it does no work that changes nothing."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

from hypothesis import HealthCheck, given, note, settings, strategies

from controlplane.compiler.compiler import Compiler, Session
from controlplane.model.objects import ChangeSet, Object, ObjectKey
from controlplane.model.proxy import Proxy
from controlplane.registry.store import Registry
from controlplane.snapshots import ResourceType
from tests.compiler.histories import PROXIES, edit, manifest, parsed


async def opened(compiler: Compiler, proxies: tuple[Proxy, ...]) -> list[Session]:
    return [await compiler.open(proxy, lambda: None) for proxy in proxies]


def contents(session: Session) -> dict[ResourceType, dict[str, bytes]]:
    return {
        type_: {name: resource.body for name, resource in resources.items()}
        for type_, resources in session.snapshot.resources.items()
    }


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(rng=strategies.randoms(use_true_random=False), steps=strategies.integers(1, 25))
def test_kept_snapshots_equal_a_build_from_scratch(rng: random.Random, steps: int) -> None:
    """After any history of edits each kept snapshot is, byte for byte, the one a fresh compiler builds."""

    async def history() -> None:
        held: dict[ObjectKey, Object] = {}
        kept = Compiler(Registry())
        sessions = await opened(kept, PROXIES)
        for step in range(steps):
            changes = edit(rng, held)
            note(f"step {step}: {[str(obj.key) for obj in changes.upserts]} gone {[str(k) for k in changes.deletes]}")
            await kept.apply(changes)
            if step % 3 and step != steps - 1:
                continue
            fresh = Compiler(Registry())
            await fresh.apply(ChangeSet(upserts=tuple(held.values())))
            for session, scratch in zip(sessions, await opened(fresh, PROXIES), strict=True):
                where = f"step {step}, {session.proxy.id}"
                assert contents(session) == contents(scratch), where

    asyncio.run(history())


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


def test_scaling_one_service_of_a_thousand_rebuilds_one_target() -> None:
    """Only the load assignment of the scaled service runs, and every class gets the same new resource."""

    async def scale() -> None:
        compiler = Compiler(Registry())
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
        compiler = Compiler(Registry())
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
        compiler = Compiler(Registry())
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
        compiler = Compiler(Registry())
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
        compiler = Compiler(Registry())
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
        compiler = Compiler(Registry())
        await compiler.apply(ChangeSet(upserts=tuple(_mesh(3))))
        await compiler.open(CLIENTS[0], lambda: None)
        name = "outbound|80||svc-1.ns-1.svc.cluster.local"
        behind = compiler.behind(CLIENTS[0], ResourceType.ENDPOINT, name)
        assert ObjectKey("EndpointSlice", "ns-1", "svc-1") in behind
        assert ObjectKey("EndpointSlice", "ns-2", "svc-2") not in behind

    asyncio.run(provenance())


def test_a_failure_of_ours_stays_with_its_object() -> None:
    """An object that our code cannot handle costs neither the others nor its own last good version."""

    async def broken() -> None:
        compiler = Compiler(Registry())
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
