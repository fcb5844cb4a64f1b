"""Hosts that are resolved when a request names them."""

from __future__ import annotations

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster

from controlplane.model.proxy import Proxy
from controlplane.snapshots import ResourceType
from tests.envoy.validate import validate
from tests.translate.clusters.world import clusters, snapshot
from tests.translate.listeners.world import World, chains, connection_manager, gateway, leads_to, sidecar

STOCK = Proxy("sidecar", "a.default", ("10.9.0.1",), "default", "default.svc.cluster.local")
FILTER = "envoy.filters.http.dynamic_forward_proxy"
ENTRY = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: every, namespace: default}
spec:
  hosts: ["*.example.com"]
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 443, name: tls, protocol: TLS}]
  resolution: DYNAMIC_DNS
"""
RULE = """
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: every, namespace: default}
spec:
  host: "*.example.com"
  trafficPolicy: {tls: {mode: SIMPLE}, loadBalancer: {simple: RANDOM}, outlierDetection: {}}
  subsets: [{name: v1}]
"""
PLAIN = """
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {clusterIP: 10.0.0.5, ports: [{name: http, port: 80}]}
"""
MESH = """
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: "outboundTrafficPolicy: {mode: ALLOW_ANY_DYNAMIC_DNS}"}
"""


def resolving(yaml: str, proxy: Proxy, listener: str = "0.0.0.0_80") -> bool:
    """Whether the first chain of a listener looks hosts up."""
    held = World(yaml).listeners(proxy)[listener]
    return FILTER in [each.name for each in connection_manager(held.filter_chains[0]).http_filters]


@pytest.mark.parametrize("yaml", [ENTRY + PLAIN, ENTRY + RULE + PLAIN], ids=["plain", "with-a-rule"])
def test_a_stock_envoy_takes_it(yaml: str) -> None:
    """One cluster for the HTTP port, no subsets; Envoy looks TLS hosts up only with a filter that Istio leaves out."""
    found = clusters(yaml, STOCK)
    assert [name for name in found if "example" in name] == ["outbound|80||*.example.com"]
    cluster = found["outbound|80||*.example.com"]
    assert (cluster.cluster_type.name, cluster.lb_policy) == (
        "envoy.clusters.dynamic_forward_proxy",
        Cluster.CLUSTER_PROVIDED,
    )
    assert validate(snapshot(yaml, STOCK)) is None


@pytest.mark.parametrize(
    ("yaml", "expected"),
    [
        pytest.param(PLAIN, False, id="nothing-to-look-up"),
        pytest.param(PLAIN + "---" + ENTRY, True, id="a-service-entry"),
        pytest.param(PLAIN + MESH, True, id="the-mesh"),
        pytest.param(PLAIN + "---" + ENTRY.replace("hosts:", "exportTo: [other]\n  hosts:"), False, id="hidden"),
    ],
)
def test_who_looks_hosts_up(yaml: str, expected: bool) -> None:  # noqa: FBT001 - a table
    """Whoever can reach such hosts, on every port: which service makes a shared listener does not matter."""
    assert resolving(yaml, sidecar()) is expected


def test_a_gateway_looks_hosts_up() -> None:
    server = """
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: default}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}
"""
    assert resolving(ENTRY + server, gateway())


def test_unknown_hosts_of_the_whole_mesh() -> None:
    """Plain HTTP to an address nobody knows goes where its host says, all else where it was sent."""
    listener = World(MESH.removeprefix("\n---")).listeners(sidecar())["virtualOutbound"]
    assert [(list(chain.filter_chain_match.application_protocols), leads_to(chain)) for chain in chains(listener)] == [
        ([], "tcp:BlackHoleCluster"),
        (["http/1.1", "h2c"], "http:AllowAnyDynamicDNSCluster"),
        ([], "tcp:PassthroughCluster"),
    ]
    assert [each.name for each in listener.listener_filters] == ["envoy.filters.listener.http_inspector"]


@pytest.mark.parametrize(("proxy", "held"), [(sidecar(), True), (gateway(), False)], ids=["sidecar", "gateway"])
def test_the_cluster_of_unknown_hosts(proxy: Proxy, held: bool) -> None:  # noqa: FBT001 - a table
    found = snapshot(MESH.removeprefix("\n---"), proxy).of(ResourceType.CLUSTER)
    assert ("AllowAnyDynamicDNSCluster" in found) is held
