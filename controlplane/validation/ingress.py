"""An Ingress for the mesh's gateways as a person wrote it: what the API server refuses, and what leads nowhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from controlplane.apis.problems import Problem
from controlplane.frontends.ingress import gateway_selector
from controlplane.frontends.ingress_parts import unserved
from controlplane.model.kubernetes import Ingress
from controlplane.model.objects import Rejected
from controlplane.model.parse import Parsed
from controlplane.watchers.kinds import parse

if TYPE_CHECKING:
    from controlplane.watchers.kinds import Result

__all__ = ["gateway_selector", "ingress_problems", "is_ours"]

_CLASS = "istio"
_ANNOTATION = "kubernetes.io/ingress.class"
Problems = list[Problem]


def is_ours(obj: Mapping[str, Any]) -> bool:
    """Whether an Ingress states the class of Istio; others may be for somebody else."""
    metadata, spec = obj.get("metadata"), obj.get("spec")
    annotations = metadata.get("annotations") if isinstance(metadata, Mapping) else None
    stated = annotations.get(_ANNOTATION) if isinstance(annotations, Mapping) else None
    named = spec.get("ingressClassName") if isinstance(spec, Mapping) else None
    return _CLASS in (stated, named)


def ingress_problems(obj: Mapping[str, Any]) -> tuple[Problems, Problems]:
    """Return what is wrong with an Ingress, and which parts of it are not served; Services are not looked at."""
    result: Result = parse(obj, "")
    if isinstance(result, Rejected):
        return [Problem(*_split(text)) for text in result.problems], []
    if isinstance(result, Parsed) and isinstance(result.object.spec, Ingress):
        return [], [Problem(path, reason) for path, reason in unserved(result.object.spec)]
    return [], []


def _split(text: str) -> tuple[str, str]:
    path, colon, reason = text.partition(": ")
    return (path, reason) if colon else ("", text)
