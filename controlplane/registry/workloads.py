"""The workload behind a proxy: its labels, place and services; and the class that follows from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from controlplane.apis.sidecar import Sidecar
from controlplane.documents.json_reader import json_value
from controlplane.engine.recording import query
from controlplane.model import kinds
from controlplane.model.kubernetes import ContainerPort
from controlplane.model.objects import Labels, Object, ObjectKey
from controlplane.model.proxy import Locality, Proxy
from controlplane.model.proxy_class import (
    NO_FILES,
    ClientScope,
    FileCertificates,
    GatewayClass,
    InboundScope,
    InboundTarget,
    ProxyClass,
    SidecarClass,
)
from controlplane.model.service import Protocol, Resolution, Service, ServicePort
from controlplane.model.side import Side
from controlplane.registry.audience import listening, reaching, routing
from controlplane.registry.distinctions import (
    gateway_pairs,
    may_be_headless,
    node_matters,
    source_pairs,
)
from controlplane.registry.endpoints import (
    entry_endpoints,
    entry_labels,
    entry_locality,
    entry_port,
    pod_locality,
)
from controlplane.registry.environment import GATEWAY_NEEDS, HTTP3, HTTP10, enabled
from controlplane.registry.envoy_filters import proxy_patches
from controlplane.registry.labels import REGION, SUBZONE, ZONE, augmented, labelled_locality, selects
from controlplane.registry.networks import network_of
from controlplane.registry.policies import policy_pairs
from controlplane.registry.proxy_settings import own_settings, speaks_both_families
from controlplane.registry.scopes import sidecar_for
from controlplane.registry.services import services_of
from controlplane.registry.span_source import span_source
from controlplane.registry.store import View
from controlplane.registry.telemetry import telemetry_chain
from controlplane.registry.tracing import TracingKey
from controlplane.registry.traffic_extensions import attached_extensions

_TRUE = frozenset({"true", "1", "t", "yes"})
_FILE_PARTS = ("CERT_CHAIN", "KEY", "ROOT_CERT")


@dataclass(frozen=True, slots=True)
class Workload:
    """What is known of the instance behind a proxy. ``labels`` include the topology's."""

    labels: Mapping[str, str]
    locality: Locality
    node: str = ""
    ports: tuple[ContainerPort, ...] = field(default=())
    annotations: Mapping[str, str] = field(default_factory=dict)


@query
def workload(view: View, proxy: Proxy) -> Workload:
    """Return the workload: its Pod, else a ServiceEntry endpoint of its namespace, else what the node says."""
    pod = _pod(view, proxy)
    node = str(proxy.metadata.get("NODE_NAME", ""))
    annotations: Mapping[str, str] = {}
    if pod is not None:
        stated, known = pod.meta.labels, pod_locality(view, pod)
        ports, annotations = pod.spec.ports, pod.meta.annotations
    else:
        stated, known = _entry(view, proxy) or (proxy.labels, Locality())
        ports = _pod_ports(proxy)
    network = proxy.network or network_of(view, stated, proxy.ips[0] if proxy.ips else "")
    found = augmented(stated, known, view.cluster_id, network, node)
    locality = _label_locality(found) or labelled_locality(found) or proxy.locality
    labels = augmented(found, locality, view.cluster_id, network, node)
    return Workload({**proxy.static_labels, **labels}, locality, node, ports, annotations)


def _pod(view: View, proxy: Proxy) -> Object | None:
    named = view.object(kinds.POD, proxy.namespace, proxy.name)
    if named is not None:
        return named
    for ip in proxy.ips:
        for key in view.index("pods_with", ip):
            pod = view.get(key)
            if pod is not None and key.namespace == proxy.namespace and not pod.spec.host_network:
                return pod
    return None


def _entry(view: View, proxy: Proxy) -> tuple[Mapping[str, str], Locality] | None:
    """Return the labels and place that ServiceEntries of the namespace know for the proxy's address, or ``None``."""
    found = _workload_entry(view, proxy)
    if found is not None:
        labels = entry_labels(found)
        return labels, entry_locality(found.spec, labels)
    for ip in proxy.ips:
        for key in view.index("entries_with", ip):
            entry = view.get(key)
            if entry is None or key.namespace != proxy.namespace:
                continue
            for endpoint in entry.spec.endpoints:
                if endpoint.address == ip:
                    return endpoint.labels, entry_locality(endpoint, endpoint.labels)
    return None


def _workload_entry(view: View, proxy: Proxy) -> Object | None:
    """Return the WorkloadEntry of the proxy's namespace and address; of several, the one of the proxy's name."""
    held = [
        obj
        for ip in proxy.ips
        for key in view.index("workload_entries_with", ip)
        if key.namespace == proxy.namespace and (obj := view.get(key)) is not None
    ]
    return next((obj for obj in held if obj.meta.name == proxy.name), held[0] if held else None)


def _label_locality(labels: Mapping[str, str]) -> Locality | None:
    found = Locality(labels.get(REGION, ""), labels.get(ZONE, ""), labels.get(SUBZONE, ""))
    return found if any(found) else None


def _pod_ports(proxy: Proxy) -> tuple[ContainerPort, ...]:
    text = proxy.metadata.get("POD_PORTS")
    if not isinstance(text, str):
        return ()
    try:
        held = json_value(text)
        return tuple(
            ContainerPort(int(port["containerPort"]), str(port.get("name", "")), str(port.get("protocol", "TCP")))
            for port in held
        )
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):  # the last: of an infinite number
        return ()  # the proxy's own word, only used to resolve names; unreadable is the same as absent


@query
def inbound_targets(view: View, proxy: Proxy) -> tuple[InboundTarget, ...]:
    """Return the service ports of the workload behind a proxy, oldest service first."""
    result = {
        InboundTarget(service.key, port.number, number): None
        for service, port, number in _targets(view, proxy)
        if port.protocol is not Protocol.UDP
    }
    return tuple(result)


@query
def udp_ports(view: View, proxy: Proxy) -> frozenset[int]:
    """Return the UDP ports of the services that lead to a proxy."""
    return frozenset(port.number for _, port, _ in _targets(view, proxy) if port.protocol is Protocol.UDP)


def _targets(view: View, proxy: Proxy) -> list[tuple[Service, ServicePort, int]]:
    found: list[tuple[Service, ServicePort, int]] = []
    held = workload(view, proxy)
    entry = _workload_entry(view, proxy) if _pod(view, proxy) is None else None
    selecting = tuple(_selecting(view, proxy.namespace, held.labels))
    for service in selecting:
        found += _selected_ports(service, held) if entry is None else _entry_ports(service, entry)
    if not selecting:
        found += _by_slices(view, proxy)
    found += _entry_targets(view, proxy)
    found.sort(key=lambda target: (target[0].age_order[0], target[0].hostname))
    return found


def _selecting(view: View, namespace: str, labels: Labels) -> Iterable[Service]:
    """Yield the Kubernetes services of a namespace that select these labels, by name."""
    keys = {key for pair in labels.items() for key in view.index("services_selecting", (namespace, *pair))}
    for key in sorted(keys):
        for service in services_of(view, key):
            if service.selector and selects(service.selector, labels):
                yield service


def _selected_ports(service: Service, held: Workload) -> Iterable[tuple[Service, ServicePort, int]]:
    if service.resolution is Resolution.ALIAS:
        return
    seen: set[tuple[int, Protocol]] = set()
    for port in service.ports:
        number = port.target_port
        if isinstance(number, str):
            transport = "UDP" if port.protocol is Protocol.UDP else "TCP"
            number = next((p.number for p in held.ports if p.name == number and p.protocol == transport), 0)
        if number and (number, port.protocol) not in seen:
            seen.add((number, port.protocol))
            yield service, port, number


def _entry_ports(service: Service, entry: Object) -> Iterable[tuple[Service, ServicePort, int]]:
    if service.resolution is Resolution.CLIENT_SIDE:
        yield from ((service, port, number) for port in service.ports if (number := entry_port(entry.spec, port)))


def _by_slices(view: View, proxy: Proxy) -> Iterable[tuple[Service, ServicePort, int]]:
    for ip in proxy.ips:
        for key in view.index("slices_with", ip):
            obj = view.get(key)
            if obj is None or key.namespace != proxy.namespace:
                continue
            numbers = dict(obj.spec.ports)
            for service in services_of(view, ObjectKey(kinds.SERVICE, key.namespace, obj.spec.service)):
                for port in service.ports:
                    number = numbers.get(port.name)
                    if number:
                        yield service, port, number


def _entry_targets(view: View, proxy: Proxy) -> Iterable[tuple[Service, ServicePort, int]]:
    for key in view.index("entries_in", proxy.namespace):
        if not (services_of.outcome(view, key).built or _may_concern(view, key, proxy)):
            continue
        for service in services_of(view, key):
            for endpoint in entry_endpoints(view, service.key):
                port = service.port(endpoint.service_port)
                if endpoint.address in proxy.ips and port is not None and endpoint.port:
                    yield service, port, endpoint.port


def _may_concern(view: View, key: ObjectKey, proxy: Proxy) -> bool:
    """Whether a ServiceEntry that cannot be read may be for the workload behind a proxy."""
    obj = view.get(key)
    if obj is None:
        return False
    return obj.spec.workload_selector is not None or any(each.address in proxy.ips for each in obj.spec.endpoints)


@query
def classify(view: View, proxy: Proxy) -> ProxyClass:
    """Reduce a proxy to its class: everything that can change its bytes, and nothing else."""
    held = workload(view, proxy)
    router = proxy.type == "router"
    sidecar = None if router else sidecar_for(view, proxy.namespace, held.labels)
    patches = proxy_patches(view, proxy, held.labels)
    client = _client(view, proxy, held, sidecar, patched=bool(patches.extensions))
    targets = inbound_targets(view, proxy)
    reach = reaching(view, client)
    if router:
        udp = udp_ports(view, proxy) if enabled(view, HTTP3) else frozenset()
        return GatewayClass(client, reach, targets, patches, limited=enabled(view, GATEWAY_NEEDS), udp=udp)
    obj = view.get(sidecar) if sidecar is not None else None
    server = TracingKey(client.settings, client.telemetry, Side.INBOUND)
    pairs = policy_pairs(view, proxy.namespace)
    inbound = InboundScope(
        namespace=proxy.namespace,
        istio=client.istio,
        sidecar=sidecar if obj is not None and _concerns_inbound(obj.spec) else None,
        targets=targets,
        labels=frozenset(pair for pair in held.labels.items() if pair in pairs),
        ips=proxy.ips if obj is not None and obj.spec.ingress else (),
        ipv4=client.ipv4,
        ipv6=client.ipv6,
        interception=client.interception,
        idle_timeout=client.idle_timeout,
        http10=client.http10,
        detects_http10=client.detects_http10,
        exact_balance=_flag(proxy, "INBOUND_LISTENER_EXACT_BALANCE"),
        settings=client.settings,
        dual_stack=client.dual_stack,
        telemetry=client.telemetry,
        spans=span_source(view, proxy, held.labels, held.annotations, server),
        extensions=client.extensions,
        files=_files(proxy, "SERVER"),
    )
    return SidecarClass(client, reach, listening(view, client), routing(view, client), inbound, patches)


def _concerns_inbound(spec: Sidecar) -> bool:
    """Whether a Sidecar resource can make a difference to inbound traffic: what it hides loses its rules too."""
    return bool(spec.ingress or spec.egress) or spec.inbound_connection_pool is not None


def _client(view: View, proxy: Proxy, held: Workload, sidecar: ObjectKey | None, *, patched: bool) -> ClientScope:
    pairs, names = source_pairs(view, proxy.namespace)
    if proxy.type == "router":
        pairs |= gateway_pairs(view, ()) | policy_pairs(view, proxy.namespace)
    known_ips = [ip for ip in proxy.ips if ip]
    metadata = proxy.metadata
    ipv4 = any("." in ip for ip in known_ips) or not known_ips
    ipv6 = any(":" in ip for ip in known_ips)
    settings = own_settings(view, proxy, held.annotations)
    telemetry = telemetry_chain(view, proxy.namespace, held.labels)
    side = Side.GATEWAY if proxy.type == "router" else Side.OUTBOUND
    extensions = attached_extensions(view, proxy.namespace, held.labels)
    return ClientScope(
        namespace=proxy.namespace,
        router=proxy.type == "router",
        istio=bool(proxy.istio_version),
        sidecar=sidecar,
        domain=proxy.domain,
        ipv4=ipv4,
        ipv6=ipv6,
        cluster_id=str(metadata.get("CLUSTER_ID") or view.cluster_id),
        network=proxy.network,
        network_view=_network_view(proxy),
        locality=held.locality,
        labels=frozenset(
            (name, value) for name, value in held.labels.items() if (name, value) in pairs or name in names
        ),
        node=held.node if node_matters(view, ()) else "",
        own_ips=frozenset(ip for ip in proxy.ips[:1] if may_be_headless(view, ip)),
        interception=str(metadata.get("INTERCEPTION_MODE") or "REDIRECT"),
        dns_capture=_flag(proxy, "DNS_CAPTURE"),
        http_proxy_port=_number(metadata.get("HTTP_PROXY_PORT")),
        idle_timeout=str(metadata.get("IDLE_TIMEOUT") or ""),
        http10=str(metadata.get("HTTP10") or "") == "1" or enabled(view, HTTP10),
        detects_http10=enabled(view, HTTP10),
        unprivileged=_flag(proxy, "UNPRIVILEGED_POD"),
        exact_balance=_flag(proxy, "OUTBOUND_LISTENER_EXACT_BALANCE"),
        settings=settings,
        extensions=extensions,
        fetches=(bool(extensions) or patched) and (bool(proxy.istio_version) or _flag(proxy, "FETCHES_MODULES")),
        dual_stack=ipv4 and ipv6 and speaks_both_families(view, proxy, held.labels, held.annotations),
        telemetry=telemetry,
        spans=span_source(view, proxy, held.labels, held.annotations, TracingKey(settings, telemetry, side)),
        files=_files(proxy, "CLIENT"),
        server_files=_files(proxy, "SERVER") if proxy.type == "router" else NO_FILES,
    )


def _network_view(proxy: Proxy) -> frozenset[str]:
    """Return the networks that a proxy wants to see the endpoints of, empty for all."""
    names = str(proxy.metadata.get("REQUESTED_NETWORK_VIEW") or "").split(",")
    return frozenset(name.strip() for name in names) - {""}


def _files(proxy: Proxy, side: str) -> FileCertificates:
    """Return the files that a proxy has for one side of TLS, and who has its other secrets.

    Source: node metadata ``TLS_<side>_*``, ``file-credential``, ``credential``.
    """
    chain, key, root = (str(proxy.metadata.get(f"TLS_{side}_{part}") or "") for part in _FILE_PARTS)
    apart, credentials = (proxy.metadata.get(name) == "true" for name in ("file-credential", "credential"))
    return FileCertificates(chain, key, root, apart=apart, credentials=credentials)


def _flag(proxy: Proxy, name: str) -> bool:
    return str(proxy.metadata.get(name, "")).lower() in _TRUE


def _number(value: Any) -> int:  # noqa: ANN401 - a JSON value
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return 0


__all__ = ["Workload", "classify", "inbound_targets", "workload"]
