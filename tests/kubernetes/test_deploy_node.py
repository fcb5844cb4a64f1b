"""The manifests and the image on a real node: applied, ready, and serving an Envoy in a Pod."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.agent.bootstrap import TcpAddress
from controlplane.agent.envoy import envoy_binary
from tests.cluster import images
from tests.cluster.node import Node
from tests.kubernetes.proxies import SECURE_PORT, sidecar

OVERLAY = Path(__file__).parents[2] / "deploy" / "overlays" / "minimal"
SYSTEM = "istio-system"
MESH = "deployed"
PLAINTEXT = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: DISABLE}}
"""


@pytest.fixture(scope="module")
def deployed(kube_node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """The node with the control plane of this checkout, ready, and a namespace with an Envoy and two Services."""
    kubectl = kube_node.kubectl
    folder = tmp_path_factory.mktemp("images")
    archive = images.write(images.control_plane(images.deployed()), folder / "controlplane.tar")
    Node.load_into(kube_node.folder, archive)
    kube_node.load(images.write(images.envoy(envoy_binary()), folder / "envoy.tar"))
    kubectl("apply", "-k", str(OVERLAY))
    try:
        kubectl("-n", SYSTEM, "rollout", "status", "deployment/istiod", "--timeout=90s")
        kubectl("apply", "-f", "-", text=PLAINTEXT)  # this Envoy has no agent that would fetch a certificate
        kubectl("create", "namespace", MESH)
        kubectl("-n", MESH, "create", "service", "clusterip", "web", "--tcp=80")
        kubectl("apply", "-f", "-", text=sidecar(MESH, "web", TcpAddress(f"istiod.{SYSTEM}.svc", SECURE_PORT)))
        yield kube_node
    finally:
        print(kubectl("-n", SYSTEM, "describe", "pods"))
        print(kubectl("-n", SYSTEM, "logs", "deployment/istiod", "--tail=30", status=(0, 1)))
        print(kubectl("-n", MESH, "logs", "web", "--tail=30", status=(0, 1)))
        kubectl("delete", "namespace", MESH, "--wait=false", "--ignore-not-found")
        kubectl("delete", "-k", str(OVERLAY), "--ignore-not-found")


def control_plane(node: Node, *arguments: str) -> str:
    """Return what a command of the control plane says in its own Pod."""
    return node.kubectl("-n", SYSTEM, "exec", "deploy/istiod", "--", "python", "-m", "controlplane", *arguments)


def test_nothing_differs_once_it_is_ready(deployed: Node) -> None:
    assert deployed.kubectl("diff", "-k", str(OVERLAY), status=(0, 1)) == ""


def test_an_envoy_in_a_pod_is_synced(deployed: Node) -> None:
    deployed.kubectl("-n", MESH, "wait", "--for=condition=Ready", "pod/web", "--timeout=60s")
    row = next(line for line in control_plane(deployed, "status").splitlines() if f"web.{MESH}" in line)
    assert row.count("SYNCED") >= 3
    assert not {"STALE", "ERROR"} & set(row.split())


def test_the_envoy_holds_the_services(deployed: Node) -> None:
    """The Envoy answers with what it holds, from its admin port inside the Pod."""
    clusters = deployed.kubectl("-n", MESH, "exec", "web", "--", "curl", "-s", "http://127.0.0.1:15000/clusters")
    assert f"outbound|80||web.{MESH}.svc.cluster.local" in clusters


def test_its_pod_has_only_the_rights_it_needs(deployed: Node) -> None:
    pod = ("-n", SYSTEM, "exec", "deploy/istiod", "--")
    assert deployed.kubectl(*pod, "id", "-u").strip() == "65532"
    with pytest.raises(RuntimeError, match="Read-only file system"):
        deployed.kubectl(*pod, "touch", "/app/file")
