"""Route configurations of gateways: the VirtualServices bound to the servers behind one route name.

``http.<port>`` gathers all plaintext servers of a port, ``https.<port>.<name>.<gateway>.<namespace>`` is one server's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from envoy.config.route.v3.route_components_pb2 import VirtualHost

from controlplane.engine.recording import query
from controlplane.model.objects import ObjectKey
from controlplane.model.proxy_class import ClientScope, LabelPairs
from controlplane.model.service import Resolution
from controlplane.registry.aliases import alias_ends
from controlplane.registry.gateways import GatewayKey, GatewayServer, merged_gateway
from controlplane.registry.proxy_settings import route_settings
from controlplane.registry.scopes import Patterns, router_scope
from controlplane.registry.services import foremost, visible_by_host
from controlplane.registry.store import View
from controlplane.registry.virtual_services import gateway_virtual_services, virtual_service
from controlplane.snapshots import Resource
from controlplane.translate.listeners.gateway import GatewayScope
from controlplane.translate.routes.claims import destination_hashes, destination_sessions, destinations, static_matches
from controlplane.translate.routes.defaults import route_defaults
from controlplane.translate.routes.domains import bracketed
from controlplane.translate.routes.http_routes import EncodedRoute, Resolved, RoutesKey, http_routes
from controlplane.translate.routes.sidecar import empty, joined
from controlplane.translate.routes.virtual_hosts import EncodedHosts, EncodedVirtualHost, encoded


class MergedRouteKey(NamedTuple):
    """One route configuration of one kind of gateway."""

    name: str
    gateway: GatewayKey
    settings: str = ""


class BoundKey(NamedTuple):
    """A VirtualService at one server of a Gateway; ``gateway`` is ``namespace/name``, the rest is of the proxy."""

    virtual_service: ObjectKey
    gateway: str
    port: int
    tls: bool
    namespace: str
    labels: LabelPairs
    http3: bool = False


class Origin(NamedTuple):
    """Routes and the Gateway they are there for: what must be equal for two hosts to share a virtual host."""

    gateway: str
    routes: RoutesKey


class GatewayHostKey(NamedTuple):
    """A virtual host of a gateway; ``domains`` hold its own host and those that have the same routes."""

    name: str
    domains: tuple[str, ...]
    origins: tuple[Origin, ...]
    require_tls: bool
    settings: str = ""


class GatewayRouteKey(NamedTuple):
    """One route configuration of a gateway proxy."""

    name: str
    scope: GatewayScope


@query
def gateway_route_configuration(view: View, key: GatewayRouteKey) -> Resource:
    """Return a gateway's route configuration; proxies that serve the same Gateways share it."""
    settings = route_settings(view, key.scope.client.settings)
    return merged_route_configuration(view, MergedRouteKey(key.name, key.scope.gateway, settings))


@query
def merged_route_configuration(view: View, key: MergedRouteKey) -> Resource:
    """Return a gateway's route configuration; without hosts where no server of the gateway has this name."""
    gateway = merged_gateway(view, key.gateway)
    servers = gateway.servers_by_route.get(key.name, ())
    if not servers:
        return empty(key.name)
    gathered = _Hosts()
    for server in servers:
        _gather(view, key.gateway, server, gathered)
        if _redirects(server):
            for host in server.hosts:
                gathered.host(host.rpartition("/")[2].lower(), server).require_tls = True
    keys = gathered.keys() or [GatewayHostKey(f"blackhole:{servers[0].server.port.number}", ("*",), (), False)]
    hosts = [gateway_virtual_host(view, each._replace(settings=key.settings)) for each in keys]
    return joined(key.name, EncodedHosts.of(hosts), frozenset().union(*[host.clusters for host in hosts]), None)


def _redirects(server: GatewayServer) -> bool:
    return server.server.tls is not None and server.server.tls.https_redirect


def _gather(view: View, gateway: GatewayKey, server: GatewayServer, gathered: _Hosts) -> None:
    """Add the hosts of all VirtualServices bound to a server; several of one host have their routes joined."""
    for held in gateway_virtual_services(view, (gateway.namespace, server.name)):
        hosts = intersection(server_hosts(server.hosts, held.key.namespace), held.hosts)
        if not hosts:
            continue
        routes = gathered.routes.get((server.name, held.key))
        if routes is None:
            port, tls = server.server.port.number, server.server.tls is not None
            http3 = server.speaks_http3(gateway.udp)
            key = BoundKey(held.key, server.name, port, tls, gateway.namespace, gateway.labels, http3)
            routes = gateway_routes(view, key)
        if routes is None:
            continue
        gathered.routes[server.name, held.key] = routes
        for host in hosts:
            found = gathered.host(host.lower(), server)
            found.origins[Origin(server.name, routes)] = None
            found.require_tls = found.require_tls or _redirects(server)


@dataclass(slots=True)
class _Host:
    name: str
    origins: dict[Origin, None] = field(default_factory=dict)
    require_tls: bool = False


class _Hosts:
    """Hosts of one route configuration as they are found, in order.

    ``routes`` are those of a VirtualService at the first server of a Gateway that it has any for; others share them.
    """

    def __init__(self) -> None:
        self.routes: dict[tuple[str, ObjectKey], RoutesKey] = {}
        self._hosts: dict[str, _Host] = {}

    def host(self, host: str, server: GatewayServer) -> _Host:
        """Return the virtual host for a host, made if it is new; it is named after the first server's port."""
        found = self._hosts.get(host)
        if found is None:
            found = self._hosts[host] = _Host(f"{bracketed(host)}:{server.server.port.number}")
        return found

    def keys(self) -> list[GatewayHostKey]:
        """Return the virtual hosts sorted by name; those with equal routes are one, named after its foremost host."""
        merged: dict[tuple[tuple[Origin, ...], bool], list[str]] = {}
        for host in sorted(self._hosts, key=lambda name: (name.startswith("*"), -len(name), name)):
            found = self._hosts[host]
            merged.setdefault((tuple(found.origins), found.require_tls), []).append(host)
        return sorted(
            GatewayHostKey(self._hosts[hosts[0]].name, tuple(map(bracketed, hosts)), origins, require_tls)
            for (origins, require_tls), hosts in merged.items()
        )


@query
def gateway_virtual_host(view: View, key: GatewayHostKey) -> EncodedVirtualHost:
    """Return one virtual host of a gateway; routes that every request meets come last.

    Without routes it stands for no host at all, or redirects all requests: the former counts no attempts.
    """
    defaults = route_defaults(view, key.settings)
    routes: list[EncodedRoute] = []
    for origin in key.origins:
        routes += http_routes(view, origin.routes._replace(settings=key.settings))
    routes.sort(key=lambda route: route.catch_all)
    head = VirtualHost(
        name=key.name,
        domains=key.domains,
        require_tls=VirtualHost.ALL if key.require_tls else VirtualHost.NONE,
        include_request_attempt_count=defaults.attempt_count and bool(key.origins or key.require_tls),
    )
    return encoded(view, head, routes)


@query
def gateway_routes(view: View, key: BoundKey) -> RoutesKey | None:
    """Return which routes of a VirtualService a gateway serves at a port; ``None`` where none is for it."""
    held = virtual_service(view, key.virtual_service)
    if held is None:
        return None
    matches = static_matches(held, key.gateway, key.port, key.namespace, key.labels)
    if not matches:
        return None
    named = destinations(held, {rule for rule, _ in matches})
    client = ClientScope(key.namespace, router=True, labels=key.labels)
    home = held.key.namespace
    hosts = sorted({name.host for name in named})
    found = ((host, GatewayDestination(key.namespace, home, host, key.port)) for host in hosts)
    resolved = [Resolved(host, *gateway_destination(view, each)) for host, each in found]
    resolved = [each for each in resolved if each != (each.host, each.host, key.port)]
    hashes, sessions = destination_hashes(view, client, named), destination_sessions(view, client, named)
    return RoutesKey(
        key.virtual_service, key.port, matches, tuple(resolved), hashes, key.tls, http3=key.http3, sessions=sessions
    )


class GatewayDestination(NamedTuple):
    """A destination host as a VirtualService of ``home`` means it at a port of a gateway of ``namespace``."""

    namespace: str
    home: str
    host: str
    port: int


@query
def gateway_destination(view: View, key: GatewayDestination) -> tuple[str, int]:
    """Return the host a destination ends at, and its port: the only one that the service has, else the gateway's."""
    index = visible_by_host(view, key.namespace).by_host
    service = foremost(service for service in index.get(key.host, ()) if service.namespace == key.home)
    service = service or router_scope(view, key.namespace).by_host.get(key.host)
    if service is None:
        return key.host, key.port
    if service.resolution is Resolution.ALIAS and (end := alias_ends(view, key.namespace).get(key.host)):
        return end.host, end.port(end.stated or key.port)
    return key.host, service.ports[0].number if len(service.ports) == 1 else key.port


def server_hosts(hosts: Iterable[str], namespace: str) -> tuple[str, ...]:
    """Return the hosts of a Gateway server that VirtualServices of a namespace may bind to, prefixes stripped."""
    found = []
    for text in hosts:
        stated, slash, host = text.rpartition("/")
        if not slash or stated == namespace:
            found.append(host)
    return tuple(found)


def intersection(server: Iterable[str], stated: Iterable[str]) -> tuple[str, ...]:
    """Return what two lists of hosts have in common: of each overlapping pair the narrower one."""
    wide, narrow = {outer.lower(): outer for outer in server}, dict.fromkeys(stated)
    of_server, of_stated = Patterns(wide), Patterns(narrow)
    inner = [host for host in narrow if of_server.cover(host)]
    return (*inner, *(wide[host] for host in wide if host not in narrow and of_stated.cover(host)))
