"""Objects, their keys, and changes of them: the currency between watchers and the registry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Labels = Mapping[str, str]


class ObjectKey(NamedTuple):
    """Identity of an object: ``kind`` is the bare kind (``VirtualService``); API versions are one kind."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Meta:
    """The part of ``metadata`` that anything depends on.

    ``created`` is the RFC 3339 creation time, empty where none is given (equally old, and older than any).
    ``conditions`` is the status of conditions by type, kept only for those that something decides by;
    ``allocated`` likewise: the pairs of host name and address in ``status.addresses`` of a ServiceEntry.
    ``source`` says where the object was read (``path:line``) and takes no part in comparison, nor does
    ``generation``: a change of either alone is no change.
    """

    namespace: str
    name: str
    created: str = ""
    labels: Labels = field(default_factory=dict)
    annotations: Labels = field(default_factory=dict)
    conditions: Labels = field(default_factory=dict)
    allocated: tuple[tuple[str, str], ...] = ()
    generation: int = field(default=0, compare=False)
    source: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Object:
    """One object as the registry keeps it: ``spec`` is an ``apis`` model or a ``model.kubernetes`` value."""

    kind: str
    meta: Meta
    spec: Any

    @property
    def key(self) -> ObjectKey:
        """The object's identity."""
        return ObjectKey(self.kind, self.meta.namespace, self.meta.name)

    @property
    def age_order(self) -> tuple[str, str, str]:
        """Sort key that Istio uses to settle conflicts: creation time, name, namespace; the smaller wins."""
        return (self.meta.created, self.meta.name, self.meta.namespace)


@dataclass(frozen=True, slots=True)
class Rejected:
    """An object that cannot be used, and every reason why; the last good version of it stays in force.

    Each problem is ``path: reason``. ``key`` has empty parts where even they could not be read.
    """

    key: ObjectKey
    problems: tuple[str, ...]
    source: str = ""


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """A batch of changes that belong together: objects to store, keys to drop, objects refused."""

    upserts: tuple[Object, ...] = ()
    deletes: tuple[ObjectKey, ...] = ()
    rejections: tuple[Rejected, ...] = ()

    def then(self, other: ChangeSet) -> ChangeSet:
        """Return one change set with the effect of both in order: of each object only its last state remains."""
        objects: dict[ObjectKey, Object | None] = {obj.key: obj for obj in self.upserts}
        objects |= dict.fromkeys(self.deletes)
        objects |= {obj.key: obj for obj in other.upserts}
        objects |= dict.fromkeys(other.deletes)
        rejections = {(rejected.key, rejected.source): rejected for rejected in (*self.rejections, *other.rejections)}
        return ChangeSet(
            tuple(obj for obj in objects.values() if obj is not None),
            tuple(key for key, obj in objects.items() if obj is None),
            tuple(rejections.values()),
        )
