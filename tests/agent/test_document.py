"""The bootstrap of the agent: every form of it passes a real Envoy's own check, and says what was asked for."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controlplane.agent.binary import envoy_binary
from controlplane.agent.environment import StartError
from controlplane.agent.envoy_configuration.document import document
from controlplane.agent.envoy_configuration.places import Places
from controlplane.agent.envoy_process import active_connections, arguments
from controlplane.agent.node import node
from controlplane.agent.options import options
from tests.patience import PATIENCE_SECONDS

pytestmark = pytest.mark.slow

POD = {"POD_NAME": "web-1", "POD_NAMESPACE": "shop", "SERVICE_ACCOUNT": "web", "INSTANCE_IP": "10.0.0.7"}
TLS = {"mode": "MUTUAL", "clientCertificate": "/c.pem", "privateKey": "/k.pem", "caCertificates": "/r.pem", "sni": "s"}


def built(config: dict[str, Any] | None = None, *flags: str, **variables: str) -> dict[str, Any]:
    said = options(["sidecar", *flags], {**POD, "PROXY_CONFIG": json.dumps(config or {}), **variables})
    return document(said, Places.of(said), node(said))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def annotate(**annotations: str) -> None:
    path = Path("etc/istio/pod/annotations")
    path.parent.mkdir(parents=True)
    path.write_text(
        "".join(f"sidecar.istio.io/{name}={json.dumps(text)}\n" for name, text in annotations.items()), encoding="utf-8"
    )


@pytest.mark.parametrize(
    ("config", "flags", "variables"),
    [
        pytest.param({}, [], {}, id="defaults"),
        pytest.param({}, ["--log_as_json", "--outlierLogPath=/dev/stdout"], {"ISTIO_DELTA_XDS": "false"}, id="sotw"),
        pytest.param(
            {"tracing": {"zipkin": {"address": "zipkin.test:9411"}, "tlsSettings": {"mode": "ISTIO_MUTUAL"}}},
            [],
            {},
            id="zipkin",
        ),
        pytest.param(
            {"tracing": {"datadog": {"address": "$(HOST_IP):8126"}}}, [], {"HOST_IP": "10.0.0.1"}, id="datadog"
        ),
        pytest.param(
            {
                "envoyMetricsService": {"address": "m.test:1", "tlsSettings": TLS, "tcpKeepalive": {"time": "10s"}},
                "envoyAccessLogService": {"address": "l.test:1"},
                "statsdUdpAddress": "127.0.0.1:8125",
            },
            [],
            {},
            id="collectors",
        ),
        pytest.param(
            {"runtimeValues": {"a.b": "true", "re2.max_program_size.error_level": "100", "c": ""}}, [], {}, id="runtime"
        ),
        pytest.param(
            {"statsCompression": False, "extraStatTags": ["team"], "proxyStatsMatcher": {"inclusionRegexps": ["a.*"]}},
            [],
            {
                "ENVOY_SECURE_METRICS_PORT": "15091",
                "ENVOY_SECURE_MERGED_METRICS_PORT": "15092",
                "ENVOY_STATUS_PORT_ENABLE_PROXY_PROTOCOL": "true",
                "ISTIO_META_ENABLE_SELF_DISCOVERY": "true",
                "EXIT_ON_ZERO_ACTIVE_CONNECTIONS": "true",
            },
            id="listeners",
        ),
        pytest.param({}, [], {"INSTANCE_IP": "fd00::7"}, id="ipv6-first"),
        pytest.param(
            {
                "proxyMetadata": {"METRICS_LOCALHOST_ACCESS_ONLY": "true"},
                "tracing": {"zipkin": {"address": "z.test:1"}},
            },
            [],
            {"ISTIO_DUAL_STACK": "true", "ENVOY_SECURE_METRICS_PORT": "15091", "INSTANCE_IP": "fd00::7"},
            id="both-families",
        ),
        pytest.param({}, [], {"COMPLIANCE_POLICY": "fips-140-2"}, id="fips"),
    ],
)
def test_a_stock_envoy_takes_it(config: dict[str, Any], flags: list[str], variables: dict[str, str]) -> None:
    Path("bootstrap.json").write_text(json.dumps(built(config, *flags, **variables)), encoding="utf-8")
    result = subprocess.run(
        [str(envoy_binary()), "--mode", "validate", "-c", "bootstrap.json", "-l", "warning", "--skip-deprecated-logs"],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert result.returncode == 0, result.stderr
    assert "warning" not in result.stderr, result.stderr


def test_where_everything_is() -> None:
    got = built()
    clusters = {cluster["name"]: cluster for cluster in got["static_resources"]["clusters"]}
    assert list(clusters) == ["prometheus_stats", "agent", "sds-grpc", "xds-grpc"]
    paths = {
        name: cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]
        for name, cluster in clusters.items()
    }
    assert paths["xds-grpc"] == {"pipe": {"path": "./etc/istio/proxy/XDS"}}
    assert paths["sds-grpc"] == {"pipe": {"path": "./var/run/secrets/workload-spiffe-uds/socket"}}
    assert paths["agent"] == {"socket_address": {"address": "127.0.0.1", "port_value": 15020}}
    assert [each["name"] for each in got["static_resources"]["listeners"]] == ["0.0.0.0_15090", "0.0.0.0_15021"]
    assert got["dynamic_resources"]["ads_config"]["api_type"] == "DELTA_GRPC"


V4, V6 = ("0.0.0.0", "127.0.0.1"), ("::", "::1")


@pytest.mark.parametrize(
    ("ips", "variables", "metadata", "families", "lookup"),
    [
        pytest.param(("10.0.0.7",), {"ISTIO_DUAL_STACK": "true"}, {}, [V4], "V4_ONLY", id="ipv4"),
        pytest.param(("fd00::7", "fd00::8"), {}, {}, [V6], "V6_ONLY", id="ipv6"),
        pytest.param(("fd00::7",), {"ISTIO_DUAL_STACK": "true"}, {}, [V6], "V6_ONLY", id="ipv6-and-asked-for-both"),
        pytest.param(("fd00::7", "10.0.0.7"), {}, {}, [V4], "V4_ONLY", id="both-and-not-asked-for"),
        pytest.param(("10.0.0.7", "fd00::7"), {"ISTIO_DUAL_STACK": "true"}, {}, [V4, V6], "ALL", id="both"),
        pytest.param(("fd00::7", "10.0.0.7"), {}, {"ISTIO_DUAL_STACK": "true"}, [V6, V4], "ALL", id="by-metadata"),
        pytest.param(("fd00::7", "10.0.0.7"), {"ISTIO_DUAL_STACK": "false"}, {"ISTIO_DUAL_STACK": "true"}, [V4],
                     "V4_ONLY", id="the-variable-wins"),
    ],
)  # fmt: skip
def test_families_of_its_own_listeners(
    ips: tuple[str, ...],
    variables: dict[str, str],
    metadata: dict[str, str],
    families: list[tuple[str, str]],
    lookup: str,
) -> None:
    """All of them listen for each family; administration, which has one address, for the first."""
    config = {"proxyMetadata": metadata, "tracing": {"zipkin": {"address": "z.test:9411"}}}
    said = options(["sidecar"], {**POD, "PROXY_CONFIG": json.dumps(config), **variables})
    said = replace(said, workload=replace(said.workload, ips=ips))
    got = document(said, Places.of(said), node(said))
    for listener in got["static_resources"]["listeners"]:
        held = [listener["address"], *(each["address"] for each in listener.get("additional_addresses", ()))]
        assert [each["socket_address"]["address"] for each in held] == [everywhere for everywhere, _ in families]
        assert listener["name"].startswith(f"{families[0][0]}_")
    assert got["admin"]["address"]["socket_address"]["address"] == families[0][1]
    (zipkin,) = [each for each in got["static_resources"]["clusters"] if each["name"] == "zipkin"]
    assert zipkin["dns_lookup_family"] == lookup


def test_statistics_that_the_user_adds_come_first() -> None:
    """An annotation replaces the list of ``proxyStatsMatcher`` of its kind; ``{pod_ip}`` is each address."""
    matcher = {"inclusionPrefixes": ["unused"], "inclusionSuffixes": ["mine"]}
    annotate(
        statsInclusionPrefixes="http.{pod_ip}_, tcp", statsHistogramBuckets='{"b": [1, 2], "a": [5]}', extraStatTags="x"
    )
    stats = built({"proxyStatsMatcher": matcher})["stats_config"]
    patterns = stats["stats_matcher"]["inclusion_list"]["patterns"]
    assert patterns[:2] == [{"prefix": "reporter="}, {"prefix": "http.10.0.0.7_"}]
    assert {"prefix": "unused"} not in patterns
    assert patterns.index({"suffix": "mine"}) < patterns.index({"suffix": "rbac.allowed"})
    assert patterns[-2:] == [{"prefix": "component"}, {"prefix": "istio"}]
    assert [each["match"]["prefix"] for each in stats["histogram_bucket_settings"]] == ["a", "b"]
    assert {"tag_name": "x", "regex": r"(x=\.=(.*?);\.;)"} in stats["stats_tags"]


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"tracing": {"zipkin": {"address": "nowhere"}}}, "ProxyConfig.tracing.zipkin.address: 'nowhere'"),
        ({"proxyStatsMatcher": {"inclusionPrefixes": "x"}}, "proxyStatsMatcher.inclusionPrefixes must be a list"),
        ({"proxyAdminPort": 70000}, "proxyAdminPort: 70000 is no port"),
        ({"connectionSettings": {"globalDownstreamConnectionLimit": "many"}}, "not 'many'"),
    ],
)
def test_what_cannot_be_translated_is_named(config: dict[str, Any], reason: str) -> None:
    with pytest.raises(StartError, match=reason):
        built(config)


def test_the_command_line() -> None:
    said = options(
        ["--proxyLogLevel=info,misc:error"],
        {**POD, "PROXY_CONFIG": '{"concurrency": 2, "drainDuration": "7s", "fileFlushInterval": "2s"}'},
    )
    assert arguments(said, Path("x.json"), '{"a": 1}') == [
        *("-c", "x.json", "--drain-time-s", "7", "--drain-strategy", "immediate", "--local-address-ip-version", "v4"),
        *("--file-flush-interval-msec", "2000", "--disable-hot-restart", "--allow-unknown-static-fields"),
        *("-l", "info", "--component-log-level", "misc:error", "--skip-deprecated-logs"),
        *("--config-yaml", '{"a": 1}', "--concurrency", "2"),
    ]


def test_connections_of_its_own_listeners_do_not_count() -> None:
    text = """\
listener.0.0.0.0_15006.downstream_cx_active: 2
listener.0.0.0.0_15006.worker_0.downstream_cx_active: 2
listener.0.0.0.0_15021.downstream_cx_active: 5
listener.[__]_15021.downstream_cx_active: 5
listener.envoy_internal_main.downstream_cx_active: 5
listener.admin.downstream_cx_active: 1
listener.admin.main_thread.downstream_cx_active: 1
http.inbound.downstream_cx_active: 9
listener.10.0.0.7_8080.downstream_cx_active: 1
"""
    assert active_connections(text, frozenset({15021, 15090})) == 3
