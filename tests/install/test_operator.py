"""IstioOperator files, profiles and ``--set`` to what is to be installed."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from controlplane.install.errors import RefusedInputError
from controlplane.install.keys import findings
from controlplane.install.operator import intent, profiles
from controlplane.install.plan import plan

OPERATOR = {"apiVersion": "install.istio.io/v1alpha1", "kind": "IstioOperator"}


def operator(**spec: Any) -> tuple[str, str]:
    return "mesh.yaml", yaml.safe_dump({**OPERATOR, "spec": spec})


def made(*settings: str, **spec: Any) -> dict[tuple[str, str], dict[str, Any]]:
    components = plan(intent([operator(**spec)], settings))
    return {(obj["kind"], obj["metadata"]["name"]): obj for each in components for obj in each.objects}


@pytest.mark.parametrize(
    ("profile", "titles"),
    [
        ("default", ["Definitions", "Control plane", "Gateway istio-system/istio-ingressgateway"]),
        ("minimal", ["Definitions", "Control plane"]),
        ("empty", []),
        (
            "demo",
            [
                "Definitions",
                "Control plane",
                "Gateway istio-system/istio-ingressgateway",
                "Gateway istio-system/istio-egressgateway",
            ],
        ),
    ],
)
def test_a_profile_has_its_components(profile: str, titles: list[str]) -> None:
    asked = intent([], [f"profile={profile}"])
    assert [each.title for each in plan(asked)] == titles
    assert findings(asked) == ([], [])


def test_no_profile_states_what_nobody_reads() -> None:
    for name in profiles():
        spec = intent([], [f"profile={name}"]).spec
        assert findings(intent([operator(**spec)], [])) == ([], [])


def test_later_files_and_settings_win() -> None:
    first, second = operator(profile="demo", tag="1", hub="one"), operator(profile="minimal", hub="two")
    asked = intent([first, second], ["tag=3", "values.pilot.env.A=b"])
    assert (asked.profile, asked.spec["hub"], asked.spec["tag"]) == ("minimal", "two", 3)
    deployment = next(each for one in plan(asked) for each in one.objects if each["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "two/pilot:3"
    assert {"name": "A", "value": "b"} in container["env"]


def test_the_mesh_configuration_is_laid_over_that_of_the_values() -> None:
    objects = made(
        "meshConfig.defaultConfig.concurrency=3",
        profile="minimal",
        meshConfig={"accessLogFile": "/dev/stdout"},
        values={"meshConfig": {"accessLogFile": "other", "enableTracing": True}},
    )
    mesh = yaml.safe_load(objects["ConfigMap", "istio"]["data"]["mesh"])
    assert (mesh["accessLogFile"], mesh["enableTracing"]) == ("/dev/stdout", True)
    assert mesh["defaultConfig"] == {"concurrency": 3, "discoveryAddress": "istiod.istio-system.svc:15012"}


def test_gateways_are_matched_by_name() -> None:
    gateways = [
        {"name": "istio-ingressgateway", "enabled": False},
        {"name": "edge", "namespace": "edge", "enabled": True, "label": {"istio": "edge", "zone": "outside"}},
    ]
    objects = made(components={"ingressGateways": gateways})
    assert ("Deployment", "istio-ingressgateway") not in objects
    deployment = objects["Deployment", "edge"]
    assert deployment["metadata"]["namespace"] == "edge"
    assert deployment["spec"]["template"]["metadata"]["labels"].items() >= {"istio": "edge", "zone": "outside"}.items()
    assert ("Namespace", "edge") in objects


def test_older_values_of_a_gateway_count() -> None:
    older = {"type": "NodePort", "autoscaleMax": 7, "cpu": {"targetAverageUtilization": 50}, "env": {"A": "b"}}
    objects = made(values={"gateways": {"istio-ingressgateway": older}})
    scaler = objects["HorizontalPodAutoscaler", "istio-ingressgateway"]["spec"]
    assert objects["Service", "istio-ingressgateway"]["spec"]["type"] == "NodePort"
    assert scaler["maxReplicas"] == 7
    assert scaler["metrics"][0]["resource"]["target"]["averageUtilization"] == 50


def test_a_revision_has_names_of_its_own() -> None:
    default, canary = made(profile="minimal"), made("revision=canary", profile="minimal")
    shared = {each for each in canary if each in default}
    assert {kind for kind, _ in shared} == {"CustomResourceDefinition", "Namespace"}
    service, other = canary["Service", "istiod-canary"], default["Deployment", "istiod"]
    selected = service["spec"]["selector"].items()
    assert selected <= canary["Deployment", "istiod-canary"]["spec"]["template"]["metadata"]["labels"].items()
    assert not selected <= other["spec"]["template"]["metadata"]["labels"].items()
    own = canary["Deployment", "istiod-canary"]["spec"]["template"]["metadata"]["labels"]
    assert not default["Service", "istiod"]["spec"]["selector"].items() <= own.items()
    mesh = yaml.safe_load(canary["ConfigMap", "istio-canary"]["data"]["mesh"])
    assert mesh["defaultConfig"]["discoveryAddress"] == "istiod-canary.istio-system.svc:15012"


def test_every_object_can_be_found_again() -> None:
    for (kind, _), obj in made("revision=canary", profile="demo").items():
        labels = obj["metadata"]["labels"]
        assert labels["app.kubernetes.io/part-of"] == labels["app.kubernetes.io/managed-by"] == "controlplane"
        assert (labels.get("istio.io/rev") == "canary") is (kind not in ("CustomResourceDefinition", "Namespace"))


def test_with_the_cni_plugin_pods_are_injected_without_a_right_to_change_rules() -> None:
    """One key has both: the plugin on each node, and in each pod the check in the place of the rules."""
    objects = made("components.cni.enabled=true", "hub=registry.example/mesh", "values.cni.repair.deletePods=true")
    (container,) = objects["DaemonSet", "istio-cni-node"]["spec"]["template"]["spec"]["containers"]
    assert container["image"].startswith("registry.example/mesh/proxyv2:")
    assert {"name": "REPAIR_DELETE_PODS", "value": "true"} in container["env"]
    values = json.loads(objects["ConfigMap", "istio-sidecar-injector"]["data"]["values"])
    assert values["pilot"]["cni"] == {"enabled": True, "provider": "default"}
    plain = made()
    assert ("DaemonSet", "istio-cni-node") not in plain
    assert not json.loads(plain["ConfigMap", "istio-sidecar-injector"]["data"]["values"])["pilot"]["cni"]["enabled"]


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({"profile": "ambient"}, "profile ambient: ambient mode is not there; there are default, demo"),
        ({"profile": "nonsense"}, "profile nonsense: there are default"),
        ({"namespace": "mesh"}, "namespace: mesh: the control plane runs in istio-system"),
        ({"components": {"ztunnel": {"enabled": "true"}}}, "components.ztunnel: it is not there"),
        ({"components": {"ingressGateways": [{"enabled": True}]}}, r"ingressGateways\[1\].name: is required"),
    ],
)
def test_what_cannot_be_is_refused(spec: dict[str, Any], problem: str) -> None:
    with pytest.raises(RefusedInputError, match=problem):
        plan(intent([operator(**spec)], []))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("kind: Deployment\n", "mesh.yaml: must be an IstioOperator, and is a Deployment"),
        ("- 1\n", "mesh.yaml: must be an IstioOperator"),
        ("a: [\n", "mesh.yaml: "),
        ("kind: IstioOperator\nspec: 5\n", "mesh.yaml: spec: must be a map"),
    ],
)
def test_a_file_that_is_none_is_refused(text: str, problem: str) -> None:
    with pytest.raises(RefusedInputError, match=problem):
        intent([("mesh.yaml", text)], [])


ERRORS = {
    "profil": ("demo", "profil: nobody knows this key; is it profile?"),
    "components.pilot.k8s.replicas": (1, "components.pilot.k8s.replicas: nobody knows this key; is it replicaCount?"),
    "values.pilot.autoscaleMinimum": (1, "values.pilot.autoscaleMinimum: nobody knows this key; is it autoscaleMin?"),
    "values.global.proxy.imagePullPolicy": ("x", "values.global.proxy.imagePullPolicy: nobody knows this key"),
    "values.pilot.replicaCount": ("two", "values.pilot.replicaCount: must be a whole number"),
    "values.global.proxy.privileged": ("x", "values.global.proxy.privileged: must be true or false"),
    "values.global.istioNamespace": ("mesh", "values.global.istioNamespace: must be istio-system, and is 'mesh'"),
    "meshConfig.accessLogfile": ("x", "meshConfig: accessLogfile: unknown field, ignored"),
    "meshConfig.outboundTrafficPolicy.mode": ("ALLOW", "meshConfig: "),
}
WARNINGS = {
    "values.grafana.enabled": (True, "values.grafana: Istio has it no more"),
    "values.global.mtls.enabled": (
        True,
        "values.global.mtls: Istio has it no more; state a PeerAuthentication instead",
    ),
    "values.telemetry.v2.enabled": (False, "values.telemetry: it has no effect here"),
    "addonComponents.kiali.enabled": (True, "addonComponents: Istio has it no more"),
    "components.citadel.enabled": (True, "components.citadel: Istio has it no more"),
    "unvalidatedValues.x": (1, "unvalidatedValues: it has no effect here"),
}


@pytest.mark.parametrize("by_file", [True, False])
@pytest.mark.parametrize(
    ("path", "value", "expected", "place"),
    [(path, *row, place) for place, rows in ((0, ERRORS), (1, WARNINGS)) for path, row in rows.items()],
)
def test_what_nobody_reads_is_named(path: str, value: Any, expected: str, place: int, *, by_file: bool) -> None:
    spec: Any = value
    for key in reversed(path.split(".")):
        spec = {key: spec}
    asked = intent([operator(**spec)], []) if by_file else intent([], [f"{path}={json.dumps(value)}"])
    found = findings(asked)
    assert [len(each) for each in found] == [1 - place, place]
    assert found[place][0].startswith(f"{'mesh.yaml' if by_file else '--set'}: {expected}")


@pytest.mark.parametrize("revision", ["a.b", "Canary", "-a", "\u00e4", "r" * 57])
def test_a_revision_that_no_service_can_be_named_after_is_refused_before_anything_is_made(revision: str) -> None:
    with pytest.raises(RefusedInputError, match=r"^revision: .*lower-case letters"):
        plan(intent([], [f'revision="{revision}"']))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("components.pilot.enabled", "maybe"),
        ("components.cni.enabled", "yes-please"),
        ("components.ingressGateways[0].enabled", "2"),
        ("components.base.enabled", "[]"),
    ],
)
def test_whether_a_component_is_wanted_is_yes_or_no(path: str, value: str) -> None:
    """Another word was taken for a no, and the component was removed."""
    with pytest.raises(RefusedInputError, match=rf"^{re.escape(path)}: .*: must be true or false"):
        plan(intent([], [f"{path}={value}"]))
