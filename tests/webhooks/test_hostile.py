"""Each field of objects and pods with what no program of the mesh wrote: the webhooks answer, and blame only that."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from controlplane.apis.kinds import KINDS
from controlplane.documents.json_reader import json_value
from controlplane.documents.limits import UnreadableError
from controlplane.injector.settings import InjectorConfig, Settings
from controlplane.webhooks.injection import injection
from controlplane.webhooks.review import Reviewer, answer
from controlplane.webhooks.validation import validate
from tests.apis.rule_tables import BAD, GOOD

pytestmark = pytest.mark.slow

MARK = "put something else here"
WITHIN = (
    '{"a": "\\ud800"}',
    'a: "\\ud800"',
    "[" * 5000 + "]" * 5000,
    '{"a": NaN}',
    '{"a": 1e400}',
    '{"a": ' + "9" * 5000 + "}",
    "9" * 5000,
    "²",
    "\x00\x1b[31m",
    "(" * 5000,
    "&a [*a]",
    "{{ . }}",
)
"""Texts, some of which are YAML or JSON within one."""
HOSTILE = (
    "[" * 5000 + "]" * 5000,
    '{"a":' * 5000 + "1" + "}" * 5000,
    "[" * 80 + "]" * 80,
    '"\\ud800"',
    "1e400",
    "-1e308",
    "9" * 400,
    "9" * 5000,
    "NaN",
    "Infinity",
    "null",
    "{}",
    "[null]",
    *map(json.dumps, WITHIN),
)
"""JSON, or what some programs write for it."""
POD: dict[str, Any] = {
    "metadata": {
        "name": "web",
        "labels": {"app": "web"},
        "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": "80"},
        "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-123", "controller": True}],
    },
    "spec": {
        "containers": [
            {
                "name": "app",
                "image": "app:1",
                "ports": [{"name": "http", "containerPort": 80}],
                "env": [{"name": "A", "value": "b"}],
                "livenessProbe": {"httpGet": {"port": 80, "path": "/"}, "timeoutSeconds": 1},
                "securityContext": {"runAsUser": 1},
                "resources": {"limits": {"cpu": "1"}},
            },
            {"name": "istio-proxy", "image": "auto"},
        ],
        "initContainers": [{"name": "first", "image": "x"}],
        "volumes": [{"name": "v", "emptyDir": {}}],
        "securityContext": {"fsGroup": 1},
    },
}
ANNOTATIONS = (
    "inject.istio.io/templates",
    "istio.io/rev",
    "prometheus.io/path",
    "proxy.istio.io/config",
    "proxy.istio.io/overrides",
    "readiness.status.sidecar.istio.io/initialDelaySeconds",
    "sidecar.istio.io/bootstrapOverride",
    "sidecar.istio.io/inject",
    "sidecar.istio.io/logLevel",
    "sidecar.istio.io/proxyCPU",
    "sidecar.istio.io/proxyImage",
    "sidecar.istio.io/rewriteAppHTTPProbers",
    "sidecar.istio.io/status",
    "sidecar.istio.io/userVolume",
    "sidecar.istio.io/userVolumeMount",
    "status.sidecar.istio.io/port",
    "traffic.sidecar.istio.io/excludeInboundPorts",
    "traffic.sidecar.istio.io/includeOutboundIPRanges",
)


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield way
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in entries:
        yield from places(each, (*way, key))


def marked(value: Any, way: tuple[Any, ...]) -> Any:
    if not way:
        return MARK
    copied = value.copy()
    copied[way[0]] = marked(value[way[0]], way[1:])
    return copied


def ask(obj: Any, group: str, kind: str, reviewer: Reviewer) -> None:
    """Ask with everything hostile in the place of the mark."""
    request = {
        "uid": "u",
        "operation": "CREATE",
        "kind": {"group": group, "version": "v1", "kind": kind},
        "namespace": "shop",
        "object": obj,
    }
    review = json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request})
    for text in HOSTILE:
        try:
            asked = json_value(review.replace(json.dumps(MARK), text).encode())
        except UnreadableError:
            continue
        response = answer(asked, reviewer)["response"]
        json.dumps(response, allow_nan=False, ensure_ascii=False).encode()
        if "patch" in response:
            patch = json_value(base64.b64decode(response["patch"]))
            json.dumps(patch, allow_nan=False, ensure_ascii=False).encode()
        assert "cannot be read (" not in response.get("status", {}).get("message", ""), (obj, text)


@pytest.mark.parametrize("kind", KINDS)
def test_objects(kind: str) -> None:
    declared, asked = KINDS[kind], set[tuple[Any, ...]]()
    metadata = {"name": "x", "namespace": "default", "labels": {"a": "b"}, "annotations": {"c": "d"}}
    for spec in (*GOOD[kind], *(spec for spec, _ in BAD[kind].values())):
        version = f"{declared.group}/{declared.versions[0]}"
        obj = {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}
        for way in places(obj):
            field = tuple("[]" if isinstance(step, int) else step for step in way)
            if field not in asked:
                asked.add(field)
                with capture_logs():
                    ask(marked(obj, way), declared.group, kind, validate)


@pytest.fixture(scope="module")
def inject() -> Reviewer:
    settings = Settings(config=InjectorConfig.parse("{}"))
    return injection(lambda namespace: replace(settings, namespace=namespace))


def test_pods(inject: Reviewer) -> None:
    for way in places(POD):
        with capture_logs():
            ask(marked(POD, way), "", "Pod", inject)


@pytest.mark.parametrize("name", ANNOTATIONS)
def test_annotations_and_labels_of_pods(inject: Reviewer, name: str) -> None:
    for part in ("annotations", "labels"):
        metadata = {**POD["metadata"], part: {name: MARK}}
        with capture_logs():
            ask({**POD, "metadata": metadata}, "", "Pod", inject)
