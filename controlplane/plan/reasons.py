"""Why an object makes nothing that any proxy is sent: found out by trying what would have to be another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple

from pydantic import BaseModel

from controlplane.apis.kinds import KINDS
from controlplane.frontends.ingress import served
from controlplane.model import kinds
from controlplane.model.kinds import GroupKind
from controlplane.model.objects import Object
from controlplane.plan.planning import Planning
from controlplane.registry.mesh import mesh_config
from controlplane.registry.store import Registry, View

_SELF = "it states what holds without it too: a default, or what another object says"


class _Trial(NamedTuple):
    """A state in which the object may make something; if it does, ``reason`` is why it makes nothing now."""

    reason: str
    obj: Object
    without: tuple[Object, ...] = ()


async def reasons(planning: Planning, registry: Registry, obj: Object) -> list[str]:
    """Return sentences. The object is not among those of the registry any more, and is not again afterwards."""
    if not planning.proxies:
        return ["no proxy is connected"]
    known = [*_of_kind(registry, obj), *_of_namespace(planning, registry, obj)]
    if known:
        return known
    for trial in _trials(registry, obj):
        if await planning.makes_something(trial.obj, trial.without):
            return [trial.reason]
    return [_SELF]


def _of_kind(registry: Registry, obj: Object) -> Iterator[str]:
    """Yield what is so for its kind."""
    spec, view = obj.spec, View(registry)
    if obj.kind == kinds.VIRTUAL_SERVICE and not spec.hosts:
        yield "it has no hosts, so it is there to be delegated to, and no VirtualService that is used delegates to it"
    elif obj.kind == kinds.INGRESS and not served(view, obj):
        yield "its class is none that is served: ingressClassName, kubernetes.io/ingress.class, ingressControllerMode"
    elif obj.kind == kinds.POD:
        yield "no Service selects it, or it is not ready, so nobody is sent its address"
    elif obj.kind == kinds.ENDPOINT_SLICE and view.object(kinds.SERVICE, obj.meta.namespace, spec.service) is None:
        yield f"there is no Service {obj.meta.namespace}/{spec.service or '(none is named)'} whose endpoints it has"
    elif obj.kind == kinds.SECRET:
        yield "no Gateway, Ingress or DestinationRule that is used names it"
    elif obj.kind.name not in KINDS and obj.kind not in {kinds.SERVICE, kinds.INGRESS, kinds.ENDPOINT_SLICE}:
        yield f"a {obj.kind.name} makes nothing by itself: others are read together with it"


def _of_namespace(planning: Planning, registry: Registry, obj: Object) -> Iterator[str]:
    """Yield that nobody is there, where an object is for proxies of its own namespace."""
    root = mesh_config(View(registry)).root_namespace
    there = {proxy.namespace for proxy in planning.proxies.values()}
    if obj.kind in _FOR_ITS_NAMESPACE and obj.meta.namespace not in {root, *there}:
        yield f"it is for proxies of namespace {obj.meta.namespace}, and there is none"


_FOR_ITS_NAMESPACE = frozenset(
    {
        kinds.AUTHORIZATION_POLICY,
        kinds.ENVOY_FILTER,
        kinds.PEER_AUTHENTICATION,
        kinds.PROXY_CONFIG,
        kinds.REQUEST_AUTHENTICATION,
        kinds.SIDECAR,
        kinds.TELEMETRIES,
        kinds.TRAFFIC_EXTENSION,
        kinds.WASM_PLUGIN,
    }
)


def _trials(registry: Registry, obj: Object) -> Iterator[_Trial]:
    """Yield other states of the object, and of those around it, the likeliest first."""
    yield from (_Trial(reason, changed) for reason, changed in _others(obj))
    sidecars = tuple(_held(registry, kinds.SIDECAR))
    if sidecars and obj.kind != kinds.SIDECAR:
        names = ", ".join(f"{each.meta.namespace}/{each.meta.name}" for each in sidecars[:3])
        more = ", ..." if sidecars[3:] else ""
        yield _Trial(f"no proxy imports it: the egress hosts of Sidecars leave it out ({names}{more})", obj, sidecars)
    for other in islice(_held(registry, obj.kind), _MOST_OTHERS):
        reason = f"{other.key} says the same, or comes before it: without that it would make something"
        yield _Trial(reason, obj, (other,))


def _held(registry: Registry, kind: GroupKind) -> Iterator[Object]:
    for key in registry.keys(kind):
        if (held := registry.objects.get(key)) is not None:
            yield held


_MOST_OTHERS = 20
_EVERYONE = ("*",)


def _others(obj: Object) -> Iterator[tuple[str, Object]]:
    """Yield what the object would be with one field another, and the reason if that makes something."""
    spec = obj.spec
    if not isinstance(spec, BaseModel):
        return
    stated: dict[str, Any] = {name: getattr(spec, name) for name in type(spec).model_fields}
    if (seen := stated.get("export_to")) and "*" not in seen:
        reason = f"spec.exportTo: no proxy is in a namespace that it is exported to ({', '.join(seen)})"
        yield reason, _with(obj, export_to=_EVERYONE)
    if stated.get("gateways"):
        reason = f"spec.gateways: no proxy is one of the gateways that it is for ({', '.join(stated['gateways'])})"
        yield reason, _with(obj, gateways=())
    for field in ("selector", "workload_selector"):
        if stated.get(field):
            empty: dict[str, str] | None = {} if isinstance(stated[field], dict) else None
            yield f"spec.{_CAMEL[field]}: no proxy has the labels that it selects", _with(obj, **{field: empty})


_CAMEL = {"selector": "selector", "workload_selector": "workloadSelector"}


def _with(obj: Object, **fields: object) -> Object:
    return replace(obj, spec=obj.spec.model_copy(update=fields))
