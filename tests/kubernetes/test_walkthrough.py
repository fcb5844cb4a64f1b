"""The walk-through on a real node: images, manifests, injected pods, their traffic, and the control plane's own pod."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster import images, mesh_images
from tests.cluster.node import Node
from tests.walkthrough.runner import typed
from tests.walkthrough.steps import ROOT
from tests.walkthrough.story import REMOVAL, STORY

OVERLAY = ROOT / "deploy" / "overlays" / "minimal"
SYSTEM, SHOP, OUTSIDE = "istio-system", "shop", "outside"


@pytest.fixture(scope="module")
def told(kube_node: Node) -> Iterator[Node]:
    """The node after each chapter but the last: the control plane, and pods that talk through the mesh."""
    for image in (mesh_images.pilot(), mesh_images.proxy()):
        kube_node.load(images.archive(image, images.cache()))
    _clear(kube_node)
    try:
        for chapter in STORY[: STORY.index(REMOVAL)]:
            for _ in typed(chapter, kube_node.kubeconfig, lambda text: print(text, end="")):
                pass
        yield kube_node
    finally:
        for namespace in (SYSTEM, SHOP):
            print(kube_node.kubectl("-n", namespace, "describe", "pods"))
            logs = ("logs", "-l", "istio.io/rev", "--all-containers", "--prefix", "--tail=20")
            print(kube_node.kubectl("-n", namespace, *logs, status=(0, 1)))
        _clear(kube_node)


def _clear(node: Node) -> None:
    """Remove what there is of the walk-through, perhaps of a run that failed."""
    node.kubectl("delete", "namespace", SHOP, OUTSIDE, "--ignore-not-found")
    node.kubectl("delete", "--ignore-not-found", "-k", str(OVERLAY))


def test_nothing_differs_from_the_manifests(told: Node) -> None:
    assert told.kubectl("diff", "-k", str(OVERLAY), status=(0, 1)) == ""


def test_the_control_planes_pod_has_only_the_rights_it_needs(told: Node) -> None:
    pod = ("-n", SYSTEM, "exec", "deploy/istiod", "--")
    assert told.kubectl(*pod, "id", "-u").strip() == "65532"
    with pytest.raises(RuntimeError, match="Read-only file system"):
        told.kubectl(*pod, "touch", "/app/file")


def test_a_proxy_has_only_the_rights_it_needs(told: Node) -> None:
    proxy = ("-n", SHOP, "exec", "deploy/web", "-c", "istio-proxy", "--")
    assert told.kubectl(*proxy, "id", "-u").strip() == "1337"
    with pytest.raises(RuntimeError, match="Read-only file system"):
        told.kubectl(*proxy, "touch", "/app/file")
    status = told.kubectl(*proxy, "cat", "/proc/1/status")
    assert "CapEff:\t0000000000000000" in status.splitlines()


def test_proxies_serve_what_the_injector_promised(told: Node) -> None:
    """The ports that probes and scrapers ask: readiness, and the metrics of Envoy and agent together."""
    pod = json.loads(told.kubectl("-n", SHOP, "get", "pods", "-l", "app=web,version=v1", "-o", "json"))["items"][0]
    assert restarts(pod) == 0
    asked = ("-n", SHOP, "exec", "deploy/toolbox", "--", "curl", "-sf")
    address = pod["status"]["podIP"]
    told.kubectl(*asked, f"http://{address}:15021/healthz/ready")
    port, path = (pod["metadata"]["annotations"][f"prometheus.io/{name}"] for name in ("port", "path"))
    metrics = told.kubectl(*asked, f"http://{address}:{port}{path}")
    assert "envoy_server_initialization_time_ms_count" in metrics
    assert "istio_agent_" in metrics


def test_the_last_chapter_leaves_nothing(told: Node) -> None:
    for _ in typed(REMOVAL, told.kubeconfig):
        pass
    for kind in ("clusterroles", "clusterrolebindings"):
        assert "istiod" not in told.kubectl("get", kind, "-o", "name")


def restarts(pod: dict[str, Any]) -> int:
    """Return how often containers of a pod were started again."""
    statuses = [*pod["status"]["containerStatuses"], *pod["status"]["initContainerStatuses"]]
    return sum(int(each["restartCount"]) for each in statuses)
