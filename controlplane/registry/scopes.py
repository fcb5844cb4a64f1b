"""What a namespace's proxies may reach: the Sidecar resource in force, applied to services and VirtualServices."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from controlplane.apis.sidecar import IstioEgressListener
from controlplane.engine.recording import isolated, query
from controlplane.model.cluster_names import outbound_name
from controlplane.model.objects import Labels, Object, ObjectKey
from controlplane.model.service import Protocol, Resolution, Service
from controlplane.registry.aliases import alias_ends
from controlplane.registry.labels import selects
from controlplane.registry.mesh import mesh_config
from controlplane.registry.services import (
    best_namespace,
    foremost,
    hostname_of,
    owner,
    sees_only_public,
    visible_by_host,
    visible_services,
)
from controlplane.registry.store import View
from controlplane.registry.virtual_services import ResolvedVirtualService, mesh_virtual_services


class EgressKey(NamedTuple):
    """A client namespace and the Sidecar resource in force there (``None``: everything visible)."""

    namespace: str
    sidecar: ObjectKey | None


@dataclass(frozen=True, slots=True)
class EgressListener:
    """One egress listener: ``spec`` is the Sidecar's, ``None`` for the default one that imports everything.

    ``services`` are in Istio's order and not merged by host; with a port on the listener, only services that have
    it, trimmed to it. ``virtual_services`` are those of gateway ``mesh``, in Istio's order.
    """

    spec: IstioEgressListener | None
    services: tuple[Service, ...]
    virtual_services: tuple[ResolvedVirtualService, ...]

    @property
    def port(self) -> int:
        """The listener's port, 0 for a catch-all listener or a unix socket."""
        return self.spec.port.number or 0 if self.spec is not None and self.spec.port is not None else 0


@dataclass(frozen=True, slots=True)
class OutboundPolicy:
    """What happens to traffic for unknown destinations. ``egress_proxy`` is a cluster name or empty."""

    mode: str = "ALLOW_ANY"
    egress_proxy: str = ""


@dataclass(frozen=True, slots=True)
class EgressScope:
    """Everything a client may reach. ``services`` are merged by host name and drive clusters and endpoints."""

    listeners: tuple[EgressListener, ...]
    services: tuple[Service, ...]
    by_host: Mapping[str, Service] = field(repr=False)
    outbound_policy: OutboundPolicy = OutboundPolicy()


@isolated
def sidecars(view: View, namespace: str) -> tuple[Object, ...]:
    """Return the Sidecar resources of a namespace in order of precedence."""
    held = [obj for key in view.index("sidecars_in", namespace) if (obj := view.get(key))]
    return tuple(sorted(held, key=lambda obj: (obj.spec.workload_selector is None, obj.age_order)))


def sidecar_for(view: View, namespace: str, labels: Labels) -> ObjectKey | None:
    """Return the Sidecar resource for a proxy: one that selects it, the namespace's, or the root namespace's."""
    for obj in sidecars(view, namespace):
        selector = obj.spec.workload_selector
        if selector is None or selects(selector.labels or {}, labels):
            return obj.key
    root = mesh_config(view).root_namespace
    for obj in sidecars(view, root):
        if obj.spec.workload_selector is None:
            return obj.key
    return None


@query
def egress_scope(view: View, key: EgressKey) -> EgressScope:
    """Return what proxies of a namespace reach under a Sidecar resource."""
    obj = view.get(key.sidecar) if key.sidecar is not None else None
    virtual_services = mesh_virtual_services(view, key.namespace)
    if obj is None:
        listener = EgressListener(None, default_services(view, key.namespace), virtual_services)
        merged = default_merged(view, key.namespace)
        return EgressScope((listener,), merged.services, merged.by_host, outbound_policy(view, None))
    listeners = tuple(_listener(view, key.namespace, spec, virtual_services) for spec in stated_listeners(obj))
    by_host = _merged(view, key.namespace, listeners)
    return EgressScope(listeners, tuple(by_host.values()), by_host, outbound_policy(view, obj))


def stated_listeners(sidecar: Object | None) -> tuple[IstioEgressListener | None, ...]:
    """Return what is said of each egress listener; ``None`` of one for everything."""
    return (tuple(sidecar.spec.egress) if sidecar is not None else ()) or (None,)


@query
def level4_scope(view: View, key: EgressKey) -> EgressScope:
    """Return the scope with those VirtualServices alone that route TCP or TLS; a change to others stops here."""
    scope = egress_scope(view, key)
    return replace(scope, listeners=tuple([_level4(listener) for listener in scope.listeners]))


def _level4(listener: EgressListener) -> EgressListener:
    return replace(
        listener, virtual_services=tuple([held for held in listener.virtual_services if held.tcp or held.tls])
    )


@query
def router_scope(view: View, namespace: str) -> EgressScope:
    """Return what gateways of a namespace reach: every visible service, no Sidecar resource."""
    merged = router_merged(view, namespace)
    listener = EgressListener(None, merged.services, ())
    return EgressScope((listener,), merged.services, merged.by_host, outbound_policy(view, None))


@dataclass(frozen=True, slots=True)
class MergedServices:
    """Services merged by host name; ``services`` are the values of ``by_host``."""

    services: tuple[Service, ...]
    by_host: Mapping[str, Service] = field(repr=False)


@query
def default_merged(view: View, namespace: str) -> MergedServices:
    """Return everything a namespace sees, merged by host name; one value for all that see only what is public."""
    if namespace and sees_only_public(view, namespace):
        return default_merged(view, "")
    services = default_services(view, namespace)
    merged: dict[str, Service] = dict(zip(map(hostname_of, services), services, strict=True))
    if len(merged) == len(services):
        return MergedServices(services, merged)  # the usual case: there is nothing to merge
    merged = {}
    for service in services:
        _add(merged, service)
    return MergedServices(tuple(merged.values()), merged)


@query
def router_merged(view: View, namespace: str) -> MergedServices:
    """Return everything a gateway sees, merged by host name: unlike sidecars', its own namespace has no precedence."""
    every = visible_services(view, namespace)
    if len(visible_by_host(view, namespace).by_host) == len(every):
        return default_merged(view, namespace)
    merged: dict[str, Service] = {}
    for service in every:
        _add(merged, service)
    return MergedServices(tuple(merged.values()), merged)


def outbound_policy(view: View, sidecar: Object | None) -> OutboundPolicy:
    """Return the policy for unknown destinations; a Sidecar's replaces the mesh's as a whole."""
    mesh: Any = mesh_config(view).outbound_traffic_policy
    stated: Any = sidecar.spec.outbound_traffic_policy if sidecar is not None else None
    if stated is None:
        return OutboundPolicy(str(mesh.mode) if mesh is not None else "ALLOW_ANY")
    mode = str(stated.mode or "REGISTRY_ONLY")
    proxy = stated.egress_proxy
    cluster = ""
    if proxy is not None and mode == "ALLOW_ANY":
        port = proxy.port.number if proxy.port is not None else 0
        cluster = outbound_name(port, proxy.subset or "", proxy.host or "")
    return OutboundPolicy(mode, cluster)


@query
def default_services(view: View, namespace: str) -> tuple[Service, ...]:
    """Return the visible services with one namespace for each host name; the shared tuple where nothing clashes."""
    every = visible_services(view, namespace)
    if namespace and sees_only_public(view, namespace):
        return every
    by_host = visible_by_host(view, namespace).by_host
    if len(by_host) == len(every):
        return every
    kept = {service.key for held in by_host.values() for service in best_namespace(held, namespace)}
    return tuple(service for service in every if service.key in kept)


@dataclass(frozen=True, slots=True)
class _Hosts:
    """The ``hosts`` of an egress listener by namespace, imports and exclusions apart."""

    imports: Mapping[str, Patterns]
    excludes: Mapping[str, Patterns]

    @classmethod
    def parse(cls, hosts: Iterable[str], own: str) -> _Hosts:
        imports: dict[str, list[str]] = {}
        excludes: dict[str, list[str]] = {}
        for text in hosts:
            namespace, _, host = text.partition("/")
            target = imports
            if namespace.startswith("~"):
                namespace, target = namespace[1:] or "*", excludes
            namespace = own if namespace == "." else namespace
            target.setdefault(namespace, []).append(host.lower())
        return cls({n: Patterns(h) for n, h in imports.items()}, {n: Patterns(h) for n, h in excludes.items()})

    def imports_service(self, service: Service) -> bool:
        """Whether the entries cover the host name; the service's own namespace first, then any."""
        if self._excluded(service.hostname, service.namespace):
            return False
        entries = (self.imports.get(namespace) for namespace in (service.namespace, "*"))
        return any(held is not None and held.cover(service.hostname) for held in entries)

    def imports_virtual_service(self, virtual_service: ResolvedVirtualService) -> bool:
        """Whether any host of the VirtualService overlaps the entries; one of the Gateway API must lie within one."""
        namespace = virtual_service.key.namespace
        either_way = virtual_service.semantics != "gateway"
        for host in virtual_service.hosts:
            if self._excluded(host, namespace):
                continue
            for name in (namespace, "*"):
                entries = self.imports.get(name)
                if entries is not None and (entries.cover(host) or (either_way and entries.lie_within(host))):
                    return True
        return False

    def _excluded(self, host: str, namespace: str) -> bool:
        entries = (self.excludes.get(name) for name in (namespace, "*"))
        return any(held is not None and held.cover(host) for held in entries)


def covers(pattern: str, host: str) -> bool:
    """Whether a host name, possibly a wildcard itself, lies within the pattern (``*``, ``*.suffix`` or exact)."""
    if pattern in {host, "*"}:
        return True
    return pattern.startswith("*") and host.endswith(pattern[1:]) and len(host) >= len(pattern)


class Patterns:
    """Patterns of host names as ``covers`` takes them, to be asked about many hosts."""

    def __init__(self, patterns: Collection[str]) -> None:
        """Take the patterns apart by what they end in."""
        self._all = frozenset(patterns)
        self._backwards: list[str] | None = None  # made when it is asked for
        ends = {pattern[1:] for pattern in self._all if pattern.startswith("*")}
        self._ends = frozenset(ends)
        self._lengths = sorted({len(end) for end in ends})

    def cover(self, host: str) -> bool:
        """Whether a host name, possibly a wildcard itself, lies within one of them."""
        if host in self._all:
            return True
        size = len(host)
        return any(host[size - length :] in self._ends for length in self._lengths if length < size or not length)

    def lie_within(self, pattern: str) -> bool:
        """Whether one of them lies within a pattern."""
        if pattern in self._all or not pattern.startswith("*"):
            return pattern in self._all
        if self._backwards is None:
            self._backwards = sorted(each[::-1] for each in self._all)
        end = pattern[:0:-1]
        at = bisect_left(self._backwards, end)
        within = (each for each in self._backwards[at : at + 2] if each.startswith(end))
        return any(len(each) > len(end) or not end for each in within)


def _listener(
    view: View, namespace: str, spec: IstioEgressListener | None, virtual_services: tuple[ResolvedVirtualService, ...]
) -> EgressListener:
    if spec is None:
        return EgressListener(None, default_services(view, namespace), virtual_services)
    hosts = _Hosts.parse(spec.hosts, namespace)
    found = [service for service in visible_services(view, namespace) if hosts.imports_service(service)]
    number = _only_port(spec)
    if number:
        found = [replace(s, ports=(port,)) for s in found if (port := s.port(number)) is not None]
    by_host: dict[str, list[Service]] = {}
    for service in found:
        by_host.setdefault(service.hostname, []).append(service)
    kept = {service.key for held in by_host.values() for service in best_namespace(held, namespace)}
    return EgressListener(
        spec,
        tuple(service for service in found if service.key in kept),
        tuple(vs for vs in virtual_services if hosts.imports_virtual_service(vs)),
    )


def _only_port(spec: IstioEgressListener | None) -> int:
    """Return the port of services that a listener is about; 0 for any: it has no port, or is an HTTP proxy."""
    if spec is None or spec.port is None or Protocol.parse(spec.port.protocol or "") is Protocol.HTTP_PROXY:
        return 0
    return spec.port.number or 0


def _merged(view: View, namespace: str, listeners: tuple[EgressListener, ...]) -> dict[str, Service]:
    """Merge the services of each listener by host name, then what the VirtualServices that it imports route to."""
    merged: dict[str, Service] = {}
    index = visible_by_host(view, namespace).by_host
    for listener in listeners:
        for service in listener.services:
            _add(merged, service)
        number = _only_port(listener.spec)
        for host, ports in _destinations(listener.virtual_services, namespace):
            found = _concrete(view, namespace, owner(index.get(host, ()), namespace))
            trimmed = _trimmed(found, frozenset({number}) if number else ports) if found is not None else None
            if trimmed is not None:
                _add(merged, trimmed)
    return merged


def _concrete(view: View, namespace: str, service: Service | None) -> Service | None:
    """Return the service that an ExternalName service leads to, any other as it is; ``None`` for an unknown one."""
    if service is None or service.resolution is not Resolution.ALIAS:
        return service
    end = alias_ends(view, namespace)[service.hostname].host
    return foremost(best_namespace(visible_by_host(view, namespace).by_host.get(end, ()), namespace))


def _trimmed(service: Service, ports: frozenset[int]) -> Service | None:
    if 0 in ports:
        return service
    kept = tuple(port for port in service.ports if port.number in ports)
    return replace(service, ports=kept) if kept else None


def _destinations(
    virtual_services: Iterable[ResolvedVirtualService], namespace: str
) -> Iterable[tuple[str, frozenset[int]]]:
    """Yield each destination host with the port numbers named for it (0: all ports)."""
    found: dict[str, set[int]] = {}
    for virtual_service in virtual_services:
        for destination in named_destinations(virtual_service, namespace):
            number = destination.port.number if destination.port is not None else 0
            found.setdefault(destination.host.lower(), set()).add(number or 0)
    for host, ports in found.items():
        yield host, frozenset(ports)


def named_destinations(virtual_service: ResolvedVirtualService, namespace: str | None) -> Iterable[Any]:
    """Yield what a VirtualService leads to; what is not for clients of ``namespace`` is left out, if that is stated."""
    for http in virtual_service.http:
        sources = [match.source_namespace for match in http.match]
        if namespace is not None and sources and all(sources) and namespace not in sources:
            continue
        for weighted in http.route:
            yield weighted.destination
        if http.mirror is not None:
            yield http.mirror
        for mirror in http.mirrors:
            yield mirror.destination
    for tcp in virtual_service.tcp:
        yield from (weighted.destination for weighted in tcp.route)
    for tls in virtual_service.tls:
        yield from (weighted.destination for weighted in tls.route)


def _add(merged: dict[str, Service], service: Service) -> None:
    """Add a service under its host name, as far as one of that name is not there already."""
    held = merged.get(service.hostname)
    if held is None:
        merged[service.hostname] = service
    elif held is service or held == service or (held.kubernetes and not service.kubernetes):
        return
    elif service.kubernetes and not held.kubernetes:
        merged[service.hostname] = service
    elif _compatible(held, service):
        numbers = {port.number for port in held.ports}
        fresh = tuple(port for port in service.ports if port.number not in numbers)
        if fresh:
            merged[service.hostname] = replace(held, ports=held.ports + fresh)


def _compatible(held: Service, service: Service) -> bool:
    same = (held.namespace, held.resolution, held.kubernetes, held.labels, held.selector, held.export_to)
    return same == (
        service.namespace,
        service.resolution,
        service.kubernetes,
        service.labels,
        service.selector,
        service.export_to,
    )
