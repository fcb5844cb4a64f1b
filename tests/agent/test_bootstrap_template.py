"""Bootstraps of users: Go templates that are filled in, which of them counts, and what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from controlplane.agent.environment import StartError
from controlplane.agent.envoy_command import written_bootstrap
from controlplane.agent.envoy_configuration.places import Places
from controlplane.agent.options import options
from tests.agent.test_document import POD

TEMPLATE = """{
  "node": {
    "id": "{{ .nodeID }}", "cluster": "{{ .cluster }}", "metadata": {{ .meta_json_str }},
    "locality": {{ if .region }}{"region": "{{ .region }}"}{{ else }}{}{{ end }}
  },
  "admin": {"address": {"socket_address": {"address": "{{ .localhost }}", "port_value": {{ .config.ProxyAdminPort }}}}},
  {{- if .zipkin }} "tracing": {}, {{- end }}
  "x": ["{{ .xds_type }}", "{{ .wildcard }}", {{ .envoy_status_port }}, {{ toJSON .pilot_SAN }}]
}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def written(config: dict[str, Any] | None = None, *flags: str, **variables: str) -> dict[str, Any]:
    said = options(["sidecar", *flags], {**POD, "PROXY_CONFIG": json.dumps(config or {}), **variables})
    path = written_bootstrap(said, Places.of(said), external_secrets=False).path
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def test_what_the_agent_knows_is_filled_in() -> None:
    Path("own.json").write_text(TEMPLATE, encoding="utf-8")
    usual, own = written(), written(ISTIO_BOOTSTRAP="own.json")
    assert own["node"] == {key: usual["node"][key] for key in ("id", "cluster", "metadata")} | {"locality": {}}
    assert own["admin"]["address"] == usual["admin"]["address"]
    assert own["x"] == ["DELTA_GRPC", "0.0.0.0", 15021, ["istiod.istio-system.svc"]]
    assert "tracing" not in own


def test_the_usual_bootstrap_may_be_changed() -> None:
    text = '{{ $usual := fromJson .bootstrap }}{{ mergeOverwrite $usual (dict "stats_flush_interval" "3s") | toJson }}'
    Path("own.json").write_text(text, encoding="utf-8")
    assert written(ISTIO_BOOTSTRAP="own.json") == written() | {"stats_flush_interval": "3s"}


def test_which_file_counts() -> None:
    """The variable before all, then a bootstrap that is ready, then the flag, then the field."""
    for name in ("variable", "custom", "flag", "field"):
        Path(f"{name}.json").write_text(json.dumps({"is": name}), encoding="utf-8")
    config = {"proxyBootstrapTemplatePath": "field.json"}
    custom = {**config, "customConfigFile": "custom.json"}
    flag = "--templateFile=flag.json"
    assert written(custom, flag, ISTIO_BOOTSTRAP="variable.json") == {"is": "variable"}
    assert written({"customConfigFile": "custom.json"}, flag) == {"is": "custom"}
    assert written(config, flag) == {"is": "flag"}
    assert written(config) == {"is": "field"}
    istios = {"proxyBootstrapTemplatePath": "/var/lib/istio/envoy/envoy_bootstrap_tmpl.json"}
    assert written(istios)["node"]["id"] == written()["node"]["id"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "own.json, cannot be read: No such file or directory"),
        (b"\xff", "own.json, cannot be read: it is no text in UTF-8"),
        (b"{{ .nodeID ", "unclosed action"),
        (b"{{ nothing }}", 'function "nothing" not defined'),
        (b'{"a": {{ .nothing }}}', "makes no JSON"),
        (b"[]", "makes no JSON object"),
    ],
)
def test_what_is_no_template_of_a_bootstrap_ends_the_agent(content: bytes | None, reason: str) -> None:
    if content is not None:
        Path("own.json").write_bytes(content)
    with pytest.raises(StartError) as refused:
        written(ISTIO_BOOTSTRAP="own.json")
    assert reason in str(refused.value)
    assert "the template of the bootstrap, own.json" in str(refused.value)
