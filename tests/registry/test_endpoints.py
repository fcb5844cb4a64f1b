"""Endpoints of services: whose they are and what is known of them."""

from __future__ import annotations

import pytest

from controlplane.engine.recording import query
from controlplane.registry.endpoints import endpoints
from controlplane.registry.store import View
from tests.translate.listeners.world import World

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.0.0.1, ports: [{name: http, port: 80, targetPort: 8012}]}
"""


def pod(namespace: str, ip: str) -> str:
    return f"""
---
apiVersion: v1
kind: Pod
metadata: {{name: a, namespace: {namespace}, labels: {{security.istio.io/tlsMode: istio}}}}
spec: {{containers: []}}
status: {{podIP: {ip}}}
"""


def slice_of(target: str) -> str:
    return f"""
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: web-1, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}
addressType: IPv4
ports: [{{name: http, port: 8012}}]
endpoints: [{{addresses: [10.3.0.1], targetRef: {{{target}}}}}]
"""


@pytest.mark.parametrize(
    ("pods", "target", "accounts"),
    [
        pytest.param([("serving", "10.3.0.1")], "kind: Pod, name: a, namespace: serving", ["serving"], id="elsewhere"),
        pytest.param(
            [("serving", "10.3.0.1"), ("shop", "10.3.0.2")],
            "kind: Pod, name: a, namespace: serving",
            ["serving"],
            id="elsewhere-with-a-namesake-here",
        ),
        pytest.param([("shop", "10.3.0.1")], "kind: Pod, name: a, namespace: serving", [], id="only-a-namesake"),
        pytest.param([("shop", "10.3.0.1")], "kind: Pod, name: a", ["shop"], id="here-unless-stated"),
    ],
)
def test_pod_of_an_endpoint(pods: list[tuple[str, str]], target: str, accounts: list[str]) -> None:
    """The pod that ``targetRef`` names with its namespace gives an endpoint its identity; unknown, it is withheld."""
    world = World(SERVICE + "".join(pod(*each) for each in pods) + slice_of(target))
    found = world.registry.memo.get(endpoints, ("web.shop.svc.cluster.local", "shop"))
    assert [(each.account, each.namespace, each.tls_mode) for each in found] == [
        (f"spiffe://cluster.local/ns/{namespace}/sa/default", namespace, "istio") for namespace in accounts
    ]


def listed(*addresses: str, name: str = "web-1") -> str:
    stated = ", ".join(f"{{addresses: [{address}]}}" for address in addresses)
    empty = slice_of("kind: Node, name: n").replace("web-1", name)
    return empty.replace("[{addresses: [10.3.0.1], targetRef: {kind: Node, name: n}}]", f"[{stated}]")


@pytest.mark.parametrize(
    "after",
    [
        pytest.param(listed("10.3.0.10", "10.3.0.1", "10.3.0.2"), id="other-order"),
        pytest.param(listed("10.3.0.10") + listed("10.3.0.2", "10.3.0.1", name="web-0"), id="other-slices"),
    ],
)
def test_order_is_no_change(after: str) -> None:
    """Endpoints that are listed in another order, or in other slices, are the same: nothing is built for them."""
    runs: list[tuple[str, ...]] = []

    @query
    def reader(view: View, key: tuple[str, str]) -> int:
        runs.append(tuple(each.address for each in endpoints(view, key)))
        return len(runs)

    world = World(SERVICE + listed("10.3.0.1", "10.3.0.2", "10.3.0.10"))
    key = ("web.shop.svc.cluster.local", "shop")
    world.registry.memo.keep(reader, key)
    world.apply(after)
    assert world.registry.memo.get(reader, key) == 1
    assert runs == [("10.3.0.1", "10.3.0.10", "10.3.0.2")]
