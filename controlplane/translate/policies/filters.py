"""All that policies put onto the chains of one workload."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter

from controlplane.engine.recording import query
from controlplane.model import kinds
from controlplane.registry.environment import SEVERAL_AUTHORISERS, enabled
from controlplane.registry.mesh import mesh_config
from controlplane.registry.policies import WorkloadKey, attached
from controlplane.registry.providers import authorisers
from controlplane.registry.store import View
from controlplane.registry.traffic_extensions import ExtensionKeys, Traffic
from controlplane.translate.listeners.extension_filters import NO_EXTENSIONS, ExtensionFilters, extension_filters
from controlplane.translate.listeners.phases import Phase, Placed
from controlplane.translate.policies.external import asked_clusters, external_filters, sound
from controlplane.translate.policies.rbac import Chain, rbac_filters
from controlplane.translate.policies.tokens import keys_cluster, token_filter
from controlplane.translate.policies.trust_domains import bundle


class PolicyScope(NamedTuple):
    """A workload whose chains are made, whether its proxy is a gateway, and the extensions that are for it."""

    workload: WorkloadKey
    gateway: bool = False
    extensions: ExtensionKeys = ()


@dataclass(frozen=True, slots=True)
class PolicyFilters:
    """Filters with their phases: those of chains that carry requests, and those of chains that carry bytes.

    ``extensions`` depend on the port (``on``); ``before_http`` are network filters of chains that carry requests.
    ``clusters`` are those that filters ask: of authorisers, and of servers of keys.
    """

    http: tuple[Placed[HttpFilter], ...] = ()
    tcp: tuple[Placed[Filter], ...] = ()
    extensions: ExtensionFilters = NO_EXTENSIONS
    before_http: tuple[Placed[Filter], ...] = ()
    clusters: frozenset[str] = frozenset()

    def on(self, traffic: Traffic) -> PolicyFilters:
        """Return the filters for some traffic, those of extensions among them."""
        network = self.extensions.network(traffic)
        http = (*self.http, *self.extensions.http(traffic))
        return PolicyFilters(http, (*self.tcp, *network), before_http=network, clusters=self.clusters)


NO_POLICIES = PolicyFilters()


@query
def policy_filters(view: View, scope: PolicyScope) -> PolicyFilters:
    """Return the filters of the policies and extensions that apply to a workload."""
    domains = bundle(mesh_config(view))
    policies = attached(view, kinds.AUTHORIZATION_POLICY, scope.workload)
    several = enabled(view, SEVERAL_AUTHORISERS)
    asked = sound(authorisers(view, ()))
    placed: dict[bool, list[Placed[HttpFilter | Filter]]] = {}
    for http in (True, False):
        chain = Chain(http, domains)
        external = external_filters(policies, asked, chain, several=several)
        placed[http] = [(Phase.EXTERNAL_AUTHORIZATION, each) for each in external]
        placed[http] += [(Phase.AUTHORIZATION, each) for each in rbac_filters(policies, chain)]
    rules = [
        rule for obj in attached(view, kinds.REQUEST_AUTHENTICATION, scope.workload) for rule in obj.spec.jwt_rules
    ]
    tokens = token_filter(view, rules, gateway=scope.gateway)
    if tokens is not None:
        placed[True].append((Phase.AUTHENTICATION, tokens))
    extensions = extension_filters(view, scope.extensions)
    clusters = asked_clusters(policies, asked).union(
        cluster for rule in rules if (cluster := keys_cluster(view, rule)) is not None
    )
    return PolicyFilters(tuple(placed[True]), tuple(placed[False]), extensions, clusters=clusters)
