"""Bad input of each networking kind over the wire: refused with path and reason, the last good version stays.

Nothing else moves meanwhile, for the sidecar and for the gateway beside it; the next good version is taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from controlplane.apis.kinds import KINDS, NETWORKING
from tests.feature.client import Client, Held, connected
from tests.feature.markers import barrier, without_markers
from tests.feature.objects import MESH, Json, manifest
from tests.feature.server import Server, serving

CASE = "case.yaml"
API = f"{NETWORKING}/v1"
GATEWAY_ID = "router~10.9.0.9~edge-1.shop~shop.svc.cluster.local"
POD = manifest("v1", "Pod", "edge-1", spec={}, status={"podIP": "10.9.0.9"})
POD["metadata"]["labels"] = {"istio": "edge"}


def gateway(port: int, name: str = "case", **more: Any) -> Json:
    server = {"port": {"number": port, "name": "http", "protocol": "HTTP"}, "hosts": ["*"], **more}
    return manifest(API, "Gateway", name, spec={"selector": {"istio": "edge"}, "servers": [server]})


def entry(name: str, host: str, **more: Any) -> Json:
    spec = {"hosts": [host], "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}], "resolution": "STATIC"}
    return manifest(API, "ServiceEntry", name, spec={**spec, "location": "MESH_INTERNAL", **more})


WORKLOADS = entry("vms", "vms.test", workloadSelector={"labels": {"app": "vm"}})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("config"), *MESH, POD, gateway(9000, "base"), WORKLOADS) as running:
        yield running


@pytest.fixture(autouse=True)
def _clean(server: Server) -> Iterator[None]:
    """Leave only the mesh behind."""
    yield
    for path in server.folder.iterdir():
        if path.name != "mesh.yaml":
            path.unlink()


def spec(kind: str, **fields: Any) -> Json:
    return manifest(API, kind, "case", spec=fields)


def rule(*subsets: str, **policy: Any) -> Json:
    named = [{"name": name, "labels": {"version": name}} for name in subsets]
    return spec("DestinationRule", host="reviews", subsets=named, **({"trafficPolicy": policy} if policy else {}))


def sidecar(mode: str, **more: Any) -> Json:
    return spec("Sidecar", egress=[{"hosts": ["./*"], **more}], outboundTrafficPolicy={"mode": mode})


def virtual_service(prefix: str, **more: Any) -> Json:
    match = [{"uri": {"prefix": prefix}}]
    return spec("VirtualService", hosts=["reviews"], http=[{"match": match, "redirect": {"uri": prefix}, **more}])


def workload(address: str, **more: Any) -> Json:
    return spec("WorkloadEntry", address=address, labels={"app": "vm"}, **more)


def filter_of(kind: str, **patch: Any) -> Json:
    stated = {"applyTo": kind, "match": {"context": "ANY"}, "patch": {"operation": "MERGE", "value": {}, **patch}}
    return manifest(f"{NETWORKING}/v1alpha3", "EnvoyFilter", "case", spec={"configPatches": [stated]})


def proxy_config(**fields: Any) -> Json:
    return manifest(f"{NETWORKING}/v1beta1", "ProxyConfig", "case", spec=fields)


@dataclass(frozen=True)
class Case:
    """Two good versions, each with a text that only it puts into what proxies hold (``""``: nothing translates it).

    ``bad`` comes between them; it is refused for ``path``, where the reason says ``word``.
    """

    good: tuple[Json, Json]
    texts: tuple[str, str]
    bad: Json
    path: str
    word: str


CASES = {
    "VirtualService": Case(
        (virtual_service("/one"), virtual_service("/two")),
        ("/one", "/two"),
        virtual_service("/bad", retries={"attempts": -1}),
        "spec.http[0].retries.attempts",
        "negative",
    ),
    "DestinationRule": Case(
        (rule("one"), rule("two")),
        ("|one|", "|two|"),
        rule("bad", connectionPool={"tcp": {"connectTimeout": "soon"}}),
        "spec.trafficPolicy.connectionPool.tcp.connectTimeout",
        "soon",
    ),
    "Gateway": Case(
        (gateway(9001), gateway(9002)),
        ("0.0.0.0_9001", "0.0.0.0_9002"),
        gateway(9003, tls={"mode": "SIMPLE"}),
        "spec.servers[0].tls",
        "plaintext",
    ),
    "ServiceEntry": Case(
        (entry("case", "one.test"), entry("case", "two.test")),
        ("one.test", "two.test"),
        entry("case", "bad.test", addresses=["10.0.0.0/33"]),
        "spec.addresses[0]",
        "10.0.0.0/33",
    ),
    "Sidecar": Case(
        (sidecar("REGISTRY_ONLY"), sidecar("ALLOW_ANY")),
        ("block_all", "allow_any"),
        sidecar("REGISTRY_ONLY", hosts=["shop"]),
        "spec.egress[0].hosts[0]",
        "shop",
    ),
    "WorkloadEntry": Case(
        (workload("10.8.0.1"), workload("10.8.0.2")),
        ("10.8.0.1", "10.8.0.2"),
        workload("10.8.0.300:1"),
        "spec.address",
        "neither an IP address",
    ),
    "WorkloadGroup": Case(
        (spec("WorkloadGroup", template={}), spec("WorkloadGroup", template={"network": "n"})),
        ("", ""),
        spec("WorkloadGroup", template={}, probe={"httpGet": {"port": 0}}),
        "spec.probe.httpGet.port",
        "greater than",
    ),
    "EnvoyFilter": Case(
        (filter_of("CLUSTER"), filter_of("LISTENER")),
        ("", ""),
        filter_of("HTTP_FILTER", operation="SIDEWAYS"),
        "spec.configPatches[0].patch.operation",
        "should be",
    ),
    "ProxyConfig": Case(
        (proxy_config(concurrency=1), proxy_config(concurrency=2)),
        ("", ""),
        proxy_config(concurrency="many"),
        "spec.concurrency",
        "valid integer",
    ),
}


def test_each_networking_kind_has_a_case() -> None:
    assert CASES.keys() == {kind.name for kind in KINDS.values() if kind.group == NETWORKING}


def shows(text: str, *clients: Client) -> bool:
    """Whether a text is in what the proxies hold."""
    return any(
        text in name or text.encode() in body
        for client in clients
        for resources in client.bodies().values()
        for name, body in resources.items()
    )


def held_by(*clients: Client) -> list[Held]:
    return [without_markers(client.copy()) for client in clients]


@pytest.mark.parametrize("kind", CASES)
async def test_the_last_good_version_stays(server: Server, kind: str) -> None:
    case = CASES[kind]
    (one, two), (first, second) = case.good, case.texts
    async with connected(server.xds) as client, connected(server.xds, node_id=GATEWAY_ID) as edge:
        holder = edge if kind == "Gateway" else client
        server.write(CASE, one)
        await barrier(server, holder)
        await holder.until(lambda: shows(first, client, edge), "the good version")
        await settled(server, client, edge)
        before = held_by(client, edge)
        since = len(server.events)
        server.write(CASE, case.bad)
        refused = await server.event("registry.rejected", since)
        await settled(server, client, edge)
        problems = (await server.problems())[kind, "case"]  # beside others, such as of patches that change nothing
        assert refused["object"] == f"{kind} shop/case"
        assert any(text.startswith(f"{case.path}: ") and case.word in text for text in problems), problems
        assert held_by(client, edge) == before
        server.write(CASE, two)
        await settled(server, client, edge)
        assert shows(second, client, edge)
        assert not first or not shows(first, client, edge)
        left = (await server.problems()).get((kind, "case"), ())
        assert [text for text in left if text.startswith(case.path)] == []


async def settled(server: Server, *clients: Client) -> None:
    """Wait until every client has had what was changed before."""
    for client in clients:
        await barrier(server, client)
