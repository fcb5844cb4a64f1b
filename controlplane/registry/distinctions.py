"""What configuration tells proxies apart by: only that of a proxy needs to be in its class."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from controlplane.engine.recording import query
from controlplane.model import kinds
from controlplane.model.objects import ObjectKey
from controlplane.model.proxy_class import LabelPairs
from controlplane.model.service import Resolution, Service, ServiceKey
from controlplane.registry.endpoints import entry_endpoints
from controlplane.registry.gateways import gateways
from controlplane.registry.labels import REGION, SUBZONE, ZONE
from controlplane.registry.mesh import mesh_config
from controlplane.registry.services import service_table, services_of
from controlplane.registry.store import View


@query
def source_pairs(view: View, namespace: str) -> tuple[LabelPairs, frozenset[str]]:
    """Return the label pairs, and the label names, by which some configuration tells clients of a namespace apart."""
    told = _told_apart(view, ())
    return told.pairs | told.selected.get(namespace, frozenset()), told.names


@dataclass(frozen=True, slots=True)
class _ToldApart:
    """Labels of clients that rules ask for: ``pairs`` of any client, ``selected`` by namespace; names of any value."""

    pairs: LabelPairs
    selected: Mapping[str, LabelPairs]
    names: frozenset[str]


@query
def _told_apart(view: View, _key: tuple[()]) -> _ToldApart:
    pairs: set[tuple[str, str]] = set()
    selected: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
    names: set[str] = set()
    for key in view.keys(kinds.VIRTUAL_SERVICE):
        obj = view.get(key)
        for match in _matches(obj.spec) if obj is not None else ():
            pairs.update((match.source_labels or {}).items())
    for key in view.keys(kinds.DESTINATION_RULE):
        obj = view.get(key)
        if obj is None:
            continue
        selector = obj.spec.workload_selector
        if selector is not None:
            selected[key.namespace].update((selector.match_labels or {}).items())
        names.update(_priority_names(obj.spec))
    mesh = mesh_config(view)
    for setting in (mesh.locality_lb_setting, mesh.zone_aware_lb_setting):
        names.update(_failover_names(setting))
    names.update(_distribution_labels(view, ()))
    by_namespace = {namespace: frozenset(held) for namespace, held in selected.items()}
    return _ToldApart(frozenset(pairs), by_namespace, frozenset(names))


@query
def _distribution_labels(view: View, _key: tuple[()]) -> frozenset[str]:
    table = service_table(view, ())
    held = {service.traffic_distribution for service in table.public}
    held |= {service.traffic_distribution for services in table.private.values() for service in services}
    held.discard("")
    if not held:
        return frozenset()
    names = {"topology.istio.io/network", REGION, ZONE}
    return frozenset(names | ({SUBZONE, "kubernetes.io/hostname"} if "node" in held else set()))


def _matches(spec: Any) -> Iterable[Any]:  # noqa: ANN401 - the VirtualService model
    for route in (*spec.http, *spec.tcp, *spec.tls):
        yield from route.match


def _priority_names(spec: Any) -> Iterable[str]:  # noqa: ANN401 - the DestinationRule model
    policies = [spec.traffic_policy, *(subset.traffic_policy for subset in spec.subsets)]
    for policy in policies:
        levels = [policy, *policy.port_level_settings] if policy is not None else []
        for level in levels:
            balancer = level.load_balancer
            if balancer is not None:
                for setting in (balancer.locality_lb_setting, balancer.zone_aware_lb_setting):
                    yield from _failover_names(setting)


def _failover_names(setting: Any) -> Iterable[str]:  # noqa: ANN401 - either kind of locality setting, or None
    """Yield the names of the labels by which a setting compares clients and endpoints."""
    for text in setting.failover_priority if setting is not None else ():
        yield text.partition("=")[0]


@query
def node_matters(view: View, _key: tuple[()]) -> bool:
    """Whether some service keeps traffic on the client's node."""
    table = service_table(view, ())
    held = (*table.public, *(service for services in table.private.values() for service in services))
    return any(service.node_local for service in held)


@query
def may_be_headless(view: View, address: str) -> bool:
    """Whether an address may be an endpoint of a headless service whose endpoints get listeners of their own.

    Asked of each address by itself, so that another endpoint of such a service is no news to the rest of the mesh.
    """
    for key in view.index("slices_with", address):
        service = _service_of_slice(view, key)
        if service is not None and any(map(has_endpoint_listeners, services_of.outcome(view, service).value or ())):
            return True
    return any(address in _addresses_of(view, key) for key in _headless_entries(view, ()))


def has_endpoint_listeners(service: Service) -> bool:
    """Whether each endpoint of a service gets listeners of its own."""
    return service.resolution is Resolution.PASSTHROUGH and any(not port.protocol.is_http for port in service.ports)


@query
def _service_of_slice(view: View, key: ObjectKey) -> ObjectKey | None:
    """Return the service of an EndpointSlice, whatever endpoints it has."""
    obj = view.get(key)
    return None if obj is None else ObjectKey(kinds.SERVICE, key.namespace, obj.spec.service)


@query
def _headless_entries(view: View, _key: tuple[()]) -> tuple[ServiceKey, ...]:
    """Return the services of ServiceEntries whose endpoints get listeners of their own: few, if any."""
    every = (services_of.outcome(view, key).value or () for key in view.keys(kinds.SERVICE_ENTRY))
    found = [service for services in every for service in services]
    return tuple(service.key for service in found if has_endpoint_listeners(service))


@query
def _addresses_of(view: View, key: ServiceKey) -> frozenset[str]:
    return frozenset(endpoint.address for endpoint in entry_endpoints.outcome(view, key).value or ())


@query
def gateway_pairs(view: View, _key: tuple[()]) -> LabelPairs:
    """Return the label pairs by which Gateways select proxies."""
    pairs: set[tuple[str, str]] = set()
    for obj in gateways(view):
        pairs.update(obj.spec.selector.items())
    return frozenset(pairs)
