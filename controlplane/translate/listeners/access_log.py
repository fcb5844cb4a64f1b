"""Access logs: those of the mesh configuration, on connection managers, TCP proxies and listeners."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any as Json

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog, AccessLogFilter, ResponseFlagFilter
from envoy.extensions.access_loggers.file.v3.file_pb2 import FileAccessLog
from envoy.extensions.formatter.req_without_query.v3.req_without_query_pb2 import ReqWithoutQuery
from google.protobuf.json_format import ParseDict

from controlplane.apis.mesh import MeshConfig
from controlplane.apis.mesh_providers import EnvoyFileAccessLogProvider, ExtensionProvider
from controlplane.translate.listeners.grpc_access_log import (
    HTTP_LOG,
    LISTENER_LOG,
    TCP_LOG,
    bootstrap_log,
    http_provider_log,
    otel_provider_log,
    tcp_provider_log,
)
from controlplane.translate.tls_context import typed

#: (field of the JSON form, token of the text form), in the order of the text form; quoted ones are in the second set
_FIELDS = (
    ("start_time", "%START_TIME%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    ("connection_termination_details", "%CONNECTION_TERMINATION_DETAILS%"),
    ("upstream_transport_failure_reason", "%UPSTREAM_TRANSPORT_FAILURE_REASON%"),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("duration", "%DURATION%"),
    ("upstream_service_time", "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%"),
    ("x_forwarded_for", "%REQ(X-FORWARDED-FOR)%"),
    ("user_agent", "%REQ(USER-AGENT)%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("authority", "%REQ(:AUTHORITY)%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER_RAW%"),
    ("upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"),
    ("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("requested_server_name", "%REQUESTED_SERVER_NAME%"),
    ("route_name", "%ROUTE_NAME%"),
)
_QUOTED = frozenset(
    {
        "upstream_transport_failure_reason",
        "x_forwarded_for",
        "user_agent",
        "request_id",
        "authority",
        "upstream_host",
    }
)


def _default_text() -> str:
    by_name = dict(_FIELDS)
    words = [f"[{by_name['start_time']}]", f'"{by_name["method"]} {by_name["path"]} {by_name["protocol"]}"']
    words += [f'"{token}"' if name in _QUOTED else token for name, token in _FIELDS[4:]]
    return " ".join(words) + "\n"


DEFAULT_TEXT = _default_text()
_NO_FILTER_CHAIN = "NR"
BUILT_IN = "envoy"
"""The provider that every mesh has."""


def access_logs(mesh: MeshConfig, *, http: bool = True) -> list[AccessLog]:
    """Return the logs of a connection manager, or (not ``http``) of a TCP proxy; empty where there are none."""
    return _logs(mesh, HTTP_LOG if http else TCP_LOG)


def listener_access_logs(mesh: MeshConfig) -> list[AccessLog]:
    """Return the logs of a listener, which cover what no chain took; empty where switched off."""
    if mesh.disable_envoy_listener_log:
        return []
    logs = _logs(mesh, LISTENER_LOG)
    for log in logs:
        log.filter.CopyFrom(AccessLogFilter(response_flag_filter=ResponseFlagFilter(flags=[_NO_FILTER_CHAIN])))
    return logs


def _logs(mesh: MeshConfig, service_log: str) -> list[AccessLog]:
    """Default providers replace the mesh's own logs, if any of them is of use. Reference: MeshConfig.defaultProviders.

    ``service_log`` is the name of the log at the bootstrap's collector.
    """
    named = (mesh.provider(name) for name in mesh.default_providers.access_logging)
    logs = [log for provider in named if provider is not None and (log := _provider_log(mesh, provider)) is not None]
    if logs:
        return logs
    if mesh.access_log_file:
        logs.append(_mesh_log(mesh, mesh.access_log_file))
    if mesh.enable_envoy_access_log_service:
        logs.append(bootstrap_log(service_log))
    return logs


def _mesh_log(mesh: MeshConfig, path: str) -> AccessLog:
    if mesh.access_log_encoding == "JSON":
        return _file_log(path, "", _json_fields(mesh.access_log_format))
    return _file_log(path, mesh.access_log_format, None)


def _json_fields(text: str) -> dict[str, Json]:
    """Return the fields of a JSON entry as the mesh states them; the built-in ones where that is no JSON object."""
    try:
        stated = json.loads(text) if text else None
    except ValueError:
        stated = None
    return stated if isinstance(stated, dict) else dict(_FIELDS)


def _provider_log(mesh: MeshConfig, provider: ExtensionProvider) -> AccessLog | None:
    """Return the log that a provider takes; ``None`` for one of another sort."""
    if provider.envoy_file_access_log is not None:
        return _file_provider_log(mesh, provider.name, provider.envoy_file_access_log)
    if provider.envoy_http_als is not None:
        return http_provider_log(provider.envoy_http_als)
    if provider.envoy_tcp_als is not None:
        return tcp_provider_log(provider.envoy_tcp_als)
    if provider.envoy_otel_als is not None:
        return otel_provider_log(provider.envoy_otel_als, DEFAULT_TEXT)
    return None


def _file_provider_log(mesh: MeshConfig, name: str, provider: EnvoyFileAccessLogProvider) -> AccessLog:
    """The built-in provider follows the mesh's format and encoding as long as it states none of its own."""
    stated = provider.log_format
    if name == BUILT_IN and stated is None and not provider.omit_empty_values:
        return _mesh_log(mesh, provider.path)
    if stated is not None and stated.labels is not None:
        return _file_log(provider.path, "", stated.labels or dict(_FIELDS), omit_empty=provider.omit_empty_values)
    text = stated.text if stated is not None and stated.text else ""
    return _file_log(provider.path, text, None, omit_empty=provider.omit_empty_values)


def _file_log(path: str, text: str, fields: Mapping[str, Json] | None, *, omit_empty: bool = False) -> AccessLog:
    log = FileAccessLog(path=path)
    form = log.log_format
    form.omit_empty_values = omit_empty
    if fields is not None:
        ParseDict(dict(fields), form.json_format)
        form.json_format_options.sort_properties = False
    else:
        form.text_format_source.inline_string = (text if text.endswith("\n") else f"{text}\n") if text else DEFAULT_TEXT
    if "%REQ_WITHOUT_QUERY" in (text or str(fields)):
        form.formatters.add(name="envoy.formatter.req_without_query", typed_config=typed(ReqWithoutQuery()))
    return AccessLog(name="envoy.access_loggers.file", typed_config=typed(log))
