"""The CNI plugin on a real node: pods of the mesh need no right to change rules, and none passes its proxy by."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.node import Node
from tests.kubernetes import meshed
from tests.kubernetes.meshed import SYSTEM, Json, is_ready, namespace, read, said
from tests.kubernetes.program import controlplane
from tests.patience import wait_until

SHOP = "unprivileged"
AGENT = "k8s-app=istio-cni-node"


@pytest.fixture(scope="module")
def node(kube_node: Node) -> Iterator[Node]:
    """The node with the plugin, and the shop in a namespace that takes no pod with rights of its own."""
    folders = (
        *("--set", "components.cni.enabled=true"),
        *("--set", f"values.cni.cniBinDir={kube_node.folder / 'cni-plugins'}"),
        *("--set", f"values.cni.cniConfDir={kube_node.folder / 'cni'}"),
        *("--set", "values.cni.resources.requests.cpu=10m"),
    )
    baseline = ("istio-injection=enabled", "pod-security.kubernetes.io/enforce=baseline")
    with meshed.small_mesh(kube_node, *folders), namespace(kube_node, SHOP, *baseline):
        meshed.shop(kube_node, SHOP)
        yield kube_node
        print(kube_node.kubectl("-n", SYSTEM, "logs", "-l", AGENT, "--tail=50", status=(0, 1)))


def plugins(node: Node) -> list[str]:
    """Return the plugins that the runtime of the node runs, in their order."""
    text = (Path(node.folder) / "cni" / "10-pods.conflist").read_text()
    return [each["type"] for each in json.loads(text)["plugins"]]


def test_traffic_is_led_without_a_right_in_the_pod(node: Node) -> None:
    """What changes rules is not in the pod, and what is in it has no capability; both proxies see the request."""
    assert plugins(node) == ["bridge", "portmap", "istio-cni"]
    (pod,) = read(node, SHOP, "pods", "-l", "app=web")
    names = [each["name"] for each in pod["spec"]["initContainers"]]
    assert names == ["istio-validation", "istio-proxy"]
    for each in pod["spec"]["initContainers"]:
        assert each["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert each["securityContext"]["runAsUser"] == 1337
    assert said(node, SHOP, "curl", "-sS", "http://web").startswith(
        f"web v1, called by spiffe://cluster.local/ns/{SHOP}"
    )


def test_a_pod_that_began_without_the_plugin_is_mended(node: Node) -> None:
    """The agent goes, and the plugin with it; a pod begins, finds out that its traffic passes by, and stays at that."""
    nowhere = '{"spec":{"template":{"spec":{"nodeSelector":{"there-is": "none"}}}}}'
    anywhere = '{"spec":{"template":{"spec":{"nodeSelector":{"there-is": null}}}}}'
    patch = ("-n", SYSTEM, "patch", "daemonset", "istio-cni-node", "--type=merge", "--patch")
    node.kubectl(*patch, nowhere)
    try:
        wait_until(lambda: not read(node, SYSTEM, "pods", "-l", AGENT))
        assert plugins(node) == ["bridge", "portmap"]
        node.kubectl("-n", SHOP, "rollout", "restart", "deployment/web")
        wait_until(lambda: any(map(fails, read(node, SHOP, "pods", "-l", "app=web"))))
    finally:
        node.kubectl(*patch, anywhere)
    meshed.rolled_out(node, SHOP, "web")
    (pod,) = (each for each in read(node, SHOP, "pods", "-l", "app=web") if "deletionTimestamp" not in each["metadata"])
    assert meshed.restarts(pod, "istio-validation") > 0
    assert "called by" in said(node, SHOP, "curl", "-sS", "http://web")
    (agent,) = read(node, SYSTEM, "pods", "-l", AGENT)
    metrics = said(node, SHOP, "curl", "-sS", f"http://{agent['status']['podIP']}:15014/metrics")
    assert 'istio_cni_repair_pods_repaired_total{result="success",type="repair"} ' in metrics


def fails(pod: Json) -> bool:
    """Whether the check of a pod has found that its traffic is not led to its proxy."""
    for each in (pod.get("status") or {}).get("initContainerStatuses") or ():
        ends = [(each.get(name) or {}).get("terminated") or {} for name in ("state", "lastState")]
        if each["name"] == "istio-validation" and any(one.get("exitCode") == 126 for one in ends):
            return not is_ready(pod)
    return False


def test_pods_wait_for_an_agent_that_is_killed(node: Node) -> None:
    """It cannot take the plugin away; so no pod begins until it is back, and none has to be mended."""
    (agent,) = read(node, SYSTEM, "pods", "-l", AGENT)
    script = (
        'for p in /proc/[0-9]*; do if tr "\\0" " " < $p/cmdline 2> /dev/null | grep -q "^python3 -m controlplane cni"; '
        'then echo "${p#/proc/}"; fi; done'
    )
    (number,) = node.run("sh", "-c", script).split()
    node.run("kill", "-9", number)
    node.kubectl("-n", SHOP, "rollout", "restart", "deployment/web")
    meshed.rolled_out(node, SHOP, "web")
    (pod,) = (each for each in read(node, SHOP, "pods", "-l", "app=web") if "deletionTimestamp" not in each["metadata"])
    assert meshed.restarts(pod, "istio-validation") == 0
    (again,) = read(node, SYSTEM, "pods", "-l", AGENT)
    assert again["metadata"]["uid"] == agent["metadata"]["uid"]
    assert meshed.restarts(again, "install-cni") == 1


def test_it_goes_without_a_trace(node: Node) -> None:
    controlplane(node, "install", "-y", *meshed.SMALL)
    wait_until(lambda: plugins(node) == ["bridge", "portmap"])
    folder = Path(node.folder) / "cni-plugins"
    wait_until(lambda: not [each for each in folder.iterdir() if "istio" in each.name])
    assert "istio-cni" not in node.kubectl("get", "clusterroles,clusterrolebindings", "-o", "name")
