"""Inventories of clusters and load assignments: those of services, and those that stand for no service."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from controlplane.apis.mesh import MeshOutboundTrafficPolicyMode
from controlplane.compiler.targets import Inventory, Target, Targets
from controlplane.engine.recording import Query, query
from controlplane.model.cluster_names import BLACK_HOLE, CREDENTIALS, DYNAMIC_DNS, INBOUND_PASSTHROUGH, PASSTHROUGH
from controlplane.model.proxy_class import ClientScope, InboundScope, Shows, projected
from controlplane.model.service import Resolution, Service
from controlplane.registry.destination_rules import Rule, destination_rules, is_direct, policy_for, rule_for
from controlplane.registry.gateway_needs import NeedsKey, gateway_needs
from controlplane.registry.gateways import GatewayKey, merged_gateway
from controlplane.registry.mesh import mesh_config
from controlplane.registry.networks import several_networks
from controlplane.registry.proxy_settings import preserves_header_case
from controlplane.registry.reachable import (
    ReachableKey,
    reachable_namespaces,
    reachable_portion,
    reachable_portions,
    reachable_services,
)
from controlplane.registry.scopes import EgressKey
from controlplane.registry.services import unread_services
from controlplane.registry.store import View
from controlplane.registry.virtual_services import unread_virtual_services
from controlplane.translate.clusters.inbound import InboundKey, inbound_cluster, inbound_ports
from controlplane.translate.clusters.messages import ClusterKey
from controlplane.translate.clusters.outbound import cds_resource
from controlplane.translate.clusters.special import SpecialKey, special_cluster
from controlplane.translate.endpoints import LoadKey, eds_resource
from controlplane.translate.locality import locality_setting


@query
def outbound_clusters(view: View, client: ClientScope) -> Inventory:
    """Return the service clusters of all clients that project to this one."""
    found = _joined(view, client, cluster_targets)
    return Inventory.of(found, unread_services(view, ()), _unread_rules(view, client))


@query
def load_assignments(view: View, client: ClientScope) -> Inventory:
    """Return the load assignments of all clients that project to this one."""
    found = _joined(view, client, assignment_targets)
    return Inventory.of(found, (*unread_services(view, ()), *_unread_rules(view, client)))


class PortionKey(NamedTuple):
    """A client, and a portion of the services that it reaches."""

    client: ClientScope
    number: int


@query
def cluster_targets(view: View, key: PortionKey) -> Targets:
    """Return the clusters of a portion of services."""
    return _cluster_targets(view, key.client, _portion(view, key), forwards=False)


@query
def assignment_targets(view: View, key: PortionKey) -> Targets:
    """Return their load assignments."""
    return _assignment_targets(view, key.client, _portion(view, key), forwards=False)


def _joined(view: View, client: ClientScope, targets: Query[PortionKey, Targets]) -> Targets:
    """Return what is made of each portion in one; a name is in one portion alone, since it has the host in it."""
    held = [targets(view, PortionKey(client, n)) for n in range(len(reachable_portions(view, _reachable(client))))]
    if len(held) == 1:
        return held[0]
    found: dict[str, Target] = {}
    for each in held:
        found.update(each)
    return found


def _portion(view: View, key: PortionKey) -> Ruled:
    return _ruled(view, key.client, reachable_portion(view, (_reachable(key.client), key.number)))


def _reachable(client: ClientScope) -> ReachableKey:
    return ReachableKey(EgressKey(client.namespace, client.sidecar), client.router)


class NeedsScope(NamedTuple):
    """A gateway that has clusters of what it needs alone: what it reaches as a client, and what decides its needs."""

    client: ClientScope
    needs: NeedsKey


@query
def needed_clusters(view: View, scope: NeedsScope) -> Inventory:
    """Return the service clusters that a gateway needs."""
    return _lacking_routes(view, _clusters(view, scope.client, _needed(view, scope), forwards=False))


@query
def needed_assignments(view: View, scope: NeedsScope) -> Inventory:
    """Return their load assignments."""
    return _lacking_routes(view, _load_assignments(view, scope.client, _needed(view, scope), forwards=False))


class ForwardingScope(NamedTuple):
    """A gateway that may pass mutual TLS through: what it reaches as a client, and what Gateways it serves."""

    client: ClientScope
    gateway: GatewayKey


@query
def forwarding_clusters(view: View, scope: ForwardingScope) -> Inventory:
    """Return the clusters by which a gateway passes mutual TLS through to services of the mesh."""
    return _clusters(view, scope.client, _forwarded(view, scope), forwards=True)


@query
def forwarding_assignments(view: View, scope: ForwardingScope) -> Inventory:
    """Return their load assignments."""
    return _load_assignments(view, scope.client, _forwarded(view, scope), forwards=True)


Ruled = Iterable[tuple[Service, Rule | None]]
"""Services, each with the DestinationRule that a client uses for it."""


def _needed(view: View, scope: NeedsScope) -> Ruled:
    needs = gateway_needs(view, scope.needs)
    return [(service, rule) for service, rule in _all_ruled(view, scope.client) if needs.has(service)]


def _lacking_routes(view: View, inventory: Inventory) -> Inventory:
    """Return an inventory that may lack what VirtualServices lead to that could not be read."""
    unread = unread_virtual_services(view, ())
    return inventory._replace(lacking=inventory.lacking or "; ".join(unread)) if unread else inventory


def _forwarded(view: View, scope: ForwardingScope) -> Ruled:
    """Return the services that a gateway passes mutual TLS through to; none without a server that asks for it."""
    if not merged_gateway(view, scope.gateway).forwards:
        return ()
    return [(service, rule) for service, rule in _all_ruled(view, scope.client) if not service.mesh_external]


def _clusters(view: View, client: ClientScope, ruled: Ruled, *, forwards: bool) -> Inventory:
    found = _cluster_targets(view, client, ruled, forwards=forwards)
    return Inventory.of(found, unread_services(view, ()), _unread_rules(view, client))


def _cluster_targets(view: View, client: ClientScope, ruled: Ruled, *, forwards: bool) -> Targets:
    plain = projected(client, Shows.CLUSTERS)
    there = projected(client, Shows.CLUSTERS | Shows.PLACE | _networks(view, client))
    found: dict[str, Target] = {}
    for service, rule in ruled:
        held = there if service.resolution.is_dns else plain
        for port in service.ports:
            if not service.handles(port):
                continue
            for subset in _subsets(service, rule):
                key = ClusterKey(service, port.number, subset, rule, held, forwards)
                found.setdefault(key.name, Target(cds_resource, key))
    return found


def _load_assignments(view: View, client: ClientScope, ruled: Ruled, *, forwards: bool) -> Inventory:
    found = _assignment_targets(view, client, ruled, forwards=forwards)
    return Inventory.of(found, (*unread_services(view, ()), *_unread_rules(view, client)))


def _assignment_targets(view: View, client: ClientScope, ruled: Ruled, *, forwards: bool) -> Targets:
    mesh = mesh_config(view)
    everywhere = Shows.CLUSTERS | _networks(view, client)
    plain, there = projected(client, everywhere), projected(client, everywhere | Shows.PLACE)
    found: dict[str, Target] = {}
    for service, rule in ruled:
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
                key = LoadKey(service, port.number, subset, rule, there if placed else plain, forwards)
                found.setdefault(key.name, Target(eds_resource, key))
    return found


def _networks(view: View, client: ClientScope) -> Shows:
    """Return what of a client shows in endpoints because there are several networks."""
    return Shows.NETWORK if client.network_view or several_networks(view, ()) else Shows(0)


def _subsets(service: Service, rule: Rule | None) -> tuple[str, ...]:
    """Return the names of the subsets that get clusters, the whole first; hosts found by request have no parts."""
    if rule is None or service.resolution is Resolution.DYNAMIC_DNS:
        return ("",)
    return ("", *(subset.name for subset in rule.subsets))


def _uses_eds(service: Service, client: ClientScope) -> bool:
    if service.resolution is Resolution.CLIENT_SIDE:
        return True
    return client.router and service.resolution is Resolution.PASSTHROUGH


def _all_ruled(view: View, client: ClientScope) -> Ruled:
    """Pair each service in scope with the DestinationRule this client uses for it."""
    scope = EgressKey(client.namespace, client.sidecar)
    return _ruled(view, client, reachable_services(view, scope, router=client.router))


def _ruled(view: View, client: ClientScope, services: Iterable[Service]) -> Ruled:
    anything: dict[str, bool] = {}
    own = bool(destination_rules(view, client.namespace).local or destination_rules(view, client.namespace).private)
    root = bool(destination_rules(view, mesh_config(view).root_namespace).exported)
    found: list[tuple[Service, Rule | None]] = []
    for service in services:
        if service.resolution is Resolution.ALIAS:
            continue
        namespace = service.namespace
        if namespace not in anything:
            anything[namespace] = own or root or bool(destination_rules(view, namespace).exported)
        found.append((service, rule_for(view, client, service) if anything[namespace] else None))
    return found


def _unread_rules(view: View, client: ClientScope) -> tuple[str, ...]:
    """Return why it is not known what some DestinationRules state that this client may use."""
    namespaces = {client.namespace, mesh_config(view).root_namespace, *reachable_namespaces(view, _reachable(client))}
    return tuple(reason for name in sorted(namespaces) for reason in destination_rules(view, name).unread)


class SpecialScope(NamedTuple):
    """What clusters that stand for no service depend on; ``inbound`` is ``None`` for a router.

    ``credentials`` is as in ``FileCertificates``.
    """

    istio: bool
    ipv4: bool
    ipv6: bool
    inbound: InboundScope | None = None
    credentials: bool = False


@query
def special_clusters(view: View, scope: SpecialScope) -> Inventory:
    """Return the clusters that stand for no service, and the inbound ones."""
    inbound = scope.inbound

    def special(name: str, *, preserves_case: bool = False) -> Target:
        return Target(special_cluster, SpecialKey(name, scope.istio, scope.ipv4, scope.ipv6, preserves_case))

    found = {name: special(name) for name in ((BLACK_HOLE, CREDENTIALS) if scope.credentials else (BLACK_HOLE,))}
    if inbound is None:
        return Inventory(found)
    preserves_case = preserves_header_case(view, inbound.settings)
    found[PASSTHROUGH] = special(PASSTHROUGH, preserves_case=preserves_case)
    if mesh_config(view).outbound_traffic_policy.mode is MeshOutboundTrafficPolicyMode.ALLOW_ANY_DYNAMIC_DNS:
        found[DYNAMIC_DNS] = special(DYNAMIC_DNS)
    found[INBOUND_PASSTHROUGH] = special(INBOUND_PASSTHROUGH, preserves_case=preserves_case)
    for port in inbound_ports(view, inbound):
        cluster = InboundKey(inbound, port)
        found[cluster.name] = Target(inbound_cluster, cluster)
    return Inventory(found)
