"""Kubernetes' Ingress and IngressClass, read as ``core_kinds`` reads the rest.

What the API server refuses is refused here too: a directory of files has no API server in front of it, and a path or
host that is none would make Envoy refuse every route of the gateway.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from controlplane.documents.words import is_subdomain
from controlplane.model.kubernetes import Ingress, IngressClass, IngressPath, IngressRule, IngressTLS

if TYPE_CHECKING:
    from controlplane.model.objects import Meta
    from controlplane.watchers.fields import Fields

_PATH_TYPES = ("Exact", "Prefix", "ImplementationSpecific")
_MAX_HOST = 253
#: what ends a path, so that Envoy refuses it in one
_NO_PATH = ("?", "#")
#: parts of a path that no normalised request has; the API server lets them pass without a stated type
_UNREACHABLE = ("//", "/./", "/../", "%2f", "%2F")


def ingress(obj: Fields, meta: Meta) -> Ingress:
    """Read an Ingress."""
    del meta
    spec = obj.fields("spec")
    return Ingress(
        class_name=spec.text("ingressClassName") if "ingressClassName" in spec else None,
        rules=tuple(_rule(rule) for rule in spec.each("rules")),
        tls=tuple(IngressTLS(_hosts(tls), tls.text("secretName")) for tls in spec.each("tls")),
        default_backend=bool(spec.fields("defaultBackend").raw_object),
    )


def ingress_class(obj: Fields, meta: Meta) -> IngressClass:
    """Read an IngressClass."""
    del meta
    return IngressClass(obj.fields("spec").text("controller"))


def _rule(rule: Fields) -> IngressRule:
    host = rule.text("host")
    _check_host(rule, "host", host)
    if "http" not in rule:
        return IngressRule(host)
    return IngressRule(host, tuple(_path(path) for path in rule.fields("http").each("paths")))


def _is_host(text: str) -> bool:
    return text.isascii() and is_subdomain(text.removeprefix("*.").lower())


def _path(path: Fields) -> IngressPath:
    kind = path.text("pathType", "ImplementationSpecific") or "ImplementationSpecific"
    if kind not in _PATH_TYPES:
        path.problem("pathType", f"must be one of {', '.join(_PATH_TYPES)}")
    text = path.text("path")
    if not text.startswith("/") and (text or kind != "ImplementationSpecific"):
        path.problem("path", "must begin with '/'")
    for part in _NO_PATH if kind == "ImplementationSpecific" else (*_UNREACHABLE, *_NO_PATH):
        if part in text:
            path.problem("path", f"must not contain {part!r}")
    service = path.fields("backend").fields("service")
    port = service.fields("port")
    return IngressPath(
        path=text, type=kind, service=service.text("name"), port=port.number("number") or 0, port_name=port.text("name")
    )


def _hosts(tls: Fields) -> tuple[str, ...]:
    hosts = tls.texts("hosts")
    for index, host in enumerate(hosts):
        _check_host(tls, f"hosts[{index}]", host)
    return hosts


def _check_host(fields: Fields, name: str, host: str) -> None:
    if host and (len(host) > _MAX_HOST or not _is_host(host)):
        fields.problem(name, "must be a DNS name, perhaps with '*' as its first label")
