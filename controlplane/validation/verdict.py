"""An object as a person wrote it, checked as strictly as can be: for the command ``validate`` and the webhook.

The rules are those that the registry reads objects by; here fields that it would drop are errors too, and each problem
quotes what was written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from controlplane.apis.envoy_filter import EnvoyFilter
from controlplane.apis.extensions import TrafficExtension
from controlplane.apis.kind_names import no_such_kind
from controlplane.apis.kinds import KINDS
from controlplane.apis.problems import Problem
from controlplane.documents.places import value_text
from controlplane.model import kinds
from controlplane.model.kinds import GroupKind
from controlplane.model.objects import ObjectKey
from controlplane.model.parse import inspect
from controlplane.validation.mesh import is_mesh_configuration, mesh_problems

_GROUPS = frozenset(kind.group for kind in KINDS.values())
INGRESS_GROUPS = ("networking.k8s.io", "extensions")
_NOT_QUOTED = ("privateKey", "jwks", "inlineCode")
_UNKNOWN = "unknown field"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong with an object (it cannot be used) and what is only doubtful (it can)."""

    key: ObjectKey
    errors: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()


def verdict(obj: object) -> Verdict | None:
    """Check one object; ``None`` where it is of no group that is checked here. Nothing is raised, whatever it is."""
    if not isinstance(obj, Mapping):
        return Verdict(ObjectKey(kinds.NO_KIND, "", ""), (Problem("", "is not an object"),))
    api_version, kind = obj.get("apiVersion"), obj.get("kind")
    missing = [
        Problem(name, "is required")
        for name, value in (("apiVersion", api_version), ("kind", kind))
        if not isinstance(value, str) or not value
    ]
    if missing:
        return Verdict(_key_of(obj), tuple(missing))
    group = str(api_version).rpartition("/")[0]
    if str(kind).endswith("List") and not isinstance(obj.get("items", []), list | None):
        wrong = Problem("items", f"must be a list of objects, not {value_text(obj, 'items')}")
        return Verdict(ObjectKey(kinds.NO_KIND, "", ""), (wrong,))
    if group not in _GROUPS:
        return _of_kubernetes(obj, group, str(kind))
    declared = KINDS.get(str(kind))
    if declared is None or declared.group != group:
        return Verdict(_key_of(obj), (Problem("kind", no_such_kind(group, str(kind))),))
    try:
        seen = inspect(declared.name, obj, strict=True)
    except Exception as error:  # noqa: BLE001 - a mistake of ours in one object must not hide those in others
        return Verdict(_key_of(obj), (Problem("", f"cannot be read ({type(error).__name__}: {error})"),))
    key = ObjectKey(GroupKind(declared.name, group), seen.meta.namespace, seen.meta.name)
    errors, warnings = (*seen.problems,), (*seen.warnings,)
    if isinstance(seen.spec, EnvoyFilter) and not errors:
        from controlplane.patches import check  # noqa: PLC0415 - Envoy's messages load slowly

        found = check.problems(seen.spec)
        errors, warnings = (*errors, *found[0]), (*warnings, *found[1])
    if isinstance(seen.spec, TrafficExtension) and seen.spec.lua is not None:
        from controlplane.apis.validation.lua_names import unset_name  # noqa: PLC0415 - seldom needed
        from controlplane.constraints.extensions import lua_problem  # noqa: PLC0415 - Envoy's messages load slowly

        if problem := lua_problem(seen.spec.lua.inline_code):
            errors = (*errors, Problem("spec.lua.inlineCode", problem))
        elif name := unset_name(seen.spec.lua.inline_code):
            reason = (
                f"nothing sets {name!r}, which is used outside of functions: Envoy refuses a listener for such an error"
            )
            warnings = (*warnings, Problem("spec.lua.inlineCode", reason))
    return Verdict(key, _quoted(errors, obj), _quoted(warnings, obj))


def _of_kubernetes(obj: Mapping[str, Any], group: str, kind: str) -> Verdict | None:
    """Check what of Kubernetes' own kinds means something to the mesh alone; its API server knows the rest."""
    key = _key_of(obj)
    try:
        if (group, kind) == ("", "ConfigMap") and is_mesh_configuration(key.name, obj.get("data")):
            errors, warnings = mesh_problems(obj["data"])
        elif kind == "Ingress" and group in INGRESS_GROUPS:
            from controlplane.validation import ingress  # noqa: PLC0415 - the registry loads slowly

            if not ingress.is_ours(obj):
                return None
            errors, warnings = ingress.ingress_problems(obj)
        else:
            return None
    except Exception as error:  # noqa: BLE001 - as above
        return Verdict(key, (Problem("", f"cannot be read ({type(error).__name__}: {error})"),))
    return Verdict(key, tuple(errors), tuple(warnings))


def _key_of(obj: Mapping[str, Any]) -> ObjectKey:
    meta = obj.get("metadata")
    raw: Mapping[str, Any] = meta if isinstance(meta, Mapping) else {}
    kind, namespace, name = (
        text if isinstance(text, str) else "" for text in (obj.get("kind"), raw.get("namespace"), raw.get("name"))
    )
    api_version = obj.get("apiVersion")
    group = api_version.rpartition("/")[0] if isinstance(api_version, str) else ""
    return ObjectKey(GroupKind(kind, group), namespace, name)


def _quoted(problems: tuple[Problem, ...], obj: Mapping[str, Any]) -> tuple[Problem, ...]:
    """Put what was written behind each reason that does not quote it already."""
    quoted = []
    for problem in problems:
        value = "" if problem.path.endswith(_NOT_QUOTED) else value_text(obj, problem.path)
        if value and problem.reason != _UNKNOWN and value.strip("'\"") not in problem.reason:
            quoted.append(replace(problem, reason=f"{problem.reason} (got {value})"))
        else:
            quoted.append(problem)
    return tuple(quoted)
