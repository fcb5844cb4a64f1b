"""What the agent makes of flags, variables and the files of a pod: options, ProxyConfig, and the node."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from controlplane.agent.environment import Environment, StartError, duration
from controlplane.agent.envoy_process import log_levels
from controlplane.agent.node import node
from controlplane.agent.options import Options, options

POD = {
    "POD_NAME": "web-1",
    "POD_NAMESPACE": "shop",
    "SERVICE_ACCOUNT": "web",
    "INSTANCE_IP": "10.0.0.7",
    "PROXY_CONFIG": "{}\n",
    "ISTIO_META_CLUSTER_ID": "Kubernetes",
    "ISTIO_META_INTERCEPTION_MODE": "REDIRECT",
    "ISTIO_META_POD_PORTS": '[\n    {"containerPort":80}\n]',
}
INJECTED = (
    "sidecar",
    "--domain",
    "shop.svc.cluster.local",
    "--proxyLogLevel=warning",
    "--proxyComponentLogLevel=misc:error",
    "--log_output_level=default:info",
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be where the pod's files are."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(*arguments: str, **variables: str) -> Options:
    return options(arguments or INJECTED, {**POD, **variables})


def metadata(**variables: str) -> dict[str, Any]:
    found: dict[str, Any] = node(said(**variables))["metadata"]
    return found


def test_what_injection_says_becomes_the_node() -> None:
    got = node(said(ISTIO_METAJSON_LABELS='{"app": "web"}'))
    assert got["id"] == "sidecar~10.0.0.7~web-1.shop~shop.svc.cluster.local"
    assert got["cluster"] == "web.shop"
    assert "locality" not in got
    ips = got["metadata"].pop("INSTANCE_IPS").split(",")
    assert ips[0] == "10.0.0.7"
    assert not {"127.0.0.1", "::1"} & set(ips)
    config = got["metadata"].pop("PROXY_CONFIG")
    assert (config["discoveryAddress"], config["statusPort"]) == ("istiod.istio-system.svc:15012", 15020)
    assert got["metadata"] == {
        "FETCHES_MODULES": "true",
        "NAMESPACE": "shop",
        "NAME": "web-1",
        "SERVICE_ACCOUNT": "web",
        "CLUSTER_ID": "Kubernetes",
        "INTERCEPTION_MODE": "REDIRECT",
        "POD_PORTS": POD["ISTIO_META_POD_PORTS"],
        "app": "web",
        "LABELS": {"app": "web"},
        "STATIC_LABELS": {"app": "web"},
        "ENVOY_STATUS_PORT": 15021,
        "ENVOY_PROMETHEUS_PORT": 15090,
        "ENVOY_SKIP_DEPRECATED_LOGS": "true",
        "METADATA_DISCOVERY": "false",
        "WORKLOAD_IDENTITY_SOCKET_FILE": "socket",
        "PILOT_SAN": ["istiod.istio-system.svc"],
    }


def test_the_downward_api_tells_labels_and_annotations(folder: Path) -> None:
    info = folder / "etc/istio/pod"
    info.mkdir(parents=True)
    (info / "labels").write_text(
        'app="web"\npod-template-hash="5d"\nistio-locality="eu.eu-a.r1"\nnote="a \\"quoted\\"\\nline"\nbroken\n'
    )
    (info / "annotations").write_text(
        'proxy.istio.io/config="concurrency: 3\\nproxyMetadata:\\n  ISTIO_META_X: a\\n"\n'
        'status.sidecar.istio.io/port="16020"\nsidecar.istio.io/discoveryAddress="cp.test:15012"\n'
    )
    got = node(said(ISTIO_META_X="b", ISTIO_METAJSON_LABELS='{"team": "a", "app": "old"}'))
    labels = got["metadata"]["LABELS"]
    assert (labels["app"], labels["team"], labels["note"]) == ("web", "a", 'a "quoted"\nline')
    assert "pod-template-hash" not in labels
    assert got["locality"] == {"region": "eu", "zone": "eu-a", "sub_zone": "r1"}
    assert labels["istio-locality"] == "eu/eu-a/r1"
    assert got["metadata"]["X"] == "b", "the process's own variable wins"
    config = got["metadata"]["PROXY_CONFIG"]
    assert (config["concurrency"], config["statusPort"], config["discoveryAddress"]) == (3, 16020, "cp.test:15012")
    assert got["metadata"]["ANNOTATIONS"]["status.sidecar.istio.io/port"] == "16020"


def test_later_sources_of_the_proxy_config_win_field_by_field(folder: Path) -> None:
    mesh = folder / "etc/istio/config/mesh"
    mesh.parent.mkdir(parents=True)
    mesh.write_text("defaultConfig:\n  drainDuration: 9s\n  statusPort: 1\n  proxyMetadata: {A: a, B: b}\n")
    config = said(PROXY_CONFIG="statusPort: 2\nproxyMetadata: {B: c}\nextraStatTags: [x]\n").config
    assert config.duration("drainDuration") == timedelta(seconds=9)
    assert config.port("statusPort") == 2
    assert config.metadata == {"A": "a", "B": "c"}
    assert config.texts("extraStatTags") == ("x",)
    assert config.port("proxyAdminPort") == 15000


@pytest.mark.parametrize(
    ("limit", "text", "concurrency"),
    [("2", "{}", 2), ("2", '{"concurrency": 0}', 0), ("0", "{}", None), ("2", '{"concurrency": 5}', 5)],
)
def test_threads_are_those_of_the_processor_limit_unless_said(limit: str, text: str, concurrency: int | None) -> None:
    assert said(ISTIO_CPU_LIMIT=limit, PROXY_CONFIG=text).config.concurrency == concurrency


@pytest.mark.parametrize(
    ("arguments", "domain", "kind"),
    [
        pytest.param([], "shop.svc.cluster.local", "sidecar", id="nothing"),
        pytest.param(["router", "--domain=x.test"], "x.test", "router", id="equals"),
        pytest.param(["--domain", "x.test", "router"], "x.test", "router", id="word"),
        pytest.param(["--unknown", "y", "router", "--other=1", "-v"], "shop.svc.cluster.local", "router", id="unknown"),
        pytest.param(["--log_as_json", "router"], "shop.svc.cluster.local", "router", id="switch"),
    ],
)
def test_flags(arguments: list[str], domain: str, kind: str) -> None:
    got = options(arguments, POD)
    assert (got.workload.domain, got.workload.kind) == (domain, kind)


@pytest.mark.parametrize(
    ("arguments", "variables", "reason"),
    [
        pytest.param(["waypoint"], {}, "'waypoint' is no kind of proxy", id="kind"),
        pytest.param(["--stsPort=x"], {}, "--stsPort: 'x' is not a whole number", id="number"),
        pytest.param(["--domain"], {}, "--domain needs a value", id="no-value"),
        pytest.param(["--concurrency", "--stsPort=1"], {}, "--concurrency needs a value", id="no-value-but-a-flag"),
        pytest.param([], {"PROXY_CONFIG": "a: ["}, "PROXY_CONFIG cannot be read", id="yaml"),
        pytest.param([], {"PROXY_CONFIG": "[]"}, "PROXY_CONFIG must be a mapping", id="list"),
        pytest.param([], {"PROXY_CONFIG": "proxyMetadata: 3"}, "proxyMetadata must be a mapping", id="metadata"),
        pytest.param([], {"ISTIO_CPU_LIMIT": "many"}, "ISTIO_CPU_LIMIT: 'many' is not a whole number", id="limit"),
    ],
)
def test_what_cannot_be_read_is_named(arguments: list[str], variables: dict[str, str], reason: str) -> None:
    with pytest.raises(StartError, match="^.*" + reason.replace("[", r"\[")):
        options(arguments, {**POD, **variables})


@pytest.mark.parametrize(
    ("labels", "variables", "cluster"),
    [
        ("{}", {}, "istio-proxy.shop"),
        ('{"app": "a"}', {"ISTIO_META_WORKLOAD_NAME": "w"}, "a.shop"),
        ("{}", {"ISTIO_META_WORKLOAD_NAME": "w"}, "w.shop"),
        ('{"app": "a"}', {"PROXY_CONFIG": "serviceCluster: mine"}, "mine"),
        (
            '{"service.istio.io/canonical-name": "c"}',
            {"PROXY_CONFIG": "tracingServiceName: CANONICAL_NAME_AND_NAMESPACE"},
            "c.shop",
        ),
        (
            '{"service.istio.io/canonical-name": "c"}',
            {"PROXY_CONFIG": "tracingServiceName: CANONICAL_NAME_ONLY"},
            "c",
        ),
    ],
)
def test_what_the_proxy_calls_its_service(labels: str, variables: dict[str, str], cluster: str) -> None:
    assert node(said(ISTIO_METAJSON_LABELS=labels, **variables))["cluster"] == cluster


def test_metadata_that_is_there_only_when_said() -> None:
    got = metadata(
        EXIT_ON_ZERO_ACTIVE_CONNECTIONS="true",
        ENVOY_SKIP_DEPRECATED_LOGS="false",
        DNS_PROXY_ADDR="127.0.0.1:53",
        ENVOY_SECURE_METRICS_PORT="15091",
        ISTIO_META_ENABLE_HBONE="true",
        ISTIO_METAJSON_ANYTHING='{"ISTIO_VERSION": "1.2", "n": 3}',
    )
    assert got["EXIT_ON_ZERO_ACTIVE_CONNECTIONS"] == "true"
    assert "ENVOY_SKIP_DEPRECATED_LOGS" not in got
    assert (got["DNS_PROXY_ADDR"], got["ENVOY_SECURE_METRICS_PORT"]) == ("127.0.0.1:53", 15091)
    assert (got["METADATA_DISCOVERY"], got["ISTIO_VERSION"], got["n"]) == ("true", "1.2", 3)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("45s", 45.0), ("1.5h", 5400.0), ("1m30s", 90.0), ("100ms", 0.1), ("0", 0.0), ("", 0.0)],
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text, "X").total_seconds() == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["5", "s", "-1s", "1x", "1..5s", "9" * 40 + "h", "1s "])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(StartError, match=r"^X: "):
        duration(text, "X")


@pytest.mark.parametrize(
    ("level", "components", "expected"),
    [
        ("warning", "misc:error", ("warning", "misc:error")),
        ("info,misc:error", "x:debug", ("info", "misc:error")),
        ("", "", ("warning", "")),
    ],
)
def test_levels_of_envoys_log(level: str, components: str, expected: tuple[str, str]) -> None:
    assert log_levels(level, components) == expected


def test_an_empty_variable_is_like_none() -> None:
    assert Environment({"X": ""}).number("X", 3) == 3
    with pytest.raises(StartError, match="X: 'maybe' is neither true nor false"):
        Environment({"X": "maybe"}).flag("X")
