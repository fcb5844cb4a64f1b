"""Two control planes side by side on a real node: namespaces go from one to the other, and no request is lost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.node import Node
from tests.kubernetes import meshed
from tests.kubernetes.meshed import SMALL, SYSTEM, load, namespace, read, rolled_out, said
from tests.kubernetes.program import controlplane

CALLED, CALLERS = "called", "callers"


@pytest.fixture(scope="module")
def node(kube_node: Node) -> Iterator[Node]:
    """The node with a control plane without a name, and two namespaces of its mesh with the shop in each."""
    with (
        meshed.small_mesh(kube_node),
        namespace(kube_node, CALLED, "istio-injection=enabled"),
        namespace(kube_node, CALLERS, "istio-injection=enabled"),
    ):
        meshed.shop(kube_node, CALLED)
        meshed.shop(kube_node, CALLERS)
        yield kube_node


def moved(node: Node, namespace: str) -> None:
    """Have a namespace ask for the tag, and make the called pods of it anew."""
    node.kubectl("label", "namespace", namespace, "istio-injection-", "istio.io/rev=prod")
    node.kubectl("-n", namespace, "rollout", "restart", "deployment/web")
    rolled_out(node, namespace, "web")


def test_namespaces_are_moved_one_by_one_under_load(node: Node) -> None:
    """First who is called, then who calls, at last the old control plane goes: all requests are served."""
    url = f"http://web.{CALLED}"
    with load(node, CALLERS, url):
        controlplane(node, "install", "-y", *SMALL, "--revision", "canary")
        controlplane(node, "tag", "set", "prod", "--revision", "canary")
        moved(node, CALLED)
        assert proxies(node, CALLED, "web") == {"canary"}
        assert proxies(node, CALLERS, "web", "toolbox") == {"default"}
    assert "called by spiffe://cluster.local/ns/callers/sa/toolbox" in said(node, CALLERS, "curl", "-sS", url)

    moved(node, CALLERS)
    node.kubectl("-n", CALLERS, "rollout", "restart", "deployment/toolbox")
    rolled_out(node, CALLERS, "toolbox")
    node.kubectl("-n", CALLED, "rollout", "restart", "deployment/toolbox")
    rolled_out(node, CALLED, "toolbox")
    assert proxies(node, CALLERS, "web", "toolbox") == {"canary"}
    assert "canary" in controlplane(node, "tag", "list")
    with load(node, CALLERS, url):
        controlplane(node, "uninstall", "-y", "--revision", "default")
        assert [each["metadata"]["name"] for each in read(node, SYSTEM, "deployments")] == ["istiod-canary"]
        node.kubectl("-n", CALLED, "rollout", "restart", "deployment/web")
        rolled_out(node, CALLED, "web")
    told = controlplane(node, "check-inject", "-n", CALLED, "deployment/web")
    assert "istio-revision-tag-prod" in told
    assert "✔" in told


def proxies(node: Node, namespace: str, *apps: str) -> set[str]:
    """Return the revisions that made the proxies of pods which stay."""
    return {
        each["metadata"]["annotations"]["istio.io/rev"]
        for app in apps
        for each in read(node, namespace, "pods", "-l", f"app={app}")
        if "deletionTimestamp" not in each["metadata"]
    }
