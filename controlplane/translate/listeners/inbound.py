"""Inbound listeners: ``virtualInbound`` for captured traffic, and those of a Sidecar's ``ingress``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from envoy.config.core.v3.base_pb2 import TrafficDirection
from envoy.config.listener.v3.listener_components_pb2 import FilterChain, ListenerFilter
from envoy.config.listener.v3.listener_components_pb2 import ListenerFilterChainMatchPredicate as Predicate
from envoy.config.listener.v3.listener_pb2 import Listener

from controlplane.engine.recording import query
from controlplane.model.cluster_names import BLACK_HOLE
from controlplane.model.proxy_class import InboundScope
from controlplane.model.side import Side
from controlplane.registry.listener_settings import InboundSettings, SettingsKey, inbound_settings, settings_clusters
from controlplane.registry.mesh import ports as mesh_ports
from controlplane.registry.policies import WorkloadKey
from controlplane.registry.store import View
from controlplane.registry.traffic_extensions import Traffic
from controlplane.snapshots import Resource, ResourceType
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
from controlplane.translate.listeners.outbound import add_addresses, socket_address
from controlplane.translate.policies.filters import NO_POLICIES, PolicyFilters, PolicyScope, policy_filters
from controlplane.translate.sound import is_sound

VIRTUAL_INBOUND = "virtualInbound"


@query
def inbound_listeners(view: View, scope: InboundScope) -> tuple[Resource, ...]:
    """Return the inbound listeners of a workload class, ``virtualInbound`` first.

    Without interception only a Sidecar's ``ingress`` makes any.
    """
    if mesh_ports(view, ()).outbound <= 0:
        return ()
    whose = SettingsKey(Side.INBOUND, scope.settings, scope.telemetry, scope.spans)
    settings, asked = inbound_settings(view, whose), settings_clusters(view, whose)
    ports = inbound_ports(view, scope, settings.stat_name)
    captured = [port for port in ports if not port.bind]
    modes = accepted(view, scope)
    policies = policy_filters(
        view, PolicyScope(WorkloadKey(scope.namespace, scope.labels), extensions=scope.extensions)
    )
    result = []
    if scope.interception != "NONE":
        others = [passthrough(0, modes.mode), *port_passthroughs(ports, modes)]
        all_ports = [*others, *captured]
        listener = virtual_inbound(settings, scope, all_ports, policies)
        result.append(_resource(view, listener, policies, all_ports, BLACK_HOLE, *asked))
    own: defaultdict[tuple[str, int], list[InboundPort]] = defaultdict(list)
    for port in ports:
        if port.bind:
            own[port.bind, port.number].append(port)
    result += [
        _resource(view, own_listener(settings, scope, held[0], policies), policies, held[:1], *asked)
        for held in own.values()
    ]
    return tuple(resource for resource in result if resource is not None)


def _traffic(port: InboundPort) -> Traffic:
    return Traffic(Side.INBOUND, frozenset({port.number}))


def _resource(
    view: View, listener: Listener, policies: PolicyFilters, ports: Iterable[InboundPort], *clusters: str
) -> Resource | None:
    if not is_sound(view, listener, f"listener {listener.name}"):
        return None
    body = listener.SerializeToString(deterministic=True)
    named = {port.cluster for port in ports} | policies.clusters.union(clusters)
    refs = {ResourceType.CLUSTER: named, ResourceType.EXTENSION: policies.extensions.modules}
    return Resource.of(ResourceType.LISTENER, listener.name, body, refs)


def virtual_inbound(
    settings: InboundSettings, scope: InboundScope, ports: Iterable[InboundPort], policies: PolicyFilters = NO_POLICIES
) -> Listener:
    """Return the listener that captured inbound connections arrive at, with the chains of all these ports."""
    listener = _listener(settings, scope, VIRTUAL_INBOUND, wildcard(scope), settings.port)
    add_addresses(listener, ("::",) if scope.dual_stack else (), settings.port)
    if scope.interception == "TPROXY":
        listener.transparent.value = True
    listener.filter_chains.append(_black_hole(settings, scope))
    for port in ports:
        if port.number != settings.port:  # that one is the black hole's
            listener.filter_chains.extend(inbound_chains(settings, scope, port, policies.on(_traffic(port))))
    listener.listener_filters.append(ORIGINAL_DESTINATION)
    if scope.interception == "TPROXY":
        listener.listener_filters.append(ORIGINAL_SOURCE)
    listener.listener_filters.extend(inspectors(listener.filter_chains))
    return listener


def own_listener(
    settings: InboundSettings, scope: InboundScope, port: InboundPort, policies: PolicyFilters = NO_POLICIES
) -> Listener:
    """Return the listener of one port that the workload's proxy binds itself."""
    listener = _listener(settings, scope, port.name, port.bind, port.number)
    listener.filter_chains.extend(inbound_chains(settings, scope, port, policies.on(_traffic(port))))
    listener.listener_filters.extend(inspectors(listener.filter_chains))
    return listener


def _listener(settings: InboundSettings, scope: InboundScope, name: str, bind: str, number: int) -> Listener:
    listener = Listener(
        name=name,
        address=socket_address(bind, number),
        traffic_direction=TrafficDirection.INBOUND,
        continue_on_listener_filters_timeout=True,
        access_log=listener_access_logs(settings.listener.logs),
    )
    listener.listener_filters_timeout.FromTimedelta(settings.listener.limits.detection)
    listener.max_connections_to_accept_per_socket_event.value = 1
    if scope.exact_balance:
        listener.connection_balance_config.exact_balance.SetInParent()
    return listener


def _black_hole(settings: InboundSettings, scope: InboundScope) -> FilterChain:
    """Return the chain for connections to the listener's own port, which would go round for ever."""
    chain = FilterChain(name="virtualInbound-blackhole")
    chain.filter_chain_match.destination_port.value = settings.port
    if scope.istio:
        chain.filters.append(TCP_METADATA_EXCHANGE)
    chain.filters.extend(tcp_filters(settings.listener, TcpTarget.of(BLACK_HOLE), istio=scope.istio))
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
