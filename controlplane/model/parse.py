"""Objects as written become values: ``Parsed`` with the object, or ``Rejected`` with every reason."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from controlplane.apis.closing.stand_ins import CLOSING, UNREAD
from controlplane.apis.kinds import KINDS
from controlplane.apis.parse import ROOT, parse_spec
from controlplane.apis.problems import UNKNOWN, Problem
from controlplane.apis.validation.primitives import check_labels
from controlplane.apis.validation.report import Report, Subject
from controlplane.documents.extent import extent
from controlplane.documents.limits import MAX_DEPTH, too_deep
from controlplane.documents.words import is_subdomain
from controlplane.model.author import author
from controlplane.model.kinds import GroupKind
from controlplane.model.objects import Labels, Meta, Object, ObjectKey, Rejected
from controlplane.model.status import allocated

if TYPE_CHECKING:
    from controlplane.apis.common import ApiModel

DEFAULT_NAMESPACE = "default"
MAX_NAME = 253
MAX_PROBLEMS = 200
"""Of one object, that are told one by one."""
MAX_SIZE = 3_000_000
"""What an object may hold (``documents.extent``); Kubernetes stores no object of more than 1.5 MB."""
_TOP_LEVEL = ("apiVersion", "kind", "metadata", ROOT, "status")
_OF_METADATA = frozenset(
    [
        "annotations",
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "finalizers",
        "generateName",
        "generation",
        "labels",
        "managedFields",
        "name",
        "namespace",
        "ownerReferences",
        "resourceVersion",
        "selfLink",
        "uid",
    ]
)
_DRY_RUN = "istio.io/dry-run"
#: the types of conditions by which something is decided, by kind; the others, ours too, change nothing
_CONDITIONS = {"WorkloadEntry": ("Healthy",)}
#: kinds of which proxies are told one version from another
_VERSIONED = frozenset({"WasmPlugin", "TrafficExtension"})
_RESERVED = (
    "internal.istio.io/webhook-always-reject",
    "internal.istio.io/parent-namespace",
    "internal.istio.io/parents",
)


@dataclass(frozen=True, slots=True)
class Parsed:
    """An object that can be used, and what is doubtful in it (``path: reason``)."""

    object: Object
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Inspected:
    """All that is known of an object as written; ``spec`` is ``None`` exactly when there are ``problems``."""

    meta: Meta
    spec: ApiModel | None
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...] = ()


def inspect(kind: str, obj: Mapping[str, Any], *, strict: bool = False, source: str = "") -> Inspected:
    """Read an object of one of Istio's kinds, and say where something is wrong with it.

    ``strict`` is for a person who asks (``validate``, the webhook): unknown fields and reserved annotations are
    problems. Otherwise unknown fields are dropped with a warning. ``source`` says where it was read (``path:line``).
    """
    if excess := _excess(obj):
        return Inspected(_Metadata(_named(obj), []).meta(source), None, (Problem("", excess),))
    problems: list[Problem] = []
    meta = _Metadata(obj.get("metadata"), problems).meta(source)
    if kind == "ServiceEntry":
        meta = replace(meta, allocated=allocated(obj.get("status")))
    if kind in _VERSIONED:
        meta = replace(meta, resource_version=_resource_version(obj.get("metadata")))
    if kind in _CONDITIONS:
        meta = replace(meta, conditions=_conditions(obj.get("status"), _CONDITIONS[kind]))
    if kind not in KINDS:
        return Inspected(meta, None, (Problem("kind", f"{kind} is not one of {', '.join(KINDS)}"),))
    problems += _envelope(kind, obj)
    if strict:
        problems += _strict_envelope(kind, obj, meta.annotations)
    subject = Subject(meta.namespace, meta.name, meta.annotations, meta.labels)
    spec = parse_spec(kind, obj.get(ROOT), subject, strict=strict)
    problems += spec.problems
    if strict:
        problems += _by_schema(kind, obj.get(ROOT), spec.problems)
    problems = _few(problems)
    return Inspected(meta, None if problems else spec.model, tuple(problems), tuple(_few(spec.warnings)))


def _few(problems: Sequence[Problem]) -> list[Problem]:
    """Return as many as a person reads, and how many more there are."""
    more = len(problems) - MAX_PROBLEMS
    return [*problems[:MAX_PROBLEMS], Problem("", f"and {more} more")] if more > 0 else list(problems)


def _excess(obj: Mapping[str, Any]) -> str:
    """Say what of an object is more than can be read in little time; empty where nothing is."""
    depth, size = extent(obj, deepest=MAX_DEPTH, largest=MAX_SIZE)
    if depth > MAX_DEPTH:
        return too_deep()
    return f"is larger than {MAX_SIZE} characters" if size > MAX_SIZE else ""


def _named(obj: Mapping[str, Any]) -> dict[str, Any]:
    """Return what names an object in its metadata."""
    raw = obj.get("metadata")
    return {field: raw.get(field) for field in ("namespace", "name")} if isinstance(raw, Mapping) else {}


def parse(kind: str, obj: Mapping[str, Any], *, strict: bool = False, source: str = "") -> Parsed | Rejected:
    """Read an object as ``inspect`` does, for the registry."""
    seen = inspect(kind, obj, strict=strict, source=source)
    group_kind = GroupKind(kind, KINDS[kind].group if kind in KINDS else "")
    if seen.spec is None:
        key = ObjectKey(group_kind, seen.meta.namespace, seen.meta.name)
        instead = None
        if kind in CLOSING and seen.meta.name and seen.meta.namespace:
            excess = bool(_excess(obj))
            spec = CLOSING[kind].stand_in(UNREAD if excess else obj.get(ROOT))
            instead = Object(group_kind, seen.meta if excess else _trying(seen.meta, obj["metadata"]), spec)
        return Rejected(key, tuple(map(str, seen.problems)), source, instead)
    return Parsed(Object(group_kind, seen.meta, seen.spec), tuple(map(str, seen.warnings)))


def _trying(meta: Meta, metadata: Mapping[str, Any]) -> Meta:
    """Return the metadata of a refused policy that is only to be tried, and says so without quotes, as one that is."""
    stated = metadata.get("annotations")
    if not isinstance(stated, Mapping) or stated.get(_DRY_RUN) is not True:
        return meta
    return replace(meta, annotations={**meta.annotations, _DRY_RUN: "true"})


def _resource_version(metadata: object) -> str:
    """Return the version that Kubernetes gave an object; what is none is left out, since no person writes it."""
    value = metadata.get("resourceVersion") if isinstance(metadata, Mapping) else None
    return value[:MAX_NAME] if isinstance(value, str) else ""


def _conditions(status: object, types: Collection[str]) -> dict[str, str]:
    """Return the status of the conditions of these types; what is none is left out, since no person writes a status."""
    listed = status.get("conditions") if isinstance(status, Mapping) else None
    held = [each for each in listed if isinstance(each, Mapping)] if isinstance(listed, list) else []
    return {each["type"]: str(each["status"]) for each in held if each.get("type") in types and "status" in each}


def _envelope(kind: str, obj: Mapping[str, Any]) -> list[Problem]:
    """Check kind and API version where they are given; items of a list come without."""
    problems = []
    if obj.get("kind", kind) != kind:
        problems.append(Problem("kind", f"is {obj['kind']!r}, not {kind!r}"))
    accepted = [f"{KINDS[kind].group}/{version}" for version in KINDS[kind].versions]
    if obj.get("apiVersion", accepted[0]) not in accepted:
        problems.append(Problem("apiVersion", f"{obj['apiVersion']!r} is not one of {', '.join(accepted)}"))
    return problems


def _strict_envelope(kind: str, obj: Mapping[str, Any], annotations: Labels) -> list[Problem]:
    problems = [Problem(str(key), UNKNOWN) for key in obj if key not in _TOP_LEVEL]
    raw = obj.get("metadata")
    metadata: Mapping[str, Any] = raw if isinstance(raw, Mapping) else {}
    problems += [Problem(f"metadata.{key}", UNKNOWN) for key in metadata if key not in _OF_METADATA]
    report = Report()
    check_labels(report, "metadata.labels", _plain_texts(metadata.get("labels")))
    problems += report.errors
    problems += [Problem(f"metadata.annotations.{key}", "is reserved") for key in _RESERVED if key in annotations]
    if _DRY_RUN in annotations:
        path = f"metadata.annotations.{_DRY_RUN}"
        spec = obj.get(ROOT)
        action = spec.get("action") or "ALLOW" if isinstance(spec, dict) else "ALLOW"
        if kind != "AuthorizationPolicy" or action not in {"ALLOW", "DENY"}:
            problems.append(Problem(path, "is only for an AuthorizationPolicy with action ALLOW or DENY"))
        if annotations[_DRY_RUN].lower() not in {"true", "false", "1", "0", "t", "f"}:
            problems.append(Problem(path, "must be true or false"))
    return problems


def _plain_texts(value: object) -> dict[str, str]:
    texts = value if isinstance(value, Mapping) else {}
    return {key: text for key, text in texts.items() if isinstance(key, str) and isinstance(text, str)}


def _by_schema(kind: str, spec: object, known: Collection[Problem]) -> list[Problem]:
    """Return what the API server refuses beyond the problems that are known."""
    from controlplane.apis.crds.strict import schema_problems  # noqa: PLC0415 - only those who ask need the schemas

    paths = {problem.path for problem in known}
    found = [] if spec is None else schema_problems(kind, spec, ROOT)
    return [problem for problem in found if problem.path not in paths]


class _Metadata:
    """Reads ``metadata``, noting what is wrong with it."""

    def __init__(self, raw: object, problems: list[Problem]) -> None:
        self._problems = problems
        self._raw: Mapping[str, Any] = raw if isinstance(raw, Mapping) else {}
        if raw is not None and not isinstance(raw, Mapping):
            self._note("", "must be a mapping")

    def meta(self, source: str) -> Meta:
        return Meta(
            namespace=self._name("namespace", DEFAULT_NAMESPACE),
            name=self._name("name", ""),
            created=self._created(),
            labels=self._texts("labels"),
            annotations=self._texts("annotations"),
            generation=self._generation(),
            source=source,
            author=author(self._raw),
        )

    def _note(self, field: str, reason: str) -> None:
        self._problems.append(Problem(f"metadata.{field}" if field else "metadata", reason))

    def _name(self, field: str, default: str) -> str:
        value = self._raw.get(field) or default
        if not value:
            self._note(field, "is required")
        elif not isinstance(value, str) or len(value) > MAX_NAME or not is_subdomain(value):
            self._note(field, f"must be a DNS name of at most {MAX_NAME} lower-case characters")
        return value if isinstance(value, str) else ""

    def _created(self) -> str:
        value = self._raw.get("creationTimestamp")
        if value is None or value == "":
            return ""
        try:
            time = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        except (TypeError, ValueError):
            self._note("creationTimestamp", f"{value!r} is not an RFC 3339 time")
            return ""
        time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
        return time.isoformat(timespec="microseconds" if time.microsecond else "seconds").replace("+00:00", "Z")

    def _texts(self, field: str) -> dict[str, str]:
        value = self._raw.get(field)
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            self._note(field, "must be a mapping of strings")
            return {}
        for key, text in value.items():
            if not isinstance(key, str) or not isinstance(text, str):
                self._note(f"{field}.{key}", f"{text!r} must be a string")
        return {key: text for key, text in value.items() if isinstance(key, str) and isinstance(text, str)}

    def _generation(self) -> int:
        value = self._raw.get("generation", 0)
        if isinstance(value, bool) or not isinstance(value, int):
            self._note("generation", f"{value!r} is not a number")
            return 0
        return value
