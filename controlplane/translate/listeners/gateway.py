"""Listeners of gateways: one for each address and port that the servers of the proxy's Gateways need."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from envoy.config.core.v3.base_pb2 import TrafficDirection
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener

from controlplane.apis.tls import ServerTLSMode
from controlplane.engine.recording import Query, query
from controlplane.model.objects import ObjectKey
from controlplane.model.proxy_class import ClientScope, InboundTarget, Shows, projected
from controlplane.model.side import Side
from controlplane.registry.gateways import GatewayKey, GatewayServer, ServerPort, merged_gateway
from controlplane.registry.listener_settings import GatewaySettings, SettingsKey, gateway_settings, settings_clusters
from controlplane.registry.policies import WorkloadKey
from controlplane.registry.store import View
from controlplane.registry.traffic_extensions import Traffic
from controlplane.snapshots import Resource, ResourceType
from controlplane.translate.compliance import bound_server
from controlplane.translate.listeners.access_log import listener_access_logs
from controlplane.translate.listeners.chains import HttpTarget, Matched, TcpTarget, chain_match, origin_metadata
from controlplane.translate.listeners.connection_settings import limit_buffers
from controlplane.translate.listeners.extension_filters import extension_filters
from controlplane.translate.listeners.extensions import TCP_METADATA_EXCHANGE
from controlplane.translate.listeners.gateway_chains import GatewayClient, ServerChain, server_chains
from controlplane.translate.listeners.gateway_tls import ServerDefaults, server_tls_context
from controlplane.translate.listeners.hcm import Manager, http_connection_manager
from controlplane.translate.listeners.listener_filters import PROXY_PROTOCOL, TLS_INSPECTOR
from controlplane.translate.listeners.network_filters import tcp_filters
from controlplane.translate.listeners.outbound import HANDSHAKE_SECONDS, add_addresses, socket_address
from controlplane.translate.listeners.phases import in_order
from controlplane.translate.listeners.quic import over_quic, quic_socket
from controlplane.translate.policies.filters import PolicyFilters, PolicyScope, policy_filters
from controlplane.translate.secrets import referenced
from controlplane.translate.sound import is_sound
from controlplane.translate.tls_context import tls_socket

_LAST_PRIVILEGED_PORT = 1023


@dataclass(frozen=True, slots=True)
class GatewayScope:
    """A gateway proxy: who it is as a client, and the service ports that lead to it; ``udp`` is as in its class."""

    client: ClientScope
    targets: tuple[InboundTarget, ...] = ()
    udp: frozenset[int] = frozenset()

    @property
    def gateway(self) -> GatewayKey:
        """The key of the Gateways that the proxy serves."""
        return GatewayKey(self.client.namespace, self.client.labels, self.targets, self.udp)


@dataclass(frozen=True, slots=True)
class GatewayListenerKey:
    """One listener of a gateway proxy; ``http3`` is set for the one that takes HTTP/3, over UDP."""

    scope: GatewayScope
    bind: str
    port: int
    http3: bool = False

    @property
    def name(self) -> str:
        """The listener's name, ``<address>_<port>``."""
        return f"{'udp_' if self.http3 else ''}{self.bind}_{self.port}"


@query
def gateway_listener_keys(view: View, scope: GatewayScope) -> tuple[GatewayListenerKey, ...]:
    """Return the listeners that the proxy's Gateways ask for, by name; one without chains is not built.

    The keys leave out of the scope what listeners do not depend on: where the proxy runs.
    """
    client = projected(scope.client, Shows.GATEWAY_LISTENERS)
    known = GatewayScope(client, scope.targets, scope.udp)
    keys = {
        GatewayListenerKey(known, place.bind or client.wildcard, place.number, http3)
        for place, servers in merged_gateway(view, scope.gateway).servers.items()
        for http3 in (False, True)
        if not (client.unprivileged and place.number <= _LAST_PRIVILEGED_PORT)
        if not http3 or any(server.speaks_http3(scope.udp) for server in servers)
    }
    return tuple(sorted(keys, key=lambda key: key.name))


def _gateway_listener(view: View, key: GatewayListenerKey) -> Resource | None:
    client = GatewayClient(view, key.scope.client)
    used: set[str] = set()
    matched = Matched()
    chains = tuple(
        replace(held, chain=left)
        for place, servers in _servers(view, key)
        for held in server_chains(client, place, servers, used)
        if (left := matched.add(held.chain)) is not None
    )
    if not chains:
        return None
    workload = WorkloadKey(key.scope.client.namespace, key.scope.client.labels)
    extensions = key.scope.client.extensions
    policies = policy_filters(view, PolicyScope(workload, gateway=True, extensions=extensions)).on(_traffic(view, key))
    whose = SettingsKey(Side.GATEWAY, client.scope.settings, client.scope.telemetry, client.scope.spans)
    listener = _listener(gateway_settings(view, whose), key, chains, policies)
    if not is_sound(view, listener, f"listener {key.name}", lambda part: _gateways(view, key, part)):
        return None
    targets = [held.chain.target for held in chains]
    refs = referenced(chain.transport_socket for chain in listener.filter_chains)
    led_to = {name for target in targets if isinstance(target, TcpTarget) for name, _ in target.clusters}
    return Resource.of(
        ResourceType.LISTENER,
        key.name,
        listener.SerializeToString(deterministic=True),
        {
            **refs,
            ResourceType.CLUSTER: led_to.union(
                refs.get(ResourceType.CLUSTER, ()), policies.clusters, settings_clusters(view, whose)
            ),
            ResourceType.ROUTE: [target.route for target in targets if isinstance(target, HttpTarget)],
            ResourceType.EXTENSION: extension_filters(view, key.scope.client.extensions).modules,
        },
    )


gateway_listener: Query[GatewayListenerKey, Resource | None] = Query(_gateway_listener, isolated=True)
"""One listener of a gateway; ``None`` where no server of it leads anywhere."""


def _gateways(view: View, key: GatewayListenerKey, part: object = None) -> set[ObjectKey]:
    """Return the Gateways behind a listener, or behind one chain of it: those that have its server names."""
    names = set(part.filter_chain_match.server_names) if isinstance(part, FilterChain) else set()
    held = [server for _, servers in _servers(view, key) for server in servers]
    return {server.gateway for server in held if names & set(server.sni_hosts)} or {each.gateway for each in held}


def behind_gateway_listener(view: View, key: GatewayListenerKey) -> Iterator[ObjectKey | None]:
    """Yield the Gateways that have a server at a listener's port: what it is made from."""
    yield from _gateways(view, key)


def _traffic(view: View, key: GatewayListenerKey) -> Traffic:
    """Return what extensions tell traffic apart by: the ports that the Gateways state, not those of the proxy."""
    held = (server.server.port.number for _, servers in _servers(view, key) for server in servers)
    return Traffic(Side.GATEWAY, frozenset(held))


def _servers(view: View, key: GatewayListenerKey) -> Iterator[tuple[ServerPort, tuple[GatewayServer, ...]]]:
    gateway = merged_gateway(view, key.scope.gateway)
    for place in gateway.places.get(key.port, ()):
        if (place.bind or key.scope.client.wildcard) == key.bind:
            servers = gateway.servers[place]
            yield place, tuple(held for held in servers if not key.http3 or held.speaks_http3(key.scope.udp))


def _listener(
    settings: GatewaySettings, key: GatewayListenerKey, chains: tuple[ServerChain, ...], policies: PolicyFilters
) -> Listener:
    listener = Listener(
        name=key.name,
        address=socket_address(key.bind, key.port),
        traffic_direction=TrafficDirection.OUTBOUND,
        access_log=listener_access_logs(settings.listener.logs),
    )
    if key.scope.client.dual_stack and key.bind == key.scope.client.wildcard:
        add_addresses(listener, ("::",), key.port)
    limit_buffers(listener, settings.listener.limits.connections)
    listener.filter_chains.extend(_filter_chain(settings, key, held, policies) for held in chains)
    if key.http3:
        over_quic(listener)
        return listener
    listener.max_connections_to_accept_per_socket_event.value = 1
    if key.scope.client.exact_balance:
        listener.connection_balance_config.exact_balance.SetInParent()
    topology = settings.listener.headers.topology
    if topology is not None and topology.proxy_protocol is not None:
        listener.listener_filters.append(PROXY_PROTOCOL)
    if any(held.tls is not None or held.chain.wanted_names for held in chains):
        listener.listener_filters.append(TLS_INSPECTOR)
    return listener


def _filter_chain(
    settings: GatewaySettings, key: GatewayListenerKey, held: ServerChain, policies: PolicyFilters
) -> FilterChain:
    chain = held.chain
    message = FilterChain(filters=_filters(settings, key, held, policies))
    if chain.wanted_names or chain.alpn:
        message.filter_chain_match.CopyFrom(chain_match(chain))
    if chain.origin:
        message.metadata.CopyFrom(origin_metadata(chain.origin))
    if held.tls is not None:
        client = key.scope.client
        defaults = ServerDefaults(settings.tls, settings.secrets, client.server_files)
        stated = server_tls_context(defaults, held.tls, http=chain.is_http, istio=client.istio)
        context = bound_server(stated, settings.compliance)
        message.transport_socket.CopyFrom(quic_socket(context) if key.http3 else tls_socket(context))
    message.transport_socket_connect_timeout.seconds = HANDSHAKE_SECONDS
    return message


def _filters(
    settings: GatewaySettings, key: GatewayListenerKey, held: ServerChain, policies: PolicyFilters
) -> list[Filter]:
    client = key.scope.client
    target = held.chain.target
    if isinstance(target, TcpTarget):
        exchanges = client.istio and held.tls is not None and held.tls.mode is ServerTLSMode.ISTIO_MUTUAL
        filters = [TCP_METADATA_EXCHANGE] if exchanges else []
        others = () if held.forwards else policies.tcp
        idle = client.idle_timeout
        return filters + tcp_filters(settings.listener, target, istio=client.istio, idle_timeout=idle, others=others)
    manager = Manager(
        side=Side.GATEWAY,
        stat_prefix=held.stat_prefix or f"outbound_{key.name};",
        routes=target.route,
        istio=client.istio,
        resolves=target.resolves,
        http10=client.http10,
        idle_timeout=client.idle_timeout,
        policies=policies.http,
        http3=key.http3,
    )
    return [*in_order(policies.before_http), http_connection_manager(settings.listener, manager)]
