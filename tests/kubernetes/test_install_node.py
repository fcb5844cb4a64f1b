"""``install`` on a real node: it waits until the control plane serves, and leaves nothing in the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.install.chart import chart
from tests.cluster import images, mesh_images
from tests.cluster.node import Node
from tests.helm.build import helm
from tests.kubernetes.meshed import SMALL
from tests.kubernetes.program import controlplane
from tests.patience import wait_until

SYSTEM = "istio-system"
ENTRY = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: outside, namespace: default}
spec: {hosts: [outside.example.com], resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}]}
"""
CHARTS = Path(__file__).parents[2] / "deploy" / "charts"
WEBHOOKS = "mutatingwebhookconfiguration/istio-sidecar-injector"


@pytest.fixture(scope="module")
def node(kube_node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """The node with the image of the control plane under the name that the chart gives it."""
    name = f"{chart('istiod').values['global']['hub']}/pilot:{chart('istiod').description['appVersion']}"
    archive = images.write(mesh_images.pilot(name), tmp_path_factory.mktemp("images") / "pilot.tar")
    Node.load_into(Path(kube_node.folder), archive)
    kube_node.load(images.archive(mesh_images.proxy(), images.cache()))
    try:
        yield kube_node
    finally:
        controlplane(kube_node, "uninstall", "--purge", "-y")


def asks_all_pods_through_forwarded_ports(node: Node, folder: Path) -> None:
    """Commands find the control plane as kubectl finds the cluster, and each pod of it answers."""
    where = ("--kubeconfig", str(node.kubeconfig))
    pods = node.kubectl("-n", SYSTEM, "get", "pods", "-l", "app=istiod", "-o", "jsonpath={.items[*].metadata.name}")
    versions = json.loads(controlplane(node, "version", "-o", "json", *where))["meshVersion"]
    assert len(versions) == len(pods.split()) == 2
    assert "NAME" in controlplane(node, "status", *where)
    manifest = folder / "entry.yaml"
    manifest.write_text(ENTRY)
    told = plan(node, "-f", str(manifest), *where)
    assert all(f"{pod}.{SYSTEM}" in told for pod in pods.split()), told
    assert "+ ServiceEntry default/outside" in told
    assert "There is no control plane in namespace nowhere: it has no pod with the label app=istiod" in plan(
        node, "-f", str(manifest), *where, "-i", "nowhere"
    )


def plan(node: Node, *arguments: str) -> str:
    """Return what ``plan`` prints; it does not end with 0 where something changes."""
    return subprocess.run(
        [sys.executable, "-m", "controlplane", "plan", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=1000,
        env={**os.environ, "KUBECONFIG": str(node.kubeconfig)},
    ).stdout


def test_it_is_ready_when_the_command_ends(node: Node, tmp_path: Path) -> None:
    """Every line is true when it is printed: nothing differs, webhooks trust, and purging ends with nothing left."""
    names = ("get", "namespaces,crds,clusterroles,mutatingwebhookconfigurations", "-o", "name")
    before = node.kubectl(*names)
    said = controlplane(node, "install", "-y", "--readiness-timeout", "5m", "--verify", *SMALL)
    assert "✔ Control plane: 12 objects ready" in said
    assert "✔ All is as it was asked for" in said
    assert controlplane(node, "verify-install").endswith("✔ All is as it was asked for\n")

    said = controlplane(node, "install", "-y", *SMALL, "--revision", "canary")
    assert "waiting for Deployment istio-system/istiod-canary" in said
    controlplane(node, "tag", "set", "prod", "--revision", "canary")
    assert node.kubectl("-n", SYSTEM, "get", "deployments", "-o", "name").split() == [
        "deployment.apps/istiod",
        "deployment.apps/istiod-canary",
    ]
    asks_all_pods_through_forwarded_ports(node, tmp_path)
    controlplane(node, "uninstall", "--purge", "-y")
    assert node.kubectl(*names) == before
    assert "istio-ca-root-cert" not in node.kubectl("get", "configmaps", "--all-namespaces", "-o", "name")


def test_helm_installs_upgrades_and_removes_the_charts(node: Node) -> None:
    """Each of them is ready; an upgrade leaves the certificates of the webhooks, and nothing is left in the end."""
    cluster = ("--kubeconfig", str(node.kubeconfig), "--namespace", SYSTEM)
    names = ("get", "namespaces,crds,clusterroles,mutatingwebhookconfigurations", "-o", "name")
    before = node.kubectl(*names)
    waiting = ("--wait", "--timeout", "5m")
    small = "autoscaleEnabled=false,resources.requests.cpu=50m,resources.requests.memory=128Mi"
    istiod = ("istiod", str(CHARTS / "istiod"), *waiting, *cluster, "--set", small)
    few = "autoscaling.enabled=false,imagePullPolicy=IfNotPresent,resources.requests.cpu=10m,service.type=NodePort"
    helm("install", "base", str(CHARTS / "base"), "--create-namespace", *cluster)
    helm("install", *istiod)
    wait_until(lambda: bool(bundles(node)))
    helm("install", "istio-ingressgateway", str(CHARTS / "gateway"), *waiting, *cluster, "--set", few)
    trusted = bundles(node)
    helm("upgrade", *istiod, "--set", "traceSampling=5")
    environment = node.kubectl("-n", SYSTEM, "get", "deployment/istiod", "-o", "jsonpath={..env}")
    assert '{"name":"PILOT_TRACE_SAMPLING","value":"5"}' in environment
    assert bundles(node) == trusted
    for release in ("istio-ingressgateway", "istiod", "base"):
        helm("uninstall", release, "--wait", *cluster)
    node.kubectl("delete", "crds", "--selector", "app.kubernetes.io/part-of=controlplane")  # Helm keeps what users fill
    node.kubectl("delete", "namespace", SYSTEM)
    assert node.kubectl(*names) == before


def bundles(node: Node) -> list[str]:
    """Return whom the API server trusts as injector, for each webhook; nothing while there is one that it does not."""
    webhooks = json.loads(node.kubectl("get", WEBHOOKS, "-o", "json"))["webhooks"]
    found = [str(each["clientConfig"].get("caBundle") or "") for each in webhooks]
    return found if all(found) else []
