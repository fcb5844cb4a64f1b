"""``extensionProviders``: external authorisers, tracers, metrics and access logs that policies refer to by name."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from controlplane.apis.common import ApiModel, Bool, Duration, Int32, StringMap, UInt32, at_most_one


class ExternalAuthorizationRequestBody(ApiModel):
    """How much of the request's body the authoriser gets."""

    max_request_bytes: UInt32 = 0
    allow_partial_message: Bool = False
    pack_as_bytes: Bool = False


class ServiceProvider(ApiModel):
    """A provider that is a service: ``[namespace/]host`` and a port."""

    service: str
    port: UInt32


class EnvoyExternalAuthorizationHttpProvider(ServiceProvider):
    """An authoriser asked by HTTP; ``timeout`` ``None`` means 600 s, ``status_on_error`` empty 403."""

    timeout: Duration | None = None
    path_prefix: str = ""
    fail_open: Bool = False
    clear_route_cache: Bool = False
    status_on_error: str = ""
    include_headers_in_check: tuple[str, ...] = ()
    include_request_headers_in_check: tuple[str, ...] = ()
    include_additional_headers_in_check: StringMap = Field(default_factory=dict)
    include_request_body_in_check: ExternalAuthorizationRequestBody | None = None
    headers_to_upstream_on_allow: tuple[str, ...] = ()
    headers_to_downstream_on_deny: tuple[str, ...] = ()
    headers_to_downstream_on_allow: tuple[str, ...] = ()


class EnvoyExternalAuthorizationGrpcProvider(ServiceProvider):
    """An authoriser asked by gRPC; ``timeout`` ``None`` means 600 s, ``status_on_error`` empty 403."""

    timeout: Duration | None = None
    fail_open: Bool = False
    clear_route_cache: Bool = False
    status_on_error: str = ""
    include_request_body_in_check: ExternalAuthorizationRequestBody | None = None


class HttpHeader(ApiModel):
    """A header of the request to a collector: its value, or the control plane's environment variable that holds it."""

    name: str
    value: str | None = None
    env_name: str | None = None

    _one = at_most_one("value", "env_name")


class ZipkinTracingProvider(ServiceProvider):
    """A Zipkin collector; ``path`` empty means ``/api/v2/spans``, ``max_tag_length`` 0 the default of 256."""

    max_tag_length: UInt32 = 0
    enable_64bit_trace_id: Bool = False
    path: str = ""
    trace_context_option: str = ""
    timeout: Duration | None = None
    headers: tuple[HttpHeader, ...] = ()


class TracingProvider(ServiceProvider):
    """A Lightstep, Datadog, OpenCensus or SkyWalking collector."""

    access_token: str = Field(default="", repr=False)
    max_tag_length: UInt32 = 0
    context: tuple[str, ...] = ()


class StackdriverProvider(ApiModel):
    """Google Cloud's collectors."""

    debug: Bool = False
    max_number_of_attributes: int | None = None
    max_number_of_annotations: int | None = None
    max_number_of_message_events: int | None = None
    max_tag_length: UInt32 = 0
    logging: dict[str, StringMap] | None = None


class HttpService(ApiModel):
    """Spans go by HTTP rather than gRPC."""

    path: str = ""
    timeout: Duration | None = None
    headers: tuple[HttpHeader, ...] = ()


class GrpcService(ApiModel):
    """How the gRPC collector is called."""

    timeout: Duration | None = None
    initial_metadata: tuple[HttpHeader, ...] = ()


class ResourceDetectors(ApiModel):
    """Where resource attributes of spans come from; presence switches one on."""

    environment: dict[str, Any] | None = None
    dynatrace: dict[str, Any] | None = None


class DynatraceApi(ServiceProvider):
    """The server that says how many requests Dynatrace wants traced, and how it is called."""

    http: HttpService | None = None


class DynatraceSampler(ApiModel):
    """Dynatrace's sampler; without ``http_service`` the collector is asked. ``root_spans_per_minute`` 0 means 1000."""

    tenant: str = ""
    cluster_id: Int32 = 0
    root_spans_per_minute: UInt32 = 0
    http_service: DynatraceApi | None = None


class OpenTelemetryTracingProvider(ServiceProvider):
    """An OpenTelemetry collector for spans; with ``http`` by HTTP, else by gRPC."""

    max_tag_length: UInt32 = 0
    http: HttpService | None = None
    grpc: GrpcService | None = None
    resource_detectors: ResourceDetectors | None = None
    dynatrace_sampler: DynatraceSampler | None = None
    service_attribute_enrichment: str = ""


class LogFormat(ApiModel):
    """Format of file log entries: a text, or labels of a JSON object."""

    text: str | None = None
    labels: dict[str, Any] | None = None

    _one = at_most_one("text", "labels")


class EnvoyFileAccessLogProvider(ApiModel):
    """Access log into a file; ``log_format`` ``None`` means Istio's text."""

    path: str = "/dev/stdout"
    log_format: LogFormat | None = None
    omit_empty_values: Bool = False


class EnvoyGrpcV3LogProvider(ServiceProvider):
    """Access log to Envoy's gRPC service."""

    log_name: str = ""
    filter_state_objects_to_log: tuple[str, ...] = ()
    additional_request_headers_to_log: tuple[str, ...] = ()
    additional_response_headers_to_log: tuple[str, ...] = ()
    additional_response_trailers_to_log: tuple[str, ...] = ()


class OpenTelemetryLogFormat(ApiModel):
    """Format of OpenTelemetry log entries: body text and attributes."""

    text: str = ""
    labels: dict[str, Any] | None = None


class EnvoyOpenTelemetryLogProvider(ServiceProvider):
    """Access log to an OpenTelemetry collector."""

    log_name: str = ""
    log_format: OpenTelemetryLogFormat | None = None


class SdsProvider(ServiceProvider):
    """A server of secrets (SDS): where gateways get what ``credentialName: sds://NAME`` names."""


class ExtensionProvider(ApiModel):
    """A named provider of exactly one sort."""

    name: str
    envoy_ext_authz_http: EnvoyExternalAuthorizationHttpProvider | None = None
    envoy_ext_authz_grpc: EnvoyExternalAuthorizationGrpcProvider | None = None
    zipkin: ZipkinTracingProvider | None = None
    lightstep: TracingProvider | None = None
    datadog: TracingProvider | None = None
    stackdriver: StackdriverProvider | None = None
    opencensus: TracingProvider | None = None
    skywalking: TracingProvider | None = None
    opentelemetry: OpenTelemetryTracingProvider | None = None
    prometheus: dict[str, Any] | None = None
    envoy_file_access_log: EnvoyFileAccessLogProvider | None = None
    envoy_http_als: EnvoyGrpcV3LogProvider | None = None
    envoy_tcp_als: EnvoyGrpcV3LogProvider | None = None
    envoy_otel_als: EnvoyOpenTelemetryLogProvider | None = None
    sds: SdsProvider | None = None

    _one = at_most_one(
        "envoy_ext_authz_http",
        "envoy_ext_authz_grpc",
        "zipkin",
        "lightstep",
        "datadog",
        "stackdriver",
        "opencensus",
        "skywalking",
        "opentelemetry",
        "prometheus",
        "envoy_file_access_log",
        "envoy_http_als",
        "envoy_tcp_als",
        "envoy_otel_als",
        "sds",
    )

    @property
    def is_tracer(self) -> bool:
        """Whether it takes spans, and Envoy has a tracer for it."""
        return any(getattr(self, kind) is not None for kind in TRACERS)

    @property
    def names_services(self) -> bool:
        """Whether its tracer has to be told what a proxy's service is called; others take the bootstrap's name."""
        return self.opentelemetry is not None or self.datadog is not None


TRACERS = ("zipkin", "opentelemetry", "skywalking", "datadog")
"""The kinds of provider that take spans. Envoy has no tracer for the others any more."""
