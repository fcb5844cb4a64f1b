"""What a Sidecar resource lets its workloads know."""

from __future__ import annotations

import pytest

from controlplane.model import kinds
from controlplane.model.objects import ObjectKey
from controlplane.registry.scopes import EgressKey, egress_scope
from tests.translate.listeners.world import World

WORLD = """
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: own, namespace: shop}
spec: {egress: [{hosts: ["*/web.example.com"]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: all, namespace: shop, annotations: {internal.istio.io/route-semantics: "%s"}}
spec: {hosts: ["%s"], http: [{route: [{destination: {host: far.example.com}}]}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: far, namespace: other}
spec: {hosts: [far.example.com], resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}]}
"""


@pytest.mark.parametrize(
    ("semantics", "host", "reached"),
    [
        pytest.param("", "*.example.com", ["far.example.com"], id="wider"),
        pytest.param("", "web.example.com", ["far.example.com"], id="equal"),
        pytest.param("", "*.example.org", [], id="other"),
        pytest.param("gateway", "web.example.com", ["far.example.com"], id="route-of-the-gateway-api"),
        pytest.param("gateway", "*.example.com", [], id="wider-route-of-the-gateway-api"),
    ],
)
def test_services_routed_to(semantics: str, host: str, reached: list[str]) -> None:
    """Where the VirtualServices in reach lead to is in reach too."""
    world = World(WORLD % (semantics, host))
    scope = world.registry.memo.get(egress_scope, EgressKey("shop", ObjectKey(kinds.SIDECAR, "shop", "own")))
    assert [service.hostname for service in scope.services] == reached


@pytest.mark.parametrize(
    ("port", "reached"),
    [
        pytest.param("", {"far.example.com": [80]}, id="any-port"),
        pytest.param("port: {number: 80, name: http, protocol: HTTP}, ", {"far.example.com": [80]}, id="its-port"),
        pytest.param("port: {number: 81, name: http, protocol: HTTP}, ", {}, id="another-port"),
        pytest.param("port: {number: 81, name: p, protocol: HTTP_PROXY}, ", {"far.example.com": [80]}, id="proxy"),
    ],
)
def test_a_listener_with_a_port_leads_nowhere_else(port: str, reached: dict[str, list[int]]) -> None:
    world = World((WORLD % ("", "web.example.com")).replace('{hosts: ["*/', f'{{{port}hosts: ["*/'))
    scope = world.registry.memo.get(egress_scope, EgressKey("shop", ObjectKey(kinds.SIDECAR, "shop", "own")))
    assert {service.hostname: [port.number for port in service.ports] for service in scope.services} == reached
