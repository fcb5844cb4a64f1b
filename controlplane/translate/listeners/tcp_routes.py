"""Chains of a TCP or TLS port: what VirtualServices route by ``tcp`` and ``tls``, else the service itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from controlplane.apis.destination_rule import ConsistentHashLB
from controlplane.apis.virtual_service import Destination, RouteDestination
from controlplane.model.cluster_names import BLACK_HOLE, outbound_name
from controlplane.model.proxy_class import ClientScope
from controlplane.model.service import Protocol, Service, ServicePort
from controlplane.registry.aliases import AliasEnd, alias_ends
from controlplane.registry.destination_rules import Rule, destination_rules, rule_for
from controlplane.registry.mesh import outbound_stat_name, root_namespace
from controlplane.registry.store import View
from controlplane.registry.virtual_services import MESH_GATEWAY, ResolvedVirtualService
from controlplane.translate.clusters.stat_names import stat_name
from controlplane.translate.listeners.chains import Chain, TcpSettings, TcpTarget

_NO_SETTINGS = TcpSettings()


@dataclass(frozen=True, slots=True)
class Client:
    """Who connects, and what it may reach by host name: all that TCP routing asks of a proxy.

    ``root`` is the mesh's root namespace, ``stat_name`` the pattern of statistics, empty for none.
    """

    view: View
    root: str
    stat_name: str
    scope: ClientScope
    by_host: Mapping[str, Service]
    gateway: str = MESH_GATEWAY
    _ruled: dict[str, bool] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(cls, view: View, scope: ClientScope, by_host: Mapping[str, Service], gateway: str = MESH_GATEWAY) -> Client:
        """Return a client with what the mesh says of all of them."""
        return cls(view, root_namespace(view, ()), outbound_stat_name(view, ()), scope, by_host, gateway)

    def has_rules(self, namespace: str) -> bool:
        """Whether any DestinationRule may apply to services of a namespace; most have none to look for."""
        found = self._ruled.get(namespace)
        if found is None:
            own = destination_rules(self.view, self.scope.namespace)
            levels = (namespace, self.root)
            found = bool(own.local or own.private) or any(destination_rules(self.view, n).exported for n in levels)
            self._ruled[namespace] = found
        return found


@dataclass(frozen=True, slots=True)
class Port:
    """The port a listener is made for: ``number`` 0 is a unix socket. ``prefixes`` are the service's CIDRs."""

    number: int
    protocol: Protocol
    prefixes: tuple[str, ...] = ()


def service_chains(
    client: Client,
    service: Service,
    port: Port,
    found: list[ResolvedVirtualService],
    server_names: tuple[str, ...],
) -> tuple[Chain, ...]:
    """Return the chains of one service port that is not HTTP. ``server_names`` are those of the service's own chain.

    ``found`` are the VirtualServices whose hosts overlap the service's.
    """
    if port.protocol.is_tls:
        chains = _tls_chains(client, port, found)
        return chains or (_default_chain(client, service, port, server_names),)
    chains, terminal = _tcp_chains(client, port, found)
    return chains if terminal else (*chains, _default_chain(client, service, port, ()))


def _default_chain(client: Client, service: Service, port: Port, server_names: tuple[str, ...]) -> Chain:
    number = service.ports[0].number if len(service.ports) == 1 else port.number
    target = TcpTarget(
        stat_prefix=_counted(client.stat_name, service, number, ""),
        clusters=((outbound_name(number, "", service.hostname), 1),),
        settings=tcp_settings(client, service, ""),
        protocol=port.protocol,
    )
    return Chain(target, server_names=server_names, prefixes=port.prefixes)


def _tls_chains(client: Client, port: Port, found: list[ResolvedVirtualService]) -> tuple[Chain, ...]:
    chains: dict[tuple[frozenset[str], frozenset[str]], Chain] = {}
    for held in found:
        for route in held.tls:
            for match in route.match:
                if not route.route or not accepts(client, port.number, match):
                    continue
                key = (frozenset(match.sni_hosts), frozenset(match.destination_subnets))
                if key not in chains:
                    chains[key] = Chain(
                        target=route_target(client, held, route.route, port),
                        server_names=tuple(match.sni_hosts),
                        prefixes=tuple(match.destination_subnets) if port.number else (),
                        origin=held.config_path,
                    )
                    if not chains[key].prefixes:
                        chains[key] = _with_prefixes(chains[key], port.prefixes)
    return tuple(chains.values())


def _with_prefixes(chain: Chain, prefixes: tuple[str, ...]) -> Chain:
    return Chain(chain.target, server_names=chain.server_names, prefixes=prefixes, origin=chain.origin)


def _tcp_chains(client: Client, port: Port, found: list[ResolvedVirtualService]) -> tuple[tuple[Chain, ...], bool]:
    """Return the chains of ``tcp`` routes and whether they leave nothing to the service's own chain."""
    chains: list[Chain] = []
    own_ranges = False
    for held in found:
        for route in held.tcp:
            if not route.route:
                continue
            passing = [match for match in route.match if accepts(client, port.number, match)]
            target = route_target(client, held, route.route, port)
            if not route.match or any(not match.destination_subnets or not port.number for match in passing):
                chains.append(Chain(target, prefixes=port.prefixes, origin=held.config_path))
                return tuple(chains), True
            subnets = tuple(subnet for match in passing for subnet in match.destination_subnets)
            if subnets:
                chains.append(Chain(target, prefixes=subnets))
                own_ranges |= sorted(subnets) == sorted(port.prefixes)
    return tuple(chains), own_ranges


def accepts(client: Client, port: int, match: Any) -> bool:  # noqa: ANN401 - L4MatchAttributes or TLSMatchAttributes
    """Whether the part of a match that is known beforehand holds: port, gateway, source labels and namespace."""
    return (
        (not match.port or match.port == port)
        and (not match.gateways or client.gateway in match.gateways)
        and client.scope.has_labels(match.source_labels)
        and (not match.source_namespace or match.source_namespace == client.scope.namespace)
    )


def route_target(
    client: Client, held: ResolvedVirtualService, routes: Iterable[RouteDestination], port: Port
) -> TcpTarget:
    """Return where a ``tcp`` or ``tls`` route leads; the first destination's DestinationRule sets the connection.

    Of several destinations' subsets none has a say in it.
    """
    weighted = list(routes)
    first = weighted[0].destination
    reached = client.by_host.get(_end(client, first).host)
    one = len(weighted) == 1
    settings = tcp_settings(client, reached, first.subset if one else "") if reached is not None else _NO_SETTINGS
    if one:
        cluster = destination_cluster(client, first, port.number)
        prefix = _stat_prefix(client, first, port) or cluster
        return TcpTarget(prefix, ((cluster, 1),), settings, port.protocol)
    clusters = tuple(
        (destination_cluster(client, each.destination, port.number), each.weight)
        for each in weighted
        if each.weight > 0
    )
    if not clusters:  # no share for anybody; validation refuses it, Envoy would refuse the whole listener
        clusters = ((BLACK_HOLE, 1),)
    return TcpTarget(f"{held.key.name}.{held.key.namespace}", clusters, settings, port.protocol)


def destination_cluster(client: Client, destination: Destination, listener_port: int) -> str:
    """Return the cluster of a destination: its port, else the service's only one, else the listener's."""
    port = _destination_port(client, destination, listener_port)
    return outbound_name(port, destination.subset, _end(client, destination).host)


def _end(client: Client, destination: Destination) -> AliasEnd:
    """Return the host a destination leads to; one that is no ExternalName service leads to itself."""
    ends = alias_ends(client.view, client.scope.namespace)
    return ends.get(destination.host) or AliasEnd(destination.host, (), 0)


def _destination_port(client: Client, destination: Destination, listener_port: int) -> int:
    if destination.port is not None and destination.port.number:
        return destination.port.number
    end = _end(client, destination)
    if end.host != destination.host:
        return end.port(end.stated or listener_port)
    service = client.by_host.get(destination.host)
    return service.ports[0].number if service is not None and len(service.ports) == 1 else listener_port


def _stat_prefix(client: Client, destination: Destination, port: Port) -> str:
    service = client.by_host.get(_end(client, destination).host)
    if service is None or not client.stat_name:
        return ""
    number = _destination_port(client, destination, port.number)
    return _counted(client.stat_name, service, number, destination.subset)


def _counted(pattern: str, service: Service, number: int, subset: str) -> str:
    """Return the statistics name of a cluster as the mesh's pattern has it, else the cluster's name."""
    if not pattern:
        return outbound_name(number, subset, service.hostname)
    return stat_name(pattern, service, service.port(number) or ServicePort(number, "", Protocol.TCP), subset)


def tcp_settings(client: Client, service: Service, subset: str) -> TcpSettings:
    """Return what the DestinationRule of a service asks of its TCP proxy.

    The connection's limits are the rule's own, whatever its ports and subsets say; hash and tunnel may be the subset's.
    """
    rule = rule_for(client.view, client.scope, service) if client.has_rules(service.namespace) else None
    if rule is None:
        return _NO_SETTINGS
    policy = rule.traffic_policy
    pool = policy.connection_pool if policy is not None else None
    tcp = pool.tcp if pool is not None else None
    return TcpSettings(
        idle_timeout=tcp.idle_timeout if tcp is not None else None,
        max_duration=tcp.max_connection_duration if tcp is not None else None,
        hash_source_ip=_hashes_source_ip(rule, subset),
        tunnel=_tunnel(rule, subset),
    )


def _tunnel(rule: Rule, subset: str) -> tuple[str, bool] | None:
    """Return the proxy to tunnel through and whether by POST: the subset's, else the rule's own."""
    found = rule.subset(subset) if subset else None
    for policy in (found.traffic_policy if found is not None else None, rule.traffic_policy):
        if policy is not None and policy.tunnel is not None:
            stated = policy.tunnel
            return f"{stated.target_host}:{stated.target_port}", stated.protocol.upper() == "POST"
    return None


def _hashes_source_ip(rule: Rule, subset: str) -> bool:
    """Whether connections are spread by the caller's address: the subset's balancer, else the rule's own."""
    found = rule.subset(subset) if subset else None
    for policy in (found.traffic_policy if found is not None else None, rule.traffic_policy):
        if policy is not None and policy.load_balancer is not None:
            stated: ConsistentHashLB | None = policy.load_balancer.consistent_hash
            return stated is not None and bool(stated.use_source_ip)
    return False
