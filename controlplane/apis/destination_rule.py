"""DestinationRule: how connections to a host are made, balanced, limited and secured."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from controlplane.apis.common import (
    ApiModel,
    Bool,
    Double,
    Duration,
    Int32,
    NonEmpty,
    PercentDouble,
    PortSelector,
    PositiveDuration,
    StringMap,
    UInt32,
    UInt64,
    WorkloadSelector,
    at_most_one,
)


class SimpleLB(StrEnum):
    """Load balancing without affinity. ``UNSPECIFIED`` means Istio's default, least requests."""

    UNSPECIFIED = "UNSPECIFIED"
    LEAST_CONN = "LEAST_CONN"
    RANDOM = "RANDOM"
    PASSTHROUGH = "PASSTHROUGH"
    ROUND_ROBIN = "ROUND_ROBIN"
    LEAST_REQUEST = "LEAST_REQUEST"


class HTTPCookieAttribute(ApiModel):
    """One further attribute of the affinity cookie, such as ``SameSite``."""

    name: str
    value: str = ""


class HTTPCookie(ApiModel):
    """The cookie that affinity hangs on; ``ttl`` ``None`` never makes one, zero makes a session cookie."""

    name: str
    path: str = ""
    ttl: Duration | None = None
    attributes: tuple[HTTPCookieAttribute, ...] = ()


class RingHash(ApiModel):
    """Ring hash; 0 means the default size (1024)."""

    minimum_ring_size: UInt64 = 0


class MagLev(ApiModel):
    """Maglev; the size must be given and prime."""

    table_size: UInt64 | None = None


class ConsistentHashLB(ApiModel):
    """Affinity by what is hashed; the older ``minimum_ring_size`` counts only where no algorithm is named."""

    http_header_name: str | None = None
    http_cookie: HTTPCookie | None = None
    use_source_ip: Bool | None = None
    http_query_parameter_name: str | None = None
    ring_hash: RingHash | None = None
    maglev: MagLev | None = None
    minimum_ring_size: UInt64 = 0

    _one_key = at_most_one("http_header_name", "http_cookie", "use_source_ip", "http_query_parameter_name")
    _one_algorithm = at_most_one("ring_hash", "maglev")


class LocalityDistribute(ApiModel):
    """Weights in percent of the localities that traffic from ``from_`` goes to."""

    from_: str = Field(default="", alias="from")
    to: dict[str, UInt32] = Field(default_factory=dict)


class LocalityFailover(ApiModel):
    """The region that takes over for region ``from_``."""

    from_: str = Field(default="", alias="from")
    to: str = ""


class LocalityLoadBalancerSetting(ApiModel):
    """Preference for near endpoints; ``enabled`` ``None`` leaves that to the mesh."""

    distribute: tuple[LocalityDistribute, ...] = ()
    failover: tuple[LocalityFailover, ...] = ()
    failover_priority: tuple[str, ...] = ()
    enabled: Bool | None = None


class ZoneAwareLoadBalancerSetting(ApiModel):
    """Preference for the own zone, only as far as it can carry the load."""

    enabled: Bool | None = None
    failover: tuple[LocalityFailover, ...] = ()
    failover_priority: tuple[str, ...] = ()
    min_cluster_size: Annotated[UInt32, Field(ge=1)] | None = None


class WarmupConfiguration(ApiModel):
    """How the share of a new endpoint grows; ``minimum_percent`` ``None`` means 10, ``aggression`` ``None`` linear."""

    duration: PositiveDuration
    minimum_percent: PercentDouble | None = None
    aggression: Annotated[Double, Field(ge=0)] | None = None


class BackendUtilization(ApiModel):
    """Weights by the load that backends report."""

    weight_stabilization_period: Duration | None = None
    weight_expiration_period: Duration | None = None
    weight_update_period: Duration | None = None
    metric_names_for_computing_utilization: tuple[str, ...] = ()
    error_utilization_penalty_percent: UInt32 = 0


class LoadBalancerSettings(ApiModel):
    """How an endpoint is chosen; ``simple`` ``None`` and no hash means the default algorithm."""

    simple: SimpleLB | None = None
    consistent_hash: ConsistentHashLB | None = None
    backend_utilization: BackendUtilization | None = None
    locality_lb_setting: LocalityLoadBalancerSetting | None = None
    zone_aware_lb_setting: ZoneAwareLoadBalancerSetting | None = None
    warmup_duration_secs: PositiveDuration | None = None
    warmup: WarmupConfiguration | None = None

    _one = at_most_one("simple", "consistent_hash", "backend_utilization")


class TcpKeepalive(ApiModel):
    """TCP keepalive; zero probes and ``None`` leave the operating system's values."""

    probes: UInt32 = 0
    time: PositiveDuration | None = None
    interval: PositiveDuration | None = None


class TCPSettings(ApiModel):
    """Limits of TCP connections; 0 and ``None`` mean the default, a zero ``idle_timeout`` switches it off."""

    max_connections: Int32 = 0
    connect_timeout: PositiveDuration | None = None
    tcp_keepalive: TcpKeepalive | None = None
    max_connection_duration: PositiveDuration | None = None
    idle_timeout: Duration | None = None


class H2UpgradePolicy(StrEnum):
    """Whether HTTP/1.1 is carried over HTTP/2."""

    DEFAULT = "DEFAULT"
    DO_NOT_UPGRADE = "DO_NOT_UPGRADE"
    UPGRADE = "UPGRADE"


class KeepAliveSettings(ApiModel):
    """HTTP/2 pings."""

    interval: PositiveDuration | None = None
    timeout: PositiveDuration | None = None


class HTTPSettings(ApiModel):
    """Limits of HTTP connections and requests; 0 and ``None`` mean the default."""

    http1_max_pending_requests: Int32 = 0
    http2_max_requests: Int32 = 0
    max_requests_per_connection: Int32 = 0
    max_retries: Int32 = 0
    idle_timeout: PositiveDuration | None = None
    h2_upgrade_policy: H2UpgradePolicy = H2UpgradePolicy.DEFAULT
    use_client_protocol: Bool = False
    max_concurrent_streams: Int32 = 0
    http2_keep_alive: KeepAliveSettings | None = None


class ConnectionPoolSettings(ApiModel):
    """Limits of the connections to a host."""

    tcp: TCPSettings | None = None
    http: HTTPSettings | None = None


ErrorCode = Annotated[Int32, Field(ge=100, le=599)]


class OutlierDetection(ApiModel):
    """When endpoints are put aside for a while. The counters: ``None`` default, 0 off; others 0 or ``None`` default."""

    consecutive_errors: Int32 = 0
    split_external_local_origin_errors: Bool = False
    consecutive_local_origin_failures: UInt32 | None = None
    consecutive_gateway_errors: UInt32 | None = None
    consecutive_5xx_errors: UInt32 | None = None
    interval: PositiveDuration | None = None
    base_ejection_time: PositiveDuration | None = None
    max_ejection_percent: Int32 = 0
    min_health_percent: Int32 = 0
    outlier_detection_http_error_codes: tuple[ErrorCode, ...] = ()


class ClientTLSMode(StrEnum):
    """TLS towards the service; ``ISTIO_MUTUAL`` uses the workload's own identity."""

    DISABLE = "DISABLE"
    SIMPLE = "SIMPLE"
    MUTUAL = "MUTUAL"
    ISTIO_MUTUAL = "ISTIO_MUTUAL"


class ClientTLSSettings(ApiModel):
    """TLS towards the service; files are paths at the proxy, ``credential_name`` a Secret."""

    mode: ClientTLSMode = ClientTLSMode.DISABLE
    client_certificate: str = ""
    private_key: str = ""
    ca_certificates: str = ""
    credential_name: str = ""
    subject_alt_names: tuple[str, ...] = ()
    sni: str = ""
    insecure_skip_verify: Bool | None = None
    ca_crl: str = ""


class ProxyProtocolVersion(StrEnum):
    """Versions of the PROXY protocol."""

    V1 = "V1"
    V2 = "V2"


class ProxyProtocol(ApiModel):
    """Send a PROXY protocol header."""

    version: ProxyProtocolVersion = ProxyProtocolVersion.V1


class TunnelSettings(ApiModel):
    """Reach the target through a proxy by HTTP ``CONNECT`` (or ``POST``); an empty protocol means ``CONNECT``."""

    protocol: str = ""
    target_host: str
    target_port: UInt32


class RetryBudget(ApiModel):
    """Retries allowed at a time, in percent of requests; ``None`` means 20 percent, at least three."""

    percent: PercentDouble | None = None
    min_retry_concurrency: UInt32 = 0
    budget_interval: Duration | None = None


class PortTrafficPolicy(ApiModel):
    """A policy of one port, which replaces the destination's whole policy for that port."""

    port: PortSelector | None = None
    load_balancer: LoadBalancerSettings | None = None
    connection_pool: ConnectionPoolSettings | None = None
    outlier_detection: OutlierDetection | None = None
    tls: ClientTLSSettings | None = None


class TrafficPolicy(ApiModel):
    """A policy of a host or subset."""

    load_balancer: LoadBalancerSettings | None = None
    connection_pool: ConnectionPoolSettings | None = None
    outlier_detection: OutlierDetection | None = None
    tls: ClientTLSSettings | None = None
    port_level_settings: Annotated[tuple[PortTrafficPolicy, ...], Field(max_length=4096)] = ()
    tunnel: TunnelSettings | None = None
    proxy_protocol: ProxyProtocol | None = None
    retry_budget: RetryBudget | None = None


class Subset(ApiModel):
    """A part of a host's endpoints, by label, with its own policy."""

    name: NonEmpty
    labels: StringMap = Field(default_factory=dict)
    traffic_policy: TrafficPolicy | None = None


class DestinationRule(ApiModel):
    """``spec`` of a DestinationRule; ``export_to`` empty means the mesh's default."""

    host: str
    traffic_policy: TrafficPolicy | None = None
    subsets: tuple[Subset, ...] = ()
    export_to: tuple[str, ...] = ()
    workload_selector: WorkloadSelector | None = None
