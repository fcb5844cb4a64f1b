"""``install``, ``verify-install`` and ``uninstall`` on a real API server. Without a node nothing ever gets ready."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.api_server import ApiServer
from tests.patience import PATIENCE_SECONDS

ROUTE = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "Sidecar",
    "metadata": {"name": "of-a-user", "namespace": "default"},
    "spec": {"egress": [{"hosts": ["./*"]}]},
}
Run = Callable[..., str]


@pytest.fixture(scope="module")
def cluster(kube_binaries: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:  # noqa: ARG001
    """An API server of this module's own: each test takes away what it installs."""
    server = ApiServer(tmp_path_factory.mktemp("kube"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def run(cluster: ApiServer) -> Iterator[Run]:
    """Runs a command of the program with this cluster; returns what it prints, errors too."""

    def command(*arguments: str, status: int = 0, text: str = "") -> str:
        result = subprocess.run(
            [sys.executable, "-m", "controlplane", *arguments],
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=5 * PATIENCE_SECONDS,
            env={**os.environ, "KUBECONFIG": str(cluster.kubeconfig)},
        )
        assert result.returncode == status, result.stdout
        return result.stdout

    yield command
    command("uninstall", "--purge", "-y")


def everything(cluster: ApiServer) -> set[str]:
    """Return each object that there is, but what the cluster writes by itself all the time."""
    kinds = cluster.kubectl("api-resources", "--verbs=list", "--no-headers", "-o", "name").split()
    fleeting = {"events", "events.events.k8s.io", "leases.coordination.k8s.io", "componentstatuses", "endpoints"}
    names = ",".join(sorted(set(kinds) - fleeting))
    listing = cluster.kubectl("get", names, "--all-namespaces", "--ignore-not-found", "-o", "json")
    return {
        f"{obj['kind']} {obj['metadata'].get('namespace', '')}/{obj['metadata']['name']}"
        for obj in json.loads(listing)["items"]
    }


def read(cluster: ApiServer, kind: str, name: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(cluster.kubectl("-n", "istio-system", "get", kind, name, "-o", "json"))
    return value


def test_what_is_installed_is_verified_changed_and_purged(cluster: ApiServer, run: Run) -> None:
    """The whole life of an installation: after `uninstall --purge` the cluster is what it was."""
    before = everything(cluster)
    assert "is installed" in run("uninstall", "--purge", "-y")
    run("verify-install", status=1)

    said = run("install", "--dry-run", "--set", "profile=demo")
    assert "Nothing was changed" in said
    assert everything(cluster) == before

    assert "Installation complete" in run("install", "-y", "--no-wait")
    assert "Deployment istio-system/istio-ingressgateway" not in said
    with_gateway = everything(cluster)
    assert "Deployment istio-system/istio-ingressgateway" in with_gateway

    said = run("install", "-y", "--no-wait", "--set", "profile=minimal", "--set", "values.pilot.autoscaleEnabled=false")
    assert "removed Deployment istio-system/istio-ingressgateway" in said
    gone = {each.split()[0] for each in with_gateway - everything(cluster)}
    assert gone >= {"Deployment", "Service", "ServiceAccount", "Role", "RoleBinding", "HorizontalPodAutoscaler"}
    assert "PodDisruptionBudget" in gone  # one replica needs none
    assert "Deployment istio-system/istiod: is not ready" in run("verify-install", status=1)

    cluster.kubectl("create", "-f", "-", text=json.dumps(ROUTE))
    purged = run("uninstall", "--purge", "-y")
    assert "With them go 1 objects of Istio's kinds, Sidecar default/of-a-user among them." in purged
    assert everything(cluster) == before


def test_a_difference_is_named_and_mended(cluster: ApiServer, run: Run) -> None:
    """What somebody changed by hand is found by its path; installing again mends it, and `caBundle` stays."""
    options = ("--set", "profile=minimal")
    run("install", "-y", "--no-wait", *options)
    cluster.kubectl(
        "-n", "istio-system", "patch", "service", "istiod", "--patch", '{"spec":{"selector":{"istio":"no"}}}'
    )
    cluster.kubectl("-n", "istio-system", "delete", "networkpolicy", "istiod")
    webhook = {"name": "rev.object.sidecar-injector.istio.io", "clientConfig": {"caBundle": "WA=="}}
    trusted = {"webhooks": [webhook]}
    cluster.kubectl("patch", "mutatingwebhookconfiguration", "istio-sidecar-injector", "--patch", json.dumps(trusted))
    said = run("verify-install", status=1)
    assert "✘ Service istio-system/istiod: spec.selector.istio is 'no' instead of 'pilot'" in said
    assert "✘ NetworkPolicy istio-system/istiod: is not there" in said
    assert "✔ ConfigMap: 2 as they should be" in said
    run("install", "-y", "--no-wait", *options)
    said = run("verify-install", status=1)
    assert "selector" not in said
    assert "NetworkPolicy: as it should be" in said
    webhooks = read(cluster, "mutatingwebhookconfiguration", "istio-sidecar-injector")["webhooks"]
    assert [each["clientConfig"].get("caBundle") for each in webhooks] == [None, "WA==", None, None]


def test_what_is_not_ready_in_time_is_explained(cluster: ApiServer, run: Run) -> None:
    """No node is there, so no pod ever runs; what comes after the control plane is not begun."""
    said = run("install", "-y", "--readiness-timeout", "15s", status=1)
    assert "waiting for Deployment istio-system/istiod" in said
    assert "not ready after 15 seconds:" in said
    assert "Deployment istio-system/istiod: 0 of 1 replicas are ready" in said
    assert "Deployment istio-system/istio-ingressgateway" not in everything(cluster)


def test_one_revision_goes_and_the_other_stays(cluster: ApiServer, run: Run) -> None:
    run("install", "-y", "--no-wait", "--set", "profile=minimal")
    before = everything(cluster)
    run("install", "-y", "--no-wait", "--set", "profile=minimal", "--revision", "canary")
    more = everything(cluster) - before
    assert {"Deployment istio-system/istiod-canary", "ConfigMap istio-system/istio-canary"} <= more
    assert before <= everything(cluster)
    cluster.kubectl("-n", "istio-system", "create", "configmap", "of-helm")
    labels = ("app.kubernetes.io/part-of=controlplane", "app.kubernetes.io/managed-by=Helm", "istio.io/rev=canary")
    cluster.kubectl("-n", "istio-system", "label", "configmap", "of-helm", *labels)
    run("uninstall", "--revision", "canary", "-y")
    assert everything(cluster) == before | {"ConfigMap istio-system/of-helm"}


def test_a_namespace_of_somebody_else_stays(cluster: ApiServer, run: Run) -> None:
    cluster.kubectl("create", "namespace", "istio-system")
    before = everything(cluster)
    run("install", "-y", "--no-wait", "--set", "profile=minimal")
    root = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "istio-ca-root-cert", "namespace": "default"}}
    cluster.kubectl("create", "-f", "-", text=json.dumps(root))  # as the control plane does
    run("uninstall", "--purge", "-y")
    assert everything(cluster) == before
    cluster.kubectl("delete", "namespace", "istio-system")


def test_nobody_is_asked_where_nobody_is(run: Run) -> None:
    assert "-y says yes" in run("install", "--set", "profile=minimal", status=1)
    assert "nobody knows this key" in run("install", "-y", "--set", "values.pilot.nonsense=1", status=1)


def test_what_is_generated_is_what_is_installed(cluster: ApiServer, run: Run) -> None:
    """What kubectl applies is complete: nothing differs then."""
    manifest = run("manifest", "generate", "--set", "profile=demo")
    for _ in range(2):  # objects of a kind that is defined in the same file are for the second time
        cluster.kubectl("apply", "--server-side", "-f", "-", text=manifest, status=(0, 1))
    said = run("verify-install", "--set", "profile=demo", status=1)
    wrong = [line for line in said.splitlines() if line.startswith("✘") and "not ready" not in line]
    assert [line for line in wrong if "objects are not" not in line] == []


def test_a_tag_moves_from_one_revision_to_another(cluster: ApiServer, run: Run) -> None:
    minimal = ("-y", "--no-wait", "--set", "profile=minimal")
    run("install", *minimal)
    run("install", *minimal, "--revision", "canary")
    before = everything(cluster)
    assert "There is no tag." in run("tag", "list")
    generated = run("tag", "generate", "prod", "--revision", "canary")
    assert everything(cluster) == before
    run("tag", "set", "prod", "--revision", "canary")
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", text=generated)
    cluster.kubectl("label", "namespace", "default", "istio.io/rev=prod")
    assert json.loads(run("tag", "list", "-o", "json")) == [
        {"tag": "prod", "revision": "canary", "namespaces": ["default"]}
    ]
    assert "--overwrite moves it" in run("tag", "set", "prod", "--revision", "default", status=1)
    run("tag", "set", "prod", "--revision", "default", "--overwrite")
    webhooks = read(cluster, "mutatingwebhookconfiguration", "istio-revision-tag-prod")["webhooks"]
    assert {each["clientConfig"]["service"]["name"] for each in webhooks} == {"istiod"}
    (line,) = (each for each in run("check-inject", "-n", "default").splitlines() if "✔" in each)
    assert line.split(maxsplit=3) == [
        *("istio-revision-tag-prod", "default", "✔"),
        "the namespace has the label istio.io/rev=prod",
    ]
    assert "no pod" in run("check-inject", "nobody", status=1).lower()
    run("tag", "set", "default", "--revision", "canary")
    own = read(cluster, "mutatingwebhookconfiguration", "istio-sidecar-injector")["webhooks"]
    assert all(each["namespaceSelector"]["matchLabels"] for each in own)
    assert "-y says yes" in run("tag", "remove", "prod", status=1)
    for tag in ("prod", "default"):
        run("tag", "remove", tag, "-y")
    own = read(cluster, "mutatingwebhookconfiguration", "istio-sidecar-injector")["webhooks"]
    assert not any("matchLabels" in each["namespaceSelector"] for each in own)
    cluster.kubectl("label", "namespace", "default", "istio.io/rev-")
    assert everything(cluster) == before


def test_what_stands_in_the_way_is_told_before(cluster: ApiServer, run: Run, tmp_path: Path) -> None:
    """Nothing does for who has every right; who has none learns each kind, and what may change is told if asked."""
    assert "✔ Nothing stands in the way" in run("precheck")
    cluster.kubectl("create", "serviceaccount", "nobody")
    token = cluster.kubectl("create", "token", "nobody").strip()
    file = cluster.write_kubeconfig(tmp_path / "kubeconfig", token)
    said = run("precheck", "--kubeconfig", str(file), status=1)
    assert "IST0141" in said
    assert "an installation creates CustomResourceDefinition, and you may not" in said
    annotated = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "x", "annotations": {"networking.istio.io/exportTo": "."}},
        "spec": {"ports": [{"port": 80}]},
    }
    cluster.kubectl("create", "-f", "-", text=json.dumps(annotated))
    assert "IST0136" not in run("precheck")
    assert "Info [IST0136] (Service default/x) the annotation networking.istio.io/exportTo" in run(
        "precheck", "--output-threshold", "Info"
    )
