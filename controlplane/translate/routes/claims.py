"""Which VirtualService routes which services of one egress listener, and with which of its routes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from controlplane.apis.virtual_service import Destination, HTTPMatchRequest
from controlplane.engine.recording import query
from controlplane.model import kinds
from controlplane.model.objects import ObjectKey
from controlplane.model.proxy_class import ClientScope, LabelPairs
from controlplane.model.service import Resolution, Service
from controlplane.registry.aliases import AliasEnd, alias_ends
from controlplane.registry.destination_rules import rule_for
from controlplane.registry.environment import SESSIONS, enabled
from controlplane.registry.scopes import EgressKey, EgressListener, egress_scope, router_scope
from controlplane.registry.store import View
from controlplane.registry.virtual_services import (
    MESH_GATEWAY,
    ResolvedVirtualService,
    undelegated,
    virtual_service,
)
from controlplane.translate.routes.hash_policy import destination_hash, hashed_hosts
from controlplane.translate.routes.http_routes import Resolved, RoutesKey
from controlplane.translate.routes.sessions import Sessions, session


class ListenerKey(NamedTuple):
    """One egress listener of a scope, by position."""

    egress: EgressKey
    position: int


class HostsOf(NamedTuple):
    """A VirtualService with the hosts it is for and what it was derived from."""

    key: ObjectKey
    hosts: tuple[str, ...]
    semantics: str


def egress_listener(view: View, key: ListenerKey) -> EgressListener | None:
    """Return the listener, or ``None`` where the scope has no longer that many."""
    listeners = egress_scope(view, key.egress).listeners
    return listeners[key.position] if key.position < len(listeners) else None


@query
def virtual_service_hosts(view: View, key: ListenerKey) -> tuple[HostsOf, ...]:
    """Return the hosts of the listener's VirtualServices, in order; a change of mere routes stops here."""
    listener = egress_listener(view, key)
    if listener is None:
        return ()
    return tuple(HostsOf(held.key, held.hosts, held.semantics) for held in listener.virtual_services)


@dataclass(frozen=True, slots=True)
class ListenerServices:
    """The services of a listener by port, in order; ExternalName services have the ports of what they lead to."""

    by_port: Mapping[int, tuple[Service, ...]]
    every: tuple[Service, ...]


@query
def imported_services(view: View, key: ListenerKey) -> tuple[Service, ...]:
    """Return the services that a listener imports; a change of VirtualServices stops here."""
    listener = egress_listener(view, key)
    return listener.services if listener is not None else ()


@query
def listener_services(view: View, key: ListenerKey) -> ListenerServices:
    """Return the listener's services by port."""
    by_port: dict[int, list[Service]] = {}
    ends = alias_ends(view, key.egress.namespace)
    services = imported_services(view, key)
    if ends:
        services = tuple(_with_ports(service, ends) for service in services)
    for service in services:
        for port in service.ports:
            held = by_port.get(port.number)
            if held is None:
                held = by_port[port.number] = []
            held.append(service)
    return ListenerServices({port: tuple(held) for port, held in by_port.items()}, services)


def _with_ports(service: Service, ends: Mapping[str, AliasEnd]) -> Service:
    """Return an ExternalName service with the ports of what it leads to, where that is known; any other as it is."""
    end = ends.get(service.hostname) if service.resolution is Resolution.ALIAS else None
    return service if end is None or not end.ports else replace(service, ports=end.ports)


class BindingKey(NamedTuple):
    """One VirtualService for one kind of client at one port of an egress listener."""

    virtual_service: ObjectKey
    port: int
    listener: ListenerKey
    labels: LabelPairs


@query
def bound_routes(view: View, key: BindingKey) -> RoutesKey | None:
    """Return which routes of a VirtualService a sidecar gets at a port; ``None`` where none is for it."""
    held = virtual_service(view, key.virtual_service)
    if held is None:
        return None
    namespace = key.listener.egress.namespace
    matches = static_matches(held, MESH_GATEWAY, key.port, namespace, key.labels)
    if not matches:
        return None
    named = destinations(held, {rule for rule, _ in matches})
    client = ClientScope(namespace, sidecar=key.listener.egress.sidecar, labels=key.labels)
    return RoutesKey(
        key.virtual_service,
        key.port,
        matches,
        _resolved(view, key, named),
        destination_hashes(view, client, named),
        sessions=destination_sessions(view, client, named),
    )


def static_matches(
    held: ResolvedVirtualService, gateway: str, port: int, namespace: str, labels: LabelPairs
) -> tuple[tuple[int, int], ...]:
    """Return (rule, match) of all matches that can apply to a proxy at a port; -1 for a rule without matches.

    A rule without matches ends the list. Where a match names gateways, it says nothing of the source.
    """
    found: list[tuple[int, int]] = []
    for rule_index, rule in enumerate(held.http):
        if not rule.match:
            found.append((rule_index, -1))
            break
        for match_index, match in enumerate(rule.match):
            if _applies(match, gateway, port, namespace, labels):
                found.append((rule_index, match_index))
    return tuple(found)


def _applies(match: HTTPMatchRequest, gateway: str, port: int, namespace: str, labels: LabelPairs) -> bool:
    if match.port and match.port != port:
        return False
    if match.gateways:
        return gateway in match.gateways
    if match.source_namespace and match.source_namespace != namespace:
        return False
    return all(pair in labels for pair in match.source_labels.items())


@query
def source_labels(view: View, key: ObjectKey) -> LabelPairs:
    """Return the labels by which a VirtualService, or a delegate, tells the sources of requests apart."""
    held: ResolvedVirtualService | None = undelegated.outcome(view, key).value  # what is unread routes nobody yet
    rules = held.http if held is not None else ()
    return frozenset(pair for rule in rules for match in rule.match for pair in match.source_labels.items())


@query
def routing_labels(view: View, _key: tuple[()]) -> LabelPairs:
    """Return all labels that any route can depend on; clients different in others only share their routes."""
    found = (source_labels(view, key) for key in view.keys(kinds.VIRTUAL_SERVICE))
    return hashed_hosts(view, ()).labels.union(*found)


def destinations(held: ResolvedVirtualService, rules: Iterable[int]) -> tuple[Destination, ...]:
    """Return every destination and mirror of these rules."""
    found: list[Destination] = []
    for index in sorted(rules):
        rule = held.http[index]
        found += [entry.destination for entry in rule.route]
        if rule.mirror is not None:
            found.append(rule.mirror)
        found += [mirror.destination for mirror in rule.mirrors]
    return tuple(found)


def _resolved(view: View, key: BindingKey, named: Iterable[Destination]) -> tuple[Resolved, ...]:
    """Return the hosts that are aliases, or that have one port of their own where the listener has none."""
    aliases = alias_ends(view, key.listener.egress.namespace)
    if key.port and not aliases:
        return ()
    sole: dict[str, int] = {}
    if not key.port:
        sole = {s.hostname: s.ports[0].number for s in listener_services(view, key.listener).every if len(s.ports) == 1}
    hosts = sorted({destination.host for destination in named})
    found = (
        Resolved(host, end.host, end.port(key.port))
        if (end := aliases.get(host))
        else Resolved(host, host, sole.get(host, key.port))
        for host in hosts
    )
    return tuple(entry for entry in found if entry != (entry.host, entry.host, key.port))


def destination_hashes(
    view: View, client: ClientScope, named: Iterable[Destination]
) -> tuple[tuple[tuple[str, str, int], bytes], ...]:
    """Return the encoded hash policies of the destinations that have one, as the client's DestinationRules say."""
    candidates = hashed_hosts(view, ())
    found: dict[tuple[str, str, int], bytes] = {}
    ends = alias_ends(view, client.namespace) if candidates else {}
    for destination in named:
        host = ends[destination.host].host if destination.host in ends else destination.host
        if not candidates or not candidates.may_hash(host):
            continue
        service = _reachable(view, client, host)
        policy = destination_hash(rule_for(view, client, service), destination) if service is not None else b""
        if policy:
            port = destination.port.number if destination.port is not None else 0
            found[destination.host, destination.subset, port] = policy
    return tuple(sorted(found.items()))


def destination_sessions(view: View, client: ClientScope, named: Iterable[Destination]) -> Sessions:
    """Return the sessions of the destinations' services; none where sessions are not asked for."""
    if not enabled(view, SESSIONS):
        return ()
    ends = alias_ends(view, client.namespace)
    found: dict[str, bytes] = {}
    for host in sorted({destination.host for destination in named}):
        service = _reachable(view, client, ends[host].host if host in ends else host)
        stated = session(view, service) if service is not None else b""
        if stated:
            found[host] = stated
    return tuple(found.items())


def _reachable(view: View, client: ClientScope, host: str) -> Service | None:
    """Return the service of this host name that the client's scope holds, or ``None``."""
    if client.router:
        return router_scope(view, client.namespace).by_host.get(host)
    return egress_scope(view, EgressKey(client.namespace, client.sidecar)).by_host.get(host)
