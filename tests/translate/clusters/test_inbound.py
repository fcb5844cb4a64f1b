"""Clusters of the workload behind a sidecar, where a Sidecar says what it listens on and how much it takes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster

from controlplane.model.proxy import Proxy
from tests.translate.clusters.world import clusters
from tests.translate.listeners.world import sidecar

NAME = "inbound|9080||"
V4, V6, BOTH = ("10.1.0.1",), ("fd00::1",), ("10.1.0.1", "fd00::1")
WORLD = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {clusterIP: 10.0.0.1, selector: {app: web}, ports: [{name: http, port: 80, targetPort: 9080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: app, namespace: default, labels: {app: web}}
spec: {}
status: {podIP: 10.1.0.1}
"""


def proxy(*ips: str) -> Proxy:
    return replace(sidecar(istio=False, labels={"app": "web"}), ips=ips)


def stated(spec: str) -> str:
    meta = "metadata: {name: own, namespace: default}"
    return f"{WORLD}---\napiVersion: networking.istio.io/v1\nkind: Sidecar\n{meta}\nspec: {spec}\n"


def listening(more: str) -> str:
    return stated(f"{{ingress: [{{port: {{number: 9080, name: http, protocol: HTTP}}, {more}}}]}}")


def target(cluster: Cluster) -> str:
    """Return where a cluster of one endpoint leads."""
    (locality,) = cluster.load_assignment.endpoints
    (endpoint,) = locality.lb_endpoints
    address = endpoint.endpoint.address
    socket = address.socket_address
    return address.pipe.path or f"{socket.address} {socket.port_value}"


@pytest.mark.parametrize(
    ("endpoint", "ips", "expected", "source"),
    [
        pytest.param("127.0.0.1:8080", V4, "127.0.0.1 8080", "", id="loopback"),
        pytest.param("127.0.0.1:8080", V6, "::1 8080", "", id="loopback-of-the-other-family"),
        pytest.param("'[::1]:8080'", BOTH, "::1 8080", "", id="loopback-6"),
        pytest.param("'[::1]:8080'", V4, "127.0.0.1 8080", "", id="loopback-6-of-the-other-family"),
        pytest.param("0.0.0.0:8080", BOTH, "10.1.0.1 8080", "127.0.0.6", id="own-address"),
        pytest.param("0.0.0.0:8080", V6, "::1 8080", "", id="no-own-address"),
        pytest.param("'[::]:8080'", BOTH, "fd00::1 8080", "127.0.0.6", id="own-address-6"),
        pytest.param("unix:///run/app", V4, "/run/app", "127.0.0.6", id="pipe"),
    ],
)
def test_default_endpoint(endpoint: str, ips: tuple[str, ...], expected: str, source: str) -> None:
    cluster = clusters(listening(f"defaultEndpoint: {endpoint}"), proxy(*ips))[NAME]
    assert cluster.type == Cluster.STATIC
    assert target(cluster) == expected
    assert cluster.upstream_bind_config.source_address.address == source


def test_without_default_endpoint() -> None:
    cluster = clusters(listening("bind: 10.1.0.1"), proxy(*V4))[NAME]
    assert cluster.type == Cluster.ORIGINAL_DST
    assert cluster.upstream_bind_config.source_address.address == "127.0.0.6"


RULE = """---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: default}
spec: {host: web, trafficPolicy: {connectionPool: {tcp: {maxConnections: 3}}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: 'defaultTrafficPolicy: {connectionPool: {tcp: {maxConnections: 4}}}'}
"""
POOL = "connectionPool: {tcp: {maxConnections: 1}}"
MORE = "inboundConnectionPool: {tcp: {maxConnections: 2}}"
PORT = "port: {number: 9080, name: http, protocol: HTTP}"


@pytest.mark.parametrize(
    ("yaml", "expected"),
    [
        pytest.param(stated(f"{{ingress: [{{{PORT}, {POOL}}}], {MORE}}}") + RULE, 1, id="of-the-port"),
        pytest.param(stated(f"{{ingress: [{{{PORT}}}], {MORE}}}") + RULE, 2, id="of-the-sidecar"),
        pytest.param(stated(f"{{{MORE}}}") + RULE, 2, id="of-the-sidecar-for-services"),
        pytest.param(stated(f"{{ingress: [{{{PORT}}}]}}") + RULE, 3, id="of-the-services-rule"),
        pytest.param(WORLD + RULE, 3, id="of-the-rule"),
        pytest.param(WORLD + "---" + RULE.split("---")[2], 4, id="of-the-mesh"),
        pytest.param(WORLD, 4294967295, id="unlimited"),
    ],
)
def test_the_nearest_connection_pool_counts(yaml: str, expected: int) -> None:
    (threshold,) = clusters(yaml, proxy(*V4))[NAME].circuit_breakers.thresholds
    assert threshold.max_connections.value == expected
