"""Which virtual hosts one route configuration of a sidecar has: services, VirtualServices and who claims what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

from controlplane.engine.recording import query
from controlplane.model.objects import ObjectKey
from controlplane.model.proxy_class import ClientScope, LabelPairs
from controlplane.model.service import Resolution, Service
from controlplane.registry.aliases import aliases
from controlplane.registry.destination_rules import rule_for
from controlplane.registry.portions import portion_of, portions
from controlplane.registry.scopes import covers
from controlplane.registry.services import hostname_of
from controlplane.registry.store import View
from controlplane.translate.routes.claims import (
    BindingKey,
    HostsOf,
    ListenerKey,
    bound_routes,
    listener_services,
    virtual_service_hosts,
)
from controlplane.translate.routes.domains import Alias, DomainOptions, Shortening, shortening
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
    options: DomainOptions
    labels: LabelPairs


@query
def virtual_host_keys(view: View, key: HostsKey) -> tuple[VirtualHostKey, ...]:
    """Return the virtual hosts in order of precedence: the VirtualServices' in their order, then the services' own.

    No two have the same host and port.
    """
    return tuple(claimed(view, key).completed(own_routes(view, key)).values())


class ServicesKey(NamedTuple):
    """One port (0: all ports) of an egress listener."""

    listener: ListenerKey
    port: int


@dataclass(frozen=True, slots=True)
class ServicesByHost:
    """The services of a port, of each host one, in their order, which makes a difference."""

    services: tuple[Service, ...]
    by_host: Mapping[str, Service] = field(compare=False, repr=False)


@query
def services_by_host(view: View, key: ServicesKey) -> ServicesByHost:
    """Return the services of a port by host name."""
    services = listener_services(view, key.listener)
    here = services.by_port.get(key.port, ()) if key.port else services.every
    found = dict(zip(map(hostname_of, here), here, strict=True))
    return ServicesByHost(here if len(found) == len(here) else tuple(found.values()), found)


class HostsPortion(NamedTuple):
    """A portion of the virtual hosts of one port: those of some hosts."""

    key: HostsKey
    number: int


@query
def portion_count(view: View, key: HostsKey) -> int:
    """Return in how many portions the virtual hosts of a port are."""
    return len(service_portions(view, ServicesKey(key.listener, key.port)))


@query
def portion_keys(view: View, portion: HostsPortion) -> tuple[VirtualHostKey, ...]:
    """Return the virtual hosts of a portion: all portions together have what ``virtual_host_keys`` returns."""
    return tuple(
        claimed_portion(view, portion)
        .completed(chain.from_iterable(portion_of_routes(view, (portion.key, portion.number)).values()))
        .values()
    )


class _ServiceKeys:
    """The virtual hosts that services have, for one kind of client."""

    def __init__(self, view: View, key: HostsKey) -> None:
        self._view = view
        self._key = key
        self._shortening: Shortening = shortening(key.domain)
        self._aliases = alias_names(view, key)

    def http_ports(self, service: Service) -> tuple[int, ...]:
        """Return the ports of a service that are meant and that requests are routed for."""
        wanted = service.port(self._key.port) if self._key.port else None
        ports = service.ports if not self._key.port else (wanted,) if wanted is not None else ()
        return tuple([port.number for port in ports if port.protocol.routes_http])

    def options(self, port: int) -> DomainOptions:
        """Return how domains are written for a port."""
        options = self._key.options
        return options._replace(only_with_port=True) if options.with_port and port != HTTP_PORT else options

    def of(self, service: Service, port: int, routes: RoutesKey | None) -> VirtualHostKey:
        """Return the virtual host of a service at a port."""
        host = service.hostname
        return VirtualHostKey(
            host,
            port,
            service.key.object,
            self.options(port),
            self._shortening.of(host),
            self._aliases.get(host, ()),
            routes,
        )


@query
def alias_names(view: View, key: HostsKey) -> Mapping[str, tuple[Alias, ...]]:
    """Return the other names of each host that ExternalName services give it."""
    found = aliases(view, key.listener.egress.namespace)
    if not found:
        return {}
    how = shortening(key.domain)
    imported = {service.key for service in listener_services(view, key.listener).every}
    return {
        host: tuple(Alias(service.hostname, how.of(service.hostname)) for service in held if service.key in imported)
        for host, held in found.items()
    }


Place = tuple[str, int]
"""A host, and a port."""


@query
def own_routes(view: View, key: HostsKey) -> tuple[tuple[Place, VirtualHostKey], ...]:
    """Return the virtual hosts that services have where no VirtualService routes them, by host and port.

    A change to VirtualServices makes no difference to it. They are in the order of the services, which counts: of two
    with the same domain the first one has it. So it is no mapping, which equals one in another order.
    """
    services = ServicesKey(key.listener, key.port)
    found: dict[str, tuple[tuple[Place, VirtualHostKey], ...]] = {}
    for number in range(len(service_portions(view, services))):
        found.update(portion_of_routes(view, (key, number)))
    return tuple(chain.from_iterable(map(found.__getitem__, services_by_host(view, services).by_host)))


@query
def service_portions(view: View, key: ServicesKey) -> tuple[tuple[Service, ...], ...]:
    """Return the services of a port in portions."""
    return portions(services_by_host(view, key).services, hostname_of)


@query
def service_portion(view: View, key: tuple[ServicesKey, int]) -> tuple[Service, ...]:
    """Return one portion of them; a change of others stops here."""
    found, number = service_portions(view, key[0]), key[1]
    return found[number] if number < len(found) else ()


@query
def portion_of_routes(
    view: View, portion: tuple[HostsKey, int]
) -> Mapping[str, tuple[tuple[Place, VirtualHostKey], ...]]:
    """Return the virtual hosts of each host of a portion of services."""
    key, number = portion
    keys, found = _ServiceKeys(view, key), dict[str, tuple[tuple[Place, VirtualHostKey], ...]]()
    hashed = hashed_hosts(view, ())
    may_hash = bool(hashed)
    egress = key.listener.egress
    client = ClientScope(egress.namespace, sidecar=egress.sidecar, labels=key.labels)
    for service in service_portion(view, (ServicesKey(key.listener, key.port), number)):
        host = service.hostname
        if service.resolution is Resolution.ALIAS:
            found[host] = ()
            continue
        rule = rule_for(view, client, service) if may_hash and hashed.may_hash(host) else None
        held = [((host, port), keys.of(service, port, None)) for port in keys.http_ports(service)]
        if rule is not None:
            held = [(place, each._replace(hash_policy=service_hash(rule, place[1]))) for place, each in held]
        found[host] = tuple(held)
    return found


@dataclass(frozen=True, slots=True)
class Claimed:
    """The virtual hosts that VirtualServices have, in their order, and the services whose routes they are."""

    keys: tuple[tuple[Place, VirtualHostKey], ...]
    services: frozenset[str]

    def completed(self, own: Iterable[tuple[Place, VirtualHostKey]]) -> Mapping[Place, VirtualHostKey]:
        """Return them and, after them, those of all services that no VirtualService has taken."""
        found = dict(self.keys)
        for place, key in own:
            if key.host not in self.services:
                found.setdefault(place, key)
        return found


@query
def claimed(view: View, key: HostsKey) -> Claimed:
    """Return what VirtualServices have of a port."""
    selection = _Selection(view, key)
    for held in selection.virtual_services:
        selection.take(held)
    return Claimed(tuple(selection.keys.items()), frozenset(selection.taken))


@query
def claimed_portions(view: View, key: HostsKey) -> tuple[Claimed, ...]:
    """Return the same by portion."""
    found, count = claimed(view, key), portion_count(view, key)
    keys: list[list[tuple[Place, VirtualHostKey]]] = [[] for _ in range(count)]
    services: list[set[str]] = [set() for _ in range(count)]
    for place, each in found.keys:
        keys[portion_of(each.host, count)].append((place, each))
    for host in found.services:
        services[portion_of(host, count)].add(host)
    return tuple(Claimed(tuple(held), frozenset(taken)) for held, taken in zip(keys, services, strict=True))


@query
def claimed_portion(view: View, portion: HostsPortion) -> Claimed:
    """Return what they have of one portion; a change of others stops here."""
    found, number = claimed_portions(view, portion.key), portion.number
    return found[number] if number < len(found) else Claimed((), frozenset())


class _Selection:
    """Gathers the virtual hosts that VirtualServices have in one route configuration."""

    def __init__(self, view: View, key: HostsKey) -> None:
        self._view = view
        self._key = key
        self._by_host = services_by_host(view, ServicesKey(key.listener, key.port)).by_host
        self._services = _ServiceKeys(view, key)
        self.taken: set[str] = set()
        self.virtual_services = virtual_service_hosts(view, key.listener)
        self._wildcards = wildcard_owners(self.virtual_services, self._by_host)
        self.keys: dict[tuple[str, int], VirtualHostKey] = {}

    def take(self, held: HostsOf) -> None:
        """Add the virtual hosts of one VirtualService, if any of its routes is for this client and port."""
        extra, matched = self._divided(held)
        if not matched and (self._key.port != HTTP_PORT or not extra):
            return
        key = self._key
        routes = bound_routes(self._view, BindingKey(held.key, key.port, key.listener, key.labels))
        if routes is None:
            return
        ports = {number: None for service in matched for number in self._services.http_ports(service)}
        if not ports and key.port == HTTP_PORT:
            ports = {HTTP_PORT: None}
        for port in ports:
            for host in extra:
                self._add(VirtualHostKey(host, port, None, self._services.options(port), routes=routes))
            for service in matched:
                if port in self._services.http_ports(service):
                    self._add(self._services.of(service, port, routes))
        self.taken.update(service.hostname for service in matched)

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

    def _add(self, key: VirtualHostKey) -> None:
        self.keys.setdefault((key.host, key.port), key)


def wildcard_owners(
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
