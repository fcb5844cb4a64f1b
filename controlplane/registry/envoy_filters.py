"""Which patches of which EnvoyFilters are for a proxy, and in which order; what they change is not looked at here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import re2

from controlplane.apis.envoy_filter import ApplyTo, EnvoyFilter, PatchContext
from controlplane.apis.validation.regex import MAX_REGEX
from controlplane.engine.recording import query
from controlplane.kept import kept
from controlplane.model.kinds import GATEWAY_API
from controlplane.model.objects import Object, ObjectKey
from controlplane.model.patches import NO_PATCHES, PatchRef, ProxyPatches
from controlplane.model.proxy import Proxy
from controlplane.registry.environment import GATEWAY_SELECTORS, disabled
from controlplane.registry.mesh import mesh_config
from controlplane.registry.policies import GATEWAY_NAME
from controlplane.registry.store import View

_CLUSTERS = frozenset({ApplyTo.CLUSTER})
_ROUTES = frozenset({ApplyTo.ROUTE_CONFIGURATION, ApplyTo.VIRTUAL_HOST, ApplyTo.HTTP_ROUTE})
_LISTENERS = frozenset(
    {ApplyTo.LISTENER, ApplyTo.FILTER_CHAIN, ApplyTo.NETWORK_FILTER, ApplyTo.HTTP_FILTER, ApplyTo.LISTENER_FILTER}
)
_EXTENSIONS = frozenset({ApplyTo.EXTENSION_CONFIG})
_ANY = PatchContext.ANY


class PatchHead(NamedTuple):
    """What one patch is for: the kind of thing, the side, and which proxies, by version and node metadata."""

    apply_to: ApplyTo
    context: PatchContext
    version: str
    metadata: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class FilterHead:
    """What of an EnvoyFilter decides for whom it is: ``order`` sorts it, ``gateways`` are those that it names.

    ``named`` is true where it names something, if only what does not exist.
    """

    key: ObjectKey
    order: tuple[int, str, str]
    labels: frozenset[tuple[str, str]]
    named: bool
    gateways: frozenset[str]
    patches: tuple[PatchHead, ...]


@query
def filter_heads(view: View, namespace: str) -> tuple[FilterHead, ...]:
    """Return the EnvoyFilters of a namespace, without what their patches say."""
    held = (view.get(key) for key in view.index("envoy_filters_in", namespace))
    return tuple(_head(obj) for obj in held if obj is not None)


def _head(obj: Object) -> FilterHead:
    spec: EnvoyFilter = obj.spec
    labels = spec.workload_selector.labels if spec.workload_selector is not None else {}
    gateways = (each.name for each in spec.target_refs if (each.group, each.kind) == (GATEWAY_API, "Gateway"))
    order = (spec.priority, obj.meta.created, f"{obj.meta.name}.{obj.meta.namespace}")
    patches = tuple(_patch_heads(spec))
    return FilterHead(obj.key, order, frozenset(labels.items()), bool(spec.target_refs), frozenset(gateways), patches)


def _patch_heads(spec: EnvoyFilter) -> Iterator[PatchHead]:
    for each in spec.config_patches:
        match = each.match
        proxy = match.proxy if match is not None else None
        yield PatchHead(
            each.apply_to,
            match.context if match is not None else _ANY,
            proxy.proxy_version if proxy is not None else "",
            tuple(sorted(proxy.metadata.items())) if proxy is not None else (),
        )


def proxy_patches(view: View, proxy: Proxy, labels: Mapping[str, str]) -> ProxyPatches:
    """Return the patches for a proxy with these labels: of the root namespace and its own."""
    root = mesh_config(view).root_namespace
    by_selector = not disabled(view, GATEWAY_SELECTORS)
    heads = [
        (head.order[0], namespace != root, head.order, head)
        for namespace in dict.fromkeys((root, proxy.namespace))
        for head in filter_heads(view, namespace)
        if _selects(head, proxy, labels, by_selector=by_selector)
    ]
    if not heads:
        return NO_PATCHES
    heads.sort(key=lambda each: each[:3])
    found = [
        (PatchRef(head.key, index), patch)
        for *_, head in heads
        for index, patch in enumerate(head.patches)
        if _suits(patch, proxy)
    ]
    if proxy.type == "router":
        return ProxyPatches(
            clusters=_of(found, _CLUSTERS, PatchContext.GATEWAY),
            listeners=_of(found, _LISTENERS, PatchContext.GATEWAY),
            routes=_of(found, _ROUTES, PatchContext.GATEWAY),
            extensions=_of(found, _EXTENSIONS, PatchContext.GATEWAY),
        )
    outbound, inbound = PatchContext.SIDECAR_OUTBOUND, PatchContext.SIDECAR_INBOUND
    return ProxyPatches(
        clusters=_of(found, _CLUSTERS, outbound),
        listeners=_of(found, _LISTENERS, outbound),
        routes=_of(found, _ROUTES, outbound),
        inbound_clusters=_of(found, _CLUSTERS, inbound),
        inbound_listeners=_of(found, _LISTENERS, inbound),
        inbound_routes=_of(found, _ROUTES, inbound),
        extensions=_of(found, _EXTENSIONS, outbound, inbound),
    )


def _of(
    found: Iterable[tuple[PatchRef, PatchHead]], kinds: frozenset[ApplyTo], *contexts: PatchContext
) -> tuple[PatchRef, ...]:
    return tuple(ref for ref, head in found if head.apply_to in kinds and head.context in {_ANY, *contexts})


def _selects(head: FilterHead, proxy: Proxy, labels: Mapping[str, str], *, by_selector: bool) -> bool:
    gateway = labels.get(GATEWAY_NAME)
    if head.named:
        return gateway is not None and head.key.namespace == proxy.namespace and gateway in head.gateways
    if gateway is not None and not by_selector:
        return False
    return all(labels.get(name) == value for name, value in head.labels)


def _suits(patch: PatchHead, proxy: Proxy) -> bool:
    if patch.version and not _has_version(patch.version, proxy.istio_version):
        return False
    return all(_is_text(proxy.metadata.get(name), value) for name, value in patch.metadata)


def _is_text(stated: Any, wanted: str) -> bool:  # noqa: ANN401 - a JSON value
    return isinstance(stated, str) and stated == wanted


@kept(4096)
def _has_version(pattern: str, version: str) -> bool:
    """Whether an expression is found in a proxy's version; one that is none is no condition."""
    if not version or len(pattern) > MAX_REGEX:
        return False
    try:
        return re2.search(pattern, version) is not None
    except re2.error:
        return True
