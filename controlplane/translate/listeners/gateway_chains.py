"""What a gateway's servers become: filter chains, planned before they are made into messages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from controlplane.apis.tls import ServerTLSMode, ServerTLSSettings
from controlplane.model.cluster_names import sni
from controlplane.model.proxy_class import ClientScope
from controlplane.model.service import Protocol, Resolution, Service
from controlplane.registry.destination_rules import rule_for
from controlplane.registry.gateways import GatewayServer, ServerPort
from controlplane.registry.reachable import resolves_by_request
from controlplane.registry.scopes import EgressKey, covers, router_scope
from controlplane.registry.store import View
from controlplane.registry.virtual_services import Ordered, ResolvedVirtualService, gateway_virtual_services
from controlplane.translate.listeners.chains import ALL_ISTIO_ALPN, Chain, HttpTarget, TcpTarget
from controlplane.translate.listeners.overlaps import Overlaps
from controlplane.translate.listeners.tcp_routes import Client, Port, route_target


@dataclass(frozen=True, slots=True)
class ServerChain:
    """One chain of a gateway. ``tls`` is set where TLS ends; ``stat_prefix`` empty means the listener's.

    ``forwards`` is set where mutual TLS passes through to a workload of the mesh: its own policies apply, no others.
    """

    chain: Chain
    tls: ServerTLSSettings | None = None
    stat_prefix: str = ""
    forwards: bool = False


@dataclass(frozen=True, slots=True)
class GatewayClient:
    """The gateway proxy whose chains are planned."""

    view: View
    scope: ClientScope
    _overlaps: dict[str, Overlaps] = field(default_factory=dict, compare=False, repr=False)

    def bound(self, gateway: str) -> tuple[Ordered, Overlaps]:
        """Return the VirtualServices bound to a Gateway (``namespace/name``), in order, and by their hosts."""
        bound = gateway_virtual_services(self.view, (self.scope.namespace, gateway))
        if gateway not in self._overlaps:
            self._overlaps[gateway] = Overlaps(bound)
        return bound, self._overlaps[gateway]

    def routing(self, gateway: str) -> Client:
        """Return the client of TCP routing, bound to one Gateway (``namespace/name``)."""
        by_host = router_scope(self.view, self.scope.namespace).by_host
        return Client.of(self.view, self.scope, by_host, gateway)


def server_chains(
    client: GatewayClient, place: ServerPort, servers: tuple[GatewayServer, ...], used: set[str]
) -> Iterator[ServerChain]:
    """Yield the chains of the servers of one port, protocol and address; none for a server that leads nowhere.

    Plain HTTP needs one chain however many servers there are: they share a route configuration. ``used`` are the
    server names that ``tls`` matches have on the listener already; those of these servers are added.
    """
    if place.is_http:
        yield ServerChain(Chain(_http_target(client, servers[0])))
        return
    for server in servers:
        if server.terminates_https:
            chain = Chain(_http_target(client, server), server_names=server.sni_hosts)
            yield ServerChain(chain, server.server.tls, server.server.name)
        elif not server.passes_tls_through:
            yield from _tcp_chain(client, server)
        elif server.server.tls is not None and server.server.tls.mode is ServerTLSMode.AUTO_PASSTHROUGH:
            yield from _forwarding_chains(client, server)
        else:
            yield from _passthrough_chains(client, server, used)


def _http_target(client: GatewayClient, server: GatewayServer) -> HttpTarget:
    key = EgressKey(client.scope.namespace, None)
    return HttpTarget(server.route, resolves=resolves_by_request(client.view, key))


def _tcp_chain(client: GatewayClient, server: GatewayServer) -> Iterator[ServerChain]:
    """Yield the chain of the first ``tcp`` route that any VirtualService has for the server."""
    for held in _routing(client, server):
        for route in held.tcp:
            if route.route and (not route.match or any(_accepts(server, match) for match in route.match)):
                target = route_target(client.routing(server.name), held, route.route, _port(server))
                names = server.sni_hosts if server.is_tls else ()
                yield ServerChain(Chain(target, server_names=names), server.server.tls)
                return


def _passthrough_chains(client: GatewayClient, server: GatewayServer, used: set[str]) -> Iterator[ServerChain]:
    """Yield a chain for each ``tls`` match; a server name is routed once, by who names it first."""
    for held in _routing(client, server):
        for route in held.tls:
            for match in route.match:
                names = set(match.sni_hosts)
                if not route.route or not _accepts(server, match) or names & used:
                    continue
                used |= names
                target = route_target(client.routing(server.name), held, route.route, _port(server))
                yield ServerChain(Chain(target, server_names=tuple(match.sni_hosts), origin=held.config_path))


def _forwarding_chains(client: GatewayClient, server: GatewayServer) -> Iterator[ServerChain]:
    """Yield a chain for each port and subset of the mesh's own services that the server's hosts cover.

    Mutual TLS between proxies passes through to the workload, found by the server name that clients send.
    """
    hosts = server.sni_hosts
    for service in router_scope(client.view, client.scope.namespace).services:
        if service.mesh_external or service.resolution is Resolution.ALIAS:
            continue
        if any(covers(host, service.hostname) for host in hosts):
            yield from _service_chains(client, service)


def _service_chains(client: GatewayClient, service: Service) -> Iterator[ServerChain]:
    rule = rule_for(client.view, client.scope, service)
    subsets = [subset.name for subset in rule.subsets] if rule is not None else []
    for port in service.ports:
        if not service.handles(port):
            continue
        for subset in ("", *subsets):
            name = sni(port.number, subset, service.hostname)
            yield ServerChain(Chain(TcpTarget.of(name), alpn=ALL_ISTIO_ALPN, server_names=(name,)), forwards=True)


def _routing(client: GatewayClient, server: GatewayServer) -> Iterator[ResolvedVirtualService]:
    """Yield the VirtualServices bound to the server's Gateway whose hosts overlap the server's."""
    bound, overlaps = client.bound(server.name)
    places: set[int] = set()
    for text in server.hosts:
        namespace, slash, host = text.partition("/")
        found = overlaps.places((host if slash else text).lower())
        places.update(place for place in found if not slash or bound[place].key.namespace == namespace)
    for place in sorted(places):
        yield bound[place]


def _accepts(server: GatewayServer, match: Any) -> bool:  # noqa: ANN401 - L4MatchAttributes or TLSMatchAttributes
    """Whether a match is meant for this server; what it says of the caller is not known here."""
    return (not match.port or match.port == server.server.port.number) and (
        not match.gateways or server.name in match.gateways
    )


def _port(server: GatewayServer) -> Port:
    return Port(server.server.port.number, Protocol.parse(server.server.port.protocol))
