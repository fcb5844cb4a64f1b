"""The workload behind a proxy: its labels, place and services; and the class that follows from them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from controlplane.apis.sidecar import Sidecar
from controlplane.model.kubernetes import ContainerPort
from controlplane.model.objects import Labels, Object, ObjectKey
from controlplane.model.proxy import Locality, Proxy
from controlplane.model.proxy_class import ClientScope, InboundScope, InboundTarget, ProxyClass
from controlplane.model.service import Protocol, Resolution, Service, ServicePort
from controlplane.registry.audience import listening, reaching
from controlplane.registry.distinctions import (
    gateway_pairs,
    headless_addresses,
    node_matters,
    policy_pairs,
    source_pairs,
)
from controlplane.registry.endpoints import (
    entry_endpoints,
    entry_labels,
    entry_locality,
    entry_port,
    network_of,
    pod_locality,
)
from controlplane.registry.labels import REGION, SUBZONE, ZONE, augmented, labelled_locality, selects
from controlplane.registry.memo import query
from controlplane.registry.proxy_settings import own_settings
from controlplane.registry.scopes import sidecar_for
from controlplane.registry.services import services_of
from controlplane.registry.store import View

_TRUE = frozenset({"true", "1", "t", "yes"})


@dataclass(frozen=True, slots=True)
class Workload:
    """What is known of the instance behind a proxy. ``labels`` include the topology's."""

    labels: Mapping[str, str]
    locality: Locality
    network: str = ""
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
        stated, known, network = pod.meta.labels, pod_locality(view, pod), network_of(view, pod.meta.labels)
        ports, annotations = pod.spec.ports, pod.meta.annotations
    else:
        stated, known = _entry(view, proxy) or (proxy.labels, Locality())
        network = proxy.network or network_of(view, stated)
        ports = _pod_ports(proxy)
    found = augmented(stated, known, view.cluster_id, network, node)
    locality = _label_locality(found) or labelled_locality(found) or proxy.locality
    labels = augmented(found, locality, view.cluster_id, network, node)
    return Workload({**proxy.static_labels, **labels}, locality, network, node, ports, annotations)


def _pod(view: View, proxy: Proxy) -> Object | None:
    named = view.object("Pod", proxy.namespace, proxy.name)
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
        held = json.loads(text)
        return tuple(
            ContainerPort(int(port["containerPort"]), str(port.get("name", "")), str(port.get("protocol", "TCP")))
            for port in held
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return ()  # the proxy's own word, only used to resolve names; unreadable is the same as absent


@query
def inbound_targets(view: View, proxy: Proxy) -> tuple[InboundTarget, ...]:
    """Return the service ports of the workload behind a proxy, oldest service first."""
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
    result = {
        InboundTarget(service.key, port.number, number): None
        for service, port, number in found
        if port.protocol is not Protocol.UDP
    }
    return tuple(result)


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
            for service in services_of(view, ObjectKey("Service", key.namespace, obj.spec.service)):
                for port in service.ports:
                    number = numbers.get(port.name)
                    if number:
                        yield service, port, number


def _entry_targets(view: View, proxy: Proxy) -> Iterable[tuple[Service, ServicePort, int]]:
    for key in view.index("entries_in", proxy.namespace):
        for service in services_of(view, key):
            for endpoint in entry_endpoints(view, service.key):
                port = service.port(endpoint.service_port)
                if endpoint.address in proxy.ips and port is not None and endpoint.port:
                    yield service, port, endpoint.port


@query
def classify(view: View, proxy: Proxy) -> ProxyClass:
    """Reduce a proxy to its class: everything that can change its bytes, and nothing else."""
    held = workload(view, proxy)
    router = proxy.type == "router"
    sidecar = None if router else sidecar_for(view, proxy.namespace, held.labels)
    client = _client(view, proxy, held, sidecar)
    targets = inbound_targets(view, proxy)
    reach, listen = reaching(view, client), listening(view, client)
    if router:
        return ProxyClass(client, reach, listen, gateway_targets=targets)
    obj = view.get(sidecar) if sidecar is not None else None
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
        exact_balance=_flag(proxy, "INBOUND_LISTENER_EXACT_BALANCE"),
        settings=client.settings,
    )
    return ProxyClass(client, reach, listen, inbound)


def _concerns_inbound(spec: Sidecar) -> bool:
    """Whether a Sidecar resource can make a difference to inbound traffic: what it hides loses its rules too."""
    return bool(spec.ingress or spec.egress) or spec.inbound_connection_pool is not None


def _client(view: View, proxy: Proxy, held: Workload, sidecar: ObjectKey | None) -> ClientScope:
    pairs, names = source_pairs(view, proxy.namespace)
    if proxy.type == "router":
        pairs |= gateway_pairs(view, ())
    known_ips = [ip for ip in proxy.ips if ip]
    metadata = proxy.metadata
    return ClientScope(
        namespace=proxy.namespace,
        router=proxy.type == "router",
        istio=bool(proxy.istio_version),
        sidecar=sidecar,
        domain=proxy.domain,
        ipv4=any("." in ip for ip in known_ips) or not known_ips,
        ipv6=any(":" in ip for ip in known_ips),
        cluster_id=proxy.cluster_id,
        network=held.network,
        locality=held.locality,
        labels=frozenset(
            (name, value) for name, value in held.labels.items() if (name, value) in pairs or name in names
        ),
        node=held.node if node_matters(view, ()) else "",
        own_ips=frozenset(proxy.ips[:1]) & headless_addresses(view, ()),
        interception=str(metadata.get("INTERCEPTION_MODE") or "REDIRECT"),
        dns_capture=_flag(proxy, "DNS_CAPTURE"),
        http_proxy_port=_number(metadata.get("HTTP_PROXY_PORT")),
        idle_timeout=str(metadata.get("IDLE_TIMEOUT") or ""),
        http10=str(metadata.get("HTTP10") or "") == "1",
        unprivileged=_flag(proxy, "UNPRIVILEGED_POD"),
        exact_balance=_flag(proxy, "OUTBOUND_LISTENER_EXACT_BALANCE"),
        settings=own_settings(view, proxy, held.annotations),
    )


def _flag(proxy: Proxy, name: str) -> bool:
    return str(proxy.metadata.get(name, "")).lower() in _TRUE


def _number(value: Any) -> int:  # noqa: ANN401 - a JSON value
    try:
        return int(value)
    except (TypeError, ValueError):
        return 0


__all__ = ["Workload", "classify", "inbound_targets", "workload"]
