"""Which service ports lead to a proxy."""

from __future__ import annotations

import pytest

from controlplane.model.proxy import Locality, Proxy
from controlplane.registry.workloads import inbound_targets, workload
from tests.translate.listeners.world import World

VM = """
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm, namespace: shop}
spec: {address: 10.3.0.1, labels: {app: vm}, ports: {web: 7000}}
"""
POD = """
apiVersion: v1
kind: Pod
metadata: {name: vm, namespace: shop, labels: {app: vm}}
spec:
  containers: [{name: a, ports: [{containerPort: 9000, name: web, protocol: UDP}, {containerPort: 9001, name: web}]}]
status: {podIP: 10.3.0.1}
"""


def service(target: str) -> str:
    return f"""
---
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: shop}}
spec: {{clusterIP: 10.0.0.1, selector: {{app: vm}}, ports: [{{name: http, port: 80, targetPort: {target}}}]}}
"""


@pytest.mark.parametrize(
    ("workload", "target", "ports"),
    [
        pytest.param(VM, "web", [7000], id="entry-by-name"),
        pytest.param(VM, "8080", [8080], id="entry-by-number"),
        pytest.param(VM, "gone", [], id="entry-without-the-name"),
        pytest.param(VM.replace("web: 7000", "http: 7001"), "8080", [7001], id="entry-by-the-services-name"),
        pytest.param(VM.replace("app: vm", "app: other"), "8080", [], id="entry-not-selected"),
        pytest.param(POD, "web", [9001], id="pod-by-name-and-protocol"),
        pytest.param(POD, "8080", [8080], id="pod-by-number"),
    ],
)
def test_target_ports(workload: str, target: str, ports: list[int]) -> None:
    """A WorkloadEntry's port map goes before the number; a container's port counts if its protocol is the service's."""
    world = World(workload + service(target))
    proxy = Proxy("sidecar", "vm.shop", ("10.3.0.1",), "shop", "shop.svc.cluster.local")
    found = world.registry.memo.get(inbound_targets, proxy)
    assert [target.target_port for target in found] == ports


SLICE = """
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 7002}]
endpoints: [{addresses: [10.3.0.1]}]
"""


@pytest.mark.parametrize(
    ("yaml", "ports"),
    [
        pytest.param(service("8080").replace("selector: {app: vm}, ", ""), [7002], id="nothing-selects-it"),
        pytest.param(service("gone"), [], id="selected-at-a-port-that-it-lacks"),
        pytest.param(service("8080"), [8080], id="selected"),
    ],
)
def test_slices_count_only_for_a_pod_that_no_service_selects(yaml: str, ports: list[int]) -> None:
    proxy = Proxy("sidecar", "vm.shop", ("10.3.0.1",), "shop", "shop.svc.cluster.local")
    found = World(POD + yaml + SLICE).registry.memo.get(inbound_targets, proxy)
    assert [target.target_port for target in found] == ports


def test_of_two_entries_with_one_address_the_proxys_name_decides() -> None:
    """The other one's labels select nothing."""
    other = VM.replace("name: vm", "name: a").replace("app: vm", "app: other")
    world = World(f"{other}---{VM}{service('8080')}")
    proxies = [Proxy("sidecar", f"{name}.shop", ("10.3.0.1",), "shop", "d") for name in ("vm", "a")]
    found = [world.registry.memo.get(inbound_targets, proxy) for proxy in proxies]
    assert [[target.target_port for target in targets] for targets in found] == [[8080], []]


NODE = """
---
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {topology.kubernetes.io/region: r1, topology.kubernetes.io/zone: z1}}
"""
SCHEDULED = POD.replace("spec:", "spec:\n  nodeName: n1")
ENTRY = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: vm, namespace: shop}
spec:
  hosts: [vm.example.com]
  resolution: STATIC
  ports: [{number: 80, name: http}]
  endpoints: [{address: 10.3.0.1, locality: r3/z3}]
"""


@pytest.mark.parametrize(
    ("yaml", "locality"),
    [
        pytest.param(SCHEDULED + NODE, Locality("r1", "z1"), id="node-of-the-pod"),
        pytest.param(SCHEDULED, Locality("own", "zone"), id="pod-on-an-unknown-node"),
        pytest.param(POD.replace("app: vm", "istio-locality: r2.z2"), Locality("r2", "z2"), id="label-of-the-pod"),
        pytest.param(VM.replace("address:", "locality: r3/z3, address:"), Locality("r3", "z3"), id="workload-entry"),
        pytest.param(ENTRY, Locality("r3", "z3"), id="endpoint-of-a-service-entry"),
        pytest.param(VM, Locality("own", "zone"), id="entry-without-a-place"),
        pytest.param(NODE, Locality("own", "zone"), id="unknown"),
    ],
)
def test_place_of_a_workload(yaml: str, locality: Locality) -> None:
    """What the registry knows goes before what the proxy says of itself, and shows in its labels."""
    proxy = Proxy(
        "sidecar", "vm.shop", ("10.3.0.1",), "shop", "shop.svc.cluster.local", locality=Locality("own", "zone")
    )
    held = World(yaml).registry.memo.get(workload, proxy)
    assert held.locality == locality
    assert held.labels["topology.kubernetes.io/region"] == locality.region


def test_a_proxy_knows_its_node_best() -> None:
    proxy = Proxy("sidecar", "vm.shop", ("10.3.0.1",), "shop", "shop.svc.cluster.local", metadata={"NODE_NAME": "n2"})
    held = World(SCHEDULED + NODE).registry.memo.get(workload, proxy)
    assert (held.node, held.labels["kubernetes.io/hostname"], held.locality) == ("n2", "n2", Locality("r1", "z1"))


def test_without_its_word_a_proxy_is_on_no_node() -> None:
    proxy = Proxy("sidecar", "vm.shop", ("10.3.0.1",), "shop", "shop.svc.cluster.local")
    held = World(SCHEDULED + NODE).registry.memo.get(workload, proxy)
    assert (held.node, held.labels.get("kubernetes.io/hostname"), held.locality) == ("", None, Locality("r1", "z1"))
