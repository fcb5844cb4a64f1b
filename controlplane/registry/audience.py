"""Which clients are alike: a client is projected to what a kind of resource can depend on.

A namespace in which nothing is different from any other becomes blank, so that all such namespaces share one
inventory, one set of built resources and, on the wire, the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from controlplane.apis.virtual_service import L4MatchAttributes, TLSMatchAttributes
from controlplane.engine.recording import query
from controlplane.model import kinds
from controlplane.model.proxy_class import ClientScope, Shows, projected
from controlplane.model.service import Resolution
from controlplane.registry.destination_rules import destination_rules
from controlplane.registry.distinctions import source_pairs
from controlplane.registry.mesh import root_namespace
from controlplane.registry.proxy_settings import preserves_header_case
from controlplane.registry.services import sees_only_public, service_table, visible_by_host
from controlplane.registry.store import View
from controlplane.registry.virtual_services import MESH_GATEWAY, ResolvedVirtualService, virtual_service_table


@query
def named_by_rules(view: View, _key: tuple[()]) -> frozenset[str]:
    """Return the namespaces that some DestinationRule names in its ``exportTo``."""
    rules = [obj.spec for key in view.keys(kinds.DESTINATION_RULE) if (obj := view.get(key)) is not None]
    return frozenset(name for rule in rules for name in rule.export_to)


@query
def ordinary(view: View, namespace: str) -> bool:
    """Whether clients of a namespace reach the same clusters as those of any other ordinary namespace."""
    if namespace == root_namespace(view, ()) or namespace in named_by_rules(view, ()):
        return False
    return sees_only_public(view, namespace) and not destination_rules(view, namespace).local


@query
def reaching(view: View, client: ClientScope) -> ClientScope:
    """Project a client to what its outbound clusters and load assignments may depend on."""
    return replace(
        projected(client, Shows.CLUSTERS | Shows.REACH | Shows.PLACE | Shows.NETWORK),
        namespace="" if client.sidecar is None and ordinary(view, client.namespace) else client.namespace,
        settings=_cluster_settings(view, client.settings),
    )


def _cluster_settings(view: View, settings: str) -> str:
    """Return a proxy's own settings where clusters differ by them from the mesh's, else none."""
    return settings if preserves_header_case(view, settings) != preserves_header_case(view, "") else ""


@query
def routing(view: View, client: ClientScope) -> ClientScope:
    """Project a sidecar to what its route configurations may depend on: not on where it runs."""
    known = projected(client, Shows.ROUTES)
    return replace(known, labels=known.labels & source_pairs(view, client.namespace)[0]) if known.labels else known


@dataclass(frozen=True, slots=True)
class Distinctions:
    """By what the mesh's configuration tells clients of public services apart, as far as listeners show it.

    ``namespaces`` are set apart by name; ``everywhere`` by some rule that any namespace may meet. ``domains`` is true
    where the DNS domain shows, ``labels`` where the client's labels do.
    """

    namespaces: frozenset[str] = frozenset()
    everywhere: bool = False
    domains: bool = False
    labels: bool = False


@query
def listening(view: View, client: ClientScope) -> ClientScope:
    """Reduce a client to what its outbound listeners depend on; clients that come to the same share all of them."""
    known = projected(client, Shows.LISTENERS)
    found = distinctions(view, ())
    apart = found.everywhere or client.namespace in found.namespaces or client.sidecar is not None
    if apart or destination_rules(view, client.namespace).local:
        return known
    return replace(
        known,
        namespace="",
        domain=client.domain if found.domains else "",
        labels=client.labels if found.labels else frozenset(),
    )


@query
def distinctions(view: View, _key: tuple[()]) -> Distinctions:
    """Return by what clients are told apart."""
    services = service_table(view, ())
    routes = virtual_service_table(view, ())
    namespaces = {root_namespace(view, ()), *services.private}
    for table in (routes.private, routes.exported):
        namespaces |= {namespace for (namespace, gateway), held in table.items() if gateway == MESH_GATEWAY and held}
    for key in view.keys(kinds.DESTINATION_RULE):
        obj = view.get(key)
        if obj is not None:
            namespaces.update(obj.spec.export_to)
    public = routes.public.get(MESH_GATEWAY, ())
    return Distinctions(
        namespaces=frozenset(namespaces),
        # two services of one host name: which is meant depends on the client's namespace
        everywhere=len(visible_by_host(view, "").by_host) != len(services.public) or _names_sources(public),
        domains=any(service.resolution is Resolution.ALIAS for service in services.public),
        labels=any(match.source_labels for match in _l4_matches(public)),
    )


def _names_sources(virtual_services: tuple[ResolvedVirtualService, ...]) -> bool:
    return any(match.source_namespace for match in _l4_matches(virtual_services))


def _l4_matches(
    virtual_services: tuple[ResolvedVirtualService, ...],
) -> Iterator[L4MatchAttributes | TLSMatchAttributes]:
    for held in virtual_services:
        for tcp in held.tcp:
            yield from tcp.match
        for tls in held.tls:
            yield from tls.match
