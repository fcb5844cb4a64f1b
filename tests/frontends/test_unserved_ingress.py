"""Parts of Ingresses that lead nowhere are named: in the log, in the status of the control plane."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.analysis.findings import findings
from controlplane.frontends import FRONTENDS
from controlplane.model.objects import ChangeSet, Rejected
from controlplane.registry.store import Registry
from controlplane.watchers.kinds import parse
from tests.compiler.histories import manifest, parsed

WEB = manifest("v1", "Service", "r", "web", spec={"clusterIP": "10.0.0.1", "ports": [{"name": "http", "port": 80}]})


def ingress(spec: dict[str, Any], class_name: str = "istio") -> dict[str, Any]:
    annotations = {"kubernetes.io/ingress.class": class_name}
    return manifest("networking.k8s.io/v1", "Ingress", "r", "i", annotations=annotations, spec=spec)


def found(spec: dict[str, Any], class_name: str = "istio") -> list[tuple[str, str]]:
    registry = Registry(frontends=FRONTENDS)
    registry.apply(ChangeSet(upserts=(parsed(WEB), parsed(ingress(spec, class_name)))))
    return [(finding.path, finding.reason) for finding in registry.memo.get(findings, ()) or ()]


def to(**backend: Any) -> dict[str, Any]:
    return {"rules": [{"host": "a.com", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}]}


def service(port: dict[str, Any], name: str = "web") -> dict[str, Any]:
    return to(service={"name": name, "port": port})


BACKEND = "spec.rules[0].http.paths[0].backend"


@pytest.mark.parametrize(
    ("spec", "path", "part"),
    [
        pytest.param(
            {"defaultBackend": {"service": {"name": "web", "port": {"number": 80}}}},
            "spec.defaultBackend",
            "answered with 404",
            id="default-backend",
        ),
        pytest.param(to(resource={"kind": "Bucket", "name": "x"}), BACKEND, "names no Service", id="resource"),
        pytest.param(service({"name": "no"}), f"{BACKEND}.service.port.name", 'no port "no"', id="port-name"),
        pytest.param(service({"number": 81}), f"{BACKEND}.service.port.number", "no port 81", id="port-number"),
        pytest.param(service({}), f"{BACKEND}.service.port", "is not stated", id="no-port"),
        pytest.param(
            service({"number": 80}, "gone"), f"{BACKEND}.service.name", "no Service r/gone", id="no-such-service"
        ),
        pytest.param({"rules": [{"host": "a.com"}]}, "spec.rules[0].http", "has no paths", id="rule-without-paths"),
        pytest.param({"tls": [{"hosts": ["a.com"]}]}, "spec.tls[0].secretName", "not served over TLS", id="no-secret"),
        pytest.param(
            {"tls": [{"hosts": ["a.com"], "secretName": "gone"}]},
            "spec.tls[0].secretName",
            "there is no Secret gone; it is read from the namespace of the proxies: these hosts are not served",
            id="no-such-secret",
        ),
    ],
)
def test_part_that_is_not_served(spec: dict[str, Any], path: str, part: str) -> None:
    ((at, reason),) = found(spec)
    assert at == path
    assert part in reason
    assert found(spec, class_name="nginx") == [], "another controller's"


def test_what_is_served_is_not_named() -> None:
    assert found(service({"name": "http"})) == []
    assert found(service({"number": 80})) == []


def test_a_kind_of_a_former_group() -> None:
    """Kubernetes serves Ingress under one group now; a file of before is not passed over in silence."""
    result = parse({**ingress({}), "apiVersion": "extensions/v1beta1"}, "f.yaml:1")
    assert isinstance(result, Rejected)
    assert result.problems == ("apiVersion: Ingress is served as networking.k8s.io/v1",)
