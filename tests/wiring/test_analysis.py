"""What is looked at after a change has gone out, and who is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from controlplane.analysis.problems import Problems
from controlplane.compiler.compiler import Compiler
from controlplane.controllers.reconciled import condition
from controlplane.frontends import FRONTENDS
from controlplane.model.objects import ChangeSet, Object, Rejected, Warned
from controlplane.model.parse import Parsed
from controlplane.model.proxy import Proxy
from controlplane.model.status import Received, Written
from controlplane.registry.store import Registry
from controlplane.registry.virtual_services import virtual_service as resolved
from controlplane.watchers.kinds import parse
from controlplane.wiring.analysis import Analysis
from tests.feature.objects import NETWORKING, Json, manifest, service, to, virtual_service
from tests.patience import in_time


class Source:
    """Objects that are all right by themselves."""

    rejected: Mapping[str, Rejected] = {}
    warnings: frozenset[Warned] = frozenset()


def parsed(raw: Json) -> Object:
    result = parse(raw, "test")
    assert isinstance(result, Parsed), result
    return result.object


class World:
    """What stands around an analysis: a registry, and a push that ends when it is told to."""

    def __init__(self) -> None:
        self.registry = Registry(frontends=FRONTENDS)
        self.proxies: list[Proxy] = []
        self.problems = Problems(Source(), self.registry, lambda: self.proxies)
        self.out = asyncio.Event()
        self.out.set()
        self.analysis = Analysis(self.problems, self._pushed)

    async def _pushed(self) -> None:
        await self.out.wait()

    def apply(self, *raws: Json) -> list[Object]:
        objects = [parsed(raw) for raw in raws]
        changes = ChangeSet(upserts=tuple(objects))
        self.registry.memo.invalidate(self.registry.apply(changes))
        self.analysis.changed(changes)
        return objects

    @property
    def paths(self) -> list[str]:
        return [finding.path for finding in self.problems.findings]


@asynccontextmanager
async def analysed() -> AsyncIterator[World]:
    world = World()
    task = asyncio.create_task(world.analysis.run())
    try:
        yield world
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def turns() -> None:
    """Let everything happen that nobody keeps from it."""
    for _ in range(50):
        await asyncio.sleep(0)


RULE = manifest(NETWORKING, "DestinationRule", "cart", spec={"host": "cart", "subsets": [{"name": "v1"}]})


async def test_proxies_do_not_wait_for_what_is_found() -> None:
    """Nor is anything said of an object before it has been looked at."""
    async with analysed() as world:
        with world.analysis.broadcasts.judged.subscribe() as told:
            world.out.clear()
            cart = world.apply(*service("cart", 1), virtual_service({"route": [to("v2")]}))[-1]
            await turns()
            assert world.paths == []
            assert world.problems.in_force(cart.key) is None
            assert not told.is_set()
            world.out.set()
            await in_time(told.wait())
            assert world.paths == ["spec.http[0].route[0].destination.subset"]
            assert world.problems.in_force(cart.key) is cart


@pytest.mark.parametrize(
    ("change", "told"),
    [
        pytest.param(service("cart", 9)[1], False, id="an-endpoint"),
        pytest.param({**RULE, "spec": {"host": "other"}}, True, id="an-object-with-a-condition"),
        pytest.param(RULE, True, id="one-that-ends-what-was-found"),
    ],
)
async def test_conditions_are_looked_at_where_something_is_another(change: dict[str, Any], told: bool) -> None:  # noqa: FBT001
    async with analysed() as world:
        world.apply(*service("cart", 1), virtual_service({"route": [to("v1")]}))
        await turns()
        with (
            world.analysis.broadcasts.judged.subscribe() as judged,
            world.analysis.broadcasts.applied.subscribe() as applied,
        ):
            world.apply(change)
            assert applied.is_set()
            await turns()
            assert judged.is_set() is told


async def test_the_same_objects_given_again_are_told_of() -> None:
    """Their generation may be another, which a condition names."""
    async with analysed() as world:
        broadcasts = world.analysis.broadcasts
        with broadcasts.judged.subscribe() as judged, broadcasts.applied.subscribe() as applied:
            world.analysis.renewed()
            assert judged.is_set()
            assert applied.is_set()


async def test_what_changes_while_something_is_looked_at_is_looked_at_next() -> None:
    async with analysed() as world:
        first = world.apply(*service("cart", 1), virtual_service({"route": [to("v2")]}))[-1]
        second = world.apply(virtual_service({"route": [to("v3")]}, name="other", hosts=["other"]))[-1]
        await turns()
        assert world.problems.in_force(first.key) is first
        assert world.problems.in_force(second.key) is second
        assert len(world.paths) == 2


async def test_what_is_left_out_and_what_changes_nothing_is_told_of_an_envoy_filter() -> None:
    """A proxy that connects is what shows it, without any change of objects."""
    slow, late = {"connect_timeout": "3s"}, {"connect_timeout": "-3s"}
    patches = [
        {"applyTo": "CLUSTER", "match": {"cluster": {"service": host}}, "patch": {"operation": "MERGE", "value": value}}
        for host, value in (("cart.shop.svc.cluster.local", late), ("absent", slow))
    ]
    stated = manifest("networking.istio.io/v1alpha3", "EnvoyFilter", "f", spec={"configPatches": patches})
    proxy = Proxy("sidecar", "web.shop", ("10.0.0.9",), "shop", "shop.svc.cluster.local", {})
    async with analysed() as world:
        compiler = Compiler(world.registry)
        changes = ChangeSet(upserts=tuple(parsed(raw) for raw in (*service("cart", 1), stated)))
        await compiler.apply(changes)
        world.analysis.changed(changes)
        await turns()
        obj = changes.upserts[-1]
        with world.analysis.broadcasts.judged.subscribe() as told:
            session = await compiler.open(proxy, lambda: None)
            await in_time(told.wait())
            found = [each for each in world.problems.told if each.key == obj.key]
            received = Received(obj.key, "v1alpha3", "1", obj.meta.generation, Written())
            said = condition(received, world.problems.in_force(obj.key), found)
            assert said is not None
            assert (said.status, said.reason) == ("True", "Warning")
            dropped, idle = said.message.split("; ")
            assert dropped.startswith("spec.configPatches[0] (CLUSTER MERGE): is left out, Envoy would refuse what it")
            assert idle.startswith(
                "spec.configPatches[1]: the patch spec.configPatches[1] changes nothing at any proxy"
            )
            session.close()


WEB = Proxy("sidecar", "web.shop", ("10.0.0.9",), "shop", "shop.svc.cluster.local", {"app": "web"})
POD = manifest("v1", "Pod", "cart", metadata={"name": "cart", "namespace": "shop", "labels": {"app": "cart"}}, spec={})
STRICT = manifest(
    "security.istio.io/v1",
    "PeerAuthentication",
    "strict",
    spec={"selector": {"matchLabels": {"app": "web"}}, "mtls": {"mode": "STRICT"}},
)


async def test_a_policy_for_nobody_is_told_with_its_code_until_somebody_comes() -> None:
    """A Pod, a WorkloadEntry, or a proxy without either that connects; and again when it has gone."""
    async with analysed() as world:
        strict = world.apply(STRICT)[0]
        await turns()
        assert world.paths == []  # without any Pod nobody knows what workloads there are
        world.apply(POD)
        await turns()
        told = next(each for each in world.problems.told if each.key == strict.key)
        assert (told.code, told.path) == ("C203", "spec.selector.matchLabels")
        assert told.reason.startswith("no workload of namespace shop has the labels app=web")
        assert [(each.code, str(each.level)) for each in world.problems.each()] == [("C203", "Warning")]
        received = Received(strict.key, "v1", "1", strict.meta.generation, Written())
        said = condition(received, world.problems.in_force(strict.key), [told])
        assert said is not None
        assert (said.status, said.reason, said.message) == ("True", "Warning", f"{told.path}: {told.reason}")
        world.proxies.append(WEB)
        world.analysis.proxies_changed()
        await turns()
        assert world.paths == []
        world.proxies.clear()
        world.analysis.proxies_changed()
        await turns()
        assert world.paths == [told.path]
        entry = {"address": "10.0.0.7", "labels": {"app": "web"}}
        world.apply(manifest(NETWORKING, "WorkloadEntry", "machine", spec=entry))
        await turns()
        assert world.paths == []


async def test_a_policy_of_the_root_namespace_is_for_workloads_of_all() -> None:
    everywhere = {**STRICT, "metadata": {"name": "strict", "namespace": "istio-system"}}
    async with analysed() as world:
        world.apply(POD, everywhere)
        await turns()
        assert [each.reason.partition(",")[0] for each in world.problems.findings] == [
            "no workload of any namespace has the labels app=web"
        ]
        world.apply(manifest("v1", "Pod", "web", "other", metadata={**POD["metadata"], "labels": {"app": "web"}}))
        await turns()
        assert world.paths == []


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("DestinationRule", {"host": "a.test", "workloadSelector": {"matchLabels": {"app": "web"}}}),
        (
            "ServiceEntry",
            {
                "hosts": ["a.test"],
                "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
                "resolution": "STATIC",
                "workloadSelector": {"labels": {"app": "web"}},
            },
        ),
    ],
)
async def test_a_rule_or_service_of_the_root_namespace_is_for_its_workloads_alone(kind: str, spec: Any) -> None:
    async with analysed() as world:
        world.apply(POD, manifest(NETWORKING, kind, "one", "istio-system", spec=spec))
        world.apply(manifest("v1", "Pod", "web", "other", metadata={**POD["metadata"], "labels": {"app": "web"}}))
        await turns()
        assert [each.reason.partition(",")[0] for each in world.problems.findings if each.code == "C203"] == [
            "no workload of namespace istio-system has the labels app=web"
        ]


async def test_a_delegate_that_would_make_routes_without_end_is_left_out_and_told() -> None:
    """Each rule is merged with each of its delegate: 200 by 200 would be 40,000. Rules beside it stay."""
    prefixes = [{"match": [{"uri": {"prefix": f"/{number}/"}}]} for number in range(200)]
    to_cart = [{"destination": {"host": "cart.shop.svc.cluster.local"}}]
    async with analysed() as world:
        part = {"http": [{**each, "route": to_cart} for each in prefixes]}
        root = [{**each, "delegate": {"name": "part", "namespace": "parts"}} for each in prefixes]
        rest = {"name": "rest", "route": to_cart}
        world.apply(*service("cart", 1), manifest(NETWORKING, "VirtualService", "part", "parts", spec=part))
        world.apply(virtual_service(*root, rest))
        await turns()
        assert {each.code for each in world.problems.findings} == {"C205"}
        assert world.paths == [f"spec.http[{number}].delegate" for number in range(81, 200)]
        key = next(iter(world.problems.findings)).key
        held = world.registry.memo.get(resolved, key)
        assert held is not None
        assert (len(held.http), held.http[-1].name) == (82, "rest")  # of each other delegate one fits


async def test_a_rule_that_delegates_to_nothing_is_told_until_there_is_something() -> None:
    async with analysed() as world:
        delegating = {"match": [{"uri": {"prefix": "/a"}}], "delegate": {"name": "part", "namespace": "parts"}}
        world.apply(*service("cart", 1), virtual_service(delegating))
        await turns()
        assert [(each.code, each.path) for each in world.problems.findings] == [("C204", "spec.http[0].delegate")]
        part = {"http": [{"route": [{"destination": {"host": "cart.shop.svc.cluster.local"}}]}]}
        world.apply(manifest(NETWORKING, "VirtualService", "part", "parts", spec=part))
        await turns()
        assert world.paths == []
