"""The manifests and the image on a real node: the Deployment becomes ready, and Pods reach it by name."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import images
from tests.cluster.node import Node

OVERLAY = Path(__file__).parents[2] / "deploy" / "overlays" / "minimal"
SYSTEM = "istio-system"
CLIENT = "mesh-client"


@pytest.fixture(scope="module")
def deployed(kube_node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """The node with the control plane of this checkout, ready; it serves an empty directory."""
    kubectl = kube_node.kubectl
    image = images.control_plane("controlplane:0.1.0")
    kube_node.load(images.write(image, tmp_path_factory.mktemp("image") / "controlplane.tar"))
    kubectl("create", "namespace", CLIENT)
    kubectl("-n", CLIENT, "run", "client", f"--image={images.TOOLS}", "--", "sleep", "100000")
    overlay = serving_files(tmp_path_factory.mktemp("overlay"))
    kubectl("apply", "-k", str(overlay))
    try:
        kubectl("-n", SYSTEM, "rollout", "status", "deployment/istiod", "--timeout=90s")
        kubectl("-n", CLIENT, "wait", "--for=condition=Ready", "pod/client", "--timeout=60s")
        yield kube_node
    finally:
        print(kubectl("-n", SYSTEM, "describe", "pods"))
        print(kubectl("-n", SYSTEM, "logs", "deployment/istiod", "--tail=30", status=(0, 1)))
        kubectl("delete", "-k", str(overlay), "--ignore-not-found")
        kubectl("delete", "namespace", CLIENT, "--wait=false")


def serving_files(folder: Path) -> Path:
    """Write an overlay that changes only what is served: nothing but files can be read yet."""
    arguments = ["serve", "--config-dir=/tmp", "--xds-bind=0.0.0.0"]
    path = "/spec/template/spec/containers/0/args"
    patch = {
        "target": {"kind": "Deployment", "name": "istiod"},
        "patch": json.dumps([{"op": "replace", "path": path, "value": arguments}]),
    }
    kustomization = {"resources": [os.path.relpath(OVERLAY, folder)], "patches": [patch]}
    (folder / "kustomization.yaml").write_text(json.dumps(kustomization))
    return folder


def test_it_answers_by_name(deployed: Node) -> None:
    url = f"http://istiod.{SYSTEM}.svc:15014/ready"
    deployed.kubectl("-n", CLIENT, "exec", "client", "--", "curl", "-sf", "--max-time", "5", url)


def test_its_status_is_one_exec_away(deployed: Node) -> None:
    said = deployed.kubectl("-n", SYSTEM, "exec", "deploy/istiod", "--", "python", "-m", "controlplane", "status")
    assert "no proxies" in said.lower() or "NAME" in said
