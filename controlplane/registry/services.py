"""Services: what Kubernetes Services and ServiceEntries mean, and who may see them."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain
from operator import attrgetter
from typing import NamedTuple

from controlplane.apis.mesh import MeshConfig, ServiceEntryVisibility
from controlplane.apis.service_entry import ServiceEntry
from controlplane.engine.recording import isolated, query
from controlplane.model import kinds
from controlplane.model.kubernetes import KubeService, KubeServicePort
from controlplane.model.label_selector import matches
from controlplane.model.objects import Object, ObjectKey
from controlplane.model.service import Protocol, Resolution, Service, ServiceKey, ServicePort
from controlplane.registry.auto_addresses import auto_addresses, may_allocate
from controlplane.registry.mesh import mesh_config
from controlplane.registry.portions import PORTIONS
from controlplane.registry.store import View

#: port numbers whose clients wait for the server to speak first: never detected
WELL_KNOWN_TCP = frozenset({25, 53, 3306, 27017})
APP_PROTOCOLS = {
    "kubernetes.io/h2c": Protocol.HTTP2,
    "kubernetes.io/ws": Protocol.HTTP,
    "kubernetes.io/wss": Protocol.HTTPS,
}
EXPORT_ANNOTATION = "networking.istio.io/exportTo"
DISTRIBUTION_ANNOTATION = "networking.istio.io/traffic-distribution"
CANONICAL_ACCOUNTS = "alpha.istio.io/canonical-serviceaccounts"
KUBERNETES_ACCOUNTS = "alpha.istio.io/kubernetes-serviceaccounts"
CONNECT_STRATEGY = "istio.io/connect-strategy"
_DISTRIBUTIONS = {"preferclose": "zone", "prefersamezone": "zone", "prefersamenode": "node"}
_RESOLUTIONS = {
    "NONE": Resolution.PASSTHROUGH,
    "STATIC": Resolution.CLIENT_SIDE,
    "DNS": Resolution.DNS,
    "DNS_ROUND_ROBIN": Resolution.DNS_ROUND_ROBIN,
    "DYNAMIC_DNS": Resolution.DYNAMIC_DNS,
}


def kube_protocol(port: KubeServicePort) -> Protocol:
    """Return the application protocol of a Kubernetes port: ``appProtocol``, else the name's prefix."""
    if port.protocol == "UDP":
        return Protocol.UDP
    text = port.name
    if port.app_protocol is not None:
        if port.app_protocol in APP_PROTOCOLS:
            return APP_PROTOCOLS[port.app_protocol]
        text = port.app_protocol
    if text.lower().startswith("grpc-web"):
        return Protocol.GRPC_WEB
    found = Protocol.parse(text.split("-", 1)[0])
    if found is Protocol.AUTO and port.number in WELL_KNOWN_TCP:
        return Protocol.TCP
    return found


def exported_to(values: Iterable[str], default: Iterable[str], namespace: str) -> frozenset[str]:
    """Resolve an ``exportTo`` list: empty means the mesh default, ``.`` the object's own namespace."""
    stated = [value.strip() for value in values if value.strip()] or list(default)
    return frozenset(namespace if value == "." else value for value in stated)


def _capped(view: View, export_to: frozenset[str], mesh: MeshConfig, namespace: str) -> frozenset[str]:
    """Return who sees a ServiceEntry once the mesh's cap is applied; it never adds anybody."""
    cap = mesh.service_entry_visibility
    visibility = _visibility(view, cap, namespace) if cap is not None and cap.apply_to_sidecars else ""
    if visibility not in {"NAMESPACE", "NONE"}:
        return export_to
    shown_at_home = "~" not in export_to and bool(export_to & {"*", namespace})
    return frozenset({namespace if visibility == "NAMESPACE" and shown_at_home else "~"})


def _visibility(view: View, cap: ServiceEntryVisibility, namespace: str) -> str:
    """Return what the first policy says that is for ServiceEntries of a namespace with these labels."""
    if not cap.policies:
        return cap.default_visibility
    obj = view.object(kinds.NAMESPACE, "", namespace)
    labels = obj.meta.labels if obj is not None else {}
    for policy in cap.policies:
        selectors = [rule.namespace_selector for rule in policy.matching_rules]
        if all(selector is not None and matches(selector, labels) for selector in selectors):
            return policy.visibility
    return cap.default_visibility


@isolated
def services_of(view: View, key: ObjectKey) -> tuple[Service, ...]:
    """Return the services that one Service or ServiceEntry object states."""
    obj = view.get(key)
    if obj is None:
        return ()
    if isinstance(obj.spec, KubeService):
        return (_kube_service(view, obj, obj.spec),)
    return _entry_services(view, obj, obj.spec)


def _kube_service(view: View, obj: Object, spec: KubeService) -> Service:
    meta = obj.meta
    mesh = mesh_config(view)
    annotations = meta.annotations
    external = spec.type == "ExternalName" and bool(spec.external_name)
    headless = spec.cluster_ips[:1] == ("None",)
    accounts = [name.strip() for name in annotations.get(CANONICAL_ACCOUNTS, "").split(",") if name.strip()]
    accounts += [
        f"spiffe://{mesh.trust_domain}/ns/{meta.namespace}/sa/{name.strip()}"
        for name in annotations.get(KUBERNETES_ACCOUNTS, "").split(",")
        if name.strip()
    ]
    resolution = Resolution.CLIENT_SIDE
    if external:
        resolution = Resolution.ALIAS
    elif headless:
        resolution = Resolution.PASSTHROUGH
    return Service(
        key=ServiceKey(f"{meta.name}.{meta.namespace}.svc.{view.domain}", obj.key),
        name=meta.name,
        kubernetes=True,
        ports=tuple(
            ServicePort(port.number, port.name, kube_protocol(port), port.target_port or port.number)
            for port in spec.ports
        ),
        resolution=resolution,
        age_order=obj.age_order,
        mesh_external=external,
        addresses=tuple(ip for ip in spec.cluster_ips if ip not in {"None", ""}),
        export_to=exported_to(
            annotations.get(EXPORT_ANNOTATION, "").split(","), mesh.default_service_export_to, meta.namespace
        ),
        selector=spec.selector or None,
        accounts=tuple(accounts),
        external_name=spec.external_name if external else "",
        labels=meta.labels,
        node_local=spec.internal_traffic_policy == "Local",
        traffic_distribution=_distribution(view, obj, spec.traffic_distribution),
        publish_not_ready=spec.publish_not_ready_addresses,
    )


def _distribution(view: View, obj: Object, stated: str) -> str:
    if stated:
        return _DISTRIBUTIONS.get(stated.lower(), "")
    annotation = obj.meta.annotations.get(DISTRIBUTION_ANNOTATION)
    if annotation is None:
        namespace = view.object(kinds.NAMESPACE, "", obj.meta.namespace)
        annotation = namespace.meta.annotations.get(DISTRIBUTION_ANNOTATION, "") if namespace is not None else ""
    return _DISTRIBUTIONS.get(annotation.lower(), "")


def _entry_services(view: View, obj: Object, spec: ServiceEntry) -> tuple[Service, ...]:
    mesh = mesh_config(view)
    ports = tuple(
        ServicePort(port.number, port.name, Protocol.parse(port.protocol or ""), port.target_port or port.number)
        for port in spec.ports
    )
    export_to = exported_to(spec.export_to, mesh.default_service_export_to, obj.meta.namespace)
    export_to = _capped(view, export_to, mesh, obj.meta.namespace)
    resolution = _RESOLUTIONS[str(spec.resolution or "NONE")]
    addresses = tuple(address for text in spec.addresses if (address := _address(text)) is not None)
    allocated = auto_addresses(view, obj.key) if may_allocate(obj) else {}
    selector = spec.workload_selector
    # NONE with a target port keeps the port override apart from "same port": 0 means none was stated
    if resolution is Resolution.PASSTHROUGH:
        ports = tuple(
            ServicePort(port.number, port.name, Protocol.parse(port.protocol or ""), port.target_port or 0)
            for port in spec.ports
        )
    return tuple(
        Service(
            key=ServiceKey(host.lower(), obj.key),
            name=host.lower(),
            kubernetes=False,
            ports=ports,
            resolution=resolution,
            age_order=(obj.meta.created, host.lower(), obj.meta.namespace),
            mesh_external=str(spec.location or "MESH_EXTERNAL") == "MESH_EXTERNAL",
            addresses=addresses,
            auto_addresses=allocated.get(host.lower(), ()),
            export_to=export_to,
            selector=dict(selector.labels) if selector is not None else None,
            accounts=tuple(spec.subject_alt_names),
            labels=obj.meta.labels,
            traffic_distribution=_distribution(view, obj, ""),
            race_first_connect=obj.meta.annotations.get(CONNECT_STRATEGY) == "RACE_FIRST_TCP_CONNECT",
        )
        for host in dict.fromkeys(spec.hosts)
    )


def _address(text: str) -> str | None:
    """Return an IP, or a CIDR as written; a full-length prefix is its IP; ``None`` where it is neither."""
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
    if network.prefixlen == network.max_prefixlen:
        return str(network.network_address)
    return text


hostname_of, namespace_of = attrgetter("key.hostname"), attrgetter("key.object.namespace")
"""The host name and the namespace of a service, faster than the properties, for lists as long as the mesh."""


@dataclass(frozen=True, slots=True)
class ServiceTable:
    """All services by who sees them, each list oldest first; hidden ones are in neither.

    In ``private`` what a namespace keeps to itself comes before what others export to it. ``unread`` says of objects
    why their services are not known, which were never read.
    """

    public: tuple[Service, ...]
    private: Mapping[str, tuple[Service, ...]]
    unread: tuple[str, ...] = ()

    def each(self) -> Iterator[Service]:
        """Yield every service once: one that several namespaces see is in the list of each."""
        yield from self.public
        seen: set[ServiceKey] = set()
        for service in chain.from_iterable(self.private.values()):
            if service.key not in seen:
                seen.add(service.key)
                yield service


class StatedServices(NamedTuple):
    """Services that a portion of the objects state, and what they are sorted by.

    ``unread`` says of objects why their services are not known.
    """

    services: tuple[Service, ...]
    ages: tuple[str, ...]
    unread: tuple[tuple[ObjectKey, str], ...]


@query
def stated_services(view: View, portion: tuple[str, int]) -> StatedServices:
    """Return the services of a portion of the objects, which an index has; a change of others stops here."""
    services: list[Service] = []
    unread: list[tuple[ObjectKey, str]] = []
    for key in view.index(*portion):
        outcome = services_of.outcome(view, key)
        if outcome.built:
            services += outcome.value
        else:
            unread.append((key, outcome.failure))
    return StatedServices(tuple(services), tuple(map(_age, services)), tuple(unread))


@query
def service_table(view: View, _key: tuple[()]) -> ServiceTable:
    """Return every service, divided by visibility."""
    public: list[Service] = []
    private: defaultdict[str, list[Service]] = defaultdict(list)
    indexes = ("services_in_portion", "entries_in_portion")
    held = [stated_services(view, (index, number)) for index in indexes for number in range(PORTIONS)]
    services = list(chain.from_iterable([each.services for each in held]))
    ages = list(chain.from_iterable([each.ages for each in held]))
    for place in sorted(range(len(ages)), key=ages.__getitem__):
        service = services[place]
        if "*" in service.export_to:
            public.append(service)
        elif "~" not in service.export_to:
            for namespace in service.export_to:
                private[namespace].append(service)
    return ServiceTable(
        tuple(public),
        {name: tuple(sorted(found, key=partial(_foreign, name))) for name, found in private.items()},
        tuple(f"{key}: {reason}" for key, reason in sorted(chain.from_iterable([each.unread for each in held]))),
    )


def _foreign(namespace: str, service: Service) -> bool:
    return service.namespace != namespace


def _age(service: Service) -> str:
    """Return what services are sorted by, the oldest first, as one text: it is compared faster than what it is made of.

    No part has a character less than the one between them, so the order is that of the parts.
    """
    key = service.key.object
    return "\0".join((*service.age_order, service.key.hostname, *key.kind, key.namespace, key.name, key.cluster))


@query
def unread_services(view: View, _key: tuple[()]) -> tuple[str, ...]:
    """Return why services are not known that some objects state, by object."""
    return service_table(view, ()).unread


@query
def visible_services(view: View, namespace: str) -> tuple[Service, ...]:
    """Return the services clients of a namespace may see: those exported to it by name, then the public ones."""
    table = service_table(view, ())
    private = table.private.get(namespace)
    return (*private, *table.public) if private else table.public


@dataclass(frozen=True, slots=True)
class ServiceIndex:
    """Visible services by host name, each tuple in order of visibility."""

    by_host: Mapping[str, tuple[Service, ...]]


@query
def visible_by_host(view: View, namespace: str) -> ServiceIndex:
    """Return the services visible in a namespace by host name."""
    if namespace and not service_table(view, ()).private.get(namespace):
        return visible_by_host(view, "")  # one index for all namespaces that see only what is public
    services = visible_services(view, namespace)
    sole = dict(zip(map(hostname_of, services), zip(services), strict=True))
    if len(sole) == len(services):
        return ServiceIndex(sole)  # the usual case, without a look at one by one
    found: defaultdict[str, list[Service]] = defaultdict(list)
    for service in services:
        found[service.hostname].append(service)
    return ServiceIndex({host: tuple(services) for host, services in found.items()})


@query
def sees_only_public(view: View, namespace: str) -> bool:
    """Whether a namespace sees just the public services, and no two namespaces offer it the same host name."""
    if service_table(view, ()).private.get(namespace):
        return False
    return len(visible_by_host(view, "").by_host) == len(visible_services(view, ""))


def best_namespace(services: Iterable[Service], own: str) -> tuple[Service, ...]:
    """Of services with one host name keep one namespace's: own, else a Kubernetes one, else the first in order."""
    held = tuple(services)
    if not held:
        return ()
    winner = next((service for service in held if service.namespace == own), None)
    winner = winner or next((service for service in held if service.kubernetes), held[0])
    return tuple(service for service in held if service.namespace == winner.namespace)


def owner(services: Iterable[Service], own: str) -> Service | None:
    """Return what a destination of one host name means: the own namespace's service, else Kubernetes', else the oldest.

    So a host that a VirtualService leads to is not decided by who exports it to whom, unlike what is imported.
    """
    held = tuple(services)
    return foremost([service for service in held if service.namespace == own] or held)


def foremost(services: Iterable[Service]) -> Service | None:
    """Return the service that stands for all of one host and namespace: Kubernetes', else the oldest; or ``None``."""
    return min(services, key=lambda each: (not each.kubernetes, _age(each)), default=None)
