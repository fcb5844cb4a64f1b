"""Objects as the JSON that their authors wrote, and what of each a change makes different."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields, is_dataclass, replace
from enum import Enum, StrEnum
from typing import Any

from pydantic import BaseModel

from controlplane.model import kinds
from controlplane.model.objects import ChangeSet, Object, ObjectKey
from controlplane.plan.edits import Edit, edits


class Change(StrEnum):
    """What becomes of something."""

    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class ObjectChange:
    """One object that is another afterwards: ``before`` and ``after`` are ``None`` where it is not there."""

    key: ObjectKey
    before: Object | None
    after: Object | None

    @property
    def change(self) -> Change:
        """What becomes of the object."""
        if self.before is None:
            return Change.ADDED
        return Change.CHANGED if self.after is not None else Change.REMOVED

    @property
    def change_set(self) -> ChangeSet:
        """The change of this object alone."""
        return ChangeSet((self.after,)) if self.after is not None else ChangeSet((), (self.key,))

    def edits(self) -> tuple[Edit, ...]:
        """Return what of an object that stays is another. What nobody may see is not told: Secrets, keys in patches."""
        if self.before is None or self.after is None:
            return ()
        if self.key.kind == kinds.SECRET:
            return (_untold("data"),)
        found = tuple(edits(_shown(self.before), _shown(self.after)))
        return found or ((_untold("spec"),) if self.key.kind == kinds.ENVOY_FILTER else ())


def _untold(field: str) -> Edit:
    return Edit("replace", (field,), (field,), "...", "...")


def _shown(obj: Object) -> dict[str, Any]:
    """Return an object as it is written, without what Envoy's API marks as sensitive in patches."""
    if obj.key.kind != kinds.ENVOY_FILTER:
        return written(obj)
    from controlplane.patches.published_manifest import published_manifest  # noqa: PLC0415 - loads Envoy's messages

    return published_manifest({"kind": kinds.ENVOY_FILTER.name, **written(obj)})


def object_changes(objects: Mapping[ObjectKey, Object], changes: ChangeSet) -> Iterator[ObjectChange]:
    """Yield what a change set makes of these objects: what it stores in its order, then what it drops.

    An equal object is no change.
    """
    for obj in changes.upserts:
        before = objects.get(obj.key)
        if before != obj:
            yield ObjectChange(obj.key, before, obj)
    for key in changes.deletes:
        held = objects.get(key)
        if held is not None:
            yield ObjectChange(key, held, None)


def as_stored(new: Object, before: Object | None, now: str) -> Object:
    """Return an object of a manifest as it is once it is stored: what nobody writes stays as it was.

    ``now`` is the time that a new object is created at, empty where nobody keeps it.
    """
    meta = new.meta
    if before is None:
        return replace(new, meta=replace(meta, created=meta.created or now))
    old = before.meta
    kept = replace(
        meta,
        created=meta.created or old.created,
        conditions=meta.conditions or old.conditions,
        allocated=meta.allocated or old.allocated,
        resource_version=meta.resource_version or old.resource_version,
    )
    return replace(new, meta=kept)


def written(obj: Object) -> dict[str, Any]:
    """Return labels, annotations and ``spec`` of an object as JSON, without what its author left out."""
    metadata = {"labels": dict(obj.meta.labels), "annotations": dict(obj.meta.annotations)}
    return {"metadata": {name: value for name, value in metadata.items() if value}, "spec": plain(obj.spec)}


def plain(value: Any) -> Any:  # noqa: ANN401 - what an object holds
    """Return a value of the model as JSON."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True, exclude_unset=True)
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, AbstractSet):
        return sorted(map(plain, value), key=str)
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes)):
        return [plain(each) for each in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
