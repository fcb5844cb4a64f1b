"""The mesh configuration and Ingresses of the mesh's class are checked like Istio's objects."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.validation.verdict import verdict
from controlplane.webhooks.review import Request
from controlplane.webhooks.validation import validate


def config_map(name: str = "istio", **data: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "istio-system"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def ingress(spec: dict[str, Any], api_version: str = "networking.k8s.io/v1", of: str = "istio") -> dict[str, Any]:
    metadata = {"name": "a", "namespace": "b", "annotations": {"kubernetes.io/ingress.class": of}}
    return {"apiVersion": api_version, "kind": "Ingress", "metadata": metadata, "spec": spec}


def rule(path: dict[str, Any]) -> dict[str, Any]:
    return {"rules": [{"host": "a.example", "http": {"paths": [path]}}]}


BACKEND = {"service": {"name": "web", "port": {"number": 80}}}


@pytest.mark.parametrize(
    ("obj", "errors", "warnings"),
    [
        pytest.param(config_map(mesh="trustDomain: a"), [], [], id="good"),
        pytest.param(
            config_map(mesh="extensionProviders: [{name: [zipkin]}]"),
            ["data.mesh: extensionProviders[0].name: input should be a valid string"],
            [],
            id="wrong-type",
        ),
        pytest.param(config_map(mesh="a: !!bool maybe"), ["data.mesh: not YAML: line 1"], [], id="tag"),
        pytest.param(config_map(mesh="a: 1\na: 2"), ["data.mesh: key 'a' is repeated"], [], id="repeated-key"),
        pytest.param(config_map(mesh="nosuch: 1"), [], ["data.mesh: nosuch: unknown field"], id="unknown-field"),
        pytest.param(
            config_map(mesh="accessLogFile: dev/stdout"),
            [],
            ["data.mesh: accessLogFile: 'dev/stdout' is no absolute path"],
            id="relative-log",
        ),
        pytest.param(config_map(mesh="accessLogFile: /dev/stdout"), [], [], id="log"),
        pytest.param(config_map("istio-blue", mesh="[a]"), ["data.mesh: "], [], id="of-a-revision"),
        pytest.param(config_map(meshNetworks="networks: [a]"), ["data.meshNetworks: "], [], id="networks"),
        pytest.param(config_map(mesh=7), ["data.mesh: must be text"], [], id="no-text"),
        pytest.param(ingress(rule({"path": "/", "pathType": "Prefix", "backend": BACKEND})), [], [], id="ingress"),
        pytest.param(
            ingress(rule({"path": "x", "pathType": "Prefix", "backend": BACKEND})),
            ["spec.rules[0].http.paths[0].path: must begin with '/'"],
            [],
            id="path",
        ),
        pytest.param(ingress({"defaultBackend": BACKEND}), [], ["spec.defaultBackend: is not served"], id="default"),
        pytest.param(
            ingress(rule({"path": "/", "pathType": "Prefix", "backend": {"resource": {"kind": "X", "name": "x"}}})),
            [],
            ["spec.rules[0].http.paths[0].backend: names no Service"],
            id="resource",
        ),
        pytest.param(ingress({}, "extensions/v1beta1"), ["apiVersion: Ingress is served as"], [], id="former-group"),
    ],
)
def test_checked(obj: dict[str, Any], errors: list[str], warnings: list[str]) -> None:
    found = verdict(obj)
    assert found is not None
    for problems, expected in ((found.errors, errors), (found.warnings, warnings)):
        assert len(problems) == len(expected), problems
        assert all(str(one).startswith(start) for one, start in zip(problems, expected, strict=True)), problems
    group = obj["apiVersion"].rpartition("/")[0]
    response = validate(Request("u", "UPDATE", group, obj["kind"], obj["metadata"]["namespace"], obj))
    assert bool(response.refusal) == bool(errors)


@pytest.mark.parametrize(
    "obj",
    [
        config_map("other", mesh="[a]"),
        config_map(values="x"),
        ingress({"defaultBackend": BACKEND}, of="nginx"),
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}},
    ],
)
def test_not_ours(obj: dict[str, Any]) -> None:
    assert verdict(obj) is None


def test_what_is_not_ours_passes_the_webhook() -> None:
    obj = config_map("other", mesh="[a]")
    assert not validate(Request("u", "CREATE", "", "ConfigMap", "istio-system", obj)).refusal
