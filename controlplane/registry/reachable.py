"""Which services clients in a scope reach: all that clusters are made for."""

from __future__ import annotations

from typing import NamedTuple

from controlplane.apis.mesh import MeshOutboundTrafficPolicyMode
from controlplane.engine.recording import query
from controlplane.model.service import Resolution, Service
from controlplane.registry.mesh import mesh_config
from controlplane.registry.portions import portions
from controlplane.registry.scopes import EgressKey, default_merged, egress_scope, router_merged
from controlplane.registry.services import hostname_of, namespace_of
from controlplane.registry.store import View


class ReachKey(NamedTuple):
    """A host as clients in some scope may know it."""

    scope: EgressKey
    hostname: str


@query
def reaches(view: View, key: ReachKey) -> bool:
    """Whether clients reach a service of this host name."""
    if key.scope.sidecar is None:
        return key.hostname in default_merged(view, key.scope.namespace).by_host
    return key.hostname in egress_scope(view, key.scope).by_host


def reachable_services(view: View, key: EgressKey, *, router: bool = False) -> tuple[Service, ...]:
    """Return the services that clusters are made for; without a Sidecar resource no VirtualService matters."""
    if router:
        return router_merged(view, key.namespace).services
    if key.sidecar is None:
        return default_merged(view, key.namespace).services
    return egress_scope(view, key).services


class ReachableKey(NamedTuple):
    """The services that a client reaches, a sidecar or a gateway."""

    scope: EgressKey
    router: bool


@query
def reachable_portions(view: View, key: ReachableKey) -> tuple[tuple[Service, ...], ...]:
    """Return the services that clusters are made for in portions."""
    return portions(reachable_services(view, key.scope, router=key.router), hostname_of)


@query
def reachable_portion(view: View, key: tuple[ReachableKey, int]) -> tuple[Service, ...]:
    """Return one portion of them; a change of others stops here."""
    found, number = reachable_portions(view, key[0]), key[1]
    return found[number] if number < len(found) else ()


@query
def _namespaces_of_portion(view: View, key: tuple[ReachableKey, int]) -> frozenset[str]:
    return frozenset(map(namespace_of, reachable_portion(view, key)))


@query
def reachable_namespaces(view: View, key: ReachableKey) -> frozenset[str]:
    """Return the namespaces that these services are of."""
    count = len(reachable_portions(view, key))
    return frozenset[str]().union(*[_namespaces_of_portion(view, (key, number)) for number in range(count)])


@query
def resolves_by_request(view: View, key: EgressKey) -> bool:
    """Whether a client reaches hosts that are resolved only when a request names them."""
    mesh = mesh_config(view)
    if mesh.outbound_traffic_policy.mode is MeshOutboundTrafficPolicyMode.ALLOW_ANY_DYNAMIC_DNS:
        return True
    return any(service.resolution is Resolution.DYNAMIC_DNS for service in reachable_services(view, key))
