"""A node with a small control plane that ``install`` put there, and the shop of the walk-through in namespaces."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.cluster import mesh_images
from tests.cluster.node import Node
from tests.kubernetes.program import controlplane
from tests.patience import wait_until

SYSTEM = "istio-system"
SHOP = Path(__file__).parents[1] / "walkthrough" / "manifests" / "shop.yaml"
SMALL = (
    *("--set", "profile=minimal"),
    *("--set", "values.pilot.autoscaleEnabled=false"),
    *("--set", "values.pilot.resources.requests.cpu=50m"),
    *("--set", "values.pilot.resources.requests.memory=128Mi"),
    *("--set", "values.global.proxy.resources.requests.cpu=10m"),
    *("--set", "values.global.proxy.resources.requests.memory=40Mi"),
)
Json = dict[str, Any]


@contextmanager
def small_mesh(node: Node, *options: str) -> Iterator[Node]:
    """Install it, with more ``options``, and take it away; what pods said is printed before they go."""
    for archive in mesh_images.archives():
        node.load(archive)
    controlplane(node, "uninstall", "--purge", "-y")
    try:
        controlplane(node, "install", "-y", *SMALL, *options)
        yield node
    finally:
        print(node.kubectl("get", "pods", "--all-namespaces", "-o", "wide"))
        print(node.kubectl("-n", SYSTEM, "logs", "-l", "app=istiod", "--tail=30", "--prefix", status=(0, 1)))
        controlplane(node, "uninstall", "--purge", "-y")


@contextmanager
def namespace(node: Node, name: str, *labels: str) -> Iterator[str]:
    """Make a namespace with labels, and remove it with all that is in it."""
    node.kubectl("create", "namespace", name)
    try:
        if labels:
            node.kubectl("label", "namespace", name, *labels)
        yield name
    finally:
        logs = ("logs", "--selector=app", "--container=istio-proxy", "--prefix", "--tail=15", "--ignore-errors")
        print(node.kubectl("-n", name, *logs, status=(0, 1)))
        node.kubectl("delete", "namespace", name)


def apply(node: Node, namespace: str, *objects: Json) -> None:
    """Apply objects to a namespace."""
    node.kubectl(
        "-n", namespace, "apply", "-f", "-", text=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    )


def shop(node: Node, namespace: str) -> None:
    """Run the shop there, and wait for it."""
    node.kubectl("-n", namespace, "apply", "-f", str(SHOP))
    rolled_out(node, namespace, "web", "toolbox")


def rolled_out(node: Node, namespace: str, *deployments: str) -> None:
    """Wait until the pods of Deployments are the new ones, and ready."""
    for name in deployments:
        node.kubectl("-n", namespace, "rollout", "status", f"deployment/{name}", "--timeout=280s")


def read(node: Node, namespace: str, kind: str, *selection: str) -> list[Json]:
    """Return objects of a namespace."""
    items: list[Json] = json.loads(node.kubectl("-n", namespace, "get", kind, *selection, "-o", "json"))["items"]
    return items


def said(node: Node, namespace: str, *command: str) -> str:
    """Run a command in the toolbox of a namespace; return what it prints."""
    return node.kubectl("-n", namespace, "exec", "deploy/toolbox", "-c", "toolbox", "--", *command)


@contextmanager
def load(node: Node, namespace: str, url: str) -> Iterator[None]:
    """Ask a URL again and again from the toolbox of a namespace. Raises ``AssertionError`` where one was not served."""
    said(node, namespace, "python3", "/programs/load.py", "start", url)
    yield
    told = said(node, namespace, "python3", "/programs/load.py", "stop").strip()
    count, _, outcome = told.partition(" requests: ")
    assert outcome == "200", told
    assert int(count) > 0


def restarts(pod: Json, container: str) -> int:
    """Return how often a container of a pod was started again."""
    status = pod.get("status") or {}
    found = [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]
    return sum(int(each["restartCount"]) for each in found if each["name"] == container)


def is_ready(pod: Json) -> bool:
    """Whether a pod gets traffic."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def ready_again(node: Node, namespace: str, selection: str, container: str, restarted: int) -> None:
    """Wait until a container was started again so many times, and its pod is ready."""

    def holds() -> bool:
        (pod,) = read(node, namespace, "pods", "-l", selection)
        return restarts(pod, container) >= restarted and is_ready(pod)

    wait_until(holds, lambda: node.kubectl("-n", namespace, "describe", "pods", "-l", selection))
