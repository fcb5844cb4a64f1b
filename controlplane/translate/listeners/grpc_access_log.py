"""Access logs that go to a collector by gRPC: Envoy's own service, and OpenTelemetry's."""

from __future__ import annotations

from collections.abc import Iterable

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog
from envoy.config.core.v3.config_source_pb2 import ApiVersion
from envoy.extensions.access_loggers.grpc.v3.als_pb2 import (
    CommonGrpcAccessLogConfig,
    HttpGrpcAccessLogConfig,
    TcpGrpcAccessLogConfig,
)
from envoy.extensions.access_loggers.open_telemetry.v3.logs_service_pb2 import OpenTelemetryAccessLogConfig

from controlplane.apis.mesh_providers import EnvoyGrpcV3LogProvider, EnvoyOpenTelemetryLogProvider, ServiceProvider
from controlplane.model.cluster_names import outbound_name
from controlplane.translate.tls_context import typed

HTTP_LOG = "http_envoy_accesslog"
TCP_LOG = "tcp_envoy_accesslog"
LISTENER_LOG = "listener_envoy_accesslog"
_OTEL_LOG = "otel_envoy_accesslog"
_BOOTSTRAP_CLUSTER = "envoy_accesslog_service"
_PEERS = ("upstream_peer", "downstream_peer")
_OLD_PEERS = ("wasm.upstream_peer", "wasm.upstream_peer_id", "wasm.downstream_peer", "wasm.downstream_peer_id")
_HTTP = "envoy.access_loggers.http_grpc"
_TCP = "envoy.tcp_grpc_access_log"
_OTEL = "envoy.access_loggers.open_telemetry"


def bootstrap_log(name: str) -> AccessLog:
    """Return the log to the collector of the proxy's bootstrap. Reference: MeshConfig.enableEnvoyAccessLogService."""
    common = _common(name, _BOOTSTRAP_CLUSTER, "", (*_PEERS, *_OLD_PEERS))
    if name == HTTP_LOG:
        return AccessLog(name=_HTTP, typed_config=typed(HttpGrpcAccessLogConfig(common_config=common)))
    return AccessLog(name=_TCP, typed_config=typed(TcpGrpcAccessLogConfig(common_config=common)))


def http_provider_log(provider: EnvoyGrpcV3LogProvider) -> AccessLog:
    """Return the log of requests. Reference: ExtensionProvider.envoyHttpAls."""
    config = HttpGrpcAccessLogConfig(
        common_config=_provider(provider.log_name or HTTP_LOG, provider, provider.filter_state_objects_to_log),
        additional_request_headers_to_log=provider.additional_request_headers_to_log,
        additional_response_headers_to_log=provider.additional_response_headers_to_log,
        additional_response_trailers_to_log=provider.additional_response_trailers_to_log,
    )
    return AccessLog(name=_HTTP, typed_config=typed(config))


def tcp_provider_log(provider: EnvoyGrpcV3LogProvider) -> AccessLog:
    """Return the log of connections. Reference: ExtensionProvider.envoyTcpAls."""
    common = _provider(provider.log_name or TCP_LOG, provider, provider.filter_state_objects_to_log)
    return AccessLog(name=_TCP, typed_config=typed(TcpGrpcAccessLogConfig(common_config=common)))


def otel_provider_log(provider: EnvoyOpenTelemetryLogProvider, default_text: str) -> AccessLog:
    """Return the log in OpenTelemetry's form: body text and attributes. Reference: ExtensionProvider.envoyOtelAls."""
    stated = provider.log_format
    config = OpenTelemetryAccessLogConfig(
        common_config=_provider(provider.log_name or _OTEL_LOG, provider, (*_PEERS, *_OLD_PEERS)),
        disable_builtin_labels=True,
    )
    config.body.string_value = stated.text if stated is not None and stated.text else default_text
    labels = (stated.labels if stated is not None else None) or {}
    for key, value in sorted(labels.items()):
        attribute = config.attributes.values.add(key=key)
        attribute.value.string_value = value if isinstance(value, str) else ""
    return AccessLog(name=_OTEL, typed_config=typed(config))


def _provider(name: str, provider: ServiceProvider, objects: Iterable[str]) -> CommonGrpcAccessLogConfig:
    cluster = outbound_name(provider.port, "", provider.service)
    return _common(name, cluster, provider.service, tuple(objects) or _PEERS)


def _common(name: str, cluster: str, authority: str, objects: Iterable[str]) -> CommonGrpcAccessLogConfig:
    config = CommonGrpcAccessLogConfig(
        log_name=name, transport_api_version=ApiVersion.V3, filter_state_objects_to_log=objects
    )
    config.grpc_service.envoy_grpc.cluster_name = cluster
    config.grpc_service.envoy_grpc.authority = authority
    return config
