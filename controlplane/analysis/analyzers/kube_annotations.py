"""Annotations of Kubernetes' own kinds that mean nothing: unknown, on the wrong kind, deprecated or unreadable."""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.analysis import codes, raw
from controlplane.analysis.annotation_table import ANNOTATIONS, ANY
from controlplane.analysis.mesh_members import INJECT
from controlplane.analysis.resources import Message, Resource, Resources, message
from controlplane.apis.mesh import InvalidMeshConfigError, ProxyConfig
from controlplane.apis.mesh_fields import stated_fields
from controlplane.injector.annotations import CHECKS
from controlplane.injector.proxy_config import ANNOTATION as PROXY_CONFIG
from controlplane.model import kinds

KINDS = (kinds.NAMESPACE, kinds.SERVICE, kinds.POD, kinds.DEPLOYMENT)
_NOT_OF_USERS = frozenset({"sidecar.istio.io/status", "gateway.istio.io/controller-version", "istio.io/rev"})
_INGRESS_CLASS = "kubernetes.io/ingress.class"
_BY_PLUGIN = "ambient.istio.io/redirection"
_STABLE = _NOT_OF_USERS | {INJECT, PROXY_CONFIG, _INGRESS_CLASS, _BY_PLUGIN, "traffic.istio.io/nodeSelector"}
_BY_CNI = {
    "sidecar.istio.io/interceptionMode": "REDIRECT",
    "traffic.sidecar.istio.io/excludeInboundPorts": "15020",
    "traffic.sidecar.istio.io/includeInboundPorts": "*",
    "traffic.sidecar.istio.io/includeOutboundIPRanges": "*",
}
"""What injection writes on every pod where a CNI plugin leads its traffic."""


def doubtful(resources: Resources) -> Iterator[Message]:
    """Find such annotations."""
    for resource in (each for kind in KINDS for each in resources.of(kind)):
        for name in sorted(resource.annotations):
            of_istio = name.partition("/")[0].endswith("istio.io") or name == _INGRESS_CLASS
            if of_istio and name not in _NOT_OF_USERS:
                yield from _annotation(resource, name)


def alpha(resources: Resources) -> Iterator[Message]:
    """Find annotations of features that are in their alpha phase, but what the CNI plugin's injection puts on a pod."""
    for resource in (each for kind in KINDS for each in resources.of(kind)):
        containers = raw.mappings(resource.spec, "initContainers")
        given = _BY_CNI if any(raw.text(each, "name") == "istio-validation" for _, each in containers) else {}
        for name, value in sorted(resource.annotations.items()):
            if name in ANNOTATIONS and name not in _STABLE and given.get(name) != value:
                yield message(codes.ALPHA_ANNOTATION, resource, f"metadata.annotations.{name}", annotation=name)


def _annotation(resource: Resource, name: str) -> Iterator[Message]:
    path, known = f"metadata.annotations.{name}", ANNOTATIONS.get(name)
    if known is None:
        yield message(codes.UNKNOWN_ANNOTATION, resource, path, annotation=name)
        return
    if known.deprecated and not (name == INJECT and INJECT in resource.labels):
        extra = f" in favour of the label {INJECT}" if name == INJECT else ""
        yield message(codes.DEPRECATED_ANNOTATION, resource, path, annotation=name, extra=extra)
    if ANY in known.kinds:
        return
    if resource.kind.name not in known.kinds:
        yield message(codes.MISPLACED_ANNOTATION, resource, path, annotation=name, kinds=list(known.kinds))
    elif problem := _problem(name, resource.annotations[name]):
        yield message(codes.INVALID_ANNOTATION, resource, path, annotation=name, problem=problem)


def _problem(name: str, value: str) -> str:
    """Return why injection cannot use a value, or passes over a part of it; empty where neither."""
    if name != PROXY_CONFIG:
        return CHECKS[name](value) if name in CHECKS else ""
    try:
        _, unknown = stated_fields(ProxyConfig, value)
    except InvalidMeshConfigError as error:
        return str(error)
    return f"{min(unknown)}: unknown field" if unknown else ""
