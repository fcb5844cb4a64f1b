"""Listeners of gateways: one for each address and port that the servers of the proxy's Gateways need."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from envoy.config.core.v3.base_pb2 import TrafficDirection
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener

from controlplane.apis.mesh import MeshConfig
from controlplane.apis.tls import ServerTLSMode
from controlplane.model.proxy import Locality
from controlplane.model.proxy_class import ClientScope, InboundTarget
from controlplane.registry.gateways import GatewayKey, GatewayServer, ServerPort, merged_gateway
from controlplane.registry.memo import Query, query
from controlplane.registry.providers import listener_mesh
from controlplane.registry.store import View
from controlplane.snapshots import Resource, ResourceType
from controlplane.translate.listeners.access_log import listener_access_logs
from controlplane.translate.listeners.chains import HttpTarget, Matched, TcpTarget, chain_match, origin_metadata
from controlplane.translate.listeners.connection_settings import limit_buffers
from controlplane.translate.listeners.extensions import TCP_METADATA_EXCHANGE
from controlplane.translate.listeners.gateway_chains import GatewayClient, ServerChain, server_chains
from controlplane.translate.listeners.gateway_tls import server_tls_context
from controlplane.translate.listeners.hcm import Manager, http_connection_manager
from controlplane.translate.listeners.http_filters import Side
from controlplane.translate.listeners.listener_filters import PROXY_PROTOCOL, TLS_INSPECTOR
from controlplane.translate.listeners.network_filters import tcp_filters
from controlplane.translate.listeners.outbound import HANDSHAKE_SECONDS, socket_address
from controlplane.translate.tls_context import tls_socket

_LAST_PRIVILEGED_PORT = 1023


@dataclass(frozen=True, slots=True)
class GatewayScope:
    """A gateway proxy: who it is as a client, and the service ports that lead to it."""

    client: ClientScope
    targets: tuple[InboundTarget, ...] = ()

    @property
    def gateway(self) -> GatewayKey:
        """The key of the Gateways that the proxy serves."""
        return GatewayKey(self.client.namespace, self.client.labels, self.targets)


@dataclass(frozen=True, slots=True)
class GatewayListenerKey:
    """One listener of a gateway proxy."""

    scope: GatewayScope
    bind: str
    port: int

    @property
    def name(self) -> str:
        """The listener's name, ``<address>_<port>``."""
        return f"{self.bind}_{self.port}"


@query
def gateway_listener_keys(view: View, scope: GatewayScope) -> tuple[GatewayListenerKey, ...]:
    """Return the listeners that the proxy's Gateways ask for, by name; one without chains is not built.

    The keys leave out of the scope what listeners do not depend on: where the proxy runs.
    """
    client = replace(scope.client, domain="", cluster_id="", network="", locality=Locality(), node="")
    known = GatewayScope(replace(client, own_ips=frozenset()), scope.targets)
    keys = {
        GatewayListenerKey(known, place.bind or client.wildcard, place.number)
        for place in merged_gateway(view, scope.gateway).servers
        if not (client.unprivileged and place.number <= _LAST_PRIVILEGED_PORT)
    }
    return tuple(sorted(keys, key=lambda key: key.name))


def _gateway_listener(view: View, key: GatewayListenerKey) -> Resource | None:
    mesh = listener_mesh(view, key.scope.client.settings)
    client = GatewayClient(view, mesh, key.scope.client)
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
    targets = [held.chain.target for held in chains]
    return Resource.of(
        ResourceType.LISTENER,
        key.name,
        _listener(mesh, key, chains).SerializeToString(deterministic=True),
        clusters=[name for target in targets if isinstance(target, TcpTarget) for name, _ in target.clusters],
        route_configurations=[target.route for target in targets if isinstance(target, HttpTarget)],
    )


gateway_listener: Query[GatewayListenerKey, Resource | None] = Query(_gateway_listener, isolated=True)
"""One listener of a gateway; ``None`` where no server of it leads anywhere."""


def _servers(view: View, key: GatewayListenerKey) -> Iterator[tuple[ServerPort, tuple[GatewayServer, ...]]]:
    for place, servers in merged_gateway(view, key.scope.gateway).servers.items():
        if (place.bind or key.scope.client.wildcard, place.number) == (key.bind, key.port):
            yield place, servers


def _listener(mesh: MeshConfig, key: GatewayListenerKey, chains: tuple[ServerChain, ...]) -> Listener:
    listener = Listener(
        name=key.name,
        address=socket_address(key.bind, key.port),
        traffic_direction=TrafficDirection.OUTBOUND,
        access_log=listener_access_logs(mesh),
    )
    listener.max_connections_to_accept_per_socket_event.value = 1
    if key.scope.client.exact_balance:
        listener.connection_balance_config.exact_balance.SetInParent()
    limit_buffers(listener, mesh.default_config.connection_settings)
    topology = mesh.default_config.gateway_topology
    if topology is not None and topology.proxy_protocol is not None:
        listener.listener_filters.append(PROXY_PROTOCOL)
    if any(held.tls is not None or held.chain.wanted_names for held in chains):
        listener.listener_filters.append(TLS_INSPECTOR)
    listener.filter_chains.extend(_filter_chain(mesh, key, held) for held in chains)
    return listener


def _filter_chain(mesh: MeshConfig, key: GatewayListenerKey, held: ServerChain) -> FilterChain:
    chain = held.chain
    message = FilterChain(filters=_filters(mesh, key, held))
    if chain.wanted_names or chain.alpn:
        message.filter_chain_match.CopyFrom(chain_match(chain))
    if chain.origin:
        message.metadata.CopyFrom(origin_metadata(chain.origin))
    if held.tls is not None:
        context = server_tls_context(mesh, held.tls, http=chain.is_http, istio=key.scope.client.istio)
        message.transport_socket.CopyFrom(tls_socket(context))
    message.transport_socket_connect_timeout.seconds = HANDSHAKE_SECONDS
    return message


def _filters(mesh: MeshConfig, key: GatewayListenerKey, held: ServerChain) -> list[Filter]:
    client = key.scope.client
    target = held.chain.target
    if isinstance(target, TcpTarget):
        exchanges = client.istio and held.tls is not None and held.tls.mode is ServerTLSMode.ISTIO_MUTUAL
        filters = [TCP_METADATA_EXCHANGE] if exchanges else []
        return filters + tcp_filters(mesh, target, istio=client.istio, idle_timeout=client.idle_timeout)
    manager = Manager(
        side=Side.GATEWAY,
        stat_prefix=held.stat_prefix or f"outbound_{key.name};",
        routes=target.route,
        istio=client.istio,
        resolves=target.resolves,
        http10=client.http10,
        idle_timeout=client.idle_timeout,
    )
    return [http_connection_manager(mesh, manager)]
