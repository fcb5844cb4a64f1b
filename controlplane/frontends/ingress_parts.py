"""Parts of an Ingress that lead nowhere whatever else there is."""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.model.kubernetes import Ingress, IngressPath


def unserved(spec: Ingress) -> Iterator[tuple[str, str]]:
    """Yield the path and the reason of each."""
    if spec.default_backend:
        yield "spec.defaultBackend", "is not served: what no rule takes is answered with 404"
    for index, tls in enumerate(spec.tls):
        if not tls.secret:
            yield f"spec.tls[{index}].secretName", "is not stated: these hosts are not served over TLS"
    for index, rule in enumerate(spec.rules):
        if not rule.paths:
            yield f"spec.rules[{index}].http", "has no paths: the rule routes nothing"
        for at, path in enumerate(rule.paths or ()):
            if (problem := incomplete(path)) is not None:
                yield f"spec.rules[{index}].http.paths[{at}].backend{problem[0]}", problem[1]


def incomplete(path: IngressPath) -> tuple[str, str] | None:
    """Return the field of a backend, from the backend on, that is missing, and what comes of that."""
    if not path.service:
        return "", "names no Service, and nothing else is served: the path has no route"
    if not path.port and not path.port_name:
        return ".service.port", "is not stated: the path has no route"
    return None
