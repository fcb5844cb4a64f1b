"""One raw Kubernetes or Istio object to an ``Object``, a ``Rejected``, or ``Unused``; never an exception."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from controlplane.apis.closing.stand_ins import CLOSING
from controlplane.apis.envoy_filter import EnvoyFilter
from controlplane.apis.kind_names import no_such_kind
from controlplane.apis.kinds import KINDS
from controlplane.documents.words import is_subdomain
from controlplane.model import kinds
from controlplane.model.author import author
from controlplane.model.kinds import GroupKind
from controlplane.model.objects import Meta, Object, ObjectKey, Rejected
from controlplane.model.parse import Parsed
from controlplane.model.parse import parse as parse_istio
from controlplane.watchers.core_kinds import CLUSTER_SCOPED, READERS
from controlplane.watchers.fields import Fields

MAX_NAME = 253
MAX_LABEL = 63
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

_ISTIO_GROUPS = frozenset(kind.group for kind in KINDS.values())
_CORE_KINDS = {(group, kind): version for group, version, kind in READERS}
#: where kinds are served that were in another group once: (group and kind of before) to the API version of now
_MOVED = {("extensions", "Ingress"): "networking.k8s.io/v1"}


@dataclass(frozen=True, slots=True)
class Unused:
    """An object that nothing here reads. ``kind`` has its API group (``Deployment.apps``), ``reason`` says why."""

    kind: str
    key: ObjectKey
    reason: str = "unknown kind"


Result = Parsed | Rejected | Unused


def parse(obj: object, source: str) -> Result:
    """Turn one raw object into what it is here.

    ``source`` says where it was read (``path:line``). An object without a namespace is in ``default``. Fields that
    do not fit are all reported at once, each as ``path: reason``. Nothing is raised, whatever ``obj`` is.
    """
    try:
        return _parse(obj, source)
    except Exception as error:  # noqa: BLE001 - the promise of this package: a mistake in one object stops nothing
        return Rejected(_key_of(obj), (f"object: cannot be read ({type(error).__name__}: {error})"[:500],), source)


def _parse(obj: object, source: str) -> Result:
    problems: list[str] = []
    fields = Fields(obj, "", problems)
    api_version, kind = fields.text("apiVersion"), fields.text("kind")
    if not problems:
        problems += [
            f"{name}: is required" for name, value in (("apiVersion", api_version), ("kind", kind)) if not value
        ]
    if problems:
        return Rejected(_key_of(obj), tuple(problems), source)
    if kind.endswith("List") and isinstance(obj, dict) and not isinstance(obj.get("items", []), list | None):
        return Rejected(_key_of(obj), ("items: must be a list of objects",), source)
    group, _, version = api_version.rpartition("/")
    if group in _ISTIO_GROUPS:
        return _istio(fields, group, version, source)
    if (group, kind) in _MOVED:
        return Rejected(_key_of(obj), (f"apiVersion: {kind} is served as {_MOVED[group, kind]}",), source)
    served = _CORE_KINDS.get((group, kind))
    if served is None:
        return Unused(f"{kind}.{group}" if group else kind, _key_of(obj))
    if version != served:
        return Rejected(_key_of(obj), (f"apiVersion: {kind} is served as {_join(group, (served,))}",), source)
    return _core(fields, (group, version, kind), source)


def _istio(fields: Fields, group: str, version: str, source: str) -> Result:
    obj, name = fields.raw_object, fields.text("kind")
    kind = KINDS.get(name)
    if kind is None or kind.group != group:
        return Rejected(_key_of(obj), (f"kind: {no_such_kind(group, name)}",), source)
    result = parse_istio(name, obj, source=source)
    if isinstance(result, Rejected):
        return _refused(result, _key_of(obj), kind.group, () if version in kind.versions else kind.versions)
    parsed = replace(result, object=_without_copy(result.object))
    return _judged(parsed, source) if isinstance(parsed.object.spec, EnvoyFilter) else parsed


def _refused(result: Rejected, key: ObjectKey, group: str, served: tuple[str, ...]) -> Rejected:
    """Return a refusal by the key of the object; ``served`` are the versions to be used in place of its own."""
    instead = result.stand_in
    if instead is not None:
        meta = replace(instead.meta, namespace=key.namespace, name=key.name)
        instead = _without_copy(replace(instead, meta=meta)) if key.name else None
    version = (f"apiVersion: {key.kind.name} is served as {_join(group, served)}",)
    note = (CLOSING[key.kind.name].note,) if instead is not None else ()
    return replace(result, key=key, problems=(*(version if served else result.problems), *note), stand_in=instead)


def _judged(parsed: Parsed, source: str) -> Result:
    """Refuse an EnvoyFilter with a patch that is no message of Envoy, as a whole, like Istio."""
    from controlplane.patches import check  # noqa: PLC0415 - Envoy's messages load slowly

    errors, warnings = check.problems(parsed.object.spec)
    if errors:
        return Rejected(parsed.object.key, tuple(map(str, errors)), source)
    return replace(parsed, warnings=(*parsed.warnings, *map(str, warnings)))


def _without_copy(obj: Object) -> Object:
    """Return the object without the copy of itself that ``kubectl apply`` leaves in its annotations."""
    annotations = obj.meta.annotations
    if _LAST_APPLIED not in annotations:
        return obj
    kept = {name: text for name, text in annotations.items() if name != _LAST_APPLIED}
    return replace(obj, meta=replace(obj.meta, annotations=kept))


def _core(fields: Fields, reader: tuple[str, str, str], source: str) -> Result:
    group, _, name = reader
    kind = GroupKind(name, group)
    meta = _metadata(fields, kind, source)
    spec = READERS[reader](fields, meta)
    key = ObjectKey(kind, meta.namespace, meta.name)
    if fields.problems:
        return Rejected(_key_of(fields.raw_object), tuple(fields.problems), source)
    if isinstance(spec, str):
        return Unused(kind.name, key, spec)
    return Parsed(Object(kind, meta, spec))


def _metadata(fields: Fields, kind: GroupKind, source: str) -> Meta:
    """Read ``metadata`` of an object of this kind; what does not fit is added to the problems of ``fields``."""
    raw = fields.fields("metadata")
    name = raw.text("name")
    namespace = "" if kind in CLUSTER_SCOPED else raw.text("namespace") or "default"
    if "name" not in raw or name == "":
        if not raw.problems:
            raw.problem("name", "is required")
    else:
        _check_name(raw, "name", name, MAX_LABEL if kind in (kinds.SERVICE, kinds.NAMESPACE) else MAX_NAME)
    if namespace:
        _check_name(raw, "namespace", namespace, MAX_LABEL)
    annotations = raw.text_map("annotations")
    annotations.pop(_LAST_APPLIED, None)
    return Meta(
        namespace=namespace,
        name=name,
        created=_created(raw),
        labels=raw.text_map("labels"),
        annotations=annotations,
        generation=raw.number("generation", high=2**63 - 1) or 0,
        source=source,
        author=author(raw.raw_object),
    )


def _check_name(raw: Fields, field: str, name: str, longest: int) -> None:
    if len(name) > longest:
        raw.problem(field, f"must be at most {longest} characters long, this has {len(name)}")
    elif not is_subdomain(name):
        raw.problem(
            field,
            "may hold only lower case letters, digits, '-' and '.', and begins and ends with one of the first two",
        )


def _created(raw: Fields) -> str:
    """Return the creation time as Kubernetes writes it: UTC, whole seconds; empty where there is none."""
    value = raw.raw("creationTimestamp")
    if value is None or value == "":
        return ""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raw.problem("creationTimestamp", "expected an RFC 3339 time")
            return ""
    if not isinstance(value, datetime):
        raw.text("creationTimestamp")
        return ""
    aware = value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    return aware.strftime("%Y-%m-%dT%H:%M:%SZ")


def _key_of(obj: object) -> ObjectKey:
    """Return as much of the identity as can be read, so that a bad edit still finds its last good version."""
    if not isinstance(obj, dict):
        return ObjectKey(kinds.NO_KIND, "", "")
    raw = obj.get("metadata")
    meta: dict[Any, Any] = raw if isinstance(raw, dict) else {}
    name, namespace = (_text(value) for value in (meta.get("name"), meta.get("namespace")))
    kind = GroupKind(_text(obj.get("kind")), _text(obj.get("apiVersion")).rpartition("/")[0])
    if not name or kind in CLUSTER_SCOPED:
        return ObjectKey(kind, "" if kind in CLUSTER_SCOPED else namespace, name)
    return ObjectKey(kind, namespace or "default", name)


def _text(value: object) -> str:
    return value[: MAX_NAME + 1] if isinstance(value, str) else ""


def _join(group: str, versions: tuple[str, ...]) -> str:
    return " or ".join(f"{group}/{version}" if group else version for version in versions)
