"""The HTTP filters of a connection manager, in Istio's order."""

from __future__ import annotations

from enum import Enum

from envoy.extensions.filters.http.cors.v3.cors_pb2 import Cors
from envoy.extensions.filters.http.fault.v3.fault_pb2 import HTTPFault
from envoy.extensions.filters.http.grpc_stats.v3.config_pb2 import FilterConfig as GrpcStats
from envoy.extensions.filters.http.grpc_web.v3.grpc_web_pb2 import GrpcWeb
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter

from controlplane.apis.mesh import MeshConfig
from controlplane.apis.mesh_proxy import MetadataExchangeMode, ProxyHeaders
from controlplane.translate.dynamic_dns import FORWARD_PROXY
from controlplane.translate.listeners.extensions import (
    ALPN_OVERRIDE,
    METADATA_EXCHANGE_IN_MESH,
    METADATA_EXCHANGE_INBOUND,
    METADATA_EXCHANGE_OUTBOUND,
    http_filter,
    stats_config,
)
from controlplane.translate.listeners.network_filters import has_istio_stats


class Side(Enum):
    """Which way the traffic of a connection manager goes."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"
    GATEWAY = "gateway"

    __hash__ = object.__hash__


def _grpc_stats() -> HttpFilter:
    config = GrpcStats(emit_filter_state=True)
    config.stats_for_all_methods.value = False
    return http_filter("envoy.filters.http.grpc_stats", config)


GRPC_WEB = http_filter("envoy.filters.http.grpc_web", GrpcWeb())
GRPC_STATS = _grpc_stats()
FAULT = http_filter("envoy.filters.http.fault", HTTPFault())
CORS = http_filter("envoy.filters.http.cors", Cors())
ROUTER = http_filter("envoy.filters.http.router", Router())
QUIET_ROUTER = http_filter("envoy.filters.http.router", Router(suppress_envoy_headers=True))


def http_filters(  # noqa: PLR0913 - what makes a difference between connection managers
    mesh: MeshConfig,
    side: Side,
    *,
    istio: bool,
    grpc_web: bool = False,
    resolves: bool = False,
    policies: tuple[HttpFilter, ...] = (),
) -> list[HttpFilter]:
    """Return the filters for one side of the traffic; ``policies`` are those of authentication and authorisation.

    ``resolves`` asks for the filter that looks up a request's host, for clusters that have no hosts of their own.
    A stock Envoy gets neither metadata exchange nor the ALPN override nor istio-proxy's metrics.
    """
    filters: list[HttpFilter] = []
    headers = mesh.default_config.proxy_headers
    if istio:
        filters.append(_metadata_exchange(side, headers))
    filters += policies
    if grpc_web:
        filters.append(GRPC_WEB)
    filters.append(GRPC_STATS)
    if istio and side is not Side.INBOUND:
        filters.append(ALPN_OVERRIDE)
    filters += (FAULT, CORS)
    if has_istio_stats(mesh, istio=istio):
        filters.append(http_filter("istio.stats", stats_config(inbound=side is Side.INBOUND)))
    if resolves:
        filters.append(FORWARD_PROXY)
    quiet = headers is not None and headers.envoy_debug_headers is not None and headers.envoy_debug_headers.disabled
    filters.append(QUIET_ROUTER if quiet else ROUTER)
    return filters


def _metadata_exchange(side: Side, headers: ProxyHeaders | None) -> HttpFilter:
    """Return the filter that tells peers who the other is. Reference: ProxyHeaders.metadataExchangeHeaders."""
    if side is Side.INBOUND:
        return METADATA_EXCHANGE_INBOUND
    stated = headers.metadata_exchange_headers if headers is not None else None
    in_mesh = stated is not None and stated.mode is MetadataExchangeMode.IN_MESH
    return METADATA_EXCHANGE_IN_MESH if in_mesh else METADATA_EXCHANGE_OUTBOUND
