"""Objects, their keys, and changes of them: the currency between watchers and the registry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from controlplane.model.kinds import GroupKind

Labels = Mapping[str, str]


class ObjectKey(NamedTuple):
    """Identity of an object.

    ``kind`` has its API group; API versions are one kind. ``namespace`` is empty for what belongs to a whole cluster.
    ``cluster`` is the id of the Kubernetes cluster that it was read from, empty for the control plane's own.
    """

    kind: GroupKind
    namespace: str
    name: str
    cluster: str = ""

    def words(self) -> dict[str, str]:
        """Return what JSON says of it: ``kind``, ``group``, ``namespace``, ``name``; ``cluster`` where it has one."""
        named = {"kind": self.kind.name, "group": self.kind.group, "namespace": self.namespace, "name": self.name}
        return named | ({"cluster": self.cluster} if self.cluster else {})

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Meta:
    """The part of ``metadata`` that anything depends on.

    ``created`` is the RFC 3339 creation time, empty where none is given (equally old, and older than any).
    ``cluster`` is as in ``ObjectKey``.
    ``conditions`` is the status of conditions by type, kept only for those that something decides by;
    ``allocated`` likewise: the pairs of host name and address in ``status.addresses`` of a ServiceEntry.
    ``resource_version`` is kept only where proxies are told it, of extensions; a status that is written is no new one.
    ``source`` says where the object was read (``path:line``) and takes no part in comparison, nor do ``generation``
    and ``author``, the program that wrote it last: a change of these alone is no change.
    """

    namespace: str
    name: str
    created: str = ""
    labels: Labels = field(default_factory=dict)
    annotations: Labels = field(default_factory=dict)
    conditions: Labels = field(default_factory=dict)
    allocated: tuple[tuple[str, str], ...] = ()
    resource_version: str = ""
    cluster: str = ""
    generation: int = field(default=0, compare=False)
    source: str = field(default="", compare=False)
    author: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Object:
    """One object as the registry keeps it: ``spec`` is an ``apis`` model or a ``model.kubernetes`` value."""

    kind: GroupKind
    meta: Meta
    spec: Any

    @property
    def key(self) -> ObjectKey:
        """The object's identity."""
        return ObjectKey(self.kind, self.meta.namespace, self.meta.name, self.meta.cluster)

    @property
    def age_order(self) -> tuple[str, str, str]:
        """Sort key that Istio uses to settle conflicts: creation time, name, namespace; the smaller wins."""
        return (self.meta.created, self.meta.name, self.meta.namespace)


@dataclass(frozen=True, slots=True)
class Rejected:
    """An object that cannot be used, and every reason why; the last good version of it stays in force.

    Each problem is ``path: reason``. ``key`` has empty parts where even they could not be read. ``stand_in`` is in
    force where there is no good version: ``None`` but for policies, without which everybody would be let in.
    """

    key: ObjectKey
    problems: tuple[str, ...]
    source: str = ""
    stand_in: Object | None = None


@dataclass(frozen=True, slots=True, order=True)
class Warned:
    """Something odd in an object that is used all the same."""

    key: ObjectKey
    text: str


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """A batch of changes that belong together: objects to store, keys to drop, objects refused."""

    upserts: tuple[Object, ...] = ()
    deletes: tuple[ObjectKey, ...] = ()
    rejections: tuple[Rejected, ...] = ()

    def then(self, other: ChangeSet) -> ChangeSet:
        """Return one change set with the effect of both in order: of each object only its last state remains."""
        gathered = Gathered()
        gathered.add(self)
        gathered.add(other)
        return gathered.taken()


class Gathered:
    """Change sets that become one, with the effect of all in order: of each object only its last state remains."""

    def __init__(self) -> None:
        self._objects: dict[ObjectKey, Object | None] = {}  # ``None``: dropped
        self._rejections: dict[tuple[ObjectKey, str], Rejected] = {}

    def add(self, changes: ChangeSet) -> None:
        """Take one more; costs no more than it is large."""
        self._objects.update((obj.key, obj) for obj in changes.upserts)
        self._objects.update(dict.fromkeys(changes.deletes))
        self._rejections.update(((rejected.key, rejected.source), rejected) for rejected in changes.rejections)

    def taken(self) -> ChangeSet:
        """Return what was gathered, and begin anew."""
        objects, self._objects = self._objects, {}
        rejections, self._rejections = self._rejections, {}
        return ChangeSet(
            tuple(obj for obj in objects.values() if obj is not None),
            tuple(key for key, obj in objects.items() if obj is None),
            tuple(rejections.values()),
        )
