"""What could not be built is not absent: it is served as it was last, or nothing is said of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from controlplane.compiler.classes import ClassificationError
from controlplane.compiler.clusters import outbound_clusters
from controlplane.compiler.compiler import Compiler
from controlplane.engine.recording import Query
from controlplane.frontends import FRONTENDS
from controlplane.model.objects import ChangeSet, Object
from controlplane.registry import virtual_services
from controlplane.registry.destination_rules import stated_rule
from controlplane.registry.endpoints import slice_endpoints
from controlplane.registry.scopes import sidecars
from controlplane.registry.services import services_of
from controlplane.registry.store import Registry
from controlplane.registry.virtual_services import undelegated
from controlplane.snapshots import WHOLE, ResourceType
from controlplane.translate.clusters.outbound import cds_resource
from controlplane.translate.endpoints import eds_resource
from controlplane.translate.listeners.outbound import outbound_listener
from tests.compiler.histories import manifest, parsed
from tests.compiler.scratch import contents
from tests.compiler.test_laws import CLIENTS, _mesh, _service, _slice
from tests.compiler.virtual import run

pytestmark = pytest.mark.slow

C, E, L, R = ResourceType.CLUSTER, ResourceType.ENDPOINT, ResourceType.LISTENER, ResourceType.ROUTE
ONE = "outbound|80||svc-1.ns-1.svc.cluster.local"
TWO = "outbound|80||svc-2.ns-2.svc.cluster.local"
NINE = "outbound|80||svc-9.ns-9.svc.cluster.local"


class Breaking:
    """Lets a query fail for some keys."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, query: Query[Any, Any], word: str) -> None:
        self._build, self._word, self.broken = query.build, word, True
        monkeypatch.setattr(query, "build", self._breaking)

    def _breaking(self, view: Any, key: Any) -> Any:
        built = self._build(view, key)  # what it reads is read
        if self.broken and self._word in str(key):
            raise ValueError("broken")
        return built


def virtual_service(timeout: str) -> Object:
    host = "svc-1.ns-1.svc.cluster.local"
    route = {"timeout": timeout, "route": [{"destination": {"host": host}}]}
    return parsed(
        manifest("networking.istio.io/v1", "VirtualService", "ns-1", "vs-1", spec={"hosts": [host], "http": [route]})
    )


def rule(connections: int) -> Object:
    spec = {
        "host": "svc-1.ns-1.svc.cluster.local",
        "trafficPolicy": {"connectionPool": {"tcp": {"maxConnections": connections}}},
    }
    return parsed(manifest("networking.istio.io/v1", "DestinationRule", "ns-1", "svc-1", spec=spec))


async def compiler_of(*objects: Object) -> Compiler:
    compiler = Compiler(Registry(frontends=FRONTENDS))
    await compiler.apply(ChangeSet(upserts=(*_mesh(3), *objects)))
    return compiler


@pytest.mark.parametrize(("query", "type_"), [(cds_resource, C), (eds_resource, E)], ids=["cluster", "endpoints"])
def test_what_never_could_be_built_is_awaited_and_named(
    monkeypatch: pytest.MonkeyPatch, query: Query[Any, Any], type_: ResourceType
) -> None:
    async def scene() -> None:
        breaking = Breaking(monkeypatch, query, "svc-1.ns-1")
        compiler = await compiler_of()
        told: list[int] = []
        session = await compiler.open(CLIENTS[0], lambda: told.append(1))
        assert ONE not in session.snapshot.of(type_)
        failures = session.snapshot.failed(type_)
        assert failures.reasons == {ONE: "ValueError: broken"}
        assert failures.blocking == {ONE}
        assert not session.snapshot.failed(R)
        breaking.broken = False
        await compiler.apply(ChangeSet(upserts=(rule(7), _slice("ns-1", "svc-1", ["10.2.9.9"]))))
        assert ONE in session.snapshot.of(type_)
        assert not session.snapshot.failures
        assert told == [1]

    run(scene())


def test_what_fails_later_is_served_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where another target now stands for the name: a DestinationRule makes another one of each cluster."""

    async def scene() -> None:
        compiler = await compiler_of()
        session = await compiler.open(CLIENTS[0], lambda: None)
        before = contents(session)
        breaking = Breaking(monkeypatch, cds_resource, "svc-1.ns-1")
        await compiler.apply(ChangeSet(upserts=(rule(7),)))
        assert contents(session) == before
        assert session.snapshot.failed(C).reasons == {ONE: "ValueError: broken"}
        assert not session.snapshot.failed(C).blocking
        breaking.broken = False
        await compiler.apply(ChangeSet(upserts=(rule(8),)))
        assert contents(session) != before
        assert not session.snapshot.failures

    run(scene())


def test_a_new_service_that_fails_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy can hold it from before, so who begins is answered; it is named all the same."""

    async def scene() -> None:
        Breaking(monkeypatch, cds_resource, "svc-9.ns-9")
        compiler = await compiler_of()
        session = await compiler.open(CLIENTS[0], lambda: None)
        await compiler.apply(ChangeSet(upserts=(_service("ns-9", "svc-9", 9),)))
        assert session.snapshot.failed(C).concerns(NINE)
        assert not session.snapshot.failed(C).blocking
        gone = ChangeSet(deletes=(_service("ns-9", "svc-9", 9).key,))
        await compiler.apply(gone)
        assert not session.snapshot.failures

    run(scene())


def test_targets_that_cannot_be_found_are_those_of_before(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        compiler = await compiler_of()
        session = await compiler.open(CLIENTS[0], lambda: None)
        before = contents(session)
        breaking = Breaking(monkeypatch, outbound_clusters, "")
        await compiler.apply(ChangeSet(deletes=(_service("ns-1", "svc-1", 1).key,)))
        assert contents(session)[C] == before[C]
        assert set(session.snapshot.failed(C).reasons) == {WHOLE}
        assert not session.snapshot.failed(C).blocking
        other = await compiler.open(CLIENTS[1], lambda: None)
        assert other.snapshot.failed(C).concerns(ONE)
        breaking.broken = False
        await compiler.apply(ChangeSet(upserts=(_service("ns-9", "svc-9", 9),)))
        assert set(before[C]) - set(contents(session)[C]) == {ONE}
        assert not session.snapshot.failures

    run(scene())


def test_targets_that_never_were_found_are_all_awaited(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        breaking = Breaking(monkeypatch, outbound_clusters, "")
        compiler = await compiler_of()
        session = await compiler.open(CLIENTS[0], lambda: None)
        assert session.snapshot.failed(C).blocking == {WHOLE}
        breaking.broken = False
        await compiler.apply(ChangeSet(upserts=(_service("ns-9", "svc-9", 9),)))
        assert ONE in session.snapshot.of(C)
        assert not session.snapshot.failures

    run(scene())


def test_the_routes_of_a_listener_that_fails_are_not_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        Breaking(monkeypatch, outbound_listener, "")
        compiler = await compiler_of()
        session = await compiler.open(CLIENTS[0], lambda: None)
        assert session.snapshot.failed(L).blocking
        assert session.snapshot.failed(R).concerns("80")

    run(scene())


def test_endpoints_that_cannot_be_read_are_not_none(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        Breaking(monkeypatch, slice_endpoints, "svc-1")
        compiler = await compiler_of()
        session = await compiler.open(CLIENTS[0], lambda: None)
        assert ONE not in session.snapshot.of(E)
        assert "ValueError: broken" in session.snapshot.failed(E).reasons[ONE]
        assert not session.snapshot.failed(C), "what is around it is served"

    run(scene())


def test_an_object_that_never_could_be_read_is_not_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's cluster of it is taken away, all others are served, and who begins with nothing is answered."""

    async def scene() -> None:
        breaking = Breaking(monkeypatch, services_of, "svc-1")
        compiler = await compiler_of()
        told: list[int] = []
        session = await compiler.open(CLIENTS[0], lambda: told.append(1))
        for type_ in (C, E, L, R):
            failures = session.snapshot.failed(type_)
            assert failures.reasons == {WHOLE: "Service ns-1/svc-1: ValueError: broken"}
            assert failures.concerns(ONE)
            assert not failures.blocking
        assert not session.snapshot.failed(C).partial
        assert session.snapshot.failed(R).partial, "a route configuration has several services"
        assert ONE not in session.snapshot.of(C)
        assert TWO in session.snapshot.of(C)
        await compiler.apply(ChangeSet(upserts=(_slice("ns-2", "svc-2", ["10.2.9.9"]),)))
        assert told == [1], "the others are served on"
        breaking.broken = False
        await compiler.apply(ChangeSet(upserts=(relabelled(_service("ns-1", "svc-1", 1)),)))
        assert ONE in session.snapshot.of(C)
        assert not session.snapshot.failures

    run(scene())


@pytest.mark.parametrize(
    ("query", "obj", "mended", "partial"),
    [
        (undelegated, virtual_service("1s"), virtual_service("2s"), {L, R}),
        (virtual_services.virtual_service, virtual_service("1s"), virtual_service("2s"), {L, R}),
        (stated_rule, rule(7), rule(8), {C}),
    ],
    ids=["undelegated", "virtual service", "destination rule"],
)
def test_a_policy_that_never_could_be_read_is_not_none(
    monkeypatch: pytest.MonkeyPatch, query: Query[Any, Any], obj: Object, mended: Object, partial: set[ResourceType]
) -> None:
    """Who comes with what was made of it keeps that; who begins with nothing is answered, and ``status`` says why."""

    async def scene() -> None:
        breaking = Breaking(monkeypatch, query, obj.key.name)
        compiler = await compiler_of(obj)
        session = await compiler.open(CLIENTS[0], lambda: None)
        failures = {type_: session.snapshot.failed(type_) for type_ in (C, E, L, R)}
        assert {type_ for type_, failed in failures.items() if failed.partial} == partial
        for type_ in partial:
            assert failures[type_].reasons == {WHOLE: f"{obj.key}: ValueError: broken"}
            assert not failures[type_].blocking
            assert session.snapshot.of(type_)
        breaking.broken = False
        await compiler.apply(ChangeSet(upserts=(mended,)))
        assert not session.snapshot.failures

    run(scene())


def test_a_policy_that_fails_later_is_no_loss_of_who_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new one was in force nowhere, and of one that was the last good state is served."""

    async def scene() -> None:
        compiler = await compiler_of()
        session = await compiler.open(CLIENTS[0], lambda: None)
        breaking = Breaking(monkeypatch, undelegated, "vs-1")
        await compiler.apply(ChangeSet(upserts=(virtual_service("1s"),)))
        assert session.snapshot.failed(R).reasons
        assert not session.snapshot.failed(R).partial
        breaking.broken = False
        await compiler.apply(ChangeSet(upserts=(virtual_service("2s"),)))
        assert not session.snapshot.failures
        before = contents(session)
        breaking.broken = True
        await compiler.apply(ChangeSet(upserts=(virtual_service("3s"),)))
        assert contents(session) == before
        assert not session.snapshot.failures

    run(scene())


def test_a_proxy_whose_sidecar_never_could_be_read_is_not_one_without(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        Breaking(monkeypatch, sidecars, CLIENTS[0].namespace)
        compiler = await compiler_of()
        with pytest.raises(ClassificationError, match="ValueError: broken"):
            await compiler.open(CLIENTS[0], lambda: None)

    run(scene())


def relabelled(obj: Object) -> Object:
    return replace(obj, meta=replace(obj.meta, labels={"other": "label"}))


def test_addresses_of_a_headless_service_that_cannot_be_read_are_not_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has a listener: those that a proxy has of them stay."""

    async def scene() -> None:
        breaking = Breaking(monkeypatch, slice_endpoints, "head")
        spec = {"clusterIP": "None", "ports": [{"name": "tcp", "port": 90}]}
        head = parsed(manifest("v1", "Service", "ns-1", "head", spec=spec))
        compiler = await compiler_of(head, _slice("ns-1", "head", ["10.2.7.7"]))
        session = await compiler.open(CLIENTS[0], lambda: None)
        assert session.snapshot.failed(L).concerns("10.2.7.7_90")
        assert not session.snapshot.failed(L).blocking
        assert session.snapshot.of(L)
        breaking.broken = False
        await compiler.apply(ChangeSet(upserts=(_slice("ns-1", "head", ["10.2.7.8"]),)))
        assert not session.snapshot.failures

    run(scene())
