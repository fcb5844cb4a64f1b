"""VirtualServices as routing uses them: names resolved, delegates merged in, ordered for one client namespace."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from controlplane.apis.virtual_service import HTTPRoute, TCPRoute, TLSRoute, VirtualService
from controlplane.engine.recording import UnbuiltError, isolated, query
from controlplane.model import kinds
from controlplane.model.objects import Object, ObjectKey
from controlplane.registry.delegates import merged_route
from controlplane.registry.destination_rules import full_host
from controlplane.registry.mesh import mesh_config
from controlplane.registry.services import exported_to
from controlplane.registry.store import View

#: the gateway name that stands for all sidecars
MESH_GATEWAY = "mesh"
#: set on VirtualServices made from Gateway API routes (``gateway``) and Ingresses (``ingress``)
SEMANTICS_ANNOTATION = "internal.istio.io/route-semantics"


@dataclass(frozen=True, slots=True)
class ResolvedVirtualService:
    """One VirtualService with every name in it made absolute and its delegates merged.

    ``hosts`` are lower-case, short names completed; empty for a delegate, which routes nothing on its own.
    ``gateways`` hold ``mesh`` or ``namespace/name``, never empty, and so do those of the matches. ``export_to``
    holds ``*`` or namespaces. ``semantics`` is ``gateway`` or ``ingress`` where the object was derived from the
    Gateway API or an Ingress, else empty. ``sources`` are the keys of the object and the delegates merged.
    """

    key: ObjectKey
    age_order: tuple[str, str, str]
    hosts: tuple[str, ...]
    gateways: tuple[str, ...]
    export_to: frozenset[str]
    http: tuple[HTTPRoute, ...] = ()
    tcp: tuple[TCPRoute, ...] = ()
    tls: tuple[TLSRoute, ...] = ()
    semantics: str = ""
    sources: tuple[ObjectKey, ...] = ()

    @property
    def config_path(self) -> str:
        """The path of the object in the Kubernetes API, as resources name their origin."""
        return f"/apis/networking.istio.io/v1/namespaces/{self.key.namespace}/virtual-service/{self.key.name}"


def resolved_gateway(name: str, namespace: str) -> str:
    """Return ``mesh`` or ``namespace/name`` for a gateway as a VirtualService of this namespace writes it."""
    if name == MESH_GATEWAY:
        return name
    if "/" in name:
        stated, _, rest = name.partition("/")
        return f"{namespace if stated == '.' else stated}/{rest}"
    if "." in name:
        first, second = name.split(".")[:2]
        return f"{second}/{first}"
    return f"{namespace}/{name}"


@isolated
def undelegated(view: View, key: ObjectKey) -> ResolvedVirtualService | None:
    """Return the VirtualService with its own names resolved and its delegations still open; ``None`` if it is gone."""
    derived = view.frontends.virtual_services.get(key.kind)
    obj = derived.object(view, key) if derived is not None else view.get(key)
    if obj is None:
        return None
    spec: VirtualService = obj.spec
    semantics = obj.meta.annotations.get(SEMANTICS_ANNOTATION, "")
    names = _Names(key.namespace, view.domain, absolute=semantics == "gateway")
    return ResolvedVirtualService(
        key=key,
        age_order=obj.age_order,
        hosts=tuple(dict.fromkeys(names.host(host) for host in spec.hosts)),
        gateways=names.gateways(spec.gateways) or (MESH_GATEWAY,),
        export_to=_exported(view, obj),
        http=tuple(names.http(route) for route in spec.http),
        tcp=tuple(names.level4(route) for route in spec.tcp),
        tls=tuple(names.level4(route) for route in spec.tls),
        semantics=semantics,
        sources=(key,),
    )


def _exported(view: View, obj: Object) -> frozenset[str]:
    return exported_to(obj.spec.export_to, mesh_config(view).default_virtual_service_export_to, obj.meta.namespace)


@dataclass(frozen=True, slots=True)
class _Names:
    """Completes names as an object of one namespace means them; ``absolute`` where host names are complete already."""

    namespace: str
    domain: str
    absolute: bool

    def host(self, host: str) -> str:
        return host.lower() if self.absolute else full_host(host, self.namespace, self.domain)

    def gateways(self, stated: Iterable[str]) -> tuple[str, ...]:
        return tuple(resolved_gateway(name, self.namespace) for name in stated)

    def http(self, route: HTTPRoute) -> HTTPRoute:
        update: dict[str, Any] = {
            "match": self._matches(route.match),
            "route": self._weighted(route.route),
            "mirrors": self._weighted(route.mirrors),
        }
        if route.mirror is not None:
            update["mirror"] = self._destination(route.mirror)
        return route.model_copy(update=update)

    def level4(self, route: Any) -> Any:  # noqa: ANN401 - TCPRoute and TLSRoute alike
        return route.model_copy(update={"match": self._matches(route.match), "route": self._weighted(route.route)})

    def _matches(self, matches: Iterable[Any]) -> tuple[Any, ...]:
        return tuple(
            match.model_copy(update={"gateways": self.gateways(match.gateways)}) if match.gateways else match
            for match in matches
        )

    def _weighted(self, routes: Iterable[Any]) -> tuple[Any, ...]:
        return tuple(route.model_copy(update={"destination": self._destination(route.destination)}) for route in routes)

    def _destination(self, destination: Any) -> Any:  # noqa: ANN401 - apis Destination
        host = self.host(destination.host or "")
        return destination if host == destination.host else destination.model_copy(update={"host": host})


@isolated
def virtual_service(view: View, key: ObjectKey) -> ResolvedVirtualService | None:
    """Return the VirtualService ready for routing: names resolved, delegates merged; ``None`` if it is gone."""
    root = undelegated(view, key)
    if root is None or root.semantics or not any(route.delegate is not None for route in root.http):
        return root
    merged = tuple(_merged(view, root))
    sources = dict.fromkeys([key, *(each.source for each in merged)])
    http = tuple(each.route for each in merged if each.route is not None)
    return replace(root, http=http, sources=tuple(sources))


MOST_MERGED = 16_384
"""Matches that a VirtualService may have after its delegates are merged: each of a rule times each of its delegate."""


class _Merged(NamedTuple):
    """One HTTP route, the object that states it, and its place there; ``None`` where a delegate has none that fits."""

    route: HTTPRoute | None
    source: ObjectKey
    place: int


class _Delegated(NamedTuple):
    """A delegate in its place; ``fits`` is false where it and those before it have more matches than may be merged."""

    key: ObjectKey
    delegate: ResolvedVirtualService
    fits: bool


def _delegated(view: View, root: ResolvedVirtualService) -> Mapping[int, _Delegated]:
    """Return the delegates that may be used, by the place of the rule that names them."""
    found, left = {}, MOST_MERGED
    for index, route in enumerate(root.http):
        if (stated := route.delegate) is None:
            continue
        named = ObjectKey(kinds.VIRTUAL_SERVICE, stated.namespace or root.key.namespace, stated.name or "")
        delegate = undelegated(view, named)
        if delegate is None or delegate.hosts or not delegate.export_to & {"*", root.key.namespace}:
            continue
        count = max(1, len(route.match)) * sum(max(1, len(held.match)) for held in delegate.http)
        found[index] = _Delegated(named, delegate, count <= left)
        left -= count if count <= left else 0
    return found


def _merged(view: View, root: ResolvedVirtualService) -> Iterator[_Merged]:
    """Yield the HTTP routes of a VirtualService with those of its delegates in their places."""
    delegated = _delegated(view, root)
    for index, route in enumerate(root.http):
        if route.delegate is None:
            yield _Merged(route, root.key, index)
        elif (used := delegated.get(index)) is not None:
            yield _Merged(None, used.key, -1)
            for at, held in enumerate(used.delegate.http if used.fits else ()):
                if held.delegate is None:
                    yield _Merged(merged_route(route, held), used.key, at)


@query
def large_delegates(view: View, key: ObjectKey) -> tuple[tuple[str, str], ...]:
    """Return the rules whose delegates are left out as there are too many matches: the path of the field, and which."""
    root = undelegated(view, key)
    if root is None or root.semantics:
        return ()
    return tuple(
        (f"spec.http[{index}].delegate", f"{each.key.namespace}/{each.key.name}")
        for index, each in _delegated(view, root).items()
        if not each.fits
    )


def stated_by(view: View, key: ObjectKey) -> tuple[tuple[ObjectKey, int], ...]:
    """Return for each HTTP route of a VirtualService, once delegates are merged, the object and place it stands at."""
    root = undelegated(view, key)
    if root is None:
        return ()
    if root.semantics:
        return tuple((key, index) for index in range(len(root.http)))
    return tuple((each.source, each.place) for each in _merged(view, root) if each.route is not None)


Ordered = tuple[ResolvedVirtualService, ...]


@dataclass(frozen=True, slots=True)
class VirtualServiceTable:
    """All VirtualServices that route something, oldest first, by gateway and by who sees them.

    ``public`` is keyed by gateway; ``private`` (seen in their own namespace) and ``exported`` (seen in others,
    by name) by namespace and gateway. ``derived`` says whether any was made from Gateway API routes. ``unread`` says of
    objects why it is not known what they route, which were never read.
    """

    public: Mapping[str, Ordered]
    private: Mapping[tuple[str, str], Ordered]
    exported: Mapping[tuple[str, str], Ordered]
    derived: bool = False
    unread: tuple[str, ...] = ()


@query
def virtual_service_table(view: View, _key: tuple[()]) -> VirtualServiceTable:
    """Return every VirtualService that has hosts, divided by visibility and gateway."""
    public: defaultdict[str, list[ResolvedVirtualService]] = defaultdict(list)
    private: defaultdict[tuple[str, str], list[ResolvedVirtualService]] = defaultdict(list)
    exported: defaultdict[tuple[str, str], list[ResolvedVirtualService]] = defaultdict(list)
    keys, unread = list(view.keys(kinds.VIRTUAL_SERVICE)), []
    for kind, derived in view.frontends.virtual_services.items():
        try:
            keys += derived.keys(view)
        except UnbuiltError as error:
            unread.append(f"{kind}: {error}")
    found = []
    for key in keys:
        outcome = virtual_service.outcome(view, key)
        if not outcome.built:
            unread.append(f"{key}: {outcome.failure}")
        elif outcome.value and outcome.value.hosts:
            found.append(outcome.value)
    found.sort(key=lambda held: held.age_order)
    for held in found:
        own = held.key.namespace
        for gateway in dict.fromkeys(held.gateways):
            if "*" in held.export_to:
                public[gateway].append(held)
            elif "~" not in held.export_to:
                for namespace in held.export_to:
                    (private if namespace == own else exported)[namespace, gateway].append(held)
    return VirtualServiceTable(
        {gateway: tuple(group) for gateway, group in public.items()},
        {key: tuple(group) for key, group in private.items()},
        {key: tuple(group) for key, group in exported.items()},
        derived=any(held.semantics == "gateway" for held in found),
        unread=tuple(unread),
    )


@query
def unread_virtual_services(view: View, _key: tuple[()]) -> tuple[str, ...]:
    """Return why it is not known what some objects route, by object."""
    return virtual_service_table(view, ()).unread


@query
def mesh_virtual_services(view: View, namespace: str) -> Ordered:
    """Return the VirtualServices of gateway ``mesh`` that clients of a namespace see, in order of precedence.

    Those seen in their own namespace only come first, then those exported to it by name, then the public ones,
    each oldest first; within each group, those derived from Gateway API routes of the namespace lead.
    """
    return _ordered(view, namespace, MESH_GATEWAY)


@query
def with_own_virtual_services(view: View, _key: tuple[()]) -> frozenset[str]:
    """Return the namespaces that see other VirtualServices of gateway ``mesh`` than all do, or in another order."""
    table = virtual_service_table(view, ())
    own = {namespace for namespace, gateway in (*table.private, *table.exported) if gateway == MESH_GATEWAY}
    leading = {held.key.namespace for held in table.public.get(MESH_GATEWAY, ()) if held.semantics == "gateway"}
    return frozenset(own | leading)


@query
def gateway_virtual_services(view: View, key: tuple[str, str]) -> Ordered:
    """Return the VirtualServices bound to a gateway (``namespace/name``) that a proxy namespace sees, in order."""
    return _ordered(view, *key)


def _ordered(view: View, namespace: str, gateway: str) -> Ordered:
    table = virtual_service_table(view, ())
    groups = (
        table.private.get((namespace, gateway), ()),
        table.exported.get((namespace, gateway), ()),
        table.public.get(gateway, ()),
    )
    if not table.derived:
        return groups[0] + groups[1] + groups[2]  # one and the same tuple where only the public ones are seen
    ordered: list[ResolvedVirtualService] = []
    for group in groups:
        leading = [held for held in group if held.semantics == "gateway" and held.key.namespace == namespace]
        ordered += leading
        ordered += [held for held in group if held not in leading]
    return tuple(ordered)
