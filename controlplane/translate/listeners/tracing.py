"""Tracing: which requests are traced, what their spans say, and which collector takes them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from itertools import product
from typing import assert_never

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
from envoy.extensions.tracers.opentelemetry.resource_detectors.v3.dynatrace_resource_detector_pb2 import (
    DynatraceResourceDetectorConfig,
)
from envoy.extensions.tracers.opentelemetry.resource_detectors.v3.environment_resource_detector_pb2 import (
    EnvironmentResourceDetectorConfig,
)
from envoy.extensions.tracers.opentelemetry.samplers.v3.dynatrace_sampler_pb2 import DynatraceSamplerConfig
from envoy.type.tracing.v3.custom_tag_pb2 import CustomTag
from google.protobuf.message import Message

from controlplane.apis.mesh_providers import (
    DynatraceApi,
    DynatraceSampler,
    ExtensionProvider,
    HttpHeader,
    HttpService,
    OpenTelemetryTracingProvider,
    ServiceProvider,
    TracingProvider,
    ZipkinTracingProvider,
)
from controlplane.model.cluster_names import outbound_name
from controlplane.model.proxy_class import SpanSource
from controlplane.registry.span_source import follows_conventions
from controlplane.registry.tracing import EnvironmentTag, FormatTag, HeaderTag, LiteralTag, Tag, Tracing
from controlplane.translate.tls_context import typed

ZIPKIN_PATH = "/api/v2/spans"
#: how long a collector may take over HTTP where that is not stated
COLLECTOR_TIMEOUT = timedelta(seconds=3)
ZIPKIN_TIMEOUT = timedelta(seconds=5)
#: the releases of Istio whose Envoys begin to know these
_TRACE_CONTEXT, _COLLECTOR_SERVICE, _FORMAT_TAGS, _CONTEXT_PROPAGATION = 28, 29, 29, 30
#: ``no_context_propagation: true``, encoded: field 13, which the library of messages does not know yet
_NO_CONTEXT_PROPAGATION = bytes((13 << 3, 1))
_W3C = "USE_B3_WITH_W3C_PROPAGATION"
_RBAC = "envoy.filters.http.rbac"
_DRY_RUN = (("name", "shadow_effective_policy_id"), ("result", "shadow_engine_result"))
_ENVIRONMENT = "envoy.tracers.opentelemetry.resource_detectors.environment"
_DYNATRACE = "envoy.tracers.opentelemetry.resource_detectors.dynatrace"
_SAMPLER = "envoy.tracers.opentelemetry.samplers.dynatrace"


def trace(hcm: HttpConnectionManager, settings: Tracing, *, gateway: bool) -> None:
    """Trace as the settings say, with their provider, else with the tracer of the bootstrap.

    A gateway's request to the service is a span of its own, beside that of the request to the gateway.
    """
    provider = settings.provider
    hcm.tracing.client_sampling.value = 100
    hcm.tracing.random_sampling.value = settings.sampling
    hcm.tracing.overall_sampling.value = 100
    if provider is not None:
        _collector(hcm.tracing, provider, settings.source)
        if gateway or provider.skywalking is not None:
            hcm.tracing.spawn_upstream_span.value = True
    if not settings.propagates and settings.source.release >= _CONTEXT_PROPAGATION:
        hcm.tracing.MergeFromString(_NO_CONTEXT_PROPAGATION)
    if settings.path_length:
        hcm.tracing.max_path_tag_length.value = settings.path_length
    for tag in _tags(settings):
        hcm.tracing.custom_tags.append(tag)


def _collector(target: HttpConnectionManager.Tracing, provider: ExtensionProvider, source: SpanSource) -> None:
    """Send spans to a provider."""
    if provider.zipkin is not None:
        _put(target, "zipkin", _zipkin(provider.zipkin, source.release))
    elif provider.opentelemetry is not None:
        _put(target, "opentelemetry", _opentelemetry(provider.opentelemetry, source.service))
    elif provider.skywalking is not None:
        _put(target, "skywalking", _skywalking(provider.skywalking))
    elif provider.datadog is not None:
        stated = provider.datadog
        config = DatadogConfig(
            collector_cluster=_cluster(stated), service_name=source.service, collector_hostname=stated.service
        )
        _put(target, "datadog", config)


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


def _zipkin(provider: ZipkinTracingProvider, release: int) -> ZipkinConfig:
    """Return Zipkin's tracer; 128-bit trace ids unless the provider wants 64. Reference: ZipkinConfig.

    A time limit and headers need ``collector_service``, which older proxies do not know.
    """
    config = ZipkinConfig(
        collector_endpoint_version=ZipkinConfig.HTTP_JSON, trace_id_128bit=not provider.enable_64bit_trace_id
    )
    path = provider.path or ZIPKIN_PATH
    if release >= _COLLECTOR_SERVICE:
        timeout = ZIPKIN_TIMEOUT if provider.timeout is None else provider.timeout
        uri = f"http://{provider.service}{path}"
        config.collector_service.CopyFrom(_http(provider, uri, timeout, provider.headers))
    else:
        config.collector_cluster = _cluster(provider)
        config.collector_endpoint = path
        config.collector_hostname = provider.service
    config.shared_span_context.value = False
    if provider.trace_context_option == _W3C and release >= _TRACE_CONTEXT:
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
    if follows_conventions(provider) or (detectors is not None and detectors.environment is not None):
        found = typed(EnvironmentResourceDetectorConfig())
        config.resource_detectors.add(name=_ENVIRONMENT, typed_config=found)
    if detectors is not None and detectors.dynatrace is not None:
        config.resource_detectors.add(name=_DYNATRACE, typed_config=typed(DynatraceResourceDetectorConfig()))
    sampler = provider.dynatrace_sampler
    if sampler is not None and sampler.http_service is not None:
        config.sampler.name = _SAMPLER
        config.sampler.typed_config.CopyFrom(typed(_sampler(sampler, sampler.http_service)))
    return config


def _sampler(stated: DynatraceSampler, asked: DynatraceApi) -> DynatraceSamplerConfig:
    """Return the sampler that asks Dynatrace how much is to be traced. Reference: DynatraceSamplerConfig."""
    http = asked.http or HttpService()
    timeout = COLLECTOR_TIMEOUT if http.timeout is None else http.timeout
    return DynatraceSamplerConfig(
        tenant=stated.tenant,
        cluster_id=stated.cluster_id,
        root_spans_per_minute=stated.root_spans_per_minute,
        http_service=_http(asked, f"{asked.service}/{http.path.lstrip('/')}", timeout, http.headers),
    )


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


def _tags(settings: Tracing) -> list[CustomTag]:
    """Return the tags of spans by name; one that is stated goes before one of Istio's own of that name."""
    written = [_dry_run_tag(*each) for each in product(("allow", "deny"), _DRY_RUN)] if settings.istio_tags else []
    for name, value in settings.source.tags:
        _custom_tag(tag := CustomTag(tag=name), LiteralTag(value))
        written.append(tag)
    for name, stated in settings.tags:
        if not isinstance(stated, FormatTag) or settings.source.release >= _FORMAT_TAGS:
            _custom_tag(tag := CustomTag(tag=name), stated)
            written.append(tag)
    return sorted({tag.tag: tag for tag in written}.values(), key=lambda tag: tag.tag)


def _dry_run_tag(effect: str, about: tuple[str, str]) -> CustomTag:
    """Return a tag that says what a policy that is only tried out would have done: its name, or its answer."""
    name, key = about
    tag = CustomTag(tag=f"istio.authorization.dry_run.{effect}_policy.{name}")
    tag.metadata.kind.request.SetInParent()
    tag.metadata.metadata_key.key = _RBAC
    tag.metadata.metadata_key.path.add(key=f"istio_dry_run_{effect}_{key}")
    return tag


def _custom_tag(written: CustomTag, tag: Tag) -> None:
    """Fill in where a span's tag comes from. Reference: envoy.type.tracing.v3.CustomTag."""
    match tag:
        case LiteralTag():
            written.literal.value = tag.value
        case EnvironmentTag():
            written.environment.name = tag.name
            written.environment.default_value = tag.default
        case HeaderTag():
            written.request_header.name = tag.name
            written.request_header.default_value = tag.default
        case FormatTag():
            written.value = tag.text
        case _:
            assert_never(tag)
