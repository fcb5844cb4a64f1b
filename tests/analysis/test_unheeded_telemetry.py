"""What Telemetry objects state without effect is named, with the field and the reason."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from controlplane.analysis.findings import findings
from controlplane.model.objects import ChangeSet
from controlplane.registry.store import Registry
from tests.compiler.histories import manifest, parsed

MESH = {
    "extensionProviders": [
        {"name": "file", "envoyFileAccessLog": {"path": "/dev/null"}},
        {"name": "gone", "zipkin": {"service": "gone.obs.svc.cluster.local", "port": 1}},
    ]
}


def named(*specs: dict[str, Any], namespace: str = "shop", mesh: dict[str, Any] = MESH) -> list[tuple[str, str]]:
    """Return paths and reasons of what is found in the last of these Telemetries, each older than the next."""
    objects = [
        manifest(
            "telemetry.istio.io/v1", "Telemetry", namespace, f"t{number}", spec=spec,
            creationTimestamp=f"2026-01-0{number + 1}T00:00:00Z",
        )
        for number, spec in enumerate(specs)
    ]  # fmt: skip
    config = manifest("v1", "ConfigMap", "istio-system", "istio", data={"mesh": yaml.safe_dump(mesh)})
    held = Registry()
    held.apply(ChangeSet(upserts=tuple(map(parsed, [*objects, config]))))
    found = held.memo.get(findings, ()) or ()
    return [(each.path, each.reason) for each in found if each.key.name == f"t{len(specs) - 1}"]


def to(*providers: str, **more: Any) -> dict[str, Any]:
    return {"providers": [{"name": name} for name in providers], **more}


FILTER = {"filter": {"expression": "true"}}


@pytest.mark.parametrize(
    ("spec", "path", "reason"),
    [
        ({"tracing": [to("other")]}, "spec.tracing[0].providers[0].name", "has no extension provider of this name"),
        ({"tracing": [to("file")]}, "spec.tracing[0].providers[0].name", "file takes no spans"),
        ({"tracing": [to("gone")]}, "spec.tracing[0].providers[0].name", "gone is unknown, or in several namespaces"),
        ({"metrics": [to("prometheus", "file")]}, "spec.metrics[0].providers[1].name", "file takes no metrics"),
        ({"accessLogging": [to("prometheus")]}, "spec.accessLogging[0].providers[0].name", "takes no access logs"),
        ({"accessLogging": [to("file"), FILTER]}, "spec.accessLogging[1].filter", "for the providers of its entry"),
        ({"accessLogging": [to("file", disabled=True, **FILTER)]}, "spec.accessLogging[0].filter", "is disabled has"),
        ({"accessLogging": [{"disabled": True}]}, "spec.accessLogging[0].disabled", "no provider to disable"),
        (
            {"targetRefs": [{"group": "", "kind": "Service", "name": "web"}]},
            "spec.targetRefs",
            "names no Gateway of the Gateway API",
        ),
    ],
)
def test_a_field_without_effect(spec: dict[str, Any], path: str, reason: str) -> None:
    ((found, why),) = named(spec)
    assert found == path
    assert reason in why


def test_only_the_first_tracer_is_used() -> None:
    assert ("spec.tracing[0].providers[1]", "only the first provider is used") in named({"tracing": [to("gone", "x")]})


@pytest.mark.parametrize(
    "specs",
    [
        pytest.param([{"accessLogging": [to("File", **FILTER), {"disabled": False}]}], id="of-use"),
        pytest.param([{"accessLogging": [to("file"), {"disabled": True}]}], id="disables-what-it-named"),
        pytest.param(
            [
                {"accessLogging": [to("file")]},
                {"selector": {"matchLabels": {"a": "b"}}, "accessLogging": [{"disabled": True}]},
            ],
            id="disables-what-another-named",
        ),
        pytest.param([{"metrics": [to("prometheus")]}], id="metrics"),
    ],
)
def test_nothing_is_said_of_what_is_used(specs: list[dict[str, Any]]) -> None:
    assert named(*specs) == []


def test_of_two_for_a_namespace_the_older_is_used() -> None:
    ((path, reason),) = named({}, {})
    assert path == "spec"
    assert "Telemetry shop/t0 is older" in reason
