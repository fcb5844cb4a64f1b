"""Parts of Ingresses that lead nowhere: gateways of the mesh do not know them, or what they name is missing."""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.engine.recording import query
from controlplane.frontends.ingress import served_ingresses
from controlplane.frontends.ingress_parts import incomplete, unserved
from controlplane.model import kinds
from controlplane.model.kubernetes import Ingress, IngressPath, KubeService
from controlplane.model.objects import Object
from controlplane.model.secret_names import secret_name
from controlplane.model.wanted_secrets import Wanted
from controlplane.registry.credentials import trouble_anywhere
from controlplane.registry.store import UnservedPart, View


@query
def unserved_parts(view: View, _key: tuple[()]) -> tuple[UnservedPart, ...]:
    """Return the parts of the Ingresses that are served here, or should be, that have no effect or fail."""
    return tuple(
        UnservedPart(obj.key, path, reason) for obj in served_ingresses(view, ()) for path, reason in _parts(view, obj)
    )


def _parts(view: View, obj: Object) -> Iterator[tuple[str, str]]:
    spec: Ingress = obj.spec
    yield from unserved(spec)
    for index, tls in enumerate(spec.tls):
        if tls.secret and (reason := trouble_anywhere(view, Wanted(secret_name(tls.secret), authority=False))):
            yield f"spec.tls[{index}].secretName", f"{reason}: these hosts are not served over TLS"
    for index, rule in enumerate(spec.rules):
        for at, path in enumerate(rule.paths or ()):
            problem = _problem(view, obj.meta.namespace, path) if incomplete(path) is None else None
            if problem is not None:
                field, reason = problem
                yield f"spec.rules[{index}].http.paths[{at}].backend{field}", reason


def _problem(view: View, namespace: str, path: IngressPath) -> tuple[str, str] | None:
    """Return the field of a backend, from the backend on, that names what is missing, and what comes of that."""
    obj = view.object(kinds.SERVICE, namespace, path.service)
    if obj is None or not isinstance(obj.spec, KubeService):
        lost = "requests are answered with 503" if path.port else "the path has no route"
        return ".service.name", f"there is no Service {namespace}/{path.service}: {lost}"
    if path.port_name:
        if any(port.name == path.port_name for port in obj.spec.ports):
            return None
        return (
            ".service.port.name",
            f'Service {obj.key.namespace}/{path.service} has no port "{path.port_name}": the path has no route',
        )
    if obj.spec.type != "ExternalName" and all(port.number != path.port for port in obj.spec.ports):
        return (
            ".service.port.number",
            f"Service {obj.key.namespace}/{path.service} has no port {path.port}: requests are answered with 503",
        )
    return None
