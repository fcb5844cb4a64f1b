"""What a Sidecar resource lets its workloads know."""

from __future__ import annotations

import random

import pytest

from controlplane.model import kinds
from controlplane.model.objects import ObjectKey
from controlplane.registry.scopes import EgressKey, Patterns, covers, egress_scope
from controlplane.translate.routes.gateway import intersection
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


_NAMES = ["", "*", "a", "*a", "aa", "*aa", "b.a", "*.a", "*.b.a", "*b.a", "c.b.a", "*.c.b.a", ".a", "a.b", "*.b"]


@pytest.mark.parametrize("seed", range(20))
def test_patterns_answer_as_each_of_them_would(seed: int) -> None:
    held = random.Random(seed).sample(_NAMES, seed % 7)
    patterns = Patterns(held)
    for name in _NAMES:
        assert patterns.cover(name) == any(covers(each, name) for each in held), (held, name)
        assert patterns.lie_within(name) == any(covers(name, each) for each in held), (held, name)
    for stated in (_NAMES[::2], _NAMES[1::2]):
        pairs = [(outer, inner) for outer in held for inner in stated]
        narrower = {inner if covers(outer, inner) else outer for outer, inner in pairs if overlap(outer, inner)}
        assert set(intersection(held, stated)) == narrower


def overlap(one: str, other: str) -> bool:
    return covers(one, other) or covers(other, one)
