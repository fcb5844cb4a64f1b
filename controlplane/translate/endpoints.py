"""Load assignments: the endpoints of one cluster, filtered, grouped by locality, with weights and priorities."""

from __future__ import annotations

import re
from typing import NamedTuple

from envoy.config.endpoint.v3.endpoint_components_pb2 import LbEndpoint
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment

from controlplane.apis.destination_rule import ClientTLSMode
from controlplane.model.objects import Labels
from controlplane.model.proxy import Locality
from controlplane.model.proxy_class import ClientScope
from controlplane.model.service import Endpoint, Health, Service, ServicePort
from controlplane.registry.destination_rules import Policy, Rule, policy_for, stated_tls_mode
from controlplane.registry.endpoints import PERSISTENT_SESSION, endpoints
from controlplane.registry.labels import selects
from controlplane.registry.memo import Query
from controlplane.registry.mesh import mesh_config
from controlplane.registry.peer_authentication import MtlsMode, WorkloadKey, namespace_mode, workload_mode
from controlplane.registry.store import View
from controlplane.snapshots import Resource, ResourceType
from controlplane.translate.clusters.names import outbound_name
from controlplane.translate.locality import Group, apply, locality_setting

DRAINING_LABEL = "istio.io/draining"
_CANONICAL_NAME = ("service.istio.io/canonical-name", "app.kubernetes.io/name", "app")
_CANONICAL_REVISION = ("service.istio.io/canonical-revision", "app.kubernetes.io/version", "version")
_IPV4 = re.compile(r"(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\.(?!$)|$)){4}", re.ASCII)


class LoadKey(NamedTuple):
    """One load assignment. ``client`` is blank where the place of the client makes no difference."""

    service: Service
    port: int
    subset: str
    rule: Rule | None
    client: ClientScope

    @property
    def name(self) -> str:
        """The cluster's name."""
        return outbound_name(self.port, self.subset, self.service.hostname)


def matching_endpoints(view: View, key: LoadKey, policy: Policy) -> tuple[Endpoint, ...]:
    """Return the endpoints of the cluster that this client may use."""
    service = key.service
    port = service.port(key.port)
    if port is None:
        return ()
    labels: dict[str, str] = {}
    if key.subset:
        found = key.rule.subset(key.subset) if key.rule is not None else None
        if found is None:
            return ()
        labels = dict(found.labels or {})
    return tuple(
        endpoint
        for endpoint in endpoints(view, (service.hostname, service.namespace))
        if _serves(endpoint, service, port)
        and _usable(endpoint, service, policy, key.client)
        and selects(labels, endpoint.labels)
    )


def _serves(endpoint: Endpoint, service: Service, port: ServicePort) -> bool:
    """Whether the endpoint is one of the port's; served as a load assignment, the port's name alone decides.

    So where several ServiceEntries of one host call different ports the same, each port has the endpoints of all.
    """
    return endpoint.serves(port) if service.resolution.is_dns else endpoint.port_name == port.name


def _usable(endpoint: Endpoint, service: Service, policy: Policy, client: ClientScope) -> bool:
    if endpoint.health is Health.TERMINATING or not endpoint.address:
        return False
    if service.node_local and endpoint.node != client.node:
        return False
    draining = endpoint.health is Health.DRAINING or bool(endpoint.labels.get(DRAINING_LABEL))
    if draining and not service.labels.get(PERSISTENT_SESSION):
        return False
    if endpoint.health is Health.UNHEALTHY:
        outlier = policy.outlier_detection
        minimum = outlier.min_health_percent if outlier is not None else 0
        return bool(service.traffic_distribution) or not minimum
    return True


def _build(view: View, key: LoadKey) -> Resource:
    """Build the load assignment of one EDS cluster; without endpoints it holds only its name."""
    for source in key.rule.sources if key.rule is not None else ():
        view.get(source)  # the key already holds what it says; recorded for provenance
    message = load_assignment(view, key)
    return Resource.of(ResourceType.ENDPOINT, key.name, message.SerializeToString(deterministic=True))


eds_resource: Query[LoadKey, Resource | None] = Query(_build, isolated=True)
eds_resource.name = "load_assignment"


def load_assignment(view: View, key: LoadKey) -> ClusterLoadAssignment:
    """Return the load assignment of a cluster. Reference: envoy.config.endpoint.v3.ClusterLoadAssignment."""
    mesh = mesh_config(view)
    service = key.service
    policy = policy_for(mesh, key.rule, key.subset, key.port)
    message = ClusterLoadAssignment(cluster_name=key.name)
    port = service.port(key.port)
    if port is None:
        return message
    dns = service.resolution.is_dns
    stated = stated_tls_mode(key.rule, key.subset, key.port)
    templates: dict[tuple[Health, int, str, str], LbEndpoint] = {}
    held = [e for e in matching_endpoints(view, key, policy) if dns or e.port == 0 or _is_ip(e.address)]
    for group in _grouped(held, view, key, policy):
        part = message.endpoints.add()
        part.locality.region = group.locality.region
        part.locality.zone = group.locality.zone
        part.locality.sub_zone = group.locality.subzone
        part.load_balancing_weight.value = min(group.weight, 0xFFFFFFFF)
        part.priority = group.priority
        for endpoint in group.endpoints:
            mode = endpoint.tls_mode
            if mode in {"", "disabled"} or not mutual_tls(view, endpoint, service, stated):
                mode = ""
            alike = (endpoint.health, endpoint.weight, workload_label(view, endpoint), mode)
            template = templates.get(alike)
            if template is None:
                template = templates[alike] = _without_address(*alike)
            target = part.lb_endpoints.add()
            target.CopyFrom(template)
            if endpoint.port:
                socket = target.endpoint.address.socket_address
                socket.address = endpoint.address
                socket.port_value = endpoint.port
            else:
                target.endpoint.address.pipe.path = endpoint.address
    return message


def _grouped(held: list[Endpoint], view: View, key: LoadKey, policy: Policy) -> list[Group]:
    by_locality: dict[Locality, list[Endpoint]] = {}
    for endpoint in held:
        by_locality.setdefault(endpoint.locality, []).append(endpoint)
    groups = [
        Group(locality, members, sum(member.weight for member in members))
        for locality, members in sorted(by_locality.items(), key=lambda pair: str(pair[0]))
    ]
    setting = locality_setting(mesh_config(view), key.service, policy)
    if setting is None:
        return groups
    return apply(groups, setting, key.client.locality, dict(key.client.labels))


def _without_address(health: Health, weight: int, workload: str, tls_mode: str) -> LbEndpoint:
    """Return what the endpoints of one workload have in common; ``tls_mode`` is empty for plaintext."""
    target = LbEndpoint()
    target.health_status = int(health)
    target.load_balancing_weight.value = weight
    target.metadata.filter_metadata["istio"].fields["workload"].string_value = workload
    if tls_mode:
        metadata = target.metadata.filter_metadata["envoy.transport_socket_match"]
        metadata.fields["tlsMode"].string_value = tls_mode
    return target


def mutual_tls(view: View, endpoint: Endpoint, service: Service, mode: ClientTLSMode | None) -> bool:
    """Whether clients may use mutual TLS to the endpoint; ``mode`` is what a DestinationRule states."""
    if mode is not None:
        return mode is ClientTLSMode.ISTIO_MUTUAL
    if endpoint.tls_mode != "istio":
        return False
    namespace = endpoint.namespace or service.namespace
    if not view.index("peer_authentications_in", namespace):
        return namespace_mode(view, namespace) is not MtlsMode.DISABLE
    accepted = workload_mode(view, WorkloadKey(namespace, frozenset(endpoint.labels.items())))
    return accepted.of(endpoint.port) is not MtlsMode.DISABLE


def workload_label(view: View, endpoint: Endpoint) -> str:
    """Return ``workload;namespace;canonical name;canonical revision;cluster``: who telemetry says answered."""
    name = _first(endpoint.labels, _CANONICAL_NAME) or endpoint.workload
    revision = _first(endpoint.labels, _CANONICAL_REVISION)
    if revision == "latest":
        revision = ""
    return f"{endpoint.workload};{endpoint.namespace};{name};{revision};{view.cluster_id}"


def _first(labels: Labels, names: tuple[str, ...]) -> str:
    """Return the first of these labels that is not empty."""
    for name in names:
        value = labels.get(name)
        if value:
            return value
    return ""


def _is_ip(text: str) -> bool:
    return _IPV4.fullmatch(text) is not None or (":" in text and "/" not in text)
