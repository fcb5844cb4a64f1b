"""The ProxyConfig that a proxy brings."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from structlog.testing import capture_logs

from controlplane.registry.proxy_settings import ANNOTATION, METADATA_KEY, own_settings, speaks_both_families
from controlplane.registry.store import View
from tests.compiler.histories import manifest
from tests.translate.listeners.world import World, sidecar


def settings_of(metadata: dict[str, Any], annotations: dict[str, str]) -> tuple[str, str]:
    """The settings, and why what the proxy brings was refused."""
    view = View(World().registry)
    with capture_logs() as logs:
        found = own_settings(view, sidecar(metadata=metadata), annotations)
    return found, "; ".join(str(log["reason"]) for log in logs)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("[" * 100_000, "is longer than", id="long"),
        pytest.param("[" * 60_000, "nested deeper than 100 levels", id="deep"),
        pytest.param("{terminationDrainDuration: 2024-99-99}", "'2024-99-99' is not a duration", id="bad-date"),
        pytest.param("!!timestamp x", "is not allowed", id="tag"),
        pytest.param("{concurrency: !!bool maybe}", "is no value of the tag", id="bad-boolean"),
        pytest.param("[a]", "valid dictionary", id="no-mapping"),
        pytest.param("a: &a [*a]", "no finished anchor", id="contains-itself"),
    ],
)
def test_a_text_that_is_none(text: str, reason: str) -> None:
    """The mesh's settings hold, wherever the text comes from."""
    for metadata, of_pod in (({}, {ANNOTATION: text}), ({"ANNOTATIONS": {ANNOTATION: text}}, {})):
        found, said = settings_of(metadata, of_pod)
        assert found == ""
        assert reason in said or not said  # a text is complained of once


@pytest.mark.parametrize("stated", ["[" * 100_000, [["x"]], 7, {"tracing": [1]}, {"x": "y" * 100_000}, float("nan")])
def test_metadata_that_is_none(stated: object) -> None:
    assert settings_of({METADATA_KEY: stated}, {})[0] == ""


def test_annotations_that_are_no_texts() -> None:
    assert settings_of({"ANNOTATIONS": {ANNOTATION: [["x"]]}}, {}) == ("", "")


def test_good() -> None:
    text = "{gatewayTopology: {numTrustedProxies: 2}}"
    assert settings_of({}, {ANNOTATION: text}) == (
        '{"gatewayTopology":{"forwardClientCertDetails":"UNDEFINED","numTrustedProxies":2}}',
        "",
    )


def config(name: str, value: str, namespace: str = "default", age: int = 0, **labels: str) -> dict[str, Any]:
    """Return a ProxyConfig that says whether both families are spoken; a higher ``age`` is an older one."""
    spec: dict[str, Any] = {"environmentVariables": {"ISTIO_DUAL_STACK": value}}
    if labels:
        spec["selector"] = {"matchLabels": labels}
    created = f"2026-01-{20 - age:02}T00:00:00Z"
    return manifest("networking.istio.io/v1beta1", "ProxyConfig", namespace, name, spec=spec, creationTimestamp=created)


SAID = {ANNOTATION: "{proxyMetadata: {ISTIO_DUAL_STACK: 'true'}}"}


@pytest.mark.parametrize(
    ("configs", "annotations", "metadata", "both"),
    [
        pytest.param([], {}, {}, False, id="nothing"),
        pytest.param([config("a", "true", "istio-system")], {}, {}, True, id="root"),
        pytest.param([config("a", "true", "istio-system"), config("a", "false")], {}, {}, False, id="namespace"),
        pytest.param([config("a", "false")], SAID, {}, True, id="annotation"),
        pytest.param([config("a", "false", app="web")], SAID, {}, False, id="selected"),
        pytest.param([config("a", "true", app="other")], {}, {}, False, id="selects-another"),
        pytest.param([config("a", "false"), config("b", "true", age=1)], {}, {}, True, id="oldest"),
        pytest.param(
            [config("a", "false", app="web"), config("b", "true", age=1, app="web")], {}, {}, True, id="oldest-selected"
        ),
        pytest.param([config("a", "true", "istio-system", app="web")], {}, {}, False, id="root-selects-nobody-else"),
        pytest.param([config("a", "true")], {}, {METADATA_KEY: {}}, False, id="an-agent-knows-it-all"),
    ],
)
def test_resources_state_variables(
    configs: list[dict[str, Any]],
    annotations: dict[str, str],
    metadata: dict[str, Any],
    *,
    both: bool,
) -> None:
    view = View(World(yaml.safe_dump_all(configs)).registry)
    assert speaks_both_families(view, sidecar(metadata=metadata), {"app": "web"}, annotations) is both
