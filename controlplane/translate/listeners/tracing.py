"""Tracing: which requests are traced, what their spans say, and the collector that the mesh names for all of them.

Source: MeshConfig ``enableTracing``, ``defaultProviders.tracing`` and ``extensionProviders``, ProxyConfig ``tracing``.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from envoy.config.core.v3.base_pb2 import HeaderValue, HeaderValueOption
from envoy.config.core.v3.grpc_service_pb2 import GrpcService
from envoy.config.core.v3.http_service_pb2 import HttpService as CoreHttpService
from envoy.config.trace.v3.datadog_pb2 import DatadogConfig
from envoy.config.trace.v3.opentelemetry_pb2 import OpenTelemetryConfig
from envoy.config.trace.v3.skywalking_pb2 import SkyWalkingConfig
from envoy.config.trace.v3.zipkin_pb2 import ZipkinConfig
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.extensions.tracers.opentelemetry.resource_detectors.v3.environment_resource_detector_pb2 import (
    EnvironmentResourceDetectorConfig,
)
from envoy.type.tracing.v3.custom_tag_pb2 import CustomTag
from google.protobuf.message import Message

from controlplane.apis.mesh import MeshConfig
from controlplane.apis.mesh_providers import (
    ExtensionProvider,
    HttpHeader,
    OpenTelemetryTracingProvider,
    ServiceProvider,
    TracingProvider,
    ZipkinTracingProvider,
)
from controlplane.apis.mesh_proxy import TracingCustomTag
from controlplane.translate.clusters.names import outbound_name
from controlplane.translate.tls_context import typed

#: percentage of requests traced where the mesh says nothing
DEFAULT_SAMPLING = 1.0
ZIPKIN_PATH = "/api/v2/spans"
#: how long a collector may take over HTTP where that is not stated
COLLECTOR_TIMEOUT = timedelta(seconds=3)
ZIPKIN_TIMEOUT = timedelta(seconds=5)
_W3C = "USE_B3_WITH_W3C_PROPAGATION"
_ENVIRONMENT = "envoy.tracers.opentelemetry.resource_detectors.environment"


def tracing(hcm: HttpConnectionManager, mesh: MeshConfig, *, gateway: bool) -> None:
    """Trace as the mesh says, with its default provider, else with the tracer of the bootstrap.

    Nothing is traced where the mesh names a provider that is not there or takes no spans. Sampling of 0 counts as not
    stated.

    A gateway's request to the service is a span of its own, beside that of the request to the gateway.

    Istio also writes the workload's name, revision and namespace into literal tags here; they would make the
    listeners of every workload different, and a tracer knows them from the node, so they are left out.
    """
    provider = mesh.tracing_provider
    if provider is None and (mesh.default_providers.tracing or not mesh.enable_tracing):
        return
    stated = mesh.default_config.tracing
    sampling = (stated.sampling if stated is not None else None) or DEFAULT_SAMPLING
    hcm.tracing.client_sampling.value = 100
    hcm.tracing.random_sampling.value = sampling
    hcm.tracing.overall_sampling.value = 100
    tag_length = stated.max_path_tag_length if stated is not None else 0
    if provider is not None:
        tag_length = _collector(hcm.tracing, provider, mesh.default_config.service_cluster) or tag_length
        if gateway or provider.skywalking is not None:
            hcm.tracing.spawn_upstream_span.value = True
    if tag_length:
        hcm.tracing.max_path_tag_length.value = tag_length
    for name, tag in sorted(stated.custom_tags.items()) if stated is not None else ():
        _custom_tag(hcm.tracing.custom_tags.add(tag=name), tag)


def _collector(target: HttpConnectionManager.Tracing, provider: ExtensionProvider, service_name: str) -> int:
    """Send spans to a provider; return the longest path it wants in them, 0 for no wish."""
    if provider.zipkin is not None:
        _put(target, "zipkin", _zipkin(provider.zipkin))
        return provider.zipkin.max_tag_length
    if provider.opentelemetry is not None:
        _put(target, "opentelemetry", _opentelemetry(provider.opentelemetry, service_name))
        return provider.opentelemetry.max_tag_length
    if provider.skywalking is not None:
        _put(target, "skywalking", _skywalking(provider.skywalking))
        return 0
    if provider.datadog is not None:
        stated = provider.datadog
        config = DatadogConfig(
            collector_cluster=_cluster(stated), service_name=service_name, collector_hostname=stated.service
        )
        _put(target, "datadog", config)
        return stated.max_tag_length
    return 0


def _put(target: HttpConnectionManager.Tracing, tracer: str, config: Message) -> None:
    target.provider.name = f"envoy.tracers.{tracer}"
    target.provider.typed_config.CopyFrom(typed(config))


def _cluster(provider: ServiceProvider) -> str:
    return outbound_name(provider.port, "", provider.service)


def _grpc(provider: ServiceProvider) -> GrpcService:
    """Return the call of a collector; Envoy's name of the authority is the service's."""
    service = GrpcService()
    service.envoy_grpc.cluster_name = _cluster(provider)
    service.envoy_grpc.authority = provider.service
    return service


def _zipkin(provider: ZipkinTracingProvider) -> ZipkinConfig:
    """Return Zipkin's tracer; 128-bit trace ids unless the provider wants 64. Reference: ZipkinConfig.

    A time limit and headers need ``collector_service``, which older Envoys do not know.
    """
    config = ZipkinConfig(
        collector_endpoint_version=ZipkinConfig.HTTP_JSON, trace_id_128bit=not provider.enable_64bit_trace_id
    )
    path = provider.path or ZIPKIN_PATH
    if provider.timeout is not None or provider.headers:
        timeout = ZIPKIN_TIMEOUT if provider.timeout is None else provider.timeout
        uri = f"http://{provider.service}{path}"
        config.collector_service.CopyFrom(_http(provider, uri, timeout, provider.headers))
    else:
        config.collector_cluster = _cluster(provider)
        config.collector_endpoint = path
        config.collector_hostname = provider.service
    config.shared_span_context.value = False
    if provider.trace_context_option == _W3C:
        config.trace_context_option = ZipkinConfig.USE_B3_WITH_W3C_PROPAGATION
    return config


def _opentelemetry(provider: OpenTelemetryTracingProvider, service_name: str) -> OpenTelemetryConfig:
    """Return OpenTelemetry's tracer, by HTTP where that is stated, else by gRPC. Reference: OpenTelemetryConfig."""
    config = OpenTelemetryConfig(service_name=service_name)
    http, grpc = provider.http, provider.grpc
    if http is not None:
        timeout = COLLECTOR_TIMEOUT if http.timeout is None else http.timeout
        uri = f"{provider.service}/{http.path.lstrip('/')}"
        config.http_service.CopyFrom(_http(provider, uri, timeout, http.headers))
    else:
        config.grpc_service.CopyFrom(_grpc(provider))
        if grpc is not None:
            config.grpc_service.initial_metadata.extend(_headers(grpc.initial_metadata))
            if grpc.timeout is not None:
                config.grpc_service.timeout.FromTimedelta(grpc.timeout)
    detectors = provider.resource_detectors
    if provider.follows_conventions or (detectors is not None and detectors.environment is not None):
        found = typed(EnvironmentResourceDetectorConfig())
        config.resource_detectors.add(name=_ENVIRONMENT, typed_config=found)
    return config


def _http(provider: ServiceProvider, uri: str, timeout: timedelta, headers: Iterable[HttpHeader]) -> CoreHttpService:
    """Return the call of a collector by HTTP."""
    service = CoreHttpService()
    service.http_uri.uri = uri
    service.http_uri.cluster = _cluster(provider)
    service.http_uri.timeout.FromTimedelta(timeout)
    for header in _headers(headers):
        service.request_headers_to_add.add(header=header, append_action=HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD)
    return service


def _headers(stated: Iterable[HttpHeader]) -> Iterable[HeaderValue]:
    for header in stated:
        yield HeaderValue(key=header.name, value=header.value or "")


def _skywalking(provider: TracingProvider) -> SkyWalkingConfig:
    """Return SkyWalking's tracer; it calls the service what the bootstrap does. Reference: SkyWalkingConfig."""
    config = SkyWalkingConfig(grpc_service=_grpc(provider))
    if provider.access_token:
        config.client_config.backend_token = provider.access_token
    return config


def _custom_tag(written: CustomTag, tag: TracingCustomTag) -> None:
    """Fill in where a span's tag comes from. Reference: envoy.type.tracing.v3.CustomTag."""
    if tag.literal is not None:
        written.literal.value = tag.literal.get("value", "")
    elif tag.environment is not None:
        written.environment.name = tag.environment.get("name", "")
        written.environment.default_value = tag.environment.get("defaultValue", "")
    elif tag.header is not None:
        written.request_header.name = tag.header.get("name", "")
        written.request_header.default_value = tag.header.get("defaultValue", "")
