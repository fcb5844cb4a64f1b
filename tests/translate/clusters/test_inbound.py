"""What shapes the clusters towards the application beside the proxy."""

from __future__ import annotations

import pytest

from tests.translate.clusters.world import addresses, clusters
from tests.translate.listeners.world import World, sidecar

WORLD = """
apiVersion: v1
kind: Service
metadata: {name: app, namespace: default%s}
spec: {clusterIP: 10.0.0.5, selector: {app: app}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: app, namespace: default}
spec: {host: app, trafficPolicy: {connectionPool: {tcp: {maxConnections: 7}}}}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: own, namespace: default}
spec: {%s}
"""
ANY = "outboundTrafficPolicy: {mode: ALLOW_ANY}"
INGRESS = "ingress: [{port: {number: 8080, protocol: HTTP, name: web}}], "
UNLIMITED = 4294967295


@pytest.mark.parametrize(
    ("annotations", "spec", "limit"),
    [
        pytest.param("", ANY, 7, id="everything-imported"),
        pytest.param("", "egress: [{hosts: ['./*']}]", 7, id="imported"),
        pytest.param("", "egress: [{hosts: ['other/*']}]", UNLIMITED, id="hidden-by-sidecar"),
        pytest.param("", INGRESS + "egress: [{hosts: ['./*']}]", 7, id="ingress-imported"),
        pytest.param("", INGRESS + "egress: [{hosts: ['~/*']}]", UNLIMITED, id="ingress-hidden"),
        pytest.param(
            ", annotations: {networking.istio.io/exportTo: other}",
            ANY,
            UNLIMITED,
            id="not-exported-to-its-own-namespace",
        ),
    ],
)
def test_rules_count_for_services_in_reach(annotations: str, spec: str, limit: int) -> None:
    """A DestinationRule shapes the inbound side too, of services that the workload may itself call."""
    found = clusters(WORLD % (annotations, spec), sidecar(labels={"app": "app"}))["inbound|8080||"]
    assert found.circuit_breakers.thresholds[0].max_connections.value == limit


RESOLVER = """
apiVersion: v1
kind: Service
metadata: {name: dns, namespace: default}
spec:
  clusterIP: 10.0.0.5
  selector: {app: dns}
  ports:
  - {name: dns, port: 53, targetPort: 5353, protocol: UDP}
  - {name: dns-tcp, port: 53, targetPort: 5354, protocol: TCP}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: dns-1, namespace: default, labels: {kubernetes.io/service-name: dns}}
addressType: IPv4
ports: [{name: dns, port: 5353, protocol: UDP}, {name: dns-tcp, port: 5354}]
endpoints: [{addresses: [10.1.0.1]}]
"""


def test_udp_at_the_same_port() -> None:
    """A port for UDP does not hide the one for TCP that has its number, neither from callers nor at the workload."""
    proxy = sidecar(labels={"app": "dns"})
    assert addresses(RESOLVER, proxy) == {"outbound|53||dns.default.svc.cluster.local": {"10.1.0.1:5354": 0}}
    assert "inbound|5354||" in clusters(RESOLVER, proxy)
    chains = World(RESOLVER).listeners(proxy)["virtualInbound"].filter_chains
    assert {chain.name for chain in chains if chain.filter_chain_match.destination_port.value == 5354} == {
        "0.0.0.0_5354"
    }
