"""Outbound listeners as Envoy messages, one for each key of the plan."""

from __future__ import annotations

from collections.abc import Iterable

from envoy.config.core.v3.address_pb2 import Address
from envoy.config.core.v3.base_pb2 import TrafficDirection
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration

from controlplane.apis.mesh import MeshConfig
from controlplane.registry.memo import Query
from controlplane.registry.providers import listener_mesh
from controlplane.registry.scopes import OutboundPolicy
from controlplane.registry.store import View
from controlplane.snapshots import Resource, ResourceType
from controlplane.translate.clusters.names import BLACK_HOLE, DYNAMIC_DNS
from controlplane.translate.listeners.access_log import listener_access_logs
from controlplane.translate.listeners.chains import PLAIN_HTTP_ALPN, Chain, TcpTarget, chain_match, origin_metadata
from controlplane.translate.listeners.hcm import Manager, http_connection_manager
from controlplane.translate.listeners.http_filters import Side
from controlplane.translate.listeners.listener_filters import HTTP_INSPECTOR, TLS_INSPECTOR
from controlplane.translate.listeners.network_filters import tcp_filters
from controlplane.translate.listeners.outbound_plan import (
    ALLOW_ANY_DYNAMIC_DNS,
    UNIX,
    ListenerKey,
    outbound_listener_keys,
)
from controlplane.translate.routes.defaults import catch_all, defaults_of

__all__ = ["ListenerKey", "outbound_listener", "outbound_listener_keys", "service_listener", "virtual_outbound"]

PASSTHROUGH_CHAIN = "PassthroughFilterChain"
#: seconds a client may take for its TLS greeting on a chain
HANDSHAKE_SECONDS = 15


def _outbound_listener(view: View, key: ListenerKey) -> Resource | None:
    mesh = listener_mesh(view, key.scope.settings)
    listener = virtual_outbound(mesh, key) if key.virtual else service_listener(mesh, key)
    return Resource.of(
        ResourceType.LISTENER,
        key.name,
        listener.SerializeToString(deterministic=True),
        clusters=_clusters(key),
        route_configurations=key.route_configurations,
    )


outbound_listener: Query[ListenerKey, Resource | None] = Query(_outbound_listener, isolated=True)
"""One outbound listener. It depends on the key and the mesh's settings, on nothing else."""


def _clusters(key: ListenerKey) -> Iterable[str]:
    for chain in key.chains:
        if isinstance(chain.target, TcpTarget):
            yield from (name for name, _ in chain.target.clusters)
    if key.unmatched:
        yield key.unmatched
    if key.virtual:
        yield BLACK_HOLE
    if key.resolves:
        yield DYNAMIC_DNS


def socket_address(bind: str, port: int) -> Address:
    """Return the address to listen on; port 0 is a unix socket at the path ``bind`` gives."""
    address = Address()
    if bind.startswith(UNIX):
        address.pipe.path = bind.removeprefix(UNIX)
    else:
        address.socket_address.address = bind
        address.socket_address.port_value = port
    return address


def service_listener(mesh: MeshConfig, key: ListenerKey) -> Listener:
    """Return a listener for services: chains, what is detected to tell them apart, and what becomes of the rest."""
    listener = Listener(
        name=key.name,
        address=socket_address(key.bind, key.port),
        traffic_direction=TrafficDirection.OUTBOUND,
        continue_on_listener_filters_timeout=True,
    )
    if key.dual:
        listener.additional_addresses.add().address.CopyFrom(socket_address("::", key.port))
    if key.bind_to_port:
        listener.max_connections_to_accept_per_socket_event.value = 1
    else:
        listener.bind_to_port.value = False
    if key.scope.exact_balance:
        listener.connection_balance_config.exact_balance.SetInParent()
    explicit = [chain for chain in key.chains if not chain.matches_all]
    rest = next((chain for chain in key.chains if chain.matches_all), None)
    listener.filter_chains.extend(_filter_chain(mesh, key, chain) for chain in explicit)
    if rest is not None and explicit:
        listener.default_filter_chain.CopyFrom(_filter_chain(mesh, key, rest))
    elif rest is not None:
        listener.filter_chains.append(_filter_chain(mesh, key, rest))
    else:
        listener.default_filter_chain.CopyFrom(_passthrough_chain(mesh, key))
    if any(chain.wanted_names for chain in explicit):
        listener.listener_filters.append(TLS_INSPECTOR)
    listener.listener_filters_timeout.SetInParent()
    if any(chain.alpn for chain in explicit):
        listener.listener_filters.append(HTTP_INSPECTOR)
        listener.listener_filters_timeout.FromTimedelta(mesh.protocol_detection_timeout)
    return listener


def _filter_chain(mesh: MeshConfig, key: ListenerKey, chain: Chain) -> FilterChain:
    message = FilterChain(filters=_filters(mesh, key, chain))
    if not chain.matches_all:
        message.filter_chain_match.CopyFrom(chain_match(chain))
    if chain.origin:
        message.metadata.CopyFrom(origin_metadata(chain.origin))
    message.transport_socket_connect_timeout.seconds = HANDSHAKE_SECONDS
    return message


def _filters(mesh: MeshConfig, key: ListenerKey, chain: Chain) -> list[Filter]:
    target = chain.target
    if isinstance(target, TcpTarget):
        return tcp_filters(mesh, target, istio=key.scope.istio, idle_timeout=key.scope.idle_timeout)
    manager = Manager(
        side=Side.OUTBOUND,
        stat_prefix=f"outbound_{key.name};",
        routes=target.route,
        istio=key.scope.istio,
        grpc_web=target.grpc_web,
        resolves=target.resolves,
        http10=key.scope.http10,
        absolute_urls=key.proxy,
        idle_timeout=key.scope.idle_timeout,
    )
    return [http_connection_manager(mesh, manager)]


def _passthrough_chain(mesh: MeshConfig, key: ListenerKey) -> FilterChain:
    filters = tcp_filters(mesh, TcpTarget.of(key.unmatched), istio=key.scope.istio, idle_timeout=key.scope.idle_timeout)
    chain = FilterChain(name=PASSTHROUGH_CHAIN, filters=filters)
    chain.filter_chain_match.SetInParent()
    return chain


def virtual_outbound(mesh: MeshConfig, key: ListenerKey) -> Listener:
    """Return the listener that captured connections arrive at; it hands them to the listener of their destination.

    Connections to its own port would go round for ever: they end here.
    """
    listener = Listener(
        name=key.name,
        address=socket_address(key.bind, key.port),
        traffic_direction=TrafficDirection.OUTBOUND,
        access_log=listener_access_logs(mesh),
    )
    listener.use_original_dst.value = True
    listener.max_connections_to_accept_per_socket_event.value = 1
    if key.transparent:
        listener.transparent.value = True
    black_hole = listener.filter_chains.add(name="virtualOutbound-blackhole")
    black_hole.filter_chain_match.destination_port.value = key.port
    black_hole.filters.extend(tcp_filters(mesh, TcpTarget.of(BLACK_HOLE), istio=key.scope.istio))
    if key.resolves:
        listener.listener_filters.append(HTTP_INSPECTOR)
        listener.filter_chains.append(_dynamic_chain(mesh, key))
    rest = listener.filter_chains.add(name="virtualOutbound-catchall-tcp")
    rest.filters.extend(
        tcp_filters(mesh, TcpTarget.of(key.unmatched), istio=key.scope.istio, idle_timeout=key.scope.idle_timeout)
    )
    return listener


def _dynamic_chain(mesh: MeshConfig, key: ListenerKey) -> FilterChain:
    """Return the chain for plain HTTP to an address nobody knows: to the host that the request names."""
    host = catch_all(OutboundPolicy(ALLOW_ANY_DYNAMIC_DNS), defaults_of(mesh))
    routes = RouteConfiguration(name=host.name, virtual_hosts=[host])
    routes.validate_clusters.value = False
    manager = Manager(
        side=Side.OUTBOUND,
        stat_prefix=f"outbound_{key.name};",
        routes=routes,
        istio=key.scope.istio,
        idle_timeout=key.scope.idle_timeout,
        resolves=True,
    )
    chain = FilterChain(name="virtualOutbound-catchall-tcp-http", filters=[http_connection_manager(mesh, manager)])
    chain.filter_chain_match.application_protocols.extend(PLAIN_HTTP_ALPN)
    return chain
