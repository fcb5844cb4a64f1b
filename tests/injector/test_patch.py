"""What injection makes of a pod: the whole way, as a patch."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest

from controlplane.apis.mesh import MeshConfig
from controlplane.apis.proxy_config import ProxyConfigResource
from controlplane.injector.errors import InjectionError
from controlplane.injector.identifiers import Identifiers
from controlplane.injector.injected import NETWORK, injected
from controlplane.injector.patch import patch
from controlplane.injector.settings import InjectorConfig, Settings
from controlplane.injector.values import Values
from tests.injector.patched import patched

DEFAULT = Settings(namespace="shop")


def pod(*, annotations: dict[str, str] | None = None, labels: dict[str, str] | None = None, **spec: Any) -> Any:
    containers = [{"name": "app", "image": "app:1", "ports": [{"containerPort": 8080, "name": "http"}]}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "labels": labels or {"app": "web"}, "annotations": annotations or {}},
        "spec": {"containers": containers, **spec},
    }


def proxy(of: Any) -> Any:
    containers = [*of["spec"].get("initContainers", []), *of["spec"]["containers"]]
    return next(each for each in containers if each["name"] == "istio-proxy")


def variables(of: Any) -> dict[str, str]:
    return {each["name"]: each["value"] for each in proxy(of)["env"] if "value" in each}


def test_patch_makes_the_injected_pod() -> None:
    given = pod()
    before = copy.deepcopy(given)
    operations = patch(given, DEFAULT)
    assert given == before
    assert patched(given, operations) == injected(given, DEFAULT)
    assert {each["name"] for each in patched(given, operations)["spec"]["containers"]} == {"app", "istio-proxy"}


def test_injecting_again_changes_nothing() -> None:
    probed = pod(annotations={"prometheus.io/port": "9090", "prometheus.io/scrape": "true"})
    probed["spec"]["containers"][0]["readinessProbe"] = {"httpGet": {"path": "/ready", "port": "http"}}
    probed["spec"]["containers"].append(
        {"name": "istio-proxy", "image": "auto", "env": [{"name": "OWN", "value": "1"}]}
    )
    for settings in (DEFAULT, replace(DEFAULT, native=True)):
        once = injected(probed, settings)
        assert patch(once, settings) == []
        assert variables(once)["OWN"] == "1"


def test_a_variable_of_the_pods_network_keeps_its_place_when_it_is_injected_again() -> None:
    probed = pod(labels={NETWORK: "n1"}, annotations={"prometheus.io/port": "9090"})
    probed["spec"]["containers"][0]["readinessProbe"] = {"httpGet": {"path": "/ready", "port": "http"}}
    for settings in (DEFAULT, replace(DEFAULT, native=True)):
        once = injected(probed, settings)
        assert variables(once)["ISTIO_META_NETWORK"] == "n1"
        assert patch(once, settings) == []


def test_a_pod_left_alone_has_no_patch() -> None:
    assert patch(pod(labels={"sidecar.istio.io/inject": "false"}), DEFAULT) == []
    assert patch(pod(hostNetwork=True), DEFAULT) == []
    assert patch(pod(), replace(DEFAULT, namespace="kube-system")) == []
    assert patch(pod(), replace(DEFAULT, config=InjectorConfig(policy="disabled"))) == []
    assert patch(pod(), replace(DEFAULT, config=InjectorConfig(policy="sometimes"))) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sidecar.istio.io/interceptionMode", "MAYBE"),
        ("status.sidecar.istio.io/port", "70000"),
        ("readiness.status.sidecar.istio.io/periodSeconds", "-1"),
        ("traffic.sidecar.istio.io/includeOutboundIPRanges", "10.0.0.0"),
        ("traffic.sidecar.istio.io/excludeOutboundIPRanges", "*"),
        ("traffic.sidecar.istio.io/excludeInboundPorts", "80,http"),
        ("traffic.sidecar.istio.io/excludeInterfaces", "eth0,,eth1"),
        ("istio.io/reroute-virtual-interfaces", "a-name-that-is-too-long"),
        ("prometheus.istio.io/merge-metrics", "yes"),
        ("sidecar.istio.io/proxyCPU", "100m\n      evil: true"),
        ("sidecar.istio.io/proxyMemory", "1GB"),
        ("proxy.istio.io/config", "concurrency: many"),
        ("proxy.istio.io/config", "a: ["),
        ("proxy.istio.io/config", "statusPort: 70000"),
        ("proxy.istio.io/config", "drainDuration: 1500ms"),
        ("proxy.istio.io/config", "discoveryAddress: istiod"),
        ("proxy.istio.io/config", "discoveryAddress: 'a b:15012'"),
        ("proxy.istio.io/config", "tracing: {zipkin: {address: 'zipkin:http'}}"),
        ("proxy.istio.io/config", "tracing: {lightstep: {address: 'l:1'}}"),
        ("proxy.istio.io/config", "binaryPath: ''"),
        ("sidecar.istio.io/userVolume", '[{"emptyDir":{}}]'),
        ("sidecar.istio.io/userVolume", '{"a":null}'),
        ("sidecar.istio.io/userVolumeMount", "{"),
        ("proxy.istio.io/overrides", "{"),
        ("proxy.istio.io/overrides", '{"containers": "x"}'),
        ("prometheus.istio.io/scrape-targets", "15090:/metrics"),
        ("prometheus.istio.io/scrape-targets", "http"),
        ("prometheus.io/port", "http"),
        ("inject.istio.io/templates", "sidecar,"),
        ("readiness.status.sidecar.istio.io/periodSeconds", "2147483648"),
        ("sidecar.istio.io/proxyCPU", "-1"),
        ("sidecar.istio.io/proxyCPU", "-0.0001"),
        ("sidecar.istio.io/proxyCPU", "-.1e0"),
        ("sidecar.istio.io/proxyMemoryLimit", "-1Gi"),
        ("sidecar.istio.io/bootstrapOverride", ""),
        ("sidecar.istio.io/userVolume", '{"Upper":{"emptyDir":{}}}'),
        ("sidecar.istio.io/userVolumeMount", '{"a":{}}'),
        ("proxy.istio.io/config", "proxyMetadata: {'': a}"),
        ("proxy.istio.io/config", "proxyMetadata: {a=b: a}"),
    ],
)
def test_nonsense_is_refused_by_its_name(name: str, value: str) -> None:
    with pytest.raises(InjectionError) as refused:
        patch(pod(annotations={name: value}), DEFAULT)
    assert name in str(refused.value)


EVIL = '"\n      securityContext: {privileged: true}\n      x: "'


@pytest.mark.parametrize(
    "name",
    [
        "sidecar.istio.io/proxyImage",
        "sidecar.istio.io/bootstrapOverride",
        "sidecar.istio.io/logLevel",
        "sidecar.istio.io/componentLogLevel",
        "sidecar.istio.io/agentLogLevel",
        "sidecar.istio.io/statsInclusionPrefixes",
        "traffic.sidecar.istio.io/includeInboundPorts",
    ],
)
def test_an_annotation_adds_no_field_to_the_pod(name: str) -> None:
    """What it says is a value, whatever is written in it; or it is refused by its name."""
    try:
        said = json.dumps(patch(pod(annotations={name: EVIL}), DEFAULT))
    except InjectionError as refused:
        said = str(refused) if name in str(refused) else '"privileged": true'
    assert '"privileged": true' not in said


@pytest.mark.parametrize("value", ["null", "[]", "{}", " null "])
@pytest.mark.parametrize("name", ["sidecar.istio.io/userVolume", "sidecar.istio.io/userVolumeMount"])
def test_a_list_of_nothing_adds_nothing(name: str, value: str) -> None:
    """Istio's template goes through what the annotation holds, and there is nothing."""
    assert patch(pod(annotations={name: value}), DEFAULT) == patch(pod(annotations={"another": "annotation"}), DEFAULT)


@pytest.mark.parametrize("value", ["-0", "-0.0", "-0e5", "-.0Gi", "+0"])
def test_a_quantity_of_nothing_may_have_a_sign(value: str) -> None:
    """As the API server sees it: no quantity below zero."""
    assert value in json.dumps(patch(pod(annotations={"sidecar.istio.io/proxyCPU": value}), DEFAULT))


def test_every_bad_annotation_is_told_at_once() -> None:
    with pytest.raises(InjectionError, match="2 errors occurred"):
        patch(pod(annotations={"sidecar.istio.io/proxyCPU": "x", "sidecar.istio.io/proxyMemory": "y"}), DEFAULT)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"containers": "x"}, "spec.containers"),
        ({"containers": [None]}, "spec.containers[0]"),
        ({"containers": [{"name": 1}]}, "spec.containers[0].name"),
        (
            {"containers": [{"name": "a", "readinessProbe": {"httpGet": []}}]},
            "spec.containers[0].readinessProbe.httpGet",
        ),
        ({"volumes": {"a": 1}}, "spec.volumes"),
        ({"hostNetwork": "yes"}, "spec.hostNetwork"),
    ],
)
def test_what_is_no_pod_is_refused_by_its_path(change: dict[str, Any], path: str) -> None:
    with pytest.raises(InjectionError) as refused:
        patch(pod(**change), DEFAULT)
    assert str(refused.value).startswith(f"{path}: ")


@pytest.mark.parametrize("given", [None, [], "pod", 1])
def test_a_request_without_a_pod(given: object) -> None:
    with pytest.raises(InjectionError, match="has no pod"):
        patch(given, DEFAULT)


def test_proxy_config_goes_from_the_mesh_to_the_pod() -> None:
    mesh = MeshConfig.parse("defaultConfig: {concurrency: 1, proxyMetadata: {A: mesh, B: mesh}}")
    everywhere = ProxyConfigResource(environment_variables={"B": "root", "C": "root"})
    here = ProxyConfigResource(environment_variables={"C": "here", "D": "here"})
    chosen = ProxyConfigResource.model_validate(
        {"selector": {"matchLabels": {"app": "web"}}, "environmentVariables": {"D": "chosen"}, "concurrency": 4}
    )
    settings = replace(DEFAULT, mesh=mesh, proxy_configs=((everywhere,), (here, chosen)))
    found = injected(pod(annotations={"proxy.istio.io/config": "concurrency: 2"}), settings)
    assert {name: variables(found)[name] for name in "ABCD"} == {"A": "mesh", "B": "root", "C": "here", "D": "chosen"}
    assert json.loads(variables(found)["PROXY_CONFIG"])["concurrency"] == 4


def test_network_and_cluster_of_the_path() -> None:
    settings = replace(DEFAULT, environment={"ISTIO_META_CLUSTER_ID": "west", "ISTIO_META_NETWORK": "n1", "X": "y"})
    found = injected(pod(), settings)
    assert {"ISTIO_META_CLUSTER_ID": "west", "ISTIO_META_NETWORK": "n1", "X": "y"}.items() <= variables(found).items()
    assert found["metadata"]["labels"]["topology.istio.io/network"] == "n1"
    mine = injected(pod(labels={"topology.istio.io/network": "mine"}), settings)
    assert variables(mine)["ISTIO_META_NETWORK"] == "mine"


def test_a_template_of_the_user_beside_ours() -> None:
    text = """
spec:
  containers:
  {{- range $at, $each := .Spec.Containers }}
  - name: {{ $each.Name }}
    env: [{name: AT, value: "{{ $at }}"}]
  {{- end }}
"""
    config = InjectorConfig.parse(json.dumps({"templates": {"mark": text}, "aliases": {"both": ["sidecar", "mark"]}}))
    found = injected(pod(annotations={"inject.istio.io/templates": "both"}), replace(DEFAULT, config=config))
    assert found["spec"]["containers"][0]["env"] == [{"name": "AT", "value": "0"}]
    assert proxy(found)["args"][:2] == ["proxy", "sidecar"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{{ .Spec.Contaners }}", "can't evaluate field Contaners"),
        ("{{ nope }}", 'function "nope" not defined'),
        ("{{ if }}", "missing value"),
        ("{{ fail `no` }}", "error calling fail: no"),
        ("{{ range until 5000 }}{{ range until 5000 }}{{ end }}{{ end }}", "steps"),
        ("{{ define `a` }}{{ template `a` }}{{ end }}{{ template `a` }}", "include each other"),
        ("[1]", "makes no object"),
        ("a: [", "makes no YAML"),
        ("spec: 1", "spec: must"),
        ("spec: {containers: [{image: x}]}", "name is required"),
    ],
)
def test_a_template_that_fails_says_why(text: str, reason: str) -> None:
    config = InjectorConfig.parse(json.dumps({"templates": {"mine": text}, "defaultTemplates": ["mine"]}))
    with pytest.raises(InjectionError) as refused:
        injected(pod(), replace(DEFAULT, config=config))
    assert reason in str(refused.value)
    assert patch(pod(annotations={"inject.istio.io/templates": "sidecar"}), replace(DEFAULT, config=config))


def test_values_over_the_defaults() -> None:
    values = Values.parse('{"global": {"proxy": {"resources": {"limits": {"cpu": 1}}}, "imagePullSecrets": ["reg"]}}')
    found = injected(pod(imagePullSecrets=[{"name": "own"}]), replace(DEFAULT, values=values))
    assert proxy(found)["resources"] == {"limits": {"cpu": "1"}}
    assert [each["name"] for each in found["spec"]["imagePullSecrets"]] == ["reg", "own"]


@pytest.mark.parametrize("text", ["[]", "{", '{"global": 1}', '{"global": {"proxy": []}}'])
def test_values_that_are_none(text: str) -> None:
    with pytest.raises(InjectionError, match="values"):
        Values.parse(text)


def test_a_large_pod_is_patched_by_little() -> None:
    large = pod()
    large["spec"]["containers"][0]["env"] = [{"name": f"V{at}", "value": "x" * 90} for at in range(9000)]
    assert len(json.dumps(large)) > 1_000_000
    assert len(json.dumps(patch(large, DEFAULT))) < 20_000


def test_a_user_that_openshift_assigned_is_not_the_users_word() -> None:
    assigned = {"runAsUser": 1000620000, "runAsNonRoot": True}
    given = pod()
    given["spec"]["containers"][0]["securityContext"] = assigned
    given["spec"]["containers"].append({"name": "istio-proxy", "image": "auto", "securityContext": dict(assigned)})
    found = injected(given, replace(DEFAULT, identifiers=Identifiers(1000629999, 1000629999)))
    assert proxy(found)["securityContext"]["runAsUser"] == 1000629999
    assert "1000629999" in found["spec"]["initContainers"][0]["args"]
    assert proxy(injected(given, DEFAULT))["securityContext"]["runAsUser"] == 1000620000


def test_what_few_meshes_ask_for() -> None:
    """Cryptography by a policy, Lightstep over TLS, attributes of services, certificates of GKE."""
    mesh = MeshConfig.parse(
        "defaultConfig: {tracing: {tlsSettings: {mode: SIMPLE, caCertificates: /etc/lightstep/ca.pem}}}\n"
        "inboundTrafficPolicy: {mode: LOCALHOST}\n"
        "extensionProviders: [{name: o, opentelemetry: {service: o.test, port: 4317,"
        " serviceAttributeEnrichment: OTEL_SEMANTIC_CONVENTIONS}}]\n"
    )
    stated = {"proxy": {"tracer": "lightstep", "outlierLogPath": "/dev/stdout"}, "caName": "GkeWorkloadCertificate"}
    values = Values.parse(json.dumps({"global": stated}))
    found = injected(pod(), replace(DEFAULT, mesh=mesh, values=values, compliance_policy="fips-140-3"))
    assert variables(found)["GODEBUG"] == "fips140=only"
    assert variables(found)["REWRITE_PROBE_LEGACY_LOCALHOST_DESTINATION"] == "true"
    assert variables(found)["OTEL_RESOURCE_ATTRIBUTES"] == (
        "service.namespace=shop,service.version=1,service.instance.id=shop.$(POD_NAME).app"
    )
    mounts = {each["name"]: each for each in proxy(found)["volumeMounts"]}
    assert mounts["lightstep-certs"] == {"name": "lightstep-certs", "mountPath": "/etc/lightstep/", "readOnly": True}
    assert "gke-workload-certificate" in mounts
    assert mounts.keys() <= {each["name"] for each in found["spec"]["volumes"]}
    assert proxy(found)["args"][-1] == "--outlierLogPath=/dev/stdout"


def test_a_lifecycle_of_the_values_and_of_the_pod() -> None:
    hook = {"preStop": {"exec": {"command": ["sleep", "5"]}}}
    values = Values.parse(json.dumps({"global": {"proxy": {"lifecycle": hook}}}))
    for native in (False, True):
        assert proxy(injected(pod(), replace(DEFAULT, values=values, native=native)))["lifecycle"] == hook
    held = injected(pod(annotations={"proxy.istio.io/config": "holdApplicationUntilProxyStarts: true"}), DEFAULT)
    assert held["spec"]["containers"][0]["name"] == "istio-proxy"
    assert proxy(held)["lifecycle"] == {"postStart": {"exec": {"command": ["pilot-agent", "wait"]}}}
