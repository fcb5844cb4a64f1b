"""Inventories: which targets a proxy class holds, as parts that many classes share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, assert_never

from controlplane.compiler.clusters import (
    ForwardingScope,
    NeedsScope,
    SpecialScope,
    forwarding_assignments,
    forwarding_clusters,
    load_assignments,
    needed_assignments,
    needed_clusters,
    outbound_clusters,
    special_clusters,
)
from controlplane.compiler.modules import module_parts
from controlplane.compiler.patching import (
    added_parts,
    patched_clusters_part,
    patched_listeners_part,
    patched_routes_part,
)
from controlplane.compiler.targets import Inventory, Part, Target
from controlplane.engine.recording import Outcome, Query, query
from controlplane.model.objects import ObjectKey
from controlplane.model.proxy_class import (
    ClientScope,
    GatewayClass,
    InboundScope,
    ProxyClass,
    SidecarClass,
)
from controlplane.registry.credentials import Reader, SecretKey, secrets_of
from controlplane.registry.distinctions import has_endpoint_listeners
from controlplane.registry.endpoints import endpoints
from controlplane.registry.gateway_needs import NeedsKey
from controlplane.registry.reachable import reachable_services
from controlplane.registry.scopes import EgressKey
from controlplane.registry.services import unread_services
from controlplane.registry.store import View
from controlplane.registry.trust_bundle import trusted_roots
from controlplane.registry.virtual_services import unread_virtual_services
from controlplane.snapshots import Resource, ResourceType
from controlplane.translate.listeners.behind import behind_outbound_listener
from controlplane.translate.listeners.gateway import (
    GatewayScope,
    behind_gateway_listener,
    gateway_listener,
    gateway_listener_keys,
)
from controlplane.translate.listeners.inbound import inbound_listeners
from controlplane.translate.listeners.outbound import outbound_listener
from controlplane.translate.listeners.outbound_plan import outbound_listener_keys
from controlplane.translate.name_table import NAME, TableKey, name_table
from controlplane.translate.routes.gateway import GatewayRouteKey, gateway_route_configuration
from controlplane.translate.routes.sidecar import RouteKey, route_configuration
from controlplane.translate.secrets import secret
from controlplane.translate.trust_bundle import NAME as BUNDLE
from controlplane.translate.trust_bundle import trust_bundle


def parts(proxy_class: ProxyClass) -> tuple[Part, ...]:
    """Return the parts that make up a class's inventory, in push order."""
    client, reaching, patches = proxy_class.client, proxy_class.reaching, proxy_class.patches
    inbound = proxy_class.inbound if isinstance(proxy_class, SidecarClass) else None
    special = SpecialScope(client.istio, client.ipv4, client.ipv6, inbound, client.files.credentials)
    secret_part = Part(ResourceType.SECRET, secrets, Reader(client.namespace, router=inbound is None))
    bundle_part = Part(ResourceType.TRUST_BUNDLE, trust_bundles, ())
    of_services = (
        Part(ResourceType.CLUSTER, outbound_clusters, reaching),
        Part(ResourceType.ENDPOINT, load_assignments, reaching),
    )
    if isinstance(proxy_class, GatewayClass) and proxy_class.limited:
        gateway = GatewayScope(client, proxy_class.targets, proxy_class.udp).gateway
        needs = NeedsScope(reaching, NeedsKey.of(gateway, patches))
        of_services = (
            Part(ResourceType.CLUSTER, needed_clusters, needs),
            Part(ResourceType.ENDPOINT, needed_assignments, needs),
        )
    clusters = (
        patched_clusters_part(of_services[0], patches),
        of_services[1],
        patched_clusters_part(Part(ResourceType.CLUSTER, special_clusters, special), patches),
    )
    match proxy_class:
        case GatewayClass():
            scope = GatewayScope(client, proxy_class.targets, proxy_class.udp)
            forwarding = ForwardingScope(reaching, scope.gateway)
            forwarded = (
                patched_clusters_part(Part(ResourceType.CLUSTER, forwarding_clusters, forwarding), patches),
                Part(ResourceType.ENDPOINT, forwarding_assignments, forwarding),
            )
            part = Part(ResourceType.LISTENER, gateway_listeners, scope)
            listeners = (patched_listeners_part(part, client, patches.listeners),)
            added = (*module_parts(client), *added_parts(patches, listeners, fetches=client.fetches))
            more_listeners = tuple(part for part in added if part.type is ResourceType.LISTENER)
            held = Part(ResourceType.ROUTE, gateway_routes, GatewayRouteScope(scope, (*listeners, *more_listeners)))
            routes_part = patched_routes_part(held, patches.routes, scope.gateway)
            return (*clusters, *forwarded, *listeners, routes_part, secret_part, bundle_part, *added)
        case SidecarClass():
            outbound = Part(ResourceType.LISTENER, outbound_listeners, proxy_class.listening)
            own = Part(ResourceType.LISTENER, inbound_listener_targets, proxy_class.inbound)
            outbound = patched_listeners_part(outbound, client, patches.listeners)
            own = patched_listeners_part(own, client, patches.inbound_listeners, patches.inbound_routes)
            added = (*module_parts(client), *added_parts(patches, (outbound, own), fetches=client.fetches))
            more_listeners = tuple(part for part in added if part.type is ResourceType.LISTENER)
            leading = (outbound, *more_listeners)
            held = Part(ResourceType.ROUTE, routes, RouteScope(proxy_class.routing, leading))
            names = (Part(ResourceType.NAME_TABLE, name_tables, TableKey.of(reaching)),) if client.dns_capture else ()
            routes_part = patched_routes_part(held, patches.routes)
            return (*clusters, outbound, own, routes_part, secret_part, bundle_part, *names, *added)
        case _:
            assert_never(proxy_class)


@query
def outbound_listeners(view: View, client: ClientScope) -> Inventory:
    """Return the outbound listeners of a sidecar."""
    found = {key.name: Target(outbound_listener, key) for key in outbound_listener_keys(view, client)}
    unnamed = (*unread_services(view, ()), *_unread_addresses(view, EgressKey(client.namespace, client.sidecar)))
    return Inventory.of(found, unnamed, unread_virtual_services(view, ()))


@query
def inbound_listener_targets(view: View, inbound: InboundScope) -> Inventory:
    """Return the inbound listeners of a sidecar."""
    names = sorted(listener.name for listener in inbound_listeners(view, inbound))
    return Inventory({name: Target(_inbound_listener, (inbound, name)) for name in names})


def _pick_inbound(view: View, key: tuple[InboundScope, str]) -> Resource | None:
    inbound, name = key
    return next((held for held in inbound_listeners(view, inbound) if held.name == name), None)


_inbound_listener: Query[tuple[InboundScope, str], Resource | None] = Query(_pick_inbound, isolated=True)


def _unread_addresses(view: View, egress: EgressKey) -> list[str]:
    """Return why the endpoints of some headless services are not known, each of which has a listener."""
    unread = []
    for service in reachable_services(view, egress):
        if has_endpoint_listeners(service):
            outcome = endpoints.outcome(view, (service.hostname, service.namespace))
            if not outcome.built:
                unread.append(f"{service.key.object}: {outcome.failure}")
    return unread


class RouteScope(NamedTuple):
    """A sidecar as far as its routes go, and the listeners that name its route configurations."""

    client: ClientScope
    listeners: tuple[Part, ...]


@query
def route_names(view: View, listeners: Part) -> tuple[str, ...]:
    """Return the names of the route configurations that the listeners of a part lead to, sorted."""
    names: set[str] = set()
    for name, target in listeners.query(view, listeners.key).targets.items():
        names |= _led_to(target.query.outcome(view, target.key), name)
    return tuple(sorted(names))


def _led_to(listener: Outcome, name: str) -> frozenset[str]:
    """Return the route configurations that a listener names.

    Raises:
        RuntimeError: the listener could not be built, so they are not known.
    """
    if not listener.built:
        message = f"the listener {name} could not be built: {listener.failure}"
        raise RuntimeError(message)
    return listener.value.named(ResourceType.ROUTE) if listener.value is not None else frozenset()


@query
def routes(view: View, scope: RouteScope) -> Inventory:
    """Return the route configurations of a sidecar."""
    names = _names(view, scope.listeners)
    found = {name: Target(_route_configuration, RouteKey(name, scope.client)) for name in names}
    return Inventory.of(found, (), _unread_routes(view))


def _unread_routes(view: View) -> tuple[str, ...]:
    return (*unread_services(view, ()), *unread_virtual_services(view, ()))


def _names(view: View, listeners: tuple[Part, ...]) -> list[str]:
    return sorted({name for part in listeners for name in route_names(view, part)})


def _isolated_routes(view: View, key: RouteKey) -> Resource | None:
    return route_configuration(view, key)


_route_configuration: Query[RouteKey, Resource | None] = Query(_isolated_routes, isolated=True)


@query
def name_tables(view: View, key: TableKey) -> Inventory:
    """Return the name table of a sidecar that answers DNS."""
    unread = (*unread_services(view, ()), *_unread_addresses(view, key.egress))
    return Inventory.of({NAME: Target(name_table, key)}, (), unread)


@query
def secrets(view: View, reader: Reader) -> Inventory:
    """Return the secrets that proxies of a namespace may ask for; whether one may have them is not decided here."""
    found = {
        wanted.text: Target(secret, SecretKey(wanted, reader.namespace))
        for wanted in sorted(secrets_of(view, reader), reverse=True)  # a name that is used for both is a key pair
        if wanted.name is not None
    }
    return Inventory(found)


@query
def trust_bundles(view: View, _key: tuple[()]) -> Inventory:
    """Return the roots of the mesh, where proxies are told of them."""
    return Inventory({BUNDLE: Target(trust_bundle, ())} if trusted_roots(view) else {})


@query
def gateway_listeners(view: View, scope: GatewayScope) -> Inventory:
    """Return the listeners of a gateway."""
    found = {key.name: Target(gateway_listener, key) for key in gateway_listener_keys(view, scope)}
    return Inventory.of(found, (), unread_virtual_services(view, ()))


class GatewayRouteScope(NamedTuple):
    """A gateway, and the listeners that name its route configurations."""

    gateway: GatewayScope
    listeners: tuple[Part, ...]


@query
def gateway_routes(view: View, scope: GatewayRouteScope) -> Inventory:
    """Return the route configurations that a gateway's listeners name."""
    names = _names(view, scope.listeners)
    found = {name: Target(_gateway_routes, GatewayRouteKey(name, scope.gateway)) for name in names}
    return Inventory.of(found, (), _unread_routes(view))


def _isolated_gateway_routes(view: View, key: GatewayRouteKey) -> Resource | None:
    return gateway_route_configuration(view, key)


_gateway_routes: Query[GatewayRouteKey, Resource | None] = Query(_isolated_gateway_routes, isolated=True)


BEHIND: Mapping[Query[Any, Any], Callable[[View, Any], Iterator[ObjectKey | None]]] = {
    outbound_listener: behind_outbound_listener,
    gateway_listener: behind_gateway_listener,
}
"""What says which objects a target is made from where what it read does not tell, beside the mesh's settings."""

__all__ = ["BEHIND", "parts"]
