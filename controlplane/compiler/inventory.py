"""Inventories: which targets a proxy class holds, as parts that many classes share."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from controlplane.apis.mesh import MeshOutboundTrafficPolicyMode
from controlplane.model.proxy_class import ClientScope, InboundScope, ProxyClass
from controlplane.model.service import Resolution, Service
from controlplane.registry.destination_rules import Rule, destination_rules, is_direct, policy_for, rule_for
from controlplane.registry.memo import Query, query
from controlplane.registry.mesh import mesh_config
from controlplane.registry.proxy_settings import mesh_for, preserves_header_case
from controlplane.registry.scopes import EgressKey, reachable_services
from controlplane.registry.store import View
from controlplane.snapshots import Resource, ResourceType
from controlplane.translate.clusters.inbound import InboundKey, inbound_cluster, inbound_ports
from controlplane.translate.clusters.names import BLACK_HOLE, DYNAMIC_DNS, INBOUND_PASSTHROUGH, PASSTHROUGH
from controlplane.translate.clusters.outbound import ClusterKey, cds_resource
from controlplane.translate.clusters.special import SpecialKey, special_cluster
from controlplane.translate.endpoints import LoadKey, eds_resource
from controlplane.translate.listeners.gateway import GatewayScope, gateway_listener, gateway_listener_keys
from controlplane.translate.listeners.inbound import inbound_listeners
from controlplane.translate.listeners.outbound import outbound_listener
from controlplane.translate.listeners.outbound_plan import outbound_listener_keys
from controlplane.translate.locality import locality_setting
from controlplane.translate.name_table import NAME, TableKey, name_table
from controlplane.translate.routes.gateway import GatewayRouteKey, gateway_route_configuration
from controlplane.translate.routes.sidecar import RouteKey, route_configuration


class Target(NamedTuple):
    """One thing to build: an isolated query that returns a ``Resource`` (``None``: nothing to serve), and its key."""

    query: Query[Any, Any]
    key: Hashable


Targets = Mapping[str, Target]


class Part(NamedTuple):
    """Targets of one type that classes with the same key share."""

    type: ResourceType
    query: Query[Any, Targets]
    key: Hashable


def parts(proxy_class: ProxyClass) -> tuple[Part, ...]:
    """Return the parts that make up a class's inventory, in push order."""
    client = proxy_class.client
    shared = (
        Part(ResourceType.CLUSTER, outbound_clusters, proxy_class.reaching),
        Part(ResourceType.ENDPOINT, load_assignments, proxy_class.reaching),
    )
    if client.router:
        scope = GatewayScope(client, proxy_class.gateway_targets)
        return (
            *shared,
            Part(ResourceType.CLUSTER, special_clusters, SpecialScope(client.istio, client.ipv4, client.ipv6)),
            Part(ResourceType.LISTENER, gateway_listeners, scope),
            Part(ResourceType.ROUTE, gateway_routes, scope),
        )
    reaching = proxy_class.reaching
    names = (Part(ResourceType.NAME_TABLE, name_tables, TableKey.of(reaching)),) if client.dns_capture else ()
    return (
        *shared,
        Part(
            ResourceType.CLUSTER,
            special_clusters,
            SpecialScope(client.istio, client.ipv4, client.ipv6, proxy_class.inbound),
        ),
        Part(ResourceType.LISTENER, outbound_listeners, proxy_class.listening),
        Part(ResourceType.LISTENER, inbound_listener_targets, proxy_class.inbound),
        Part(ResourceType.ROUTE, routes, RouteScope(client, proxy_class.listening)),
        *names,
    )


@query
def outbound_clusters(view: View, client: ClientScope) -> Targets:
    """Return the service clusters of all clients that project to this one."""
    plain = _blank(client)
    found: dict[str, Target] = {}
    for service, rule in _ruled(view, client):
        held = _placed(client, plain) if service.resolution.is_dns else plain
        for port in service.ports:
            if not service.handles(port):
                continue
            for subset in _subsets(service, rule):
                key = ClusterKey(service, port.number, subset, rule, held)
                found.setdefault(key.name, Target(cds_resource, key))
    return found


@query
def load_assignments(view: View, client: ClientScope) -> Targets:
    """Return the load assignments of all clients that project to this one."""
    mesh = mesh_config(view)
    plain = _blank(client)
    found: dict[str, Target] = {}
    for service, rule in _ruled(view, client):
        if not _uses_eds(service, client):
            continue
        for port in service.ports:
            if not service.handles(port):
                continue
            for subset in _subsets(service, rule):
                policy = policy_for(mesh, rule, subset, port.number)
                if is_direct(policy):
                    continue
                setting = locality_setting(mesh, service, policy)
                placed = service.node_local or (setting is not None and setting.depends_on_client)
                key = LoadKey(service, port.number, subset, rule, _placed(client, plain) if placed else plain)
                found.setdefault(key.name, Target(eds_resource, key))
    return found


def _subsets(service: Service, rule: Rule | None) -> tuple[str, ...]:
    """Return the names of the subsets that get clusters, the whole first; hosts found by request have no parts."""
    if rule is None or service.resolution is Resolution.DYNAMIC_DNS:
        return ("",)
    return ("", *(subset.name for subset in rule.subsets))


def _uses_eds(service: Service, client: ClientScope) -> bool:
    if service.resolution is Resolution.CLIENT_SIDE:
        return True
    return client.router and service.resolution is Resolution.PASSTHROUGH


def _ruled(view: View, client: ClientScope) -> list[tuple[Service, Rule | None]]:
    """Pair each service in scope with the DestinationRule this client uses for it."""
    anything: dict[str, bool] = {}
    own = bool(destination_rules(view, client.namespace).local or destination_rules(view, client.namespace).private)
    root = bool(destination_rules(view, mesh_config(view).root_namespace).exported)
    found: list[tuple[Service, Rule | None]] = []
    for service in reachable_services(view, EgressKey(client.namespace, client.sidecar), router=client.router):
        if service.resolution is Resolution.ALIAS:
            continue
        namespace = service.namespace
        if namespace not in anything:
            anything[namespace] = own or root or bool(destination_rules(view, namespace).exported)
        found.append((service, rule_for(view, client, service) if anything[namespace] else None))
    return found


def _blank(client: ClientScope) -> ClientScope:
    return ClientScope(
        namespace="",
        router=client.router,
        istio=client.istio,
        ipv4=client.ipv4,
        ipv6=client.ipv6,
        cluster_id=client.cluster_id,
        settings=client.settings,
    )


def _placed(client: ClientScope, plain: ClientScope) -> ClientScope:
    return replace(plain, locality=client.locality, labels=client.labels, node=client.node, network=client.network)


class SpecialScope(NamedTuple):
    """What clusters that stand for no service depend on; ``inbound`` is ``None`` for a router."""

    istio: bool
    ipv4: bool
    ipv6: bool
    inbound: InboundScope | None = None


@query
def special_clusters(view: View, scope: SpecialScope) -> Targets:
    """Return the clusters that stand for no service, and the inbound ones."""
    inbound = scope.inbound

    def special(name: str, *, preserves_case: bool = False) -> Target:
        return Target(special_cluster, SpecialKey(name, scope.istio, scope.ipv4, scope.ipv6, preserves_case))

    found = {BLACK_HOLE: special(BLACK_HOLE)}
    if inbound is None:
        return found
    preserves_case = preserves_header_case(mesh_for(view, inbound.settings))
    found[PASSTHROUGH] = special(PASSTHROUGH, preserves_case=preserves_case)
    if mesh_config(view).outbound_traffic_policy.mode is MeshOutboundTrafficPolicyMode.ALLOW_ANY_DYNAMIC_DNS:
        found[DYNAMIC_DNS] = special(DYNAMIC_DNS)
    found[INBOUND_PASSTHROUGH] = special(INBOUND_PASSTHROUGH, preserves_case=preserves_case)
    for port in inbound_ports(view, inbound):
        cluster = InboundKey(inbound, port)
        found[cluster.name] = Target(inbound_cluster, cluster)
    return found


@query
def outbound_listeners(view: View, client: ClientScope) -> Targets:
    """Return the outbound listeners of a sidecar."""
    return {key.name: Target(outbound_listener, key) for key in outbound_listener_keys(view, client)}


@query
def inbound_listener_targets(view: View, inbound: InboundScope) -> Targets:
    """Return the inbound listeners of a sidecar."""
    names = [listener.name for listener in inbound_listeners(view, inbound)]
    return {name: Target(_inbound_listener, (inbound, name)) for name in names}


def _pick_inbound(view: View, key: tuple[InboundScope, str]) -> Resource | None:
    inbound, name = key
    return next((held for held in inbound_listeners(view, inbound) if held.name == name), None)


_inbound_listener: Query[tuple[InboundScope, str], Resource | None] = Query(_pick_inbound, isolated=True)


class RouteScope(NamedTuple):
    """A sidecar as a client, and as far as its listeners go, which name its route configurations."""

    client: ClientScope
    listening: ClientScope


@query
def route_names(view: View, listening: ClientScope) -> tuple[str, ...]:
    """Return the names of the route configurations that a sidecar's listeners lead to, sorted."""
    names: set[str] = set()
    for key in outbound_listener_keys(view, listening):
        listener = outbound_listener(view, key)
        if listener is not None:
            names |= listener.route_configurations
    return tuple(sorted(names))


@query
def routes(view: View, scope: RouteScope) -> Targets:
    """Return the route configurations of a sidecar."""
    names = route_names(view, scope.listening)
    return {name: Target(_route_configuration, RouteKey(name, scope.client)) for name in names}


def _isolated_routes(view: View, key: RouteKey) -> Resource | None:
    return route_configuration(view, key)


_route_configuration: Query[RouteKey, Resource | None] = Query(_isolated_routes, isolated=True)


@query
def name_tables(view: View, key: TableKey) -> Targets:  # noqa: ARG001 - there is one whatever the registry holds
    """Return the name table of a sidecar that answers DNS."""
    return {NAME: Target(name_table, key)}


@query
def gateway_listeners(view: View, scope: GatewayScope) -> Targets:
    """Return the listeners of a gateway."""
    return {key.name: Target(gateway_listener, key) for key in gateway_listener_keys(view, scope)}


@query
def gateway_routes(view: View, scope: GatewayScope) -> Targets:
    """Return the route configurations that a gateway's listeners name."""
    names: set[str] = set()
    for key in gateway_listener_keys(view, scope):
        listener = gateway_listener(view, key)
        if listener is not None:
            names |= listener.route_configurations
    return {name: Target(_gateway_routes, GatewayRouteKey(name, scope)) for name in sorted(names)}


def _isolated_gateway_routes(view: View, key: GatewayRouteKey) -> Resource | None:
    return gateway_route_configuration(view, key)


_gateway_routes: Query[GatewayRouteKey, Resource | None] = Query(_isolated_gateway_routes, isolated=True)


__all__ = ["Part", "Target", "Targets", "parts"]
