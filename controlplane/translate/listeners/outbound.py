"""Outbound listeners as Envoy messages, one for each key of the plan."""

from __future__ import annotations

from collections.abc import Iterable

from envoy.config.core.v3.address_pb2 import Address
from envoy.config.core.v3.base_pb2 import TrafficDirection
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration

from controlplane.engine.recording import Query
from controlplane.model.cluster_names import BLACK_HOLE, DYNAMIC_DNS
from controlplane.model.side import Side
from controlplane.registry.listener_settings import ListenerSettings, SettingsKey, listener_settings, settings_clusters
from controlplane.registry.scopes import OutboundPolicy
from controlplane.registry.store import View
from controlplane.registry.traffic_extensions import Traffic
from controlplane.snapshots import Resource, ResourceType
from controlplane.translate.listeners.access_log import listener_access_logs
from controlplane.translate.listeners.behind import behind_chain
from controlplane.translate.listeners.chains import Chain, TcpTarget, chain_match, origin_metadata, plain_http_alpn
from controlplane.translate.listeners.extension_filters import NO_EXTENSIONS, ExtensionFilters, extension_filters
from controlplane.translate.listeners.hcm import Manager, http_connection_manager
from controlplane.translate.listeners.listener_filters import HTTP_INSPECTOR, TLS_INSPECTOR
from controlplane.translate.listeners.network_filters import tcp_filters
from controlplane.translate.listeners.outbound_key import ListenerKey
from controlplane.translate.listeners.outbound_plan import ALLOW_ANY_DYNAMIC_DNS, UNIX, outbound_listener_keys
from controlplane.translate.listeners.phases import in_order
from controlplane.translate.routes.defaults import RouteDefaults, catch_all, route_defaults
from controlplane.translate.sound import is_sound

__all__ = ["ListenerKey", "outbound_listener", "outbound_listener_keys", "service_listener", "virtual_outbound"]

PASSTHROUGH_CHAIN = "PassthroughFilterChain"
#: seconds a client may take for its ClientHello on a chain
HANDSHAKE_SECONDS = 15


def _outbound_listener(view: View, key: ListenerKey) -> Resource | None:
    scope = key.scope
    whose = SettingsKey(Side.OUTBOUND, scope.settings, scope.telemetry, scope.spans, http=key.has_http)
    settings = listener_settings(view, whose)
    extensions = extension_filters(view, scope.extensions)
    if key.virtual:
        listener = virtual_outbound(settings, key, route_defaults(view, "") if key.resolves else RouteDefaults())
    else:
        listener = service_listener(settings, key, extensions)
    if not is_sound(view, listener, f"listener {key.name}", lambda part: behind_chain(view, key, part)):
        return None
    return Resource.of(
        ResourceType.LISTENER,
        key.name,
        listener.SerializeToString(deterministic=True),
        {
            ResourceType.CLUSTER: {*_clusters(key), *settings_clusters(view, whose)},
            ResourceType.ROUTE: key.route_configurations,
            ResourceType.EXTENSION: extensions.modules,
        },
    )


outbound_listener: Query[ListenerKey, Resource | None] = Query(_outbound_listener, isolated=True)
"""One outbound listener. It depends on the key and the settings of listeners, on nothing else."""


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


def add_addresses(listener: Listener, additional: Iterable[str], port: int) -> None:
    """Let a listener listen at further addresses too."""
    for address in additional:
        listener.additional_addresses.add().address.CopyFrom(socket_address(address, port))


def service_listener(
    settings: ListenerSettings, key: ListenerKey, extensions: ExtensionFilters = NO_EXTENSIONS
) -> Listener:
    """Return a listener for services: chains, what is detected to tell them apart, and what becomes of the rest."""
    listener = Listener(
        name=key.name,
        address=socket_address(key.bind, key.port),
        traffic_direction=TrafficDirection.OUTBOUND,
        continue_on_listener_filters_timeout=True,
    )
    add_addresses(listener, key.additional, key.port)
    if key.bind_to_port:
        listener.max_connections_to_accept_per_socket_event.value = 1
    else:
        listener.bind_to_port.value = False
    if key.scope.exact_balance:
        listener.connection_balance_config.exact_balance.SetInParent()
    explicit = [chain for chain in key.chains if not chain.matches_all]
    rest = next((chain for chain in key.chains if chain.matches_all), None)
    first = next((chain for chain in key.chains if chain.is_http), None)

    def made(chain: Chain) -> FilterChain:
        counts = chain is first or not chain.is_http
        return _filter_chain(chain, _filters(settings, key, chain, extensions, first=counts))

    listener.filter_chains.extend(made(chain) for chain in explicit)
    if rest is not None and explicit:
        listener.default_filter_chain.CopyFrom(made(rest))
    elif rest is not None:
        listener.filter_chains.append(made(rest))
    else:
        listener.default_filter_chain.CopyFrom(_passthrough_chain(settings, key))
    if any(chain.wanted_names for chain in explicit):
        listener.listener_filters.append(TLS_INSPECTOR)
    listener.listener_filters_timeout.SetInParent()
    if any(chain.alpn for chain in explicit):
        listener.listener_filters.append(HTTP_INSPECTOR)
        listener.listener_filters_timeout.FromTimedelta(settings.limits.detection)
    return listener


def _filter_chain(chain: Chain, filters: Iterable[Filter]) -> FilterChain:
    message = FilterChain(filters=filters)
    if not chain.matches_all:
        message.filter_chain_match.CopyFrom(chain_match(chain))
    if chain.origin:
        message.metadata.CopyFrom(origin_metadata(chain.origin))
    message.transport_socket_connect_timeout.seconds = HANDSHAKE_SECONDS
    return message


def _filters(
    settings: ListenerSettings, key: ListenerKey, chain: Chain, extensions: ExtensionFilters, *, first: bool
) -> list[Filter]:
    """Return a chain's filters; extensions that see bytes stand on the ``first`` chain of HTTP alone, as in Istio."""
    target, traffic = chain.target, Traffic(Side.OUTBOUND, frozenset({key.port}))
    network = extensions.network(traffic) if first else ()
    if isinstance(target, TcpTarget):
        return tcp_filters(settings, target, istio=key.scope.istio, idle_timeout=key.scope.idle_timeout, others=network)
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
        policies=extensions.http(traffic),
    )
    return [*in_order(network), http_connection_manager(settings, manager)]


def _passthrough_chain(settings: ListenerSettings, key: ListenerKey) -> FilterChain:
    filters = tcp_filters(
        settings, TcpTarget.of(key.unmatched), istio=key.scope.istio, idle_timeout=key.scope.idle_timeout
    )
    chain = FilterChain(name=PASSTHROUGH_CHAIN, filters=filters)
    chain.filter_chain_match.SetInParent()
    return chain


def virtual_outbound(settings: ListenerSettings, key: ListenerKey, defaults: RouteDefaults) -> Listener:
    """Return the listener that captured connections arrive at; it hands them to the listener of their destination.

    Connections to its own port would go round for ever: they end here.
    """
    listener = Listener(
        name=key.name,
        address=socket_address(key.bind, key.port),
        traffic_direction=TrafficDirection.OUTBOUND,
        access_log=listener_access_logs(settings.logs),
    )
    add_addresses(listener, key.additional, key.port)
    listener.use_original_dst.value = True
    listener.max_connections_to_accept_per_socket_event.value = 1
    if key.transparent:
        listener.transparent.value = True
    black_hole = listener.filter_chains.add(name="virtualOutbound-blackhole")
    black_hole.filter_chain_match.destination_port.value = key.port
    black_hole.filters.extend(tcp_filters(settings, TcpTarget.of(BLACK_HOLE), istio=key.scope.istio))
    if key.resolves:
        listener.listener_filters.append(HTTP_INSPECTOR)
        listener.filter_chains.append(_dynamic_chain(settings, key, defaults))
    rest = listener.filter_chains.add(name="virtualOutbound-catchall-tcp")
    rest.filters.extend(
        tcp_filters(settings, TcpTarget.of(key.unmatched), istio=key.scope.istio, idle_timeout=key.scope.idle_timeout)
    )
    return listener


def _dynamic_chain(settings: ListenerSettings, key: ListenerKey, defaults: RouteDefaults) -> FilterChain:
    """Return the chain for plain HTTP to an address nobody knows: to the host that the request names."""
    host = catch_all(OutboundPolicy(ALLOW_ANY_DYNAMIC_DNS), defaults)
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
    chain = FilterChain(name="virtualOutbound-catchall-tcp-http", filters=[http_connection_manager(settings, manager)])
    chain.filter_chain_match.application_protocols.extend(plain_http_alpn(http10=key.scope.detects_http10))
    return chain
