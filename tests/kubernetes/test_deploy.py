"""The manifests under ``deploy/`` on a real API server, with the real kubectl."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client, config

from controlplane.apis.kinds import KINDS
from tests.cluster import build, mesh_images
from tests.cluster.api_server import ApiServer
from tests.kubernetes import rights
from tests.kubernetes.rights import Right
from tests.patience import PATIENCE_SECONDS

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
OVERLAYS = (DEPLOY, DEPLOY / "overlays" / "minimal", DEPLOY / "overlays" / "ha")
SYSTEM = "istio-system"
ACCOUNT = "istiod"
WEBHOOK = "istiod-default-validator"
GATEWAY = json.dumps({"apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": {"name": "g"}, "spec": {}})


@pytest.fixture(scope="module")
def installed(kube_binaries: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:  # noqa: ARG001
    """An API server of this module's own with everything of ``deploy/``, and an audit log."""
    folder = tmp_path_factory.mktemp("kube")
    server = ApiServer(folder, options=rights.audit_options(folder))
    try:
        server.start()
        server.kubectl("apply", "-k", str(DEPLOY))
        yield server
    finally:
        server.stop()


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.name)
def test_what_is_applied_is_there_and_goes(own_kube_cluster: ApiServer, overlay: Path) -> None:
    """The server takes everything and changes nothing of it; deleting leaves nothing, elsewhere neither."""
    cluster = own_kube_cluster
    before = everything(cluster)
    cluster.kubectl("apply", "-k", str(overlay))
    assert diff(cluster, overlay) == ""
    cluster.kubectl("-n", "default", "create", "-f", "-", text=GATEWAY)  # the webhook is not asked: nobody would answer
    assert everything(cluster) > before
    owner = json.loads(cluster.kubectl("get", "namespace", SYSTEM, "-o", "json"))["metadata"]
    reference = {"apiVersion": "v1", "kind": "Namespace", "name": owner["name"], "uid": owner["uid"]}
    root = {"name": "istio-ca-root-cert", "namespace": "default", "ownerReferences": [reference]}
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": root}
    cluster.kubectl("create", "-f", "-", text=json.dumps(config_map))
    cluster.kubectl("delete", "--ignore-not-found", "-k", str(overlay))  # what goes with the namespace may be faster
    cluster.kubectl("-n", "default", "wait", "--for=delete", "configmap/istio-ca-root-cert", "--timeout=120s")
    assert everything(cluster) == before


def test_what_the_control_plane_adds_to_the_webhook_stays(installed: ApiServer, tmp_path: Path) -> None:
    """It patches with its own rights; afterwards nothing differs, and applying again takes nothing away."""
    authority = base64.b64encode(installed.authority.read_bytes()).decode()
    rule = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["CREATE"], "resources": ["nothing"]}
    addition = {"name": "validation.istio.io", "rules": [rule], "failurePolicy": "Fail"}
    patch = {"webhooks": [addition | {"clientConfig": {"caBundle": authority}}]}
    with config.new_client_from_config(config_file=str(kubeconfig(installed, tmp_path))) as api:
        client.AdmissionregistrationV1Api(api).patch_validating_webhook_configuration(WEBHOOK, patch)
    assert diff(installed, DEPLOY) == ""
    installed.kubectl("apply", "-k", str(DEPLOY))
    webhooks = read(installed, "validatingwebhookconfiguration", WEBHOOK)["webhooks"]
    (webhook,) = (each for each in webhooks if each["name"] == addition["name"])
    assert webhook["clientConfig"]["caBundle"] == authority
    assert (webhook["rules"][0]["resources"], webhook["failurePolicy"]) == (["nothing"], "Fail")


def test_its_pods_satisfy_the_restricted_standard(installed: ApiServer) -> None:
    installed.kubectl("create", "namespace", "strict")
    installed.kubectl("label", "namespace", "strict", "pod-security.kubernetes.io/enforce=restricted")
    installed.kubectl("-n", "strict", "create", "serviceaccount", ACCOUNT)
    template = read(installed, "deployment", "istiod")["spec"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "istiod"}, "spec": template["spec"]}
    installed.kubectl("-n", "strict", "create", "--dry-run=server", "-f", "-", text=json.dumps(pod))
    installed.kubectl("delete", "namespace", "strict")
    (container,) = template["spec"]["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"]


def test_the_service_leads_to_ports_of_the_container(installed: ApiServer) -> None:
    (container,) = read(installed, "deployment", "istiod")["spec"]["template"]["spec"]["containers"]
    numbers = {port["name"]: port["containerPort"] for port in container["ports"]}
    ports = read(installed, "service", "istiod")["spec"]["ports"]
    assert {(port["name"], port["port"], numbers[port["targetPort"]]) for port in ports} == {
        ("grpc-xds", 15010, 15010),
        ("https-dns", 15012, 15012),
        ("https-webhook", 443, 15017),
        ("http-monitoring", 15014, 15014),
    }


def test_each_kind_may_be_read(installed: ApiServer) -> None:
    """A kind that the registry reads and that has no rule would be missing from the mesh."""
    have = rights.granted(installed, SYSTEM, ACCOUNT)
    assert {Right(verb, kind.group, kind.plural) for kind in KINDS.values() for verb in ("list", "watch")} <= have


def test_the_audit_tells_rights_that_are_used_missing_and_idle(installed: ApiServer, tmp_path: Path) -> None:
    ours = partial(installed.kubectl, "--kubeconfig", str(kubeconfig(installed, tmp_path)))
    ours("get", "pods", "--all-namespaces")
    ours("-n", SYSTEM, "get", "configmaps", "--field-selector=metadata.name=istio")
    with pytest.raises(RuntimeError, match="forbidden"):
        ours("-n", SYSTEM, "get", "serviceaccounts")
    with pytest.raises(RuntimeError, match="forbidden"):
        ours("-n", SYSTEM, "delete", "pod", "istiod")
    assert {
        Right("delete", "", "pods", SYSTEM, "istiod"),
        Right("list", "", "serviceaccounts", SYSTEM),
    } <= rights.refused(installed, SYSTEM, ACCOUNT)
    idle = rights.unused(installed, SYSTEM, ACCOUNT)
    assert Right("list", "", "pods") not in idle
    assert Right("list", "", "configmaps", SYSTEM, "istio") not in idle
    assert {Right("watch", "", "pods"), Right("create", "authentication.k8s.io", "tokenreviews")} <= idle


def test_the_image_runs_as_the_deployment_expects() -> None:
    """The Dockerfile, the image that tests make, and the Deployment agree; versions stand in one place each."""
    recipe = mesh_images.dockerfile("pilot")
    (deployment,) = yaml.safe_load_all((DEPLOY / "base" / "deployment.yaml").read_text())
    pod = deployment["spec"]["template"]["spec"]
    user, group = pod["securityContext"]["runAsUser"], pod["securityContext"]["runAsGroup"]
    assert recipe["USER"] == f"{user}:{group}"
    assert json.loads(recipe["CMD"]) == pod["containers"][0]["args"]
    project = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert project is not None
    assert pod["containers"][0]["image"] == mesh_images.pilot_name() == f"controlplane/pilot:{project[1]}"
    assert mesh_images.proxy_name() == f"controlplane/proxyv2:{project[1]}"
    uv = re.search(r"^UV_VERSION := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert uv is not None
    assert f"uv=={uv[1]} " in (DEPLOY / "Dockerfile").read_text()


SIZES = {"deploy": (2, 5, 1), "minimal": None, "ha": (3, 10, 2)}
"""Fewest and most replicas, and how many must stay, of each overlay; ``None``: one, without autoscaler and budget."""


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.name)
@pytest.mark.usefixtures("kube_binaries")
def test_what_an_overlay_consists_of(overlay: Path) -> None:
    """Every part is there, and the Deployment says how it wants to be asked, fed and spread."""
    command = [build.binary("kubectl"), "kustomize", str(overlay)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE_SECONDS).stdout
    objects = {(obj["kind"], obj["metadata"]["name"]): obj for obj in yaml.safe_load_all(said)}
    kinds = Counter(kind for kind, _ in objects)
    size = SIZES[overlay.name]
    assert kinds == {
        "Namespace": 1,
        "CustomResourceDefinition": 15,
        "ServiceAccount": 1,
        "ClusterRole": 1,
        "ClusterRoleBinding": 1,
        "Role": 1,
        "RoleBinding": 1,
        "ConfigMap": 2,
        "Service": 1,
        "Deployment": 1,
        "NetworkPolicy": 1,
        "MutatingWebhookConfiguration": 1,
        "ValidatingWebhookConfiguration": 1,
        **({"PodDisruptionBudget": 1, "HorizontalPodAutoscaler": 1} if size else {}),
    }
    deployment = objects["Deployment", "istiod"]["spec"]
    if size is None:
        assert deployment["replicas"] == 1
    else:
        scaler = objects["HorizontalPodAutoscaler", "istiod"]["spec"]
        budget = objects["PodDisruptionBudget", "istiod"]["spec"]
        assert (scaler["minReplicas"], scaler["maxReplicas"], budget["minAvailable"]) == size
    pod = deployment["template"]["spec"]
    (container,) = pod["containers"]
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)
    assert container["resources"]["requests"].keys() == {"cpu", "memory"}
    assert container["resources"]["limits"].keys() == {"memory"}
    spread = {each["topologyKey"] for each in pod["topologySpreadConstraints"]}
    assert spread == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}
    assert objects["NetworkPolicy", "istiod"]["spec"]["podSelector"] == deployment["selector"]


def kubeconfig(cluster: ApiServer, folder: Path) -> Path:
    """Return a kubeconfig with the rights of the control plane's service account."""
    token = cluster.kubectl("-n", SYSTEM, "create", "token", ACCOUNT).strip()
    return cluster.write_kubeconfig(folder / "kubeconfig", token)


def read(cluster: ApiServer, kind: str, name: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(cluster.kubectl("-n", SYSTEM, "get", kind, name, "-o", "json"))
    return value


def diff(cluster: ApiServer, overlay: Path) -> str:
    return cluster.kubectl("diff", "-k", str(overlay), status=(0, 1))


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
