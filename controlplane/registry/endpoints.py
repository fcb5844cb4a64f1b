"""Endpoints of services: slices joined with pods and nodes, ServiceEntry and WorkloadEntry endpoints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from controlplane.apis.workload_entry import WorkloadEntry
from controlplane.documents.words import is_portable_ip
from controlplane.engine.recording import UnbuiltError, isolated, query
from controlplane.model import kinds
from controlplane.model.kubernetes import EndpointSlice, Pod, SliceEndpoint
from controlplane.model.objects import Labels, Object, ObjectKey
from controlplane.model.proxy import Locality
from controlplane.model.service import Endpoint, Health, Resolution, Service, ServiceKey, ServicePort
from controlplane.registry.labels import TLS_MODE, augmented, labelled_locality, node_locality, selects
from controlplane.registry.mesh import mesh_config
from controlplane.registry.networks import network_of
from controlplane.registry.services import services_of
from controlplane.registry.store import View

PERSISTENT_SESSION = "istio.io/persistent-session"
PERSISTENT_SESSION_HEADER = "istio.io/persistent-session-header"
HEALTH_CHECKS = "proxy.istio.io/health-checks-enabled"
UNIX = "unix://"


@query
def endpoints(view: View, key: tuple[str, str]) -> tuple[Endpoint, ...]:
    """Return every endpoint of (host name, namespace), all ports: a Kubernetes service's, then by ServiceEntry.

    Raises:
        UnbuiltError: some could never be read (our bug), which is not the same as none.
    """
    hostname, namespace = key
    found: list[Endpoint] = []
    suffix = f".{namespace}.svc.{view.domain}"
    if hostname.endswith(suffix):
        found += kube_endpoints(view, ObjectKey(kinds.SERVICE, namespace, hostname.removesuffix(suffix)))
    seen_dns_ports: set[int] = set()
    entries = [obj for entry in view.index("entries_for", (namespace, hostname)) if (obj := view.get(entry))]
    for obj in sorted(entries, key=lambda entry: entry.age_order):
        held = entry_endpoints(view, ServiceKey(hostname, obj.key))
        if str(obj.spec.resolution) == "DNS_ROUND_ROBIN":  # one endpoint a port, whoever states it
            for endpoint in held:
                if endpoint.service_port not in seen_dns_ports:
                    seen_dns_ports.add(endpoint.service_port)
                    found.append(endpoint)
        else:
            found += held
    return tuple(found)


@query
def endpoints_by_port(view: View, key: tuple[str, str]) -> Mapping[str | int, list[Endpoint]]:
    """Return what ``endpoints`` does by the port's name, and by its number: many ports need no search for each."""
    found: dict[str | int, list[Endpoint]] = {}
    for endpoint in endpoints(view, key):
        found.setdefault(endpoint.port_name, []).append(endpoint)
        if endpoint.service_port:
            found.setdefault(endpoint.service_port, []).append(endpoint)
    return found


def known_endpoints(view: View, hostname: str, namespace: str) -> tuple[Endpoint, ...]:
    """Return what ``endpoints`` does, nothing where some could not be read: for what is told of apart from that."""
    try:
        return endpoints(view, (hostname, namespace))
    except UnbuiltError:
        return ()


@isolated
def kube_endpoints(view: View, key: ObjectKey) -> tuple[Endpoint, ...]:
    """Return the endpoints of a Kubernetes service, those of its slices and WorkloadEntries it selects, by address.

    So what lists them in another order, or in other slices, changes nothing.
    """
    found: dict[tuple[str, str], Endpoint] = {}
    for slice_key in view.index("slices_of", (key.namespace, key.name)):
        for endpoint in slice_endpoints(view, slice_key):
            found.setdefault((endpoint.address, endpoint.port_name), endpoint)
    result = list(found.values())
    for service in services_of(view, key):
        if service.selector and service.resolution is Resolution.CLIENT_SIDE:
            result += _selected_entries(view, service)
    return tuple(sorted(result, key=lambda each: (each.address, each.port, each.port_name, each.workload)))


def _selected_entries(view: View, service: Service) -> Iterable[Endpoint]:
    """WorkloadEntries of the namespace that a Kubernetes service selects; only IP addresses count."""
    for key in view.index("workload_entries_in", service.namespace):
        obj = view.get(key)
        if obj is None or not selects(service.selector or {}, entry_labels(obj)) or not _healthy(obj):
            continue
        if not is_portable_ip(obj.spec.address or ""):
            continue
        for port in service.ports:
            number = entry_port(obj.spec, port)
            if number:
                yield _entry_endpoint(view, obj.spec, entry_labels(obj), obj.key, number, port, kubernetes=True)


def entry_port(entry: WorkloadEntry, port: ServicePort) -> int:
    """Return the port of a WorkloadEntry that serves a Kubernetes service's; 0 where it has none of that name."""
    ports = entry.ports or {}
    if isinstance(port.target_port, str):
        return ports.get(port.target_port, 0)
    return ports.get(port.name) or port.target_port or port.number


@isolated
def slice_endpoints(view: View, key: ObjectKey) -> tuple[Endpoint, ...]:
    """Return the endpoints of one EndpointSlice; those whose pod is named but not known yet are withheld."""
    obj = view.get(key)
    if obj is None:
        return ()
    spec: EndpointSlice = obj.spec
    if spec.address_type == "FQDN":
        return ()
    service = ObjectKey(kinds.SERVICE, key.namespace, spec.service)
    found: list[Endpoint] = []
    for stated in spec.endpoints:
        pod = _pod_of(view, key.namespace, stated)
        if stated.pod and pod is None:
            continue
        health = _slice_health(view, service, stated)
        for address in stated.addresses:
            found += _slice_ports(view, spec, stated, pod, address, health)
    return tuple(found)


def _slice_ports(  # noqa: PLR0913, PLR0917 - one flat literal's worth of inputs
    view: View, spec: EndpointSlice, stated: SliceEndpoint, pod: Object | None, address: str, health: Health
) -> Iterable[Endpoint]:
    if pod is None:
        network = network_of(view, {}, address)
        labels = _without_pod(view, network)
        for name, number in spec.ports:
            yield Endpoint(address, number, name, labels=labels, health=health, network=network)
        return
    identity: Pod = pod.spec
    locality = pod_locality(view, pod)
    network = network_of(view, pod.meta.labels, address)
    labels = augmented(pod.meta.labels, locality, view.cluster_id, network, identity.node)
    account = f"spiffe://{mesh_config(view).trust_domain}/ns/{pod.meta.namespace}/sa/{identity.service_account}"
    for name, number in spec.ports:
        yield Endpoint(
            address=address,
            port=number,
            port_name=name,
            labels=labels,
            locality=locality,
            health=health,
            tls_mode=pod.meta.labels.get(TLS_MODE, "disabled"),
            account=account,
            network=network,
            node=identity.node,
            namespace=pod.meta.namespace,
            workload=identity.workload or pod.meta.name,
            hostname=identity.hostname or stated.hostname,
            subdomain=identity.subdomain,
            pod_ips=identity.ips if len(identity.ips) > 1 else (),
        )


@query
def _without_pod(view: View, network: str) -> Labels:
    """Return the labels of endpoints in a network of which nothing but the address is known."""
    return augmented({}, Locality(), view.cluster_id, network, "")


def _pod_of(view: View, namespace: str, stated: SliceEndpoint) -> Object | None:
    if stated.pod:
        return view.object(kinds.POD, stated.namespace or namespace, stated.pod)
    if not _has_pods(view, namespace):
        return None  # one read instead of one for each address
    for address in stated.addresses:
        for key in view.index("pods_with", address):
            if key.namespace == namespace:
                return view.get(key)
    return None


@query
def _has_pods(view: View, namespace: str) -> bool:
    """Whether a namespace has any pods: a mesh of files usually has none."""
    return bool(view.index("pods_in", namespace))


def _slice_health(view: View, service: ObjectKey, stated: SliceEndpoint) -> Health:
    """Map slice conditions; an absent condition counts as true. Reference: EndpointConditions."""
    if stated.ready is not False:
        return Health.HEALTHY
    terminating = stated.terminating is not False
    if terminating and stated.serving is not False:
        obj = view.get(service)
        labels = obj.meta.labels if obj is not None else {}
        if labels.get(PERSISTENT_SESSION) or labels.get(PERSISTENT_SESSION_HEADER):
            return Health.DRAINING
    return Health.TERMINATING if terminating else Health.UNHEALTHY


def pod_locality(view: View, pod: Object) -> Locality:
    """Return a pod's locality: its own label, else its node's labels."""
    stated = labelled_locality(pod.meta.labels)
    if stated is not None:
        return stated
    node = view.object(kinds.NODE, "", pod.spec.node) if pod.spec.node else None
    return node_locality(node.meta.labels) if node is not None else Locality()


@isolated
def entry_endpoints(view: View, key: ServiceKey) -> tuple[Endpoint, ...]:
    """Return the endpoints that one ServiceEntry gives one of its hosts."""
    service = next((service for service in services_of(view, key.object) if service.key == key), None)
    obj = view.get(key.object)
    if obj is None or service is None:
        return ()
    if service.selector is not None:
        return tuple(_selected(view, service))
    if obj.spec.endpoints:
        return tuple(
            _entry_endpoint(
                view,
                entry,
                entry.labels or {},
                ObjectKey(kinds.NO_KIND, key.namespace, f"{key.object.name}-{index}"),
                0,
                port,
            )
            for index, entry in enumerate(obj.spec.endpoints)
            for port in service.ports
        )
    if service.resolution.is_dns:
        return tuple(
            Endpoint(
                address=service.hostname,
                port=int(port.target_port or port.number),
                port_name=port.name,
                service_port=port.number,
                health=Health.UNKNOWN,
                namespace=key.namespace,
                workload=key.object.name,
            )
            for port in service.ports
        )
    return ()


def _selected(view: View, service: Service) -> Iterable[Endpoint]:
    """Pods and WorkloadEntries that a ServiceEntry selects, by kind, namespace and name."""
    selector = service.selector or {}
    dns = service.resolution.is_dns
    for key in view.index("pods_in", service.namespace):
        pod = view.get(key)
        if pod is None or not selects(selector, pod.meta.labels) or pod.spec.terminating or not pod.spec.ready:
            continue
        for address in pod.spec.ips[:1]:
            for port in service.ports:
                yield _pod_endpoint(view, pod, address, port)
    for key in view.index("workload_entries_in", service.namespace):
        obj = view.get(key)
        if obj is None or not selects(selector, entry_labels(obj)) or not _healthy(obj):
            continue
        if not dns and not is_portable_ip(obj.spec.address or "") and not _only_in_network(obj.spec):
            continue
        for port in service.ports:
            yield _entry_endpoint(view, obj.spec, entry_labels(obj), obj.key, 0, port)


def _pod_endpoint(view: View, pod: Object, address: str, port: ServicePort) -> Endpoint:
    identity: Pod = pod.spec
    named = next((p.number for p in identity.ports if p.name == port.name and p.protocol == "TCP"), 0)
    locality = pod_locality(view, pod)
    network = network_of(view, pod.meta.labels, address)
    return Endpoint(
        address=address,
        port=named or int(port.target_port or port.number),
        port_name=port.name,
        service_port=port.number,
        labels=augmented(pod.meta.labels, locality, view.cluster_id, network, identity.node),
        locality=locality,
        health=Health.HEALTHY,
        tls_mode=pod.meta.labels.get(TLS_MODE, "disabled"),
        account=f"spiffe://{mesh_config(view).trust_domain}/ns/{pod.meta.namespace}/sa/{identity.service_account}",
        network=network,
        node=identity.node,
        namespace=pod.meta.namespace,
        workload=identity.workload or pod.meta.name,
        hostname=identity.hostname,
        subdomain=identity.subdomain,
    )


def entry_labels(obj: Object) -> dict[str, str]:
    """Return a WorkloadEntry's labels: those of the spec, overridden by those of the metadata."""
    return {**(obj.spec.labels or {}), **obj.meta.labels}


def entry_locality(entry: WorkloadEntry, labels: Labels) -> Locality:
    """Return the place of a WorkloadEntry or of an endpoint in a ServiceEntry: as it states it, else by its label."""
    return Locality.parse(entry.locality) if entry.locality else (labelled_locality(labels) or Locality())


def _entry_endpoint(  # noqa: PLR0913, PLR0917 - inline endpoints and WorkloadEntries share it
    view: View,
    entry: WorkloadEntry,
    labels: Labels,
    owner: ObjectKey,
    number: int,
    port: ServicePort,
    *,
    kubernetes: bool = False,
) -> Endpoint:
    address = entry.address or ""
    if address.startswith(UNIX):
        address, number = address.removeprefix(UNIX), 0
    elif not number:
        number = (entry.ports or {}).get(port.name) or int(port.target_port or port.number)
    locality = entry_locality(entry, labels)
    network = entry.network or network_of(view, labels, address)
    mode = labels.get(TLS_MODE) or ("istio" if entry.service_account else "disabled")
    account = ""
    if entry.service_account:
        account = f"spiffe://{mesh_config(view).trust_domain}/ns/{owner.namespace}/sa/{entry.service_account}"
    return Endpoint(
        address=address,
        port=number,
        port_name=port.name,
        service_port=0 if kubernetes else port.number,
        labels=augmented(labels, locality, view.cluster_id, network, ""),
        locality=locality,
        health=Health.UNKNOWN,
        weight=entry.weight or 1,
        tls_mode=mode,
        account=account,
        network=entry.network or "",  # what is only derived shows in labels alone
        namespace=owner.namespace,
        workload=owner.name,
    )


def _only_in_network(entry: WorkloadEntry) -> bool:
    """Whether nothing of a workload is known but its network: it is reached through the network's gateways."""
    return not entry.address and bool(entry.network)


def _healthy(obj: Object) -> bool:
    """Whether a WorkloadEntry counts: health checks are off, or its ``Healthy`` condition is true."""
    if obj.meta.annotations.get(HEALTH_CHECKS, "").lower() not in {"true", "1", "t"}:
        return True
    return obj.meta.conditions.get("Healthy") == "True"
