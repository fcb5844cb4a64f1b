"""A question about a change, as JSON has it, and the change that it means for a registry.

| name | value |
|---|---|
| ``objects`` | a list of ``{"value": object, "source": "file:line"}``: new and changed objects, as in manifests |
| ``manifests`` | such objects as one text, YAML or JSON: see ``pasted`` |
| ``delete`` | a list of texts ``KIND/NAMESPACE/NAME``, of what belongs to no namespace ``KIND/NAME`` |
| ``prune`` | whether objects of Istio's kinds go that are in the namespaces of ``objects``, and not among them |
| ``requests`` | a list of ``{"pairs": [[name, value]]}``: see ``simulate.questions``; ``proxy`` may describe whose |
| ``patches`` | whether the answer has the difference of each resource |
| ``classes`` | whether it has the resources that proxies are sent; without, it is short where the mesh is large |
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from controlplane.analysis.problems import mesh_problem
from controlplane.apis.kind_names import kind_names
from controlplane.apis.kinds import KINDS
from controlplane.apis.parse import ROOT
from controlplane.apis.problems import IGNORED, UNKNOWN, problems_of
from controlplane.documents.nearest import nearest_text
from controlplane.model import kinds
from controlplane.model.kinds import GroupKind
from controlplane.model.objects import ChangeSet, Object, ObjectKey, Rejected
from controlplane.model.parse import Parsed, inspect
from controlplane.plan.pasted import pasted
from controlplane.plan.written import as_stored
from controlplane.registry.mesh import MESH_KEY
from controlplane.registry.store import Registry
from controlplane.simulate.manifests import WORKLOADS
from controlplane.simulate.questions import WrongQuestionError
from controlplane.simulate.routing.cases import Described
from controlplane.watchers.core_kinds import CLUSTER_SCOPED, READERS
from controlplane.watchers.kinds import Unused, parse

MOST_OBJECTS = 5_000
MOST_REQUESTS = 1_000
_WORKLOADS = {"deployment": "Deployment", "statefulset": "StatefulSet", "daemonset": "DaemonSet"}
_SHORT = {
    "deploy": "Deployment",
    "svc": "Service",
    "po": "Pod",
    "ns": "Namespace",
    "cm": "ConfigMap",
    "ing": "Ingress",
    "no": "Node",
}


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Written(_Model):
    """One object of a manifest, and where it was written."""

    value: Any
    source: str = ""


class Asking(_Model):
    """One request. ``proxy`` describes whose it is, where no object does."""

    pairs: list[tuple[str, str]]
    proxy: Described | None = None


class Question(_Model):
    """What is asked: see above."""

    objects: list[Written] = []
    manifests: str = ""
    delete: list[str] = []
    prune: bool = False
    requests: list[Asking] = []
    patches: bool = False
    classes: bool = True

    @classmethod
    def of(cls, value: object) -> Question:
        """Read a JSON value.

        Raises:
            WrongQuestionError: it is no question.
        """
        try:
            asked = cls.model_validate(value)
        except ValidationError as error:
            first = problems_of(error)[0]
            raise WrongQuestionError(f"{first.path or 'the question'}: {first.reason}") from error
        if asked.manifests:
            read = [Written(value=value, source=source) for value, source in pasted(asked.manifests)]
            asked = asked.model_copy(update={"objects": [*asked.objects, *read], "manifests": ""})
        if len(asked.objects) > MOST_OBJECTS or len(asked.requests) > MOST_REQUESTS:
            raise WrongQuestionError(f"more than {MOST_OBJECTS} objects or {MOST_REQUESTS} requests")
        return asked


@dataclass(frozen=True, slots=True)
class Repeated:
    """An object that is given twice: ``kubectl apply`` stores the first, then the second, so that one counts."""

    key: ObjectKey
    first: str
    used: str

    def words(self) -> dict[str, str]:
        """Return what JSON says of it."""
        return {**self.key.words(), "first": self.first, "used": self.used}


@dataclass(frozen=True, slots=True)
class Doubt:
    """What is doubtful in an object that is used all the same: a field that is unknown, or what a rule warns of."""

    key: ObjectKey
    path: str
    reason: str

    @classmethod
    def of(cls, parsed: Parsed, value: object) -> tuple[Doubt, ...]:
        """Return the doubts about an object, which was written as ``value``."""
        found = list(_outside_spec(parsed.object, value))
        for text in parsed.warnings:
            path, colon, reason = text.partition(": ")
            named = bool(colon) and path.startswith(ROOT)
            found.append(cls(parsed.object.key, path if named else "", reason if named else text))
        return tuple(found)

    @property
    def is_unknown_field(self) -> bool:
        """Whether ``kubectl apply`` would refuse the object for it."""
        return self.reason == IGNORED


@dataclass(frozen=True, slots=True)
class Meant:
    """The change that a question means, kinds of objects that nothing here reads, what is given twice or doubtful."""

    changes: ChangeSet
    unused: tuple[str, ...] = ()
    repeated: tuple[Repeated, ...] = ()
    doubts: tuple[Doubt, ...] = ()


def meant(question: Question, registry: Registry, rejected: Iterable[Rejected] = ()) -> Meant:
    """Return the change of a registry's objects that is asked about; what is not named stays as it is.

    ``rejected`` is what is refused at present: what only stands for one of them gives way to another.

    Raises:
        WrongQuestionError: what is to be deleted is not there.
    """
    upserts: dict[ObjectKey, Object] = {}
    rejections: list[Rejected] = []
    repeated: list[Repeated] = []
    unused: set[str] = set()
    doubts: dict[ObjectKey, tuple[Doubt, ...]] = {}
    for each in question.objects:
        result = parse(each.value, each.source)
        if isinstance(result, Parsed):
            key = result.object.key
            if (first := upserts.get(key)) is not None:
                repeated.append(Repeated(key, first.meta.source, each.source))
            upserts[key] = _stored(result.object, registry)
            doubts[key] = Doubt.of(result, each.value)
        elif isinstance(result, Rejected):
            rejections.append(result)
            if result.stand_in is not None and not _has_good(registry, rejected, result.key):
                upserts.setdefault(result.key, result.stand_in)
        elif isinstance(result, Unused):
            unused.add(result.kind)
    stated = upserts.get(MESH_KEY)
    if stated is not None and (problem := mesh_problem(stated)) is not None:
        rejections.append(problem)
        del upserts[MESH_KEY]
    refused = {each.key for each in rejections}
    deletes = dict.fromkeys(_named(text, registry) for text in question.delete)
    if question.prune:
        deletes |= dict.fromkeys(_left(registry, upserts.keys() | refused))
    kept = tuple(obj for key, obj in upserts.items() if key not in deletes)
    changes = ChangeSet(kept, tuple(deletes), tuple(rejections))
    return Meant(changes, tuple(sorted(unused)), tuple(repeated), tuple(chain.from_iterable(doubts.values())))


def _has_good(registry: Registry, rejected: Iterable[Rejected], key: ObjectKey) -> bool:
    """Whether there is an object which does not only stand for a refused one."""
    held = registry.objects.get(key)
    return held is not None and not any(each.key == key and each.stand_in == held for each in rejected)


def _outside_spec(obj: Object, value: object) -> Iterator[Doubt]:
    """Yield the fields that are unknown beside ``spec`` and in ``metadata``, for which ``kubectl apply`` refuses it."""
    kind = KINDS.get(obj.kind.name)
    if kind is None or kind.group != obj.kind.group or not isinstance(value, Mapping):
        return
    for problem in inspect(kind.name, value, strict=True).problems:
        if problem.reason == UNKNOWN and not problem.path.startswith(ROOT):
            yield Doubt(obj.key, problem.path, IGNORED)


def _stored(obj: Object, registry: Registry) -> Object:
    """Return an object as it is once it is applied; where the registry is of files, they say all themselves."""
    if registry.allocates:
        return obj
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return as_stored(obj, registry.objects.get(obj.key), now)


def _left(registry: Registry, stated: Iterable[ObjectKey]) -> Iterator[ObjectKey]:
    """Yield the objects of Istio's kinds in the namespaces of what is stated that are not stated themselves."""
    held = set(stated)
    namespaces = {key.namespace for key in held}
    for name in KINDS:
        for key in registry.keys(kinds.istio_kind(name)):
            if key.namespace in namespaces and key not in held:
                yield key


def _named(text: str, registry: Registry) -> ObjectKey:
    key = object_key(text)
    if key not in registry.objects:
        hint = "; a control plane reads pods: name these (pod/NAMESPACE/NAME)" if key.kind.name in WORKLOADS else ""
        raise WrongQuestionError(
            f"there is no {key}, which is to be deleted{hint or near(key, registry.keys(key.kind))}"
        )
    return key


def near(key: ObjectKey, known: Iterable[ObjectKey]) -> str:
    """Return, for the end of a sentence, which objects of its kind and namespace may be meant by an absent one."""
    names = (each.name for each in known if (each.kind, each.namespace) == (key.kind, key.namespace))
    return nearest_text(key.name, names)


def object_key(text: str) -> ObjectKey:
    """Read ``KIND/NAMESPACE/NAME``; a kind may be written as kubectl takes it (``vs``, ``virtualservices``).

    Raises:
        WrongQuestionError: it is none.
    """
    kind_text, *rest = text.split("/")
    kind = _kinds().get(kind_text.lower())
    if kind is None:
        if not rest:
            raise WrongQuestionError(f"{text!r} is not KIND/NAMESPACE/NAME")
        known = sorted({each.name for each in _kinds().values()})
        raise WrongQuestionError(f"{text!r}: there is no kind {kind_text!r}{nearest_text(kind_text, known)}")
    scoped = kind not in CLUSTER_SCOPED
    if len(rest) != (2 if scoped else 1) or not all(rest):
        raise WrongQuestionError(f"{text!r} is not {kind.name}/{'NAMESPACE/' if scoped else ''}NAME")
    return ObjectKey(kind, rest[0] if scoped else "", rest[-1])


def _kinds() -> Mapping[str, GroupKind]:
    """Return the kinds by their names, in lower case; where Istio and others have one name, Istio's is meant."""
    found: dict[str, GroupKind] = {}
    for group, _, name in READERS:
        kind = GroupKind(name, group)
        found |= {name.lower(): kind, f"{name.lower()}s": kind, kind.qualified.lower(): kind}
    for name, kind_name in _WORKLOADS.items():
        kind = GroupKind(kind_name, "apps")
        found |= {name: kind, f"{name}s": kind, kind.qualified.lower(): kind}
    found |= {short: found[name.lower()] for short, name in _SHORT.items()}
    found |= {name: kinds.istio_kind(kind_name) for name, kind_name in kind_names().items()}
    return found | {kind.qualified.lower(): kind for kind in map(kinds.istio_kind, KINDS)}


__all__ = ["Asking", "Doubt", "Meant", "Question", "Repeated", "meant", "near", "object_key"]
