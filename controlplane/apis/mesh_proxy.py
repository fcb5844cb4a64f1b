"""The mesh's ``defaultConfig``: settings of the proxies themselves (``mesh.v1alpha1.ProxyConfig``)."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from controlplane.apis.common import ApiModel, Bool, Double, Duration, Int32, StringMap, UInt32, at_most_one
from controlplane.apis.destination_rule import ClientTLSSettings, TcpKeepalive
from controlplane.apis.proxy_config import ProxyImage
from controlplane.apis.workload_entry import ReadinessProbe


class AuthenticationPolicy(StrEnum):
    """How the proxy shows who it is to the control plane."""

    NONE = "NONE"
    MUTUAL_TLS = "MUTUAL_TLS"
    INHERIT = "INHERIT"


class InboundInterceptionMode(StrEnum):
    """How inbound traffic is taken; ``NONE`` leaves it alone."""

    REDIRECT = "REDIRECT"
    TPROXY = "TPROXY"
    NONE = "NONE"


class TracingServiceName(StrEnum):
    """How a proxy calls its service in spans."""

    APP_LABEL_AND_NAMESPACE = "APP_LABEL_AND_NAMESPACE"
    CANONICAL_NAME_ONLY = "CANONICAL_NAME_ONLY"
    CANONICAL_NAME_AND_NAMESPACE = "CANONICAL_NAME_AND_NAMESPACE"


class ForwardClientCertDetails(StrEnum):
    """What becomes of the header with the client's certificate; ``UNDEFINED`` leaves the default."""

    UNDEFINED = "UNDEFINED"
    SANITIZE = "SANITIZE"
    FORWARD_ONLY = "FORWARD_ONLY"
    APPEND_FORWARD = "APPEND_FORWARD"
    SANITIZE_SET = "SANITIZE_SET"
    ALWAYS_FORWARD_ONLY = "ALWAYS_FORWARD_ONLY"


class ProxyProtocolConfiguration(ApiModel):
    """Accept the PROXY protocol; its presence is the setting."""


class Topology(ApiModel):
    """What stands in front of a gateway: trusted proxies (for the client's address), who sets certificate headers."""

    num_trusted_proxies: UInt32 = 0
    forward_client_cert_details: ForwardClientCertDetails = ForwardClientCertDetails.UNDEFINED
    proxy_protocol: ProxyProtocolConfiguration | None = None


class RemoteService(ApiModel):
    """A collector that proxies send to."""

    address: str = ""
    tls_settings: ClientTLSSettings | None = None
    tcp_keepalive: TcpKeepalive | None = None


class ProxyStatsMatcher(ApiModel):
    """Statistics to keep beside the minimum."""

    inclusion_prefixes: tuple[str, ...] = ()
    inclusion_suffixes: tuple[str, ...] = ()
    inclusion_regexps: tuple[str, ...] = ()


class TracerAddress(ApiModel):
    """A tracer by address; ``access_token`` is Lightstep's."""

    address: str = ""
    access_token: str = Field(default="", repr=False)


class TracingCustomTag(ApiModel):
    """A span tag: ``{value}``, or ``{name, defaultValue}`` of a variable or header."""

    literal: StringMap | None = None
    environment: StringMap | None = None
    header: StringMap | None = None

    _one = at_most_one("literal", "environment", "header")


class Tracing(ApiModel):
    """Tracing the old way; ``sampling`` up to 100 percent, ``None`` and 0 the default of 1."""

    zipkin: TracerAddress | None = None
    lightstep: TracerAddress | None = None
    datadog: TracerAddress | None = None
    stackdriver: dict[str, Any] | None = None
    open_census_agent: dict[str, Any] | None = None
    custom_tags: dict[str, TracingCustomTag] = Field(default_factory=dict)
    max_path_tag_length: UInt32 = 0
    sampling: Double | None = None
    tls_settings: ClientTLSSettings | None = None
    enable_istio_tags: Bool | None = None

    _one = at_most_one("zipkin", "lightstep", "datadog", "stackdriver", "open_census_agent")


class DisabledHeader(ApiModel):
    """A header the proxy would otherwise add."""

    disabled: Bool | None = None


class EnabledHeader(ApiModel):
    """A header the proxy adds only when asked."""

    enabled: Bool | None = None


class MetadataExchangeMode(StrEnum):
    """Which requests say who the caller is: all, or with ``IN_MESH`` those to services of the mesh."""

    UNDEFINED = "UNDEFINED"
    IN_MESH = "IN_MESH"


class MetadataExchangeHeaders(ApiModel):
    """To whom the headers with the caller's identity go."""

    mode: MetadataExchangeMode = MetadataExchangeMode.UNDEFINED


class ServerHeader(DisabledHeader):
    """The ``server`` header; ``value`` empty keeps ``istio-envoy``."""

    value: str = ""


class ProxyHeaders(ApiModel):
    """Headers that proxies add to requests and responses; ``None`` keeps each."""

    forwarded_client_cert: ForwardClientCertDetails = ForwardClientCertDetails.UNDEFINED
    request_id: DisabledHeader | None = None
    server: ServerHeader | None = None
    attempt_count: DisabledHeader | None = None
    envoy_debug_headers: DisabledHeader | None = None
    metadata_exchange_headers: MetadataExchangeHeaders | None = None
    set_current_client_cert_details: dict[str, Bool] | None = None
    preserve_http1_header_case: Bool | None = None
    x_forwarded_host: EnabledHeader | None = None
    x_forwarded_port: EnabledHeader | None = None


class HeadersWithUnderscoresAction(StrEnum):
    """What becomes of requests whose header names have underscores, which some servers take for hyphens."""

    UNSPECIFIED = "HEADERS_WITH_UNDERSCORES_UNSPECIFIED"
    ALLOW = "HEADERS_WITH_UNDERSCORES_ALLOW"
    REJECT_REQUEST = "HEADERS_WITH_UNDERSCORES_REJECT_REQUEST"
    DROP_HEADER = "HEADERS_WITH_UNDERSCORES_DROP_HEADER"


class PathWithEscapedSlashesAction(StrEnum):
    """What becomes of requests with ``%2F`` or ``%5C`` in their path."""

    UNSPECIFIED = "PATH_WITH_ESCAPED_SLASHES_UNSPECIFIED"
    KEEP_UNCHANGED = "KEEP_UNCHANGED"
    REJECT_REQUEST = "REJECT_REQUEST"
    UNESCAPE_AND_REDIRECT = "UNESCAPE_AND_REDIRECT"
    UNESCAPE_AND_FORWARD = "UNESCAPE_AND_FORWARD"


#: what HTTP/2 allows a window to be, in bytes
WindowSize = Annotated[Int32, Field(ge=65535)]


class ConnectionSettings(ApiModel):
    """Limits of the connections to a proxy; ``None`` leaves each default. Timeouts of zero are no limit.

    With ``profile`` ``EDGE`` a gateway gets the limits that Envoy recommends at the edge of a network, wherever
    nothing else is stated; every other profile changes nothing. Normalisation of paths here goes before the mesh's.
    """

    profile: str | None = None
    listener_per_connection_buffer_limit_bytes: Int32 | None = None
    cluster_per_connection_buffer_limit_bytes: Int32 | None = None
    http_idle_timeout: Duration | None = None
    http_max_connection_duration: Duration | None = None
    http_max_stream_duration: Duration | None = None
    http_stream_idle_timeout: Duration | None = None
    http_request_timeout: Duration | None = None
    http_request_headers_timeout: Duration | None = None
    http_drain_timeout: Duration | None = None
    http_max_concurrent_streams: Annotated[Int32, Field(ge=1)] | None = None
    http2_initial_stream_window_size: WindowSize | None = None
    http2_initial_connection_window_size: WindowSize | None = None
    http_headers_with_underscores_action: HeadersWithUnderscoresAction = HeadersWithUnderscoresAction.UNSPECIFIED
    http_merge_slashes: Bool | None = None
    http_path_with_escaped_slashes_action: PathWithEscapedSlashesAction = PathWithEscapedSlashesAction.UNSPECIFIED


class ProxyConfig(ApiModel):
    """Settings of proxies, of the mesh or (``proxy.istio.io/config``) of a pod; most are for the injector and agent.

    ``concurrency`` ``None`` follows the CPU limit, 0 means one thread a CPU. Maps and lists are empty by default.
    """

    config_path: str = "./etc/istio/proxy"
    binary_path: str = "/usr/local/bin/envoy"
    service_cluster: str = "istio-proxy"
    tracing_service_name: TracingServiceName | None = None
    drain_duration: Duration = timedelta(seconds=45)
    termination_drain_duration: Duration = timedelta(seconds=5)
    parent_shutdown_duration: Duration | None = None
    discovery_address: str = "istiod.istio-system.svc:15012"
    statsd_udp_address: str = ""
    proxy_admin_port: Int32 = 15000
    control_plane_auth_policy: AuthenticationPolicy = AuthenticationPolicy.MUTUAL_TLS
    custom_config_file: str = ""
    stat_name_length: Int32 = 189
    concurrency: Int32 | None = None
    proxy_bootstrap_template_path: str = ""
    interception_mode: InboundInterceptionMode = InboundInterceptionMode.REDIRECT
    tracing: Tracing | None = None
    sds: dict[str, Any] | None = None
    envoy_access_log_service: RemoteService | None = None
    envoy_metrics_service: RemoteService | None = None
    proxy_metadata: StringMap = Field(default_factory=dict)
    runtime_values: StringMap = Field(default_factory=dict)
    status_port: Int32 = 15020
    extra_stat_tags: tuple[str, ...] = ()
    gateway_topology: Topology | None = None
    mesh_id: str = ""
    readiness_probe: ReadinessProbe | None = None
    proxy_stats_matcher: ProxyStatsMatcher | None = None
    hold_application_until_proxy_starts: Bool = False
    ca_certificates_pem: tuple[str, ...] = ()
    image: ProxyImage | None = None
    private_key_provider: dict[str, Any] | None = None
    proxy_headers: ProxyHeaders | None = None
    connection_settings: ConnectionSettings | None = None
    stats_compression: Bool = True
    stats_eviction_interval: Duration | None = None
    file_flush_interval: Duration = timedelta(seconds=1)
    file_flush_min_size_kb: UInt32 | None = None
