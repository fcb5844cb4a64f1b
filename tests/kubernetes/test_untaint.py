"""Nodes wait for the agent of the CNI plugin: on a real API server, whose nodes are objects and nothing more."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from controlplane.controllers.untaint import TAINT, Untaint
from tests.cluster.api_server import ApiServer
from tests.kubernetes.objects import no_signals
from tests.kubernetes.secure import SYSTEM, ControlPlane
from tests.kubernetes.test_security import api, until

PLUGINS = "plugins"
OTHER = {"key": "other", "effect": "NoSchedule"}


def add_node(cluster: ApiServer, name: str) -> None:
    taints = [OTHER, {"key": TAINT, "effect": "NoSchedule"}]
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {"taints": taints}}
    cluster.kubectl("create", "-f", "-", text=json.dumps(node))


def add_agent(cluster: ApiServer, namespace: str, node: str) -> None:
    pod: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"agent-{node}", "namespace": namespace, "labels": {"k8s-app": "istio-cni-node"}},
        "spec": {
            "nodeName": node,
            "containers": [{"name": "install-cni", "image": "none"}],
            "tolerations": [{"operator": "Exists"}],
            "automountServiceAccountToken": False,
        },
    }
    cluster.kubectl("-n", namespace, "create", "serviceaccount", "default", status=(0, 1))
    cluster.kubectl("create", "-f", "-", text=json.dumps(pod))


def become(cluster: ApiServer, namespace: str, node: str, *, ready: bool) -> None:
    condition = {"type": "Ready", "status": "True" if ready else "False"}
    status = json.dumps({"status": {"conditions": [condition]}})
    cluster.kubectl("-n", namespace, "patch", "pod", f"agent-{node}", "--subresource=status", "-p", status)


def is_tainted(cluster: ApiServer, node: str) -> bool:
    taints = json.loads(cluster.kubectl("get", "node", node, "-o", "json"))["spec"]["taints"]
    assert OTHER in taints, "others stay"
    return any(each["key"] == TAINT for each in taints)


async def test_a_node_waits_for_a_ready_agent_in_the_right_namespace(own_kube_cluster: ApiServer) -> None:
    """Those that were ready before count, those that become so, and the taint of a node that gets it again."""
    cluster = own_kube_cluster
    for name in (PLUGINS, "elsewhere"):
        cluster.kubectl("create", "namespace", name)
    for name in ("before", "late", "waiting", "fooled"):
        add_node(cluster, name)
        add_agent(cluster, "elsewhere" if name == "fooled" else PLUGINS, name)
    become(cluster, PLUGINS, "before", ready=True)
    become(cluster, PLUGINS, "waiting", ready=False)
    become(cluster, "elsewhere", "fooled", ready=True)
    async with api(cluster) as made:
        task = asyncio.create_task(Untaint(made, PLUGINS, signals=no_signals).run())
        try:
            await until(lambda: not is_tainted(cluster, "before"))
            assert is_tainted(cluster, "late")
            become(cluster, PLUGINS, "late", ready=True)
            await until(lambda: not is_tainted(cluster, "late"))
            cluster.kubectl("taint", "node", "before", f"{TAINT}:NoExecute")
            await until(lambda: not is_tainted(cluster, "before"))
            assert is_tainted(cluster, "waiting")
            assert is_tainted(cluster, "fooled")
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.wait([task])


def test_the_program_does_it_where_it_is_asked_to_and_may(cluster: ApiServer, tmp_path: Path) -> None:
    """The chart gives this right with ``pilot.taint.enabled``; ``deploy/`` does not."""
    add_node(cluster, "new")
    add_agent(cluster, SYSTEM, "new")
    become(cluster, SYSTEM, "new", ready=True)
    cluster.kubectl("create", "clusterrole", "untaint", "--verb=patch", "--resource=nodes")
    cluster.kubectl(
        "create", "clusterrolebinding", "untaint", "--clusterrole=untaint", f"--serviceaccount={SYSTEM}:istiod"
    )
    program = ControlPlane(cluster, tmp_path, "--no-plaintext", "--untaint-nodes")
    with program.running():
        program.until(lambda: not is_tainted(cluster, "new"))
    assert program.said["controllers.taint_removed"]["node"] == "new"
