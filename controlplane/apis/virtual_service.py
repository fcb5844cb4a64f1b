"""VirtualService: routes for hosts, by HTTP request, TLS server name or TCP connection."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Base64Bytes, Field

from controlplane.apis.common import (
    ApiModel,
    Bool,
    Int32,
    Percent,
    PortSelector,
    PositiveDuration,
    StringMap,
    StringMatch,
    UInt32,
    at_most_one,
)

__all__ = [
    "Abort",
    "CorsPolicy",
    "Delay",
    "Delegate",
    "Destination",
    "HTTPBody",
    "HTTPDirectResponse",
    "HTTPFaultInjection",
    "HTTPMatchRequest",
    "HTTPMirrorPolicy",
    "HTTPRedirect",
    "HTTPRetry",
    "HTTPRewrite",
    "HTTPRoute",
    "HTTPRouteDestination",
    "HeaderOperations",
    "Headers",
    "L4MatchAttributes",
    "Percent",
    "PortSelector",
    "RedirectPortSelection",
    "RegexRewrite",
    "RouteDestination",
    "StringMatch",
    "TCPRoute",
    "TLSMatchAttributes",
    "TLSRoute",
    "UnmatchedPreflights",
    "VirtualService",
]


class Destination(ApiModel):
    """A service, perhaps one subset of it; ``port`` may be left out where the service has only one."""

    host: str
    subset: str = ""
    port: PortSelector | None = None


class HeaderOperations(ApiModel):
    """Changes of headers: ``set`` overwrites, ``add`` appends, ``remove`` drops."""

    set: StringMap = Field(default_factory=dict)
    add: StringMap = Field(default_factory=dict)
    remove: tuple[str, ...] = ()


class Headers(ApiModel):
    """Header changes on the way to the service and on the way back."""

    request: HeaderOperations | None = None
    response: HeaderOperations | None = None


class HTTPMatchRequest(ApiModel):
    """Conditions that must all hold; of several of these in a list, any one suffices.

    ``port`` 0 and empty maps and strings ask nothing. Header names are as the user wrote them.
    """

    name: str = ""
    uri: StringMatch | None = None
    scheme: StringMatch | None = None
    method: StringMatch | None = None
    authority: StringMatch | None = None
    headers: dict[str, StringMatch] = Field(default_factory=dict)
    port: UInt32 = 0
    source_labels: StringMap = Field(default_factory=dict)
    gateways: tuple[str, ...] = ()
    query_params: dict[str, StringMatch] = Field(default_factory=dict)
    ignore_uri_case: Bool = False
    without_headers: dict[str, StringMatch] = Field(default_factory=dict)
    source_namespace: str = ""
    stat_prefix: str = ""


class HTTPRouteDestination(ApiModel):
    """One weighted choice of a route; a single choice needs no weight."""

    destination: Destination
    weight: Int32 = 0
    headers: Headers | None = None


class RouteDestination(ApiModel):
    """One weighted choice of a TCP or TLS route."""

    destination: Destination
    weight: Int32 = 0


class RegexRewrite(ApiModel):
    r"""A path rewrite by RE2: what ``match`` finds becomes ``rewrite`` (``\1`` names a group)."""

    match: str = ""
    rewrite: str = ""


class HTTPRewrite(ApiModel):
    """What becomes of path and authority; empty strings leave them. ``uri`` replaces the matched prefix or path."""

    uri: str = ""
    authority: str = ""
    uri_regex_rewrite: RegexRewrite | None = None


class RedirectPortSelection(StrEnum):
    """Where a redirect's port comes from when none is named."""

    FROM_PROTOCOL_DEFAULT = "FROM_PROTOCOL_DEFAULT"
    FROM_REQUEST_PORT = "FROM_REQUEST_PORT"


class HTTPRedirect(ApiModel):
    """Answer with a redirect; ``redirect_code`` 0 means 301. Empty strings keep that part of the URL."""

    uri: str = ""
    authority: str = ""
    port: UInt32 | None = None
    derive_port: RedirectPortSelection | None = None
    scheme: str = ""
    redirect_code: UInt32 = 0
    prefix_rewrite: str = ""

    _one_port = at_most_one("port", "derive_port")


class HTTPBody(ApiModel):
    """A fixed body, as text or as base64 of any bytes."""

    string: str | None = None
    bytes: Base64Bytes | None = None

    _one = at_most_one("string", "bytes")


class HTTPDirectResponse(ApiModel):
    """A fixed answer, sent by the proxy itself."""

    status: UInt32
    body: HTTPBody | None = None


class Delegate(ApiModel):
    """Another VirtualService whose routes are put in here; ``namespace`` empty means the same one."""

    name: str = ""
    namespace: str = ""


class HTTPRetry(ApiModel):
    """How the calling proxy repeats a failed request.

    ``attempts`` counts repeats, so 0 disables retries. ``per_try_timeout`` ``None`` leaves only the route's timeout;
    ``retry_on`` empty means the mesh's default conditions.
    """

    attempts: Int32 = 0
    per_try_timeout: PositiveDuration | None = None
    retry_on: str = ""
    retry_remote_localities: Bool | None = None
    retry_ignore_previous_hosts: Bool | None = None
    backoff: PositiveDuration | None = None


class Delay(ApiModel):
    """Hold a share of requests; ``percentage`` ``None`` falls back to ``percent``, and that (0) to all of them."""

    percent: Int32 = 0
    fixed_delay: PositiveDuration | None = None
    exponential_delay: PositiveDuration | None = None
    percentage: Percent | None = None

    _one = at_most_one("fixed_delay", "exponential_delay")


class Abort(ApiModel):
    """Answer a share of requests with an error; ``percentage`` ``None`` means all of them."""

    http_status: Int32 | None = None
    grpc_status: str | None = None
    http2_error: str | None = None
    percentage: Percent | None = None

    _one = at_most_one("http_status", "grpc_status", "http2_error")


class HTTPFaultInjection(ApiModel):
    """Faults made on purpose."""

    delay: Delay | None = None
    abort: Abort | None = None


class HTTPMirrorPolicy(ApiModel):
    """A copy of a share of requests; ``percentage`` ``None`` means all. Answers are ignored."""

    destination: Destination
    percentage: Percent | None = None


class UnmatchedPreflights(StrEnum):
    """What becomes of a preflight whose origin is not allowed."""

    UNSPECIFIED = "UNSPECIFIED"
    FORWARD = "FORWARD"
    IGNORE = "IGNORE"


class CorsPolicy(ApiModel):
    """Cross-origin rules; ``allow_origin`` is the old form of exact ``allow_origins``."""

    allow_origin: tuple[str, ...] = ()
    allow_origins: tuple[StringMatch, ...] = ()
    allow_methods: tuple[str, ...] = ()
    allow_headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    max_age: PositiveDuration | None = None
    allow_credentials: Bool | None = None
    unmatched_preflights: UnmatchedPreflights = UnmatchedPreflights.UNSPECIFIED


class HTTPRoute(ApiModel):
    """One rule: the first whose ``match`` holds decides; without ``match`` it always holds."""

    name: str = ""
    match: tuple[HTTPMatchRequest, ...] = ()
    route: tuple[HTTPRouteDestination, ...] = ()
    redirect: HTTPRedirect | None = None
    direct_response: HTTPDirectResponse | None = None
    delegate: Delegate | None = None
    rewrite: HTTPRewrite | None = None
    timeout: PositiveDuration | None = None
    retries: HTTPRetry | None = None
    fault: HTTPFaultInjection | None = None
    mirror: Destination | None = None
    mirrors: tuple[HTTPMirrorPolicy, ...] = ()
    mirror_percent: UInt32 | None = None
    mirror_percentage: Percent | None = None
    cors_policy: CorsPolicy | None = None
    headers: Headers | None = None


class L4MatchAttributes(ApiModel):
    """Conditions on a TCP connection; all must hold."""

    destination_subnets: tuple[str, ...] = ()
    port: UInt32 = 0
    source_subnet: str = ""
    source_labels: StringMap = Field(default_factory=dict)
    gateways: tuple[str, ...] = ()
    source_namespace: str = ""


class TCPRoute(ApiModel):
    """One rule for TCP connections."""

    match: tuple[L4MatchAttributes, ...] = ()
    route: tuple[RouteDestination, ...] = ()


class TLSMatchAttributes(ApiModel):
    """Conditions on a TLS connection that is passed through; ``sni_hosts`` may be wildcards."""

    sni_hosts: tuple[str, ...]
    destination_subnets: tuple[str, ...] = ()
    port: UInt32 = 0
    source_labels: StringMap = Field(default_factory=dict)
    gateways: tuple[str, ...] = ()
    source_namespace: str = ""


class TLSRoute(ApiModel):
    """One rule for TLS connections that are passed through."""

    match: tuple[TLSMatchAttributes, ...]
    route: tuple[RouteDestination, ...] = ()


class VirtualService(ApiModel):
    """``spec`` of a VirtualService. Without ``hosts`` it only serves others as a delegate.

    ``gateways`` empty means ``mesh`` alone; ``export_to`` empty means the mesh's default.
    """

    hosts: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    http: tuple[HTTPRoute, ...] = ()
    tls: tuple[TLSRoute, ...] = ()
    tcp: tuple[TCPRoute, ...] = ()
    export_to: tuple[str, ...] = ()
