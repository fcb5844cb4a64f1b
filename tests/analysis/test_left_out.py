"""What Envoy would refuse is left out alone, named with its objects, and taken in again when it is mended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from structlog.testing import capture_logs

from controlplane.analysis.left_out import LeftOutParts
from controlplane.apis.kinds import KINDS
from controlplane.compiler.compiler import Compiler
from controlplane.frontends import FRONTENDS
from controlplane.model.kinds import GroupKind
from controlplane.model.objects import ChangeSet, Meta, Object
from controlplane.model.proxy import Proxy
from controlplane.registry.store import Registry
from controlplane.snapshots import ResourceType, Snapshot
from tests.compiler.histories import manifest, parsed
from tests.envoy.judge import refused
from tests.patience import until

pytestmark = pytest.mark.slow

CLIENT = Proxy("sidecar", "client.default", ("10.9.0.1",), "default", "default.svc.cluster.local")
GATEWAY = Proxy("router", "gw.default", ("10.9.0.2",), "default", "default.svc.cluster.local", {"istio": "gw"})


def service_entry(name: str, host: str, port: int = 443, protocol: str = "TLS") -> Object:
    ports = [{"number": port, "name": "p", "protocol": protocol}]
    spec = {"hosts": [host], "ports": ports, "resolution": "NONE"}
    return parsed(manifest("networking.istio.io/v1", "ServiceEntry", "default", name, spec=spec))


def unchecked(kind: str, name: str, spec: dict[str, Any]) -> Object:
    """Return an object whose rules nobody has looked at, as if one of them were missing."""
    model = KINDS[kind].load().model_validate(spec)
    return Object(GroupKind(kind, KINDS[kind].group), Meta("default", name), model)


def virtual_service(name: str, host: str, *http: dict[str, Any]) -> Object:
    return unchecked("VirtualService", name, {"hosts": [host], "gateways": ["mesh", "gw"], "http": list(http)})


def to(host: str, **fields: Any) -> dict[str, Any]:
    return {"route": [{"destination": {"host": host}}], **fields}


@dataclass
class World:
    """A compiler with a sidecar and a gateway, and what is left out for them."""

    compiler: Compiler
    parts: LeftOutParts
    snapshots: Any

    async def put(self, *objects: Object) -> None:
        await self.compiler.apply(ChangeSet(upserts=objects))

    def problems(self) -> dict[str, tuple[str, ...]]:
        return {str(each.key): each.problems for each in self.parts}

    def snapshot(self, index: int = 0) -> Snapshot:
        snapshot: Snapshot = self.snapshots[index].snapshot
        return snapshot

    def taken(self) -> bool:
        """Whether a real Envoy takes all that is served."""
        held = [r for i in (0, 1) for of_type in self.snapshot(i).resources.values() for r in of_type.values()]
        return not refused(held)


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    registry = Registry(frontends=FRONTENDS)
    parts = LeftOutParts(registry)
    compiler = Compiler(registry)
    servers = [{"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}]
    gateway = manifest(
        "networking.istio.io/v1", "Gateway", "default", "gw", spec={"selector": {"istio": "gw"}, "servers": servers}
    )
    good = service_entry("good", "good.example.com")
    await compiler.apply(ChangeSet(upserts=(parsed(gateway), good, service_entry("web", "web.test", 80, "HTTP"))))
    yield World(compiler, parts, [await compiler.open(each, lambda: None) for each in (CLIENT, GATEWAY)])


async def test_a_chain(world: World) -> None:
    """A ServiceEntry for part of a label costs its own chain; the neighbour on the port keeps its own."""
    with capture_logs() as logs:
        await world.put(service_entry("bad", "*foo.com"))
    listener = Listener.FromString(world.snapshot().of(ResourceType.LISTENER)["0.0.0.0_443"].body)
    assert [list(chain.filter_chain_match.server_names) for chain in listener.filter_chains] == [["good.example.com"]]
    ((key, (problem,)),) = world.problems().items()
    assert key == "ServiceEntry default/bad"
    assert "filter chain *foo.com of listener 0.0.0.0_443 is left out" in problem
    assert "server_names[0]" in problem
    (event,) = [each for each in logs if each["event"] == "compiler.left_out"]
    assert event["objects"] == ["ServiceEntry default/bad"]
    assert world.taken()
    await world.put(service_entry("bad", "*.foo.com"))
    await until(lambda: len(world.parts) == 0)
    await until(lambda: world.problems() == {}, "what was left out is forgotten, once nobody reads it")


async def test_tracing_and_logs(world: World) -> None:
    """What Envoy would refuse of these goes alone: requests are served, traced by nobody, and in the other log."""
    spans: dict[str, Any] = {"service": "web.test", "port": 80, "traceContextOption": "USE_B3"}
    providers = [{"name": "spans", "zipkin": spans}, {"name": "log", "envoyFileAccessLog": {"path": "/dev/null"}}]
    defaults = {"tracing": ["spans"], "accessLogging": ["log"]}
    mesh = {"extensionProviders": providers, "defaultProviders": defaults}
    config = manifest("v1", "ConfigMap", "istio-system", "istio", data={"mesh": json.dumps(mesh)})
    telemetry = {
        "accessLogging": [{"providers": [{"name": "log"}], "filter": {"expression": "no("}}],
        "tracing": [{"customTags": {"a": {"header": {"name": "x\n"}}}}],
    }
    await world.put(parsed(config))
    served = [manager(world.snapshot(0), "0.0.0.0_80"), manager(world.snapshot(1), "0.0.0.0_80")]
    assert all(each.HasField("tracing") and len(each.access_log) == 1 for each in served)
    await world.put(unchecked("Telemetry", "bad", telemetry))
    for before, after in zip(served, [manager(world.snapshot(index), "0.0.0.0_80") for index in (0, 1)], strict=True):
        assert not after.HasField("tracing")
        assert not after.access_log
        before.ClearField("tracing")
        del before.access_log[:]
        assert after == before
    ((key, problems),) = world.problems().items()
    assert key == "ConfigMap istio-system/istio"
    assert any("tracing by envoy.tracers.zipkin of listener 0.0.0.0_80 is left out" in each for each in problems)
    assert world.taken()


def manager(snapshot: Snapshot, listener: str) -> HttpConnectionManager:
    message = Listener.FromString(snapshot.of(ResourceType.LISTENER)[listener].body)
    return HttpConnectionManager.FromString(message.filter_chains[0].filters[0].typed_config.value)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        pytest.param(to("web.test", rewrite={"uri": "/x\ny"}), "prefix_rewrite", id="constraint"),
        pytest.param(
            to("web.test", headers={"response": {"set": {"x": "%POD%"}}}), "%POD% is no command", id="command"
        ),
        pytest.param(
            {"route": [{"destination": {"host": f"{n}.test"}, "weight": 2**31 - 1} for n in "abc"]},
            "sum of weights",
            id="weights",
        ),
        pytest.param(to("web.test", match=[{"headers": {"x": {"regex": r"\x{4e00}"}}}]), "RE2", id="expression"),
    ],
)
async def test_a_route(world: World, bad: dict[str, Any], reason: str) -> None:
    """The other routes of the host stay, those of other hosts too, at sidecars and gateways; it is told once."""
    first = {**bad, "match": bad.get("match") or [{"uri": {"prefix": "/bad"}}]}
    with capture_logs() as logs:
        await world.put(
            virtual_service("vs", "web.test", first, to("web.test", name="rest")),
            virtual_service("other", "other.test", to("web.test", name="other")),
        )
    for index, name in ((0, "80"), (1, "http.80")):
        routes = RouteConfiguration.FromString(world.snapshot(index).of(ResourceType.ROUTE)[name].body)
        held = {host.name: [route.name for route in host.routes] for host in routes.virtual_hosts}
        assert held["web.test:80"] == ["rest"]
        assert held["other.test:80"] == ["other"]
    ((key, problems),) = world.problems().items()
    assert key == "VirtualService default/vs"
    assert all(problem.startswith("route spec.http[0]") for problem in problems)
    assert reason in problems[0]
    assert len([each for each in logs if each["event"] == "compiler.left_out"]) == len(problems) == 1
    assert world.taken()


async def test_a_cluster(world: World) -> None:
    """The clusters of a DestinationRule go, with its name; the others stay."""
    rule = {
        "host": "web.test",
        "trafficPolicy": {
            "loadBalancer": {"consistentHash": {"useSourceIp": True, "ringHash": {"minimumRingSize": 10**8}}}
        },
    }
    await world.put(unchecked("DestinationRule", "dr", rule))
    assert "outbound|80||web.test" not in world.snapshot(1).of(ResourceType.CLUSTER)
    assert "outbound|443||good.example.com" in world.snapshot(1).of(ResourceType.CLUSTER)
    assert {"DestinationRule default/dr", "ServiceEntry default/web"} <= world.problems().keys()
    assert world.taken()
    await world.compiler.apply(ChangeSet(deletes=(unchecked("DestinationRule", "dr", rule).key,)))
    assert "outbound|80||web.test" in world.snapshot(1).of(ResourceType.CLUSTER)
    await until(lambda: world.problems() == {}, "what was left out is forgotten, once nobody reads it")


async def test_an_endpoint(world: World) -> None:
    """A socket whose path Envoy cannot hold goes; the other endpoints stay."""
    entry = {
        "hosts": ["db.test"],
        "ports": [{"number": 90, "name": "tcp", "protocol": "TCP"}],
        "resolution": "STATIC",
        "endpoints": [{"address": "10.0.0.1"}, {"address": f"unix:///run/{'x' * 200}"}],
    }
    await world.put(parsed(manifest("networking.istio.io/v1", "ServiceEntry", "default", "db", spec=entry)))
    body = world.snapshot().of(ResourceType.ENDPOINT)["outbound|90||db.test"].body
    parts = ClusterLoadAssignment.FromString(body).endpoints
    held = [each.endpoint.address.socket_address.address for part in parts for each in part.lb_endpoints]
    assert held == ["10.0.0.1"]
    (problem,) = world.problems()["ServiceEntry default/db"]
    assert problem.startswith("endpoint /run/xxx")
    assert world.taken()


async def test_what_goes_with_its_proxies_is_forgotten(world: World) -> None:
    await world.put(service_entry("bad", "*foo.com"))
    assert len(world.parts) == 1
    for session in world.snapshots:
        session.close()
    world.compiler.registry.memo.forget()
    await asyncio.sleep(0)
    await until(lambda: len(world.parts) == 0)
