"""How HTTP is spoken: the mesh's settings, the filters of each side, access logs."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.extensions.access_loggers.file.v3.file_pb2 import FileAccessLog
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from google.protobuf.json_format import MessageToDict

from controlplane.model.side import Side
from controlplane.translate.listeners.access_log import DEFAULT_TEXT, access_logs, listener_access_logs
from controlplane.translate.listeners.hcm import Manager, http_connection_manager
from tests.translate.listeners.world import World, settings_of, sidecar

OUTBOUND, INBOUND, GATEWAY = Side.OUTBOUND, Side.INBOUND, Side.GATEWAY


def manager(side: Side, mesh: str = "", **more: Any) -> HttpConnectionManager:
    made = http_connection_manager(settings_of(mesh, side), Manager(side, "Prefix", "80", **more))
    return HttpConnectionManager.FromString(made.typed_config.value)


def setting(held: HttpConnectionManager, path: str) -> Any:
    value: Any = MessageToDict(held, preserving_proto_field_name=True)
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


@pytest.mark.parametrize(
    ("side", "path", "expected"),
    [
        (OUTBOUND, "rds.route_config_name", "80"),
        (OUTBOUND, "rds.config_source.initial_fetch_timeout", "0s"),
        (OUTBOUND, "stat_prefix", "Prefix"),
        (GATEWAY, "stat_prefix", "prefix"),
        (OUTBOUND, "use_remote_address", False),
        (INBOUND, "use_remote_address", False),
        (GATEWAY, "use_remote_address", True),
        (OUTBOUND, "server_name", None),
        (INBOUND, "server_name", "istio-envoy"),
        (OUTBOUND, "forward_client_cert_details", None),
        (INBOUND, "forward_client_cert_details", "APPEND_FORWARD"),
        (INBOUND, "set_current_client_cert_details", {"subject": True, "dns": True, "uri": True}),
        (GATEWAY, "forward_client_cert_details", "SANITIZE_SET"),
        (OUTBOUND, "normalize_path", True),
        (OUTBOUND, "path_with_escaped_slashes_action", "KEEP_UNCHANGED"),
        (OUTBOUND, "upgrade_configs", [{"upgrade_type": "websocket"}]),
        (OUTBOUND, "stream_idle_timeout", "0s"),
        (OUTBOUND, "http_protocol_options", None),
        (GATEWAY, "http_protocol_options", {}),
        (OUTBOUND, "proxy_100_continue", True),
        (OUTBOUND, "generate_request_id", None),
        (OUTBOUND, "tracing.random_sampling.value", 1.0),
        (OUTBOUND, "tracing.client_sampling.value", 100.0),
    ],
)
def test_defaults(side: Side, path: str, expected: Any) -> None:
    assert setting(manager(side), path) == expected


@pytest.mark.parametrize(
    ("mesh", "side", "path", "expected"),
    [
        ("pathNormalization: {normalization: NONE}", OUTBOUND, "normalize_path", False),
        ("pathNormalization: {normalization: MERGE_SLASHES}", OUTBOUND, "merge_slashes", True),
        (
            "pathNormalization: {normalization: DECODE_AND_MERGE_SLASHES}",
            OUTBOUND,
            "path_with_escaped_slashes_action",
            "UNESCAPE_AND_FORWARD",
        ),
        ("enableTracing: false", OUTBOUND, "tracing", None),
        ("defaultConfig: {tracing: {sampling: 10}}", OUTBOUND, "tracing.random_sampling.value", 10.0),
        ("defaultConfig: {proxyHeaders: {server: {disabled: true}}}", INBOUND, "server_name", None),
        (
            "defaultConfig: {proxyHeaders: {server: {disabled: true}}}",
            INBOUND,
            "server_header_transformation",
            "PASS_THROUGH",
        ),
        ("defaultConfig: {proxyHeaders: {server: {value: x}}}", OUTBOUND, "server_name", "x"),
        ("defaultConfig: {proxyHeaders: {requestId: {disabled: true}}}", OUTBOUND, "generate_request_id", False),
        (
            "defaultConfig: {proxyHeaders: {forwardedClientCert: SANITIZE}}",
            INBOUND,
            "set_current_client_cert_details",
            {"subject": True, "dns": True, "uri": True},
        ),
        (
            "defaultConfig: {proxyHeaders: {forwardedClientCert: SANITIZE}}",
            OUTBOUND,
            "forward_client_cert_details",
            None,
        ),
        (
            "defaultConfig: {proxyHeaders: {setCurrentClientCertDetails: {subject: false, chain: true}}}",
            INBOUND,
            "set_current_client_cert_details",
            {"subject": False, "chain": True, "dns": True, "uri": True},
        ),
        (
            "defaultConfig: {proxyHeaders: {setCurrentClientCertDetails: {chain: true}}}",
            GATEWAY,
            "set_current_client_cert_details",
            {"subject": True, "cert": True, "dns": True, "uri": True},
        ),
        ("defaultConfig: {gatewayTopology: {numTrustedProxies: 2}}", GATEWAY, "xff_num_trusted_hops", 2),
        ("defaultConfig: {gatewayTopology: {numTrustedProxies: 2}}", OUTBOUND, "xff_num_trusted_hops", None),
        (
            "defaultConfig: {gatewayTopology: {forwardClientCertDetails: FORWARD_ONLY}}",
            GATEWAY,
            "forward_client_cert_details",
            "FORWARD_ONLY",
        ),
    ],
)
def test_mesh_settings(mesh: str, side: Side, path: str, expected: Any) -> None:
    assert setting(manager(side, mesh), path) == expected


@pytest.mark.parametrize(
    ("more", "path", "expected"),
    [
        ({"http2": True}, "http2_protocol_options", {}),
        ({"http10": True}, "http_protocol_options.accept_http_10", True),
        ({"absolute_urls": True}, "http_protocol_options.allow_absolute_url", True),
        ({"idle_timeout": "90s"}, "common_http_protocol_options.idle_timeout", "90s"),
        ({"idle_timeout": "soon"}, "common_http_protocol_options", None),
    ],
)
def test_proxy_settings(more: dict[str, Any], path: str, expected: Any) -> None:
    assert setting(manager(OUTBOUND, **more), path) == expected


STATS = "defaultProviders: {metrics: [prometheus]}"
COMMON = ["envoy.filters.http.grpc_stats", "envoy.filters.http.fault", "envoy.filters.http.cors"]
ROUTER = "envoy.filters.http.router"


@pytest.mark.parametrize(
    ("side", "mesh", "more", "names"),
    [
        pytest.param(OUTBOUND, STATS, {}, [*COMMON, ROUTER], id="stock-outbound"),
        pytest.param(INBOUND, STATS, {}, [*COMMON, ROUTER], id="stock-inbound"),
        pytest.param(
            OUTBOUND,
            "",
            {"istio": True},
            ["istio.metadata_exchange", COMMON[0], "istio.alpn", *COMMON[1:], ROUTER],
            id="istio-outbound",
        ),
        pytest.param(INBOUND, "", {"istio": True}, ["istio.metadata_exchange", *COMMON, ROUTER], id="istio-inbound"),
        pytest.param(
            INBOUND,
            STATS,
            {"istio": True},
            ["istio.metadata_exchange", *COMMON, "istio.stats", ROUTER],
            id="istio-metrics",
        ),
        pytest.param(OUTBOUND, "", {"grpc_web": True}, ["envoy.filters.http.grpc_web", *COMMON, ROUTER], id="grpc-web"),
    ],
)
def test_filters(side: Side, mesh: str, more: dict[str, Any], names: list[str]) -> None:
    assert [each.name for each in manager(side, mesh, **more).http_filters] == names


def test_debug_headers() -> None:
    held = manager(OUTBOUND, "defaultConfig: {proxyHeaders: {envoyDebugHeaders: {disabled: true}}}")
    assert Router.FromString(held.http_filters[-1].typed_config.value).suppress_envoy_headers


def file_log(mesh: str) -> FileAccessLog:
    (log,) = access_logs(settings_of(mesh).logs)
    return FileAccessLog.FromString(log.typed_config.value)


@pytest.mark.parametrize(
    ("mesh", "path", "text"),
    [
        pytest.param("accessLogFile: /dev/stdout", "/dev/stdout", DEFAULT_TEXT, id="default"),
        pytest.param("{accessLogFile: /x, accessLogFormat: '%PROTOCOL%'}", "/x", "%PROTOCOL%\n", id="own-format"),
        pytest.param("defaultProviders: {accessLogging: [envoy]}", "/dev/stdout", DEFAULT_TEXT, id="provider"),
    ],
)
def test_text_log(mesh: str, path: str, text: str) -> None:
    found = file_log(mesh)
    assert (found.path, found.log_format.text_format_source.inline_string) == (path, text)


def test_default_text() -> None:
    assert DEFAULT_TEXT.startswith('[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" ')
    assert DEFAULT_TEXT.endswith("%REQUESTED_SERVER_NAME% %ROUTE_NAME%\n")
    assert '%CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED%' in DEFAULT_TEXT
    assert '"%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW%' in DEFAULT_TEXT


def test_json_log() -> None:
    fields = MessageToDict(file_log("{accessLogFile: /x, accessLogEncoding: JSON}").log_format.json_format)
    assert (fields["method"], fields["route_name"], len(fields)) == ("%REQ(:METHOD)%", "%ROUTE_NAME%", 24)
    own = '{accessLogFile: /x, accessLogEncoding: JSON, accessLogFormat: \'{"p": "%PROTOCOL%"}\'}'
    assert MessageToDict(file_log(own).log_format.json_format) == {"p": "%PROTOCOL%"}
    broken = "{accessLogFile: /x, accessLogEncoding: JSON, accessLogFormat: '{'}"
    assert MessageToDict(file_log(broken).log_format.json_format) == fields


def test_formatter_for_paths_without_query() -> None:
    found = file_log("{accessLogFile: /x, accessLogFormat: '%REQ_WITHOUT_QUERY(:PATH)%'}")
    assert [each.name for each in found.log_format.formatters] == ["envoy.formatter.req_without_query"]


def test_no_log() -> None:
    assert access_logs(settings_of().logs) == []
    assert listener_access_logs(settings_of().logs) == []
    assert listener_access_logs(settings_of("{accessLogFile: /x, disableEnvoyListenerLog: true}").logs) == []


def test_where_logs_are() -> None:
    """Everything but what is thrown away is logged; a listener logs only what found no chain."""
    mesh = """
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: 'accessLogFile: /dev/stdout'}
"""
    listener = World(mesh).listeners(sidecar())["virtualOutbound"]
    assert [list(log.filter.response_flag_filter.flags) for log in listener.access_log] == [["NR"]]
    black_hole, rest = (TcpProxy.FromString(chain.filters[-1].typed_config.value) for chain in listener.filter_chains)
    assert (len(black_hole.access_log), len(rest.access_log)) == (0, 1)
