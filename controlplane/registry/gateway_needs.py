"""Which services a gateway needs clusters of, where it is not to have those of all that it sees.

Source: istiod's variable ``PILOT_FILTER_GATEWAY_CLUSTER_CONFIG``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from controlplane.engine.recording import query
from controlplane.model import kinds
from controlplane.model.cluster_names import host_of
from controlplane.model.objects import ObjectKey
from controlplane.model.patches import ProxyPatches
from controlplane.model.service import Service
from controlplane.registry.aliases import alias_ends
from controlplane.registry.environment import GATEWAYS_BY_NAMESPACE, enabled
from controlplane.registry.gateways import GatewayKey, merged_gateway
from controlplane.registry.mesh import mesh_config
from controlplane.registry.policies import WorkloadKey, attached
from controlplane.registry.providers import remote_cluster, services_in
from controlplane.registry.scopes import named_destinations
from controlplane.registry.store import View
from controlplane.registry.virtual_services import gateway_virtual_services

REFERENCED_SERVICES = "envoyfilter.istio.io/referenced-services"
"""An annotation of EnvoyFilters: services that patches lead to, ``[namespace/]host``, separated by commas."""


class NeedsKey(NamedTuple):
    """A gateway proxy, and the EnvoyFilters that change anything of it."""

    gateway: GatewayKey
    filters: tuple[ObjectKey, ...]

    @classmethod
    def of(cls, gateway: GatewayKey, patches: ProxyPatches) -> NeedsKey:
        """Return the key of a proxy with these patches."""
        refs = (*patches.clusters, *patches.listeners, *patches.routes, *patches.extensions)
        return cls(gateway, tuple(sorted({ref.filter for ref in refs})))


@dataclass(frozen=True, slots=True)
class Needs:
    """The services that a gateway needs: of any namespace by ``hosts``, or as (namespace, host) by ``named``."""

    hosts: frozenset[str]
    named: frozenset[tuple[str, str]]

    def has(self, service: Service) -> bool:
        """Whether the gateway needs a service."""
        return service.hostname in self.hosts or (service.namespace, service.hostname) in self.named


@query
def gateway_needs(view: View, key: NeedsKey) -> Needs:
    """Return what a gateway's routes, its mesh's providers, the keys of its tokens and its EnvoyFilters lead to."""
    hosts, named = set(_routed(view, key.gateway)), set()
    for text in (*_provided(view), *_referenced(view, key.filters)):
        namespace, _, host = text.rpartition("/")
        if namespace:
            named.add((namespace, host.lower()))
        else:
            hosts.add(host.lower())
    hosts.update(_of_keys(view, key.gateway))
    ends = alias_ends(view, key.gateway.namespace)
    return Needs(frozenset(hosts | {ends[host].host for host in hosts if host in ends}), frozenset(named))


def _routed(view: View, gateway: GatewayKey) -> Iterator[str]:
    merged = merged_gateway(view, gateway)
    names = {server.name for servers in merged.servers.values() for server in servers}
    sources = gateway.namespace if enabled(view, GATEWAYS_BY_NAMESPACE) else None
    for name in sorted(names):
        for held in gateway_virtual_services(view, (gateway.namespace, name)):
            yield from (destination.host.lower() for destination in named_destinations(held, sources))


def _provided(view: View) -> Iterator[str]:
    return (provider.service for provider in services_in(mesh_config(view).extension_providers))


def _of_keys(view: View, gateway: GatewayKey) -> Iterator[str]:
    """Yield the hosts that Envoy itself fetches keys of tokens from."""
    workload = WorkloadKey(gateway.namespace, gateway.labels)
    for policy in attached(view, kinds.REQUEST_AUTHENTICATION, workload):
        for rule in policy.spec.jwt_rules:
            cluster = remote_cluster(view, rule.jwks_uri) if rule.jwks_uri else None
            if cluster is not None:
                yield host_of(cluster)


def _referenced(view: View, filters: tuple[ObjectKey, ...]) -> Iterator[str]:
    for key in filters:
        obj = view.get(key)
        text = obj.meta.annotations.get(REFERENCED_SERVICES, "") if obj is not None else ""
        yield from filter(None, (part.strip() for part in text.split(",")))
