"""Which virtual hosts one route configuration of a sidecar has: services, VirtualServices and who claims what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from controlplane.model.objects import ObjectKey
from controlplane.model.proxy_class import ClientScope, LabelPairs
from controlplane.model.service import Resolution, Service
from controlplane.registry.destination_rules import rule_for
from controlplane.registry.memo import query
from controlplane.registry.scopes import covers
from controlplane.registry.services import aliases
from controlplane.registry.store import View
from controlplane.translate.routes.claims import (
    BindingKey,
    HostsOf,
    ListenerKey,
    bound_routes,
    listener_services,
    virtual_service_hosts,
)
from controlplane.translate.routes.domains import Alias, Shortening, Sight, shortening
from controlplane.translate.routes.hash_policy import hashed_hosts, service_hash
from controlplane.translate.routes.http_routes import RoutesKey
from controlplane.translate.routes.virtual_hosts import VirtualHostKey

HTTP_PORT = 80


class HostsKey(NamedTuple):
    """The virtual hosts of one port (0: all ports) of an egress listener, for one kind of client.

    ``domain`` is the clients' DNS domain, ``labels`` those of their labels that configuration tells apart.
    """

    listener: ListenerKey
    port: int
    domain: str
    sight: Sight
    labels: LabelPairs


@query
def virtual_host_keys(view: View, key: HostsKey) -> tuple[VirtualHostKey, ...]:
    """Return the virtual hosts in order of precedence: the VirtualServices' in their order, then the services' own.

    No two have the same host and port.
    """
    services = listener_services(view, key.listener)
    here = services.by_port.get(key.port, ()) if key.port else services.every
    selection = _Selection(view, key, {service.hostname: service for service in here})
    for held in selection.virtual_services:
        selection.claim(held)
    selection.rest()
    return tuple(selection.keys.values())


class _Selection:
    """Gathers the virtual hosts of one route configuration."""

    def __init__(self, view: View, key: HostsKey, by_host: Mapping[str, Service]) -> None:
        self._view = view
        self._key = key
        self._by_host = by_host
        self._shortening: Shortening = shortening(key.domain)
        self._aliases = self._alias_names()
        self._claimed: set[str] = set()
        self.virtual_services = virtual_service_hosts(view, key.listener)
        self._wildcards = wildcard_claims(self.virtual_services, by_host)
        self.keys: dict[tuple[str, int], VirtualHostKey] = {}

    def claim(self, held: HostsOf) -> None:
        """Add the virtual hosts of one VirtualService, if any of its routes is for this client and port."""
        extra, matched = self._divided(held)
        if not matched and (self._key.port != HTTP_PORT or not extra):
            return
        key = self._key
        routes = bound_routes(self._view, BindingKey(held.key, key.port, key.listener, key.labels))
        if routes is None:
            return
        ports = {number: None for service in matched for number in self._http_ports(service)}
        if not ports and key.port == HTTP_PORT:
            ports = {HTTP_PORT: None}
        for port in ports:
            for host in extra:
                self._add(VirtualHostKey(host, port, None, self._sight(port), routes=routes))
            for service in matched:
                if port in self._http_ports(service):
                    self._add(self._service_key(service, port, routes))
        self._claimed.update(service.hostname for service in matched)

    def rest(self) -> None:
        """Add the virtual hosts of all services that no VirtualService claimed."""
        hashed = hashed_hosts(self._view, ())
        egress = self._key.listener.egress
        client = ClientScope(egress.namespace, sidecar=egress.sidecar, labels=self._key.labels)
        for host, service in self._by_host.items():
            if host in self._claimed or service.resolution is Resolution.ALIAS:
                continue
            rule = rule_for(self._view, client, service) if hashed and hashed.may_hash(host) else None
            for port in self._http_ports(service):
                key = self._service_key(service, port, None)
                self._add(key if rule is None else key._replace(hash_policy=service_hash(rule, port)))

    def _divided(self, held: HostsOf) -> tuple[list[str], list[Service]]:
        """Divide the hosts of a VirtualService into names that are no service here, and services."""
        extra: list[str] = []
        matched: dict[str, Service] = {}
        for host in held.hosts:
            service = self._by_host.get(host)
            if service is not None and (held.semantics == "gateway" or not host.startswith("*")):
                matched[host] = service
            elif held.semantics != "gateway" and host in self._wildcards:
                owner, hosts = self._wildcards[host]
                if owner == held.key:
                    matched.update((name, self._by_host[name]) for name in hosts)
            else:
                extra.append(host)
        if held.semantics != "gateway":
            return extra, list(matched.values())
        client = self._key.listener.egress.namespace
        namespace = held.key.namespace
        kept = [service for service in matched.values() if namespace in {service.namespace, client}]
        return ([], []) if matched and not kept else (extra, kept)

    def _http_ports(self, service: Service) -> tuple[int, ...]:
        wanted = self._key.port
        return tuple(port.number for port in service.ports if port.protocol.routes_http and wanted in (0, port.number))

    def _sight(self, port: int) -> Sight:
        sight = self._key.sight
        return sight._replace(only_with_port=True) if sight.with_port and port != HTTP_PORT else sight

    def _service_key(self, service: Service, port: int, routes: RoutesKey | None) -> VirtualHostKey:
        host = service.hostname
        return VirtualHostKey(
            host,
            port,
            service.key.object,
            self._sight(port),
            self._shortening.of(host),
            self._aliases.get(host, ()),
            routes,
        )

    def _add(self, key: VirtualHostKey) -> None:
        self.keys.setdefault((key.host, key.port), key)

    def _alias_names(self) -> dict[str, tuple[Alias, ...]]:
        found = aliases(self._view, self._key.listener.egress.namespace)
        if not found:
            return {}
        imported = {service.key for service in listener_services(self._view, self._key.listener).every}
        return {
            host: tuple(
                Alias(service.hostname, self._shortening.of(service.hostname))
                for service in held
                if service.key in imported
            )
            for host, held in found.items()
        }


def wildcard_claims(
    virtual_services: Iterable[HostsOf], services: Iterable[str]
) -> dict[str, tuple[ObjectKey, list[str]]]:
    """Return, for each wildcard host that covers a service, its VirtualService and the services it is the best for.

    An exact host beats wildcards, a longer wildcard a shorter one, the first VirtualService another with that host.
    A wildcard within a service's own is there with no services: it belongs to that service's routes.
    """
    wild: dict[str, ObjectKey] = {}
    exact: set[str] = set()
    for held in virtual_services:
        if held.semantics == "gateway":
            continue
        for host in held.hosts:
            if host.startswith("*"):
                wild.setdefault(host, held.key)
            else:
                exact.add(host)
    found: dict[str, tuple[ObjectKey, list[str]]] = {}
    if not wild:
        return found
    for service in services:
        covering = [host for host in _patterns(service) if host in wild]
        for host in covering:
            found.setdefault(host, (wild[host], []))
        if covering and service not in exact:
            found[covering[0]][1].append(service)
        if service.startswith("*"):
            for host, key in wild.items():
                if covers(service, host):
                    found.setdefault(host, (key, []))
    return found


def _patterns(host: str) -> Iterable[str]:
    """Yield the wildcards that cover a host, the longest first."""
    yield host
    at = host.find(".", 2 if host.startswith("*.") else 0)
    while at >= 0:
        yield f"*{host[at:]}"
        at = host.find(".", at + 1)
    yield "*"
