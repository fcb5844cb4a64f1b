"""What a kubelet would write: nodes, and Pods that run on them, for tests that need only the API."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.cluster.api_server import ApiServer

NODE = "written"


def write_node(cluster: ApiServer, name: str = NODE, labels: Mapping[str, str] | None = None) -> None:
    """Write a Node, or its labels anew; no endpoint is made for a Pod whose Node is not there."""
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": dict(labels or {})}}
    cluster.kubectl("apply", "-f", "-", text=json.dumps(node))


def write_pod(
    cluster: ApiServer,
    namespace: str,
    name: str,
    address: str,
    labels: Mapping[str, str] | None = None,
    **spec: Any,
) -> None:
    """Write a Pod that is ready at an address; ``spec`` adds to its ``spec``. Its Node is written first."""
    write_node(cluster, spec.get("nodeName", NODE))
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": dict(labels or {})},
        "spec": {
            "nodeName": NODE,
            "terminationGracePeriodSeconds": 0,  # else its deletion waits for a kubelet
            "containers": [{"name": "app", "image": "app"}],
            **spec,
        },
    }
    cluster.kubectl("apply", "-f", "-", text=json.dumps(pod))
    write_status(cluster, namespace, name, address)


def write_status(cluster: ApiServer, namespace: str, name: str, address: str, *, ready: bool = True) -> None:
    """Write a Pod's status: it runs at an address, and is ready or not."""
    status = {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "conditions": [{"type": "Ready", "status": str(ready)}],
    }
    patch = json.dumps({"status": status})
    cluster.kubectl("-n", namespace, "patch", "pod", name, "--subresource=status", "--patch", patch)
