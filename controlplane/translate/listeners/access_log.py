"""Access logs of connection managers, TCP proxies and listeners."""

from __future__ import annotations

from typing import assert_never

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog, AccessLogFilter, AndFilter, ResponseFlagFilter
from envoy.extensions.access_loggers.file.v3.file_pb2 import FileAccessLog
from envoy.extensions.access_loggers.filters.cel.v3.cel_pb2 import ExpressionFilter
from envoy.extensions.formatter.req_without_query.v3.req_without_query_pb2 import ReqWithoutQuery
from google.protobuf.json_format import ParseDict

from controlplane.registry.access_logs import (
    AccessLogs,
    BootstrapLog,
    ConnectionLog,
    FileLog,
    LogSink,
    OpenTelemetryLog,
    RequestLog,
)
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
_CEL = "envoy.access_loggers.extension_filters.cel"


def access_logs(settings: AccessLogs, *, http: bool = True) -> list[AccessLog]:
    """Return the logs of a connection manager, or (not ``http``) of a TCP proxy; empty where there are none."""
    return _logs(settings, HTTP_LOG if http else TCP_LOG)


def listener_access_logs(settings: AccessLogs) -> list[AccessLog]:
    """Return the logs of a listener, which cover what no chain took; empty where switched off."""
    if not settings.of_listener:
        return []
    logs = _logs(settings, LISTENER_LOG)
    for log in logs:
        unmatched = AccessLogFilter(response_flag_filter=ResponseFlagFilter(flags=[_NO_FILTER_CHAIN]))
        if log.HasField("filter"):
            log.filter.CopyFrom(AccessLogFilter(and_filter=AndFilter(filters=[unmatched, log.filter])))
        else:
            log.filter.CopyFrom(unmatched)
    return logs


def _logs(settings: AccessLogs, service_log: str) -> list[AccessLog]:
    """Return a log for each sink; ``service_log`` is the name of the log at the bootstrap's collector."""
    logs = [_log(each.sink, service_log) for each in settings.logs]
    for log, each in zip(logs, settings.logs, strict=True):
        if each.expression:
            expression = log.filter.extension_filter
            expression.name = _CEL
            expression.typed_config.CopyFrom(typed(ExpressionFilter(expression=each.expression)))
    return logs


def _log(sink: LogSink, service_log: str) -> AccessLog:
    match sink:
        case FileLog():
            return _file_log(sink)
        case RequestLog():
            return http_provider_log(sink.to)
        case ConnectionLog():
            return tcp_provider_log(sink.to)
        case OpenTelemetryLog():
            return otel_provider_log(sink.to, DEFAULT_TEXT)
        case BootstrapLog():
            return bootstrap_log(service_log)
        case _:
            assert_never(sink)


def _file_log(sink: FileLog) -> AccessLog:
    log = FileAccessLog(path=sink.path)
    form, text = log.log_format, sink.text
    form.omit_empty_values = sink.omit_empty
    if sink.fields is not None:
        ParseDict(dict(sink.fields or _FIELDS), form.json_format)
        form.json_format_options.sort_properties = False
    else:
        form.text_format_source.inline_string = (text if text.endswith("\n") else f"{text}\n") if text else DEFAULT_TEXT
    if "%REQ_WITHOUT_QUERY" in (text or str(sink.fields)):
        form.formatters.add(name="envoy.formatter.req_without_query", typed_config=typed(ReqWithoutQuery()))
    return AccessLog(name="envoy.access_loggers.file", typed_config=typed(log))
