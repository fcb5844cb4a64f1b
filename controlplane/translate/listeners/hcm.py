"""The HTTP connection manager: how a proxy speaks HTTP on a chain, whichever side it is on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from envoy.config.core.v3.config_source_pb2 import ApiVersion
from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    HttpFilter,
)
from envoy.extensions.request_id.uuid.v3.uuid_pb2 import UuidRequestIdConfig
from google.protobuf.any_pb2 import Any

from controlplane.apis.mesh import NormalizationType
from controlplane.apis.mesh_proxy import DisabledHeader, ProxyHeaders, Topology
from controlplane.model.side import Side
from controlplane.registry.listener_settings import Headers, ListenerSettings
from controlplane.translate.header_case import PRESERVE_CASE
from controlplane.translate.listeners.access_log import access_logs
from controlplane.translate.listeners.connection_settings import limit_connections
from controlplane.translate.listeners.extensions import network_filter
from controlplane.translate.listeners.http_filters import http_filters
from controlplane.translate.listeners.network_filters import proxy_idle_timeout
from controlplane.translate.listeners.phases import Placed
from controlplane.translate.listeners.tracing import trace
from controlplane.translate.tls_context import typed

HCM = "envoy.filters.network.http_connection_manager"
SERVER_NAME = "istio-envoy"
_CERT_DETAILS = frozenset({"APPEND_FORWARD", "SANITIZE_SET"})
_UNESCAPE = "DECODE_AND_MERGE_SLASHES"
_UNDEFINED = "UNDEFINED"


@dataclass(frozen=True, slots=True)
class Manager:
    """What tells one connection manager from another.

    ``routes`` is the name of a route configuration, or the configuration itself. ``http2`` is set where the
    application is known to speak it, ``http3`` where clients speak that, ``absolute_urls`` where the proxy is called as
    an HTTP proxy, ``resolves`` where routes may lead to hosts that are resolved when a request names them.
    """

    side: Side
    stat_prefix: str
    routes: str | RouteConfiguration
    istio: bool = False
    http2: bool = False
    grpc_web: bool = False
    http3: bool = False
    http10: bool = False
    absolute_urls: bool = False
    resolves: bool = False
    idle_timeout: str = ""
    policies: tuple[Placed[HttpFilter], ...] = ()


def http_connection_manager(settings: ListenerSettings, manager: Manager) -> Filter:
    """Return the network filter that speaks HTTP as described, with these settings."""
    hcm = HttpConnectionManager(
        codec_type=HttpConnectionManager.HTTP3 if manager.http3 else HttpConnectionManager.AUTO,
        stat_prefix=manager.stat_prefix.lower() if manager.side is Side.GATEWAY else manager.stat_prefix,
        upgrade_configs=[HttpConnectionManager.UpgradeConfig(upgrade_type="websocket")],
        proxy_100_continue=True,
        http_filters=http_filters(
            settings,
            manager.side,
            istio=manager.istio,
            grpc_web=manager.grpc_web,
            resolves=manager.resolves,
            policies=manager.policies,
        ),
        access_log=access_logs(settings.logs),
    )
    hcm.use_remote_address.value = manager.side is Side.GATEWAY
    hcm.stream_idle_timeout.SetInParent()
    hcm.request_id_extension.typed_config.CopyFrom(_request_id(settings))
    _routes(hcm, manager.routes)
    _protocols(hcm, manager)
    if settings.headers.proxy.preserve_http1_header_case:
        hcm.http_protocol_options.header_key_format.CopyFrom(PRESERVE_CASE)
    _paths(hcm, settings.headers.paths)
    if settings.tracing is not None:
        trace(hcm, settings.tracing, gateway=manager.side is Side.GATEWAY)
    _headers(hcm, settings.headers, manager.side)
    limit_connections(hcm, settings.limits.connections, gateway=manager.side is Side.GATEWAY)
    return network_filter(HCM, hcm)


def _request_id(settings: ListenerSettings) -> Any:
    """Return how request ids are made, and whether they show that a request is traced."""
    config = UuidRequestIdConfig()
    config.use_request_id_for_trace_sampling.value = settings.tracing is None or settings.tracing.by_request_id
    return typed(config)


def _routes(hcm: HttpConnectionManager, routes: str | RouteConfiguration) -> None:
    if isinstance(routes, RouteConfiguration):
        hcm.route_config.CopyFrom(routes)
        return
    hcm.rds.route_config_name = routes
    source = hcm.rds.config_source
    source.ads.SetInParent()
    source.initial_fetch_timeout.SetInParent()
    source.resource_api_version = ApiVersion.V3


def _protocols(hcm: HttpConnectionManager, manager: Manager) -> None:
    idle = proxy_idle_timeout(manager.idle_timeout)
    if idle is not None:
        hcm.common_http_protocol_options.idle_timeout.FromTimedelta(idle)
    if manager.side is Side.GATEWAY:
        hcm.http_protocol_options.SetInParent()
    if manager.http10:
        hcm.http_protocol_options.accept_http_10 = True
    if manager.absolute_urls:
        hcm.http_protocol_options.allow_absolute_url.value = True
    if manager.http2:
        hcm.http2_protocol_options.SetInParent()
    if manager.http3:
        hcm.http3_protocol_options.SetInParent()


def _paths(hcm: HttpConnectionManager, normalization: NormalizationType) -> None:
    """Apply the mesh's path normalisation. Reference: MeshConfig.pathNormalization."""
    kind = str(normalization)
    hcm.normalize_path.value = kind != "NONE"
    hcm.merge_slashes = kind in {"MERGE_SLASHES", _UNESCAPE}
    hcm.path_with_escaped_slashes_action = (
        HttpConnectionManager.UNESCAPE_AND_FORWARD if kind == _UNESCAPE else HttpConnectionManager.KEEP_UNCHANGED
    )


def _headers(hcm: HttpConnectionManager, settings: Headers, side: Side) -> None:
    """Set what is said of proxy and caller in headers. Reference: ProxyConfig.proxyHeaders, gatewayTopology."""
    stated = settings.proxy
    if side is not Side.OUTBOUND:
        hcm.server_name = SERVER_NAME
    if stated.server is not None and stated.server.disabled:
        hcm.server_name = ""
        hcm.server_header_transformation = HttpConnectionManager.PASS_THROUGH
    elif stated.server is not None and stated.server.value:
        hcm.server_name = stated.server.value
    if _disabled(stated.request_id):
        hcm.generate_request_id.value = False
    if stated.x_forwarded_port is not None and stated.x_forwarded_port.enabled:
        hcm.append_x_forwarded_port = True
    topology = settings.topology
    if side is Side.GATEWAY and topology is not None:
        hcm.xff_num_trusted_hops = topology.num_trusted_proxies
    if side is Side.GATEWAY:
        _gateway_certificate_header(hcm, topology)
    elif side is Side.INBOUND:
        _certificate_header(hcm, stated)


def _gateway_certificate_header(hcm: HttpConnectionManager, topology: Topology | None) -> None:
    """Say what becomes of the header with the caller's certificate. Reference: Topology.forwardClientCertDetails."""
    stated = str(topology.forward_client_cert_details) if topology is not None else _UNDEFINED
    details = "SANITIZE_SET" if stated == _UNDEFINED else stated
    hcm.forward_client_cert_details = HttpConnectionManager.ForwardClientCertDetails.Value(details)
    if details in _CERT_DETAILS:
        _say_of_certificate(hcm, {"cert": True})


def _certificate_header(hcm: HttpConnectionManager, stated: ProxyHeaders) -> None:
    """Say the same for the requests to a sidecar's workload; what it sends itself has none of a caller's.

    Reference: ProxyHeaders.forwardedClientCert and setCurrentClientCertDetails.
    """
    details = str(stated.forwarded_client_cert)
    hcm.forward_client_cert_details = HttpConnectionManager.ForwardClientCertDetails.Value(
        "APPEND_FORWARD" if details == _UNDEFINED else details
    )
    _say_of_certificate(hcm, stated.set_current_client_cert_details or {})


def _say_of_certificate(hcm: HttpConnectionManager, stated: Mapping[str, bool]) -> None:
    wanted = hcm.set_current_client_cert_details
    wanted.subject.value = stated.get("subject", True)
    wanted.cert = stated.get("cert", False)
    wanted.chain = stated.get("chain", False)
    wanted.dns = stated.get("dns", True)
    wanted.uri = stated.get("uri", True)


def _disabled(header: DisabledHeader | None) -> bool:
    return header is not None and bool(header.disabled)
