"""The HTTP filters of a connection manager, in Istio's order."""

from __future__ import annotations

from collections.abc import Iterable

from envoy.extensions.filters.http.cors.v3.cors_pb2 import Cors
from envoy.extensions.filters.http.fault.v3.fault_pb2 import HTTPFault
from envoy.extensions.filters.http.grpc_stats.v3.config_pb2 import FilterConfig as GrpcStats
from envoy.extensions.filters.http.grpc_web.v3.grpc_web_pb2 import GrpcWeb
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.http.stateful_session.v3.stateful_session_pb2 import StatefulSession
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter

from controlplane.apis.mesh_proxy import MetadataExchangeMode, ProxyHeaders
from controlplane.model.side import Side
from controlplane.registry.listener_settings import ListenerSettings
from controlplane.translate.dynamic_dns import FORWARD_PROXY
from controlplane.translate.listeners.extensions import (
    ALPN_OVERRIDE,
    METADATA_EXCHANGE_IN_MESH,
    METADATA_EXCHANGE_INBOUND,
    METADATA_EXCHANGE_OUTBOUND,
    STATS,
    http_filter,
    stats_config,
)
from controlplane.translate.listeners.phases import Phase, Placed, in_order


def _grpc_stats() -> HttpFilter:
    config = GrpcStats(emit_filter_state=True)
    config.stats_for_all_methods.value = False
    return http_filter("envoy.filters.http.grpc_stats", config)


GRPC_WEB = http_filter("envoy.filters.http.grpc_web", GrpcWeb())
GRPC_STATS = _grpc_stats()
FAULT = http_filter("envoy.filters.http.fault", HTTPFault())
CORS = http_filter("envoy.filters.http.cors", Cors())
SESSIONS = http_filter("envoy.filters.http.stateful_session", StatefulSession())
"""Without settings: routes bring theirs."""
ROUTER = http_filter("envoy.filters.http.router", Router())
QUIET_ROUTER = http_filter("envoy.filters.http.router", Router(suppress_envoy_headers=True))


def http_filters(  # noqa: PLR0913 - what makes a difference between connection managers
    settings: ListenerSettings,
    side: Side,
    *,
    istio: bool,
    grpc_web: bool = False,
    resolves: bool = False,
    policies: Iterable[Placed[HttpFilter]] = (),
) -> list[HttpFilter]:
    """Return the filters for one side of the traffic; ``policies`` are those of authentication and authorisation.

    ``resolves`` asks for the filter that looks up a request's host, for clusters that have no hosts of their own.
    A stock Envoy gets neither metadata exchange nor the ALPN override nor istio-proxy's metrics.
    """
    headers = settings.headers.proxy
    filters: list[Placed[HttpFilter]] = [
        *policies,
        (Phase.GRPC, GRPC_STATS),
        (Phase.TRAFFIC, FAULT),
        (Phase.TRAFFIC, CORS),
    ]
    if istio:
        filters.append((Phase.PEER, _metadata_exchange(side, headers)))
    if istio and side is not Side.INBOUND:
        filters.append((Phase.GRPC, ALPN_OVERRIDE))
    if grpc_web:
        filters.insert(0, (Phase.GRPC, GRPC_WEB))
    if istio:
        filters += ((Phase.STATS, http_filter(STATS, stats_config(stats))) for stats in settings.metrics)
    if settings.sessions:
        filters.append((Phase.STATS, SESSIONS))
    if resolves:
        filters.append((Phase.RESOLUTION, FORWARD_PROXY))
    quiet = headers.envoy_debug_headers is not None and headers.envoy_debug_headers.disabled
    filters.append((Phase.TERMINAL, QUIET_ROUTER if quiet else ROUTER))
    return in_order(filters)


def _metadata_exchange(side: Side, headers: ProxyHeaders) -> HttpFilter:
    """Return the filter that tells peers who the other is. Reference: ProxyHeaders.metadataExchangeHeaders."""
    if side is Side.INBOUND:
        return METADATA_EXCHANGE_INBOUND
    stated = headers.metadata_exchange_headers
    in_mesh = stated is not None and stated.mode is MetadataExchangeMode.IN_MESH
    return METADATA_EXCHANGE_IN_MESH if in_mesh else METADATA_EXCHANGE_OUTBOUND
