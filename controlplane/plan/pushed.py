"""The difference of two snapshots: what a proxy that has the one is sent to have the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from controlplane.plan.drains import Drains, drains
from controlplane.plan.written import Change
from controlplane.snapshots import Resource, ResourceType, Snapshot


@dataclass(frozen=True, slots=True)
class ResourceChange:
    """One resource that is another afterwards: ``before`` and ``after`` are ``None`` where it is not there."""

    before: Resource | None
    after: Resource | None

    @property
    def resource(self) -> Resource:
        """The resource as it is afterwards, else as it was.

        Raises:
            ValueError: it is in neither snapshot, so there is no change (our bug).
        """
        found = self.after if self.after is not None else self.before
        if found is None:
            raise ValueError("a change of nothing")
        return found

    @property
    def change(self) -> Change:
        """What becomes of the resource."""
        if self.before is None:
            return Change.ADDED
        return Change.CHANGED if self.after is not None else Change.REMOVED

    @property
    def size_bytes(self) -> int:
        """The bytes of it that are sent: all of one that is new or another, none of one that goes."""
        return len(self.after.content) if self.after is not None else 0

    def drains(self) -> Drains:
        """Return which connections end with it."""
        if self.resource.type is not ResourceType.LISTENER or self.before is None:
            return Drains()
        return drains(self.before.body, self.after.body if self.after is not None else None)


def pushed(before: Snapshot, after: Snapshot) -> Sequence[ResourceChange]:
    """Return the resources that differ, in push order and by name."""
    return tuple(_changes(before, after))


def _changes(before: Snapshot, after: Snapshot) -> Iterator[ResourceChange]:
    for type_ in ResourceType:
        old, new = before.of(type_), after.of(type_)
        if old is new:
            continue
        for name in sorted(old.keys() | new.keys()):
            was, now = old.get(name), new.get(name)
            if was != now:
                yield ResourceChange(was, now)
