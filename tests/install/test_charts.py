"""The Helm charts: Helm makes of them what we do, and what ``deploy/`` has."""

from __future__ import annotations

import json
import os
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.apis.crds.definitions import definitions
from controlplane.injector.injected import injected
from controlplane.injector.settings import Settings
from controlplane.injector.values import Values
from controlplane.injector.webhooks import Injector, webhook_configuration
from controlplane.install.chart import Release, chart
from controlplane.install.errors import RefusedInputError
from tests.cluster import build
from tests.cluster.mesh_images import proxy_name
from tests.helm.build import helm
from tests.patience import PATIENCE_SECONDS

ROOT = Path(__file__).parents[2]
CHARTS = ROOT / "deploy" / "charts"
SYSTEM = "istio-system"
EVERYTHING: dict[str, Any] = {
    "revision": "canary",
    "revisionTags": ["prod", "default"],
    "hub": "registry.example/mesh",
    "tag": 1.25,
    "variant": "debug",
    "pilot": {
        "autoscaleMin": 3,
        "memory": {"targetAverageUtilization": 70},
        "env": {"PILOT_HTTP10": "true", "NUMBER": 5, "FLAG": True},
        "resources": {"limits": {"memory": "8Gi", "cpu": 2}},
        "traceSampling": 12.5,
        "keepaliveMaxServerConnectionAge": "5m",
        "cni": {"enabled": True, "provider": "multus"},
        "taint": {"enabled": True, "namespace": "plugins"},
    },
    "pdb": {"maxUnavailable": "25%"},
    "autoscaleBehavior": {"scaleDown": {"stabilizationWindowSeconds": 60}},
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "only", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
    "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
    "podAnnotations": {"a": "1"},
    "podLabels": {"b": "2"},
    "deploymentAnnotations": {"c": "3"},
    "deploymentLabels": {"d": "4"},
    "serviceAnnotations": {"e": "5"},
    "serviceAccountAnnotations": {"f": "6"},
    "envVarFrom": [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
    "extraContainerArgs": ["--log-level=debug"],
    "initContainers": [{"name": "first", "image": "first"}],
    "volumes": [{"name": "more", "emptyDir": {}}],
    "volumeMounts": [{"name": "more", "mountPath": "/more"}],
    "meshConfig": {"accessLogFile": "/dev/stdout", "defaultConfig": {"proxyMetadata": {"A": "b: c"}}},
    "sidecarInjectorWebhook": {
        "enableNamespacesByDefault": True,
        "reinvocationPolicy": "IfNeeded",
        "neverInjectSelector": [{"matchLabels": {"x": "y"}}],
        "injectedAnnotations": {"g": "7"},
        "templates": {"own": "spec:\n  containers:\n  - name: {{ .Values.x }}\n"},
    },
    "global": {
        "imagePullPolicy": "Always",
        "imagePullSecrets": ["pull"],
        "priorityClassName": "system-cluster-critical",
        "logAsJson": True,
        "meshID": "mesh1",
        "network": "n1",
        "multiCluster": {"clusterName": "one"},
        "certSigners": ["mesh.example.com/ports", "mesh.example.com/*"],
        "pilotCertProvider": "k8s.io/mesh.example.com/ports",
        "meshNetworks": {"n1": {"endpoints": [{"fromRegistry": "one"}]}},
        "proxy": {"autoInject": "disabled", "resources": {"requests": {"cpu": "10m"}}},
    },
}
ISTIOD = {
    "defaults": {},
    "everything": EVERYTHING,
    "one replica": {"autoscaleEnabled": False},
    "taken away": dict.fromkeys(
        (
            "autoscaleEnabled",
            "cpu",
            "memory",
            "env",
            "resources",
            "rollingMaxSurge",
            "rollingMaxUnavailable",
            "traceSampling",
        )
    ),
    "no bounds": {
        "autoscaleMin": None,
        "autoscaleMax": None,
        "cpu": {"targetAverageUtilization": None},
        "sidecarInjectorWebhook": {"reinvocationPolicy": None},
    },
    "three replicas": {"autoscaleEnabled": False, "replicaCount": 3, "image": "own.example/pilot:5"},
    "nothing optional": {
        "autoscaleMin": 1,
        "global": {"networkPolicy": {"enabled": False}, "configValidation": False, "operatorManageWebhooks": True},
    },
    "other ConfigMaps": {
        "pilot": {"env": {"PILOT_CRL_CONFIGMAP": "mesh-revoked"}},
        "global": {"trustBundleName": "mesh-roots"},
    },
    "a default taken away": {"resources": {"limits": None}, "traceSampling": 100},
}
GATEWAY: dict[str, dict[str, Any]] = {
    "defaults": {},
    "everything": {
        "name": "istio-edge",
        "revision": "canary",
        "labels": {"app": "edge", "extra": "1"},
        "annotations": {"a": "b"},
        "serviceAccount": {"name": "other", "annotations": {"c": "d"}},
        "service": {
            "type": "NodePort",
            "annotations": {"e": "f"},
            "externalTrafficPolicy": "Local",
            "ports": [{"name": "http2", "port": 80, "targetPort": 8080, "nodePort": 30080}],
            "loadBalancerSourceRanges": ["10.0.0.0/8"],
        },
        "autoscaling": {
            "maxReplicas": 9,
            "targetMemoryUtilizationPercentage": 60,
            "autoscaleBehavior": {"scaleDown": {"stabilizationWindowSeconds": 60}},
        },
        "podDisruptionBudget": {"minAvailable": 1},
        "securityContext": {"fsGroup": 1},
        "containerSecurityContext": {"runAsUser": 1337},
        "env": {"A": 1},
        "minReadySeconds": 5,
        "readinessProbe": {"periodSeconds": 3},
        "strategy": {"rollingUpdate": {"maxSurge": 1}},
        "nodeSelector": {"a": "b"},
        "priorityClassName": "high",
        "imagePullPolicy": "Always",
        "imagePullSecrets": [{"name": "pull"}],
        "additionalContainers": [{"name": "more", "image": "more"}],
        "volumes": [{"name": "v", "emptyDir": {}}],
        "volumeMounts": [{"name": "v", "mountPath": "/v"}],
    },
    "of a network": {"networkGateway": "network2", "serviceAccount": {"create": False}, "rbac": {"enabled": False}},
    "on each node": {"kind": "DaemonSet", "service": {"type": "None"}, "strategy": {"type": "OnDelete"}},
    "counted": {"autoscaling": {"enabled": False}, "replicaCount": 4},
}


CNI: dict[str, dict[str, Any]] = {
    "defaults": {},
    "everything": {
        "hub": "registry.example/mesh",
        "tag": 1.25,
        "variant": "debug",
        "pullPolicy": "Always",
        "cniBinDir": "/home/kubernetes/bin",
        "cniConfDir": "/etc/cni/multus/net.d",
        "cniConfFileName": "10-calico.conflist",
        "provider": "multus",
        "excludeNamespaces": ["kube-system", "other"],
        "repair": {"repairPods": False, "deletePods": True, "brokenPodLabelKey": "a/b"},
        "resources": {"limits": {"memory": "1Gi"}},
        "tolerations": [],
        "nodeSelector": {"a": "b"},
        "affinity": {"nodeAffinity": {}},
        "podAnnotations": {"a": "1"},
        "podLabels": {"b": "2"},
        "env": {"A": 1},
        "seLinuxOptions": {"type": "spc_t"},
        "seccompProfile": {"type": "Unconfined"},
        "logging": {"level": "debug"},
        "global": {"imagePullSecrets": ["pull"], "nativeNftables": True},
    },
    "owned": {"istioOwnedCNIConfig": True, "istioOwnedCNIConfigFileName": "01-mesh.conflist"},
    "labelling": {"repair": {"repairPods": False, "labelPods": True}, "chained": False},
    "not mending": {"repair": {"enabled": False}, "image": "own.example/cni:5"},
}


def by_helm(name: str, values: dict[str, Any], folder: Path, release: str) -> dict[tuple[str, str], Any]:
    file = folder / "values.yaml"
    file.write_text(json.dumps(values))
    said = helm("template", release, str(CHARTS / name), "--namespace", SYSTEM, "--values", str(file))
    return named(each for each in yaml.safe_load_all(said) if each)


def by_us(name: str, values: dict[str, Any], release: str) -> dict[tuple[str, str], Any]:
    return named(chart(name).objects(values, Release(release)))


def named(objects: Any) -> dict[tuple[str, str], Any]:
    found = [((each["kind"], each["metadata"]["name"]), read_texts(each)) for each in objects]
    assert len({key for key, _ in found}) == len(found)
    return dict(found)


def read_texts(obj: dict[str, Any]) -> dict[str, Any]:
    """Return an object with the texts of a ConfigMap read: two programs may write the same value differently."""
    if obj["kind"] != "ConfigMap":
        return obj
    return {**obj, "data": {key: yaml.safe_load(text) for key, text in obj["data"].items()}}


@pytest.mark.parametrize("values", ISTIOD.values(), ids=ISTIOD.keys())
def test_helm_makes_the_same_control_plane(values: dict[str, Any], tmp_path: Path) -> None:
    assert by_us("istiod", values, "istiod") == by_helm("istiod", values, tmp_path, "istiod")


@pytest.mark.parametrize("values", GATEWAY.values(), ids=GATEWAY.keys())
def test_helm_makes_the_same_gateway(values: dict[str, Any], tmp_path: Path) -> None:
    assert by_us("gateway", values, "istio-ingressgateway") == by_helm(
        "gateway", values, tmp_path, "istio-ingressgateway"
    )


@pytest.mark.parametrize("values", CNI.values(), ids=CNI.keys())
def test_helm_makes_the_same_plugin(values: dict[str, Any], tmp_path: Path) -> None:
    assert by_us("cni", values, "cni") == by_helm("cni", values, tmp_path, "cni")


def test_helm_installs_all_definitions(tmp_path: Path) -> None:
    made = by_helm("base", {"base": {"excludedCRDs": ["sidecars.networking.istio.io"]}}, tmp_path, "base")
    kinds = {each["metadata"]["name"]: each for each in definitions().values()}
    del kinds["sidecars.networking.istio.io"]
    assert {name: each["spec"] for (_, name), each in made.items()} == {
        name: each["spec"] for name, each in kinds.items()
    }
    assert by_helm("base", {"base": {"enableCRDTemplates": False}}, tmp_path, "base") == {}


@pytest.mark.parametrize(
    ("name", "values", "path"),
    [
        ("istiod", {"pilot": {"replicas": 1}}, "replicas"),
        ("istiod", {"replicaCount": "many"}, "replicaCount"),
        ("istiod", {"global": {"proxy": {"autoInject": "yes"}}}, "autoInject"),
        ("gateway", {"serviceType": "NodePort"}, "serviceType"),
        ("cni", {"repair": {"repairPod": True}}, "repairPod"),
        ("cni", {"provider": "calico"}, "provider"),
    ],
)
def test_helm_refuses_values_that_nobody_reads(name: str, values: dict[str, Any], path: str, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=path):
        by_helm(name, values, tmp_path, "istiod")


def test_another_namespace_is_refused() -> None:
    with pytest.raises(RefusedInputError, match="istio-system"):
        chart("istiod").objects({}, Release("istiod", "mesh"))


@pytest.mark.parametrize("revision", ["", "canary"])
@pytest.mark.parametrize("automatic", [False, True])
def test_webhooks_select_what_the_injector_says(revision: str, *, automatic: bool) -> None:
    """The webhook that tests hold against Istio's truth table is the one that is installed."""
    values = {
        "revision": revision,
        "revisionTags": ["prod"],
        "sidecarInjectorWebhook": {"enableNamespacesByDefault": automatic},
    }
    made = by_us("istiod", values, "istiod")
    for tag in ("", "prod"):
        expected = webhook_configuration(Injector(revision or "default", tag, automatic=automatic))
        actual = made["MutatingWebhookConfiguration", expected["metadata"]["name"]]
        assert actual["webhooks"] == expected["webhooks"]
        assert actual["metadata"]["labels"].items() >= expected["metadata"]["labels"].items()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, ["istio-ca-root-cert", "istio-ca-crl"]),
        (ISTIOD["other ConfigMaps"], ["mesh-roots", "mesh-revoked"]),
        ({"pilot": {"env": {"PILOT_CA_CERT_CONFIGMAP": "own"}}}, ["own", "istio-ca-crl"]),
        (
            {"pilot": {"env": {"PILOT_CA_CERT_CONFIGMAP": "own"}}, "global": {"trustBundleName": "other"}},
            ["own", "istio-ca-crl"],
        ),
    ],
)
def test_the_names_of_roots_are_the_same_everywhere(values: dict[str, Any], expected: list[str]) -> None:
    """What the control plane may write, what it is told to write, and what pods mount."""
    made = by_us("istiod", values, "istiod")
    rules = [each for obj in made.values() if obj["kind"] == "ClusterRole" for each in obj["rules"]]
    assert [
        each["resourceNames"] for each in rules if "configmaps" in each["resources"] and "resourceNames" in each
    ] == [expected]
    (container,) = made["Deployment", "istiod"]["spec"]["template"]["spec"]["containers"]
    said = {each["name"]: each.get("value") for each in container["env"]}
    assert len(said) == len(container["env"]), "the API server takes no variable twice"
    told = [said.get("PILOT_CA_CERT_CONFIGMAP", "istio-ca-root-cert"), said.get("PILOT_CRL_CONFIGMAP", "istio-ca-crl")]
    assert told == expected
    settings = Settings(values=Values(made["ConfigMap", "istio-sidecar-injector"]["data"]["values"]))
    pod = injected({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "app"}]}}, settings)
    mounted = {each["name"]: each.get("configMap", {}).get("name") for each in pod["spec"]["volumes"]}
    assert [mounted["istiod-ca-cert"], mounted["istio-ca-crl"]] == expected


def test_tools_of_istio_find_the_image_of_proxies() -> None:
    """`istioctl analyze` makes a name of these three, without a default for any: it told IST0158 of all pods."""
    values = by_us("istiod", {}, "istiod")["ConfigMap", "istio-sidecar-injector"]["data"]["values"]
    found = (values["global"]["hub"], values["global"]["proxy"]["image"], values["global"]["tag"])
    assert "/".join(found[:2]) + f":{found[2]}" == proxy_name()


def test_values_and_schema_name_the_same() -> None:
    """Every value that a chart states is one that its schema knows, and that has an effect."""
    for name in ("istiod", "gateway", "cni"):
        of = chart(name)
        known = {key for key, each in of.schema["properties"].items() if not each.get("deprecated")}
        assert set(of.values) <= known


def test_versions_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for name in ("base", "istiod", "gateway", "cni"):
        described = yaml.safe_load((CHARTS / name / "Chart.yaml").read_text())
        assert (described["version"], described["appVersion"]) == (project, project)


def test_deploy_has_what_the_chart_makes() -> None:
    """``deploy/`` is the same as the chart with its defaults, but for the names of images."""
    if not build.has("kubectl"):
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("kubectl is not there: `make kubernetes`")
    command = [build.binary("kubectl"), "kustomize", str(ROOT / "deploy")]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE_SECONDS).stdout
    others = ("CustomResourceDefinition", "Namespace")
    deployed = named(each for each in yaml.safe_load_all(said) if each["kind"] not in others)
    made = by_us("istiod", {}, "istiod")
    assert deployed.keys() == made.keys()
    for key, obj in made.items():
        assert comparable(deployed[key]) == comparable(obj), key


def comparable(obj: dict[str, Any]) -> dict[str, Any]:
    """Return an object without the labels that each way adds, and without what names images."""
    metadata = {key: obj["metadata"].get(key) for key in ("name", "namespace")}
    if obj["kind"] == "Deployment":
        for each in obj["spec"]["template"]["spec"]["containers"]:
            del each["image"]
    if obj["kind"] == "ConfigMap":
        obj["data"].pop("values", None)
    return {**obj, "metadata": metadata}
