"""Which service ports lead to a proxy."""

from __future__ import annotations

import pytest

from controlplane.model.proxy import Proxy
from controlplane.registry.workloads import inbound_targets
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


def test_of_two_entries_with_one_address_the_proxys_name_decides() -> None:
    """The other one's labels select nothing."""
    other = VM.replace("name: vm", "name: a").replace("app: vm", "app: other")
    world = World(f"{other}---{VM}{service('8080')}")
    proxies = [Proxy("sidecar", f"{name}.shop", ("10.3.0.1",), "shop", "d") for name in ("vm", "a")]
    found = [world.registry.memo.get(inbound_targets, proxy) for proxy in proxies]
    assert [[target.target_port for target in targets] for targets in found] == [[8080], []]
