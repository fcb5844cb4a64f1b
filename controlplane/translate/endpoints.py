"""Load assignments: the endpoints of one cluster, filtered, grouped by locality, with weights and priorities."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from operator import attrgetter, itemgetter
from typing import NamedTuple

from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment

from controlplane.apis.common import MAX_PORT
from controlplane.apis.destination_rule import ClientTLSMode
from controlplane.documents.words import is_portable_ip
from controlplane.engine.recording import Query
from controlplane.model.cluster_names import outbound_name, sni
from controlplane.model.objects import Labels
from controlplane.model.proxy import Locality
from controlplane.model.proxy_class import ClientScope
from controlplane.model.service import Endpoint, Health, Service, ServicePort
from controlplane.registry.cluster_local import is_cluster_local
from controlplane.registry.destination_rules import Policy, Rule, made_of, policy_for, stated_tls_mode
from controlplane.registry.endpoints import PERSISTENT_SESSION, endpoints, endpoints_by_port
from controlplane.registry.labels import selects
from controlplane.registry.mesh import mesh_config
from controlplane.registry.networks import network_gateways, stated_gateways
from controlplane.registry.peer_authentication import MtlsMode, namespace_mode, workload_mode
from controlplane.registry.policies import WorkloadKey
from controlplane.registry.store import View
from controlplane.snapshots import Resource, ResourceType
from controlplane.translate import endpoint_bytes
from controlplane.translate.locality import Group, apply, locality_setting
from controlplane.translate.networks import MOST, Crossing, GatewayEndpoint
from controlplane.translate.sound import is_sound

DRAINING_LABEL = "istio.io/draining"
_CANONICAL_NAME = ("service.istio.io/canonical-name", "app.kubernetes.io/name", "app")
_CANONICAL_REVISION = ("service.istio.io/canonical-revision", "app.kubernetes.io/version", "version")
#: together they stay below what Envoy can add up
_PLAIN_LOCALITIES, _PLAIN_WEIGHT = 128, 2**24


class LoadKey(NamedTuple):
    """One load assignment. ``client`` is blank where the place of the client makes no difference.

    ``forwards`` is set where a gateway passes mutual TLS through: only endpoints count that take it.
    """

    service: Service
    port: int
    subset: str
    rule: Rule | None
    client: ClientScope
    forwards: bool = False

    @property
    def name(self) -> str:
        """The cluster's name."""
        name = sni if self.forwards else outbound_name
        return name(self.port, self.subset, self.service.hostname)


def matching_endpoints(view: View, key: LoadKey, policy: Policy, crossing: Crossing) -> tuple[Endpoint, ...]:
    """Return the endpoints of the cluster that this client may use."""
    service = key.service
    port = service.port(key.port)
    if port is None:
        return ()
    if key.client.cluster_id != view.cluster_id and is_cluster_local(view, service.hostname):
        return ()
    far = crossing.matters
    labels: dict[str, str] = {}
    if key.subset:
        found = key.rule.subset(key.subset) if key.rule is not None else None
        if found is None:
            return ()
        labels = dict(found.labels or {})
    return tuple(
        endpoint
        for endpoint in _of_port(view, service, port)
        if _usable(endpoint, service, policy, key.client)
        and (crossing.admits(endpoint) if far else endpoint.address)
        and (not labels or selects(labels, endpoint.labels))
    )


def _of_port(view: View, service: Service, port: ServicePort) -> Iterable[Endpoint]:
    """Return the endpoints of a port; served as a load assignment, the port's name alone decides.

    So where several ServiceEntries of one host call different ports the same, each port has the endpoints of all.
    """
    key = (service.hostname, service.namespace)
    serves = Endpoint.serves if service.resolution.is_dns else _is_named
    if len(service.ports) == 1:
        return (endpoint for endpoint in endpoints(view, key) if serves(endpoint, port))
    found = endpoints_by_port(view, key)
    named = found.get(port.name, ())
    if not service.resolution.is_dns:
        return named
    return (*found.get(port.number, ()), *(endpoint for endpoint in named if not endpoint.service_port))


def _is_named(endpoint: Endpoint, port: ServicePort) -> bool:
    return endpoint.port_name == port.name


def _usable(endpoint: Endpoint, service: Service, policy: Policy, client: ClientScope) -> bool:
    if endpoint.health is Health.TERMINATING:
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
    """Build the load assignment of one EDS cluster; without endpoints it holds only its name.

    Raises:
        UnbuiltError: endpoints could not be read: that is not the same as none.
    """
    if key.rule is not None:
        made_of(view, key.rule)  # the key already holds what it says; recorded for provenance
    body, is_plain = _encoded(view, key)
    if not is_plain:
        message = ClusterLoadAssignment.FromString(body)
        if not is_sound(view, message, f"load assignment {key.name}", lambda _: (key.service.key.object,)):
            message = ClusterLoadAssignment(cluster_name=key.name)
        body = message.SerializeToString(deterministic=True)
    return Resource.of(ResourceType.ENDPOINT, key.name, body)


eds_resource: Query[LoadKey, Resource | None] = Query(_build, isolated=True)
eds_resource.name = "load_assignment"


def load_assignment(view: View, key: LoadKey) -> ClusterLoadAssignment:
    """Return the load assignment of a cluster. Reference: envoy.config.endpoint.v3.ClusterLoadAssignment."""
    return ClusterLoadAssignment.FromString(_encoded(view, key)[0])


def _encoded(view: View, key: LoadKey) -> tuple[bytes, bool]:
    """Return the load assignment of a cluster, encoded, and whether no rule of Envoy's needs to be looked at.

    That is so of endpoints such as nearly all are: at addresses with ports, with weights whose sums fit. A full check
    of thousands of endpoints takes long.
    """
    service = key.service
    policy = policy_for(mesh_config(view), key.rule, key.subset, key.port)
    if service.port(key.port) is None:
        return endpoint_bytes.assignment(key.name, ()), True
    dns = service.resolution.is_dns
    stated = stated_tls_mode(key.rule, key.subset, key.port)
    gateways = stated_gateways(view, ()) if dns else network_gateways(view, ())
    crossing = Crossing(gateways, key.client, view.cluster_id, resolves=dns)

    def mutual(endpoint: Endpoint) -> bool:
        return endpoint.tls_mode == "istio" and mutual_tls(view, endpoint, service, stated)

    matching = matching_endpoints(view, key, policy, crossing)
    held = [e for e in matching if dns or e.port == 0 or not e.address or is_portable_ip(e.address)]
    if key.forwards:
        held = [endpoint for endpoint in held if mutual(endpoint)]
    further: Mapping[tuple[str, int], Sequence[str]] = {}
    if key.client.dual_stack:
        held, further = _one_a_pod(held)
    places = [(place, crossing.replaced(members, mutual)) for place, members in _by_place(held)]
    groups = _grouped(places, view, key, policy)
    is_plain = len(groups) <= _PLAIN_LOCALITIES and not dns and all(map(_is_plain, groups))
    alike = _Alike(view, service, stated)
    localities = [
        endpoint_bytes.locality(
            (group.locality.region, group.locality.zone, group.locality.subzone),
            min(group.weight, MOST),
            group.priority,
            [endpoint_bytes.address(each, further.get(_place(each), ())) + alike.of(each) for each in group.endpoints],
        )
        for group in groups
    ]
    return endpoint_bytes.assignment(key.name, localities), is_plain


def _is_plain(group: Group) -> bool:
    """Whether endpoints that were found to be at addresses, and not at names, are such as nearly all are."""
    for each in group.endpoints:
        if each.weight <= 0 or not 0 < each.port <= MAX_PORT or not each.address:
            return False
        if isinstance(each, GatewayEndpoint) and not is_portable_ip(each.address):
            return False
    return sum([each.weight for each in group.endpoints]) <= _PLAIN_WEIGHT and 0 < group.weight <= _PLAIN_WEIGHT


class _Alike:
    """What endpoints of a service have beside their addresses, once for those that differ in nothing it depends on."""

    def __init__(self, view: View, service: Service, stated: ClientTLSMode | None) -> None:
        self._view, self._service, self._stated = view, service, stated
        self._known: dict[Hashable, bytes] = {}

    def of(self, endpoint: Endpoint) -> bytes:
        """Return it, encoded."""
        # labels by identity: the endpoints, which keep them alive, are all there until the last one is encoded
        key = (id(endpoint.labels), *_BESIDE_ADDRESS(endpoint))
        known = self._known.get(key)
        if known is None:
            mode = _offered(self._view, endpoint, self._service, self._stated)
            label = workload_label(self._view, endpoint)
            known = endpoint_bytes.without_address(endpoint.health, endpoint.weight, label, mode)
            self._known[key] = known
        return known


_BESIDE_ADDRESS = attrgetter("port", "health", "weight", "tls_mode", "namespace", "workload")
_BY_ADDRESS = itemgetter(Endpoint._fields.index("address"), Endpoint._fields.index("port"))


def _place(endpoint: Endpoint) -> tuple[str, int]:
    return (endpoint.address, endpoint.port)


def _one_a_pod(held: Iterable[Endpoint]) -> tuple[list[Endpoint], Mapping[tuple[str, int], Sequence[str]]]:
    """Return one endpoint for each port of a pod, and the pod's further addresses by what stands for it.

    It is the pod's first address that stands for it. So a client of both IP families does not take two addresses of one
    pod for two pods, and tries the other one at once where the first does not answer.
    """
    pods: dict[tuple[tuple[str, ...], int], list[Endpoint]] = {}
    for endpoint in held:
        if endpoint.pod_ips:
            pods.setdefault((endpoint.pod_ips, endpoint.port), []).append(endpoint)
    kept: list[Endpoint] = []
    further: dict[tuple[str, int], list[str]] = {}
    for endpoint in held:
        if endpoint.pod_ips:
            known = {each.address for each in pods[endpoint.pod_ips, endpoint.port]}
            first, *others = [address for address in endpoint.pod_ips if address in known] or [endpoint.address]
            if endpoint.address != first:
                continue
            further[_place(endpoint)] = others
        kept.append(endpoint)
    return kept, further


def _by_place(held: list[Endpoint]) -> list[tuple[Locality, list[Endpoint]]]:
    """Divide endpoints by where they are, in the order of their addresses: that of their source means nothing."""
    by_locality: dict[Locality, list[Endpoint]] = {}
    for endpoint in sorted(held, key=_BY_ADDRESS):
        by_locality.setdefault(endpoint.locality, []).append(endpoint)
    return sorted(by_locality.items(), key=lambda pair: str(pair[0]))


def _grouped(
    places: Iterable[tuple[Locality, list[Endpoint]]], view: View, key: LoadKey, policy: Policy
) -> list[Group]:
    """Give the endpoints of each place their weight and priority."""
    groups = [Group(locality, members, sum(each.weight for each in members)) for locality, members in places]
    setting = locality_setting(mesh_config(view), key.service, policy)
    if setting is None:
        return groups
    return apply(groups, setting, key.client.locality, dict(key.client.labels))


def _offered(view: View, endpoint: Endpoint, service: Service, mode: ClientTLSMode | None) -> str:
    """Return the mode of mutual TLS that clients are told of an endpoint, empty for none."""
    if isinstance(endpoint, GatewayEndpoint):
        return endpoint.tls_mode
    if endpoint.tls_mode in {"", "disabled"} or not mutual_tls(view, endpoint, service, mode):
        return ""
    return endpoint.tls_mode


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
    if isinstance(endpoint, GatewayEndpoint):
        return f";;;;{endpoint.cluster}"
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
