"""Inbound listeners: ``virtualInbound`` for captured traffic, and those of a Sidecar's ``ingress``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from envoy.config.core.v3.base_pb2 import TrafficDirection
from envoy.config.listener.v3.listener_components_pb2 import FilterChain, ListenerFilter
from envoy.config.listener.v3.listener_components_pb2 import ListenerFilterChainMatchPredicate as Predicate
from envoy.config.listener.v3.listener_pb2 import Listener

from controlplane.apis.mesh import MeshConfig
from controlplane.model.proxy_class import InboundScope
from controlplane.registry.memo import query
from controlplane.registry.providers import listener_mesh
from controlplane.registry.store import View
from controlplane.snapshots import Resource, ResourceType
from controlplane.translate.clusters.names import BLACK_HOLE
from controlplane.translate.listeners.access_log import listener_access_logs
from controlplane.translate.listeners.chains import PLAIN_HTTP_ALPN, TLS, TcpTarget
from controlplane.translate.listeners.extensions import TCP_METADATA_EXCHANGE
from controlplane.translate.listeners.inbound_chains import inbound_chains
from controlplane.translate.listeners.inbound_ports import (
    InboundPort,
    accepted,
    inbound_ports,
    passthrough,
    port_passthroughs,
    wildcard,
)
from controlplane.translate.listeners.listener_filters import (
    HTTP_INSPECTOR,
    ORIGINAL_DESTINATION,
    ORIGINAL_SOURCE,
    TLS_INSPECTOR,
    disabled_where,
    on_ports,
)
from controlplane.translate.listeners.network_filters import tcp_filters
from controlplane.translate.listeners.outbound import socket_address

VIRTUAL_INBOUND = "virtualInbound"


@query
def inbound_listeners(view: View, scope: InboundScope) -> tuple[Resource, ...]:
    """Return the inbound listeners of a workload class, ``virtualInbound`` first.

    Without interception only a Sidecar's ``ingress`` makes any.
    """
    mesh = listener_mesh(view, scope.settings)
    if mesh.proxy_listen_port <= 0:
        return ()
    ports = inbound_ports(view, scope, mesh.inbound_cluster_stat_name)
    captured = [port for port in ports if not port.bind]
    modes = accepted(view, scope)
    result = []
    if scope.interception != "NONE":
        others = [passthrough(0, modes.mode), *port_passthroughs(ports, modes)]
        result.append(_resource(virtual_inbound(mesh, scope, [*others, *captured]), [*others, *captured], BLACK_HOLE))
    own: defaultdict[tuple[str, int], list[InboundPort]] = defaultdict(list)
    for port in ports:
        if port.bind:
            own[port.bind, port.number].append(port)
    result += [_resource(own_listener(mesh, scope, held[0]), held[:1]) for held in own.values()]
    return tuple(result)


def _resource(listener: Listener, ports: Iterable[InboundPort], *clusters: str) -> Resource:
    body = listener.SerializeToString(deterministic=True)
    named = {port.cluster for port in ports} | set(clusters)
    return Resource.of(ResourceType.LISTENER, listener.name, body, clusters=named)


def virtual_inbound(mesh: MeshConfig, scope: InboundScope, ports: Iterable[InboundPort]) -> Listener:
    """Return the listener that captured inbound connections arrive at, with the chains of all these ports."""
    listener = _listener(mesh, scope, VIRTUAL_INBOUND, wildcard(scope), mesh.proxy_inbound_listen_port)
    if scope.interception == "TPROXY":
        listener.transparent.value = True
    listener.filter_chains.append(_black_hole(mesh, scope))
    for port in ports:
        listener.filter_chains.extend(inbound_chains(mesh, scope, port))
    listener.listener_filters.append(ORIGINAL_DESTINATION)
    if scope.interception == "TPROXY":
        listener.listener_filters.append(ORIGINAL_SOURCE)
    listener.listener_filters.extend(inspectors(listener.filter_chains))
    return listener


def own_listener(mesh: MeshConfig, scope: InboundScope, port: InboundPort) -> Listener:
    """Return the listener of one port that the workload's proxy binds itself."""
    listener = _listener(mesh, scope, port.name, port.bind, port.number)
    listener.filter_chains.extend(inbound_chains(mesh, scope, port))
    listener.listener_filters.extend(inspectors(listener.filter_chains))
    return listener


def _listener(mesh: MeshConfig, scope: InboundScope, name: str, bind: str, number: int) -> Listener:
    listener = Listener(
        name=name,
        address=socket_address(bind, number),
        traffic_direction=TrafficDirection.INBOUND,
        continue_on_listener_filters_timeout=True,
        access_log=listener_access_logs(mesh),
    )
    listener.listener_filters_timeout.FromTimedelta(mesh.protocol_detection_timeout)
    listener.max_connections_to_accept_per_socket_event.value = 1
    if scope.exact_balance:
        listener.connection_balance_config.exact_balance.SetInParent()
    return listener


def _black_hole(mesh: MeshConfig, scope: InboundScope) -> FilterChain:
    """Return the chain for connections to the listener's own port, which would go round for ever."""
    chain = FilterChain(name="virtualInbound-blackhole")
    chain.filter_chain_match.destination_port.value = mesh.proxy_inbound_listen_port
    if scope.istio:
        chain.filters.append(TCP_METADATA_EXCHANGE)
    chain.filters.extend(tcp_filters(mesh, TcpTarget.of(BLACK_HOLE), istio=scope.istio, inbound=True))
    return chain


def inspectors(chains: Iterable[FilterChain]) -> list[ListenerFilter]:
    """Return the inspectors that the chains' matches need, switched off on ports whose chains do not need them.

    Ports that no chain names are port 0 here: what they need decides whether TLS detection is on by default. A
    server that speaks first would wait for ever for bytes to detect.
    """
    tls: dict[int, bool] = {}
    http: dict[int, bool] = {}
    for chain in chains:
        match = chain.filter_chain_match
        port = match.destination_port.value
        tls[port] = tls.get(port, False) or match.transport_protocol == TLS
        http[port] = http.get(port, False) or any(name in PLAIN_HTTP_ALPN for name in match.application_protocols)
    filters = []
    if any(tls.values()):
        filters.append(disabled_where(TLS_INSPECTOR, _tls_disabled(tls)))
    if any(http.values()):
        filters.append(disabled_where(HTTP_INSPECTOR, on_ports(port for port, needed in http.items() if not needed)))
    return filters


def _tls_disabled(needed: dict[int, bool]) -> Predicate | None:
    if needed.get(0, False):
        return on_ports(port for port, tls in needed.items() if port and not tls)
    wanted = on_ports(port for port, tls in needed.items() if port and tls)
    return Predicate(not_match=wanted)
