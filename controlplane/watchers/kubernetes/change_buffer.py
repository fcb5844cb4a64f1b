"""Changes on their way from the feeds to whoever reads the source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from controlplane.model.kinds import GroupKind
from controlplane.model.objects import ChangeSet, Object, ObjectKey, Rejected

if TYPE_CHECKING:
    import asyncio

    from controlplane.watchers.kubernetes.broadcast import Broadcast


class ChangeBuffer:
    """Changes not handed on yet; ``arrived`` is set while there are any.

    Of each object only its last state remains, so it never grows beyond the cluster. ``statuses`` is sent when a
    refusal is another, or an object whose status is kept: that alone changes no object.
    """

    def __init__(self, arrived: asyncio.Event, statuses: Broadcast) -> None:
        self.statuses = statuses
        self._arrived = arrived
        self._objects: dict[ObjectKey, Object | None] = {}
        self._rejections: dict[ObjectKey, Rejected] = {}

    @property
    def kinds(self) -> set[GroupKind]:
        """The kinds of the objects that changed."""
        return {key.kind for key in self._objects}

    def upsert(self, obj: Object) -> None:
        """An object is in force from now on; a refusal from before is over, unless it is told again."""
        self._objects[obj.key] = obj
        self._rejections.pop(obj.key, None)
        self._arrived.set()

    def delete(self, key: ObjectKey) -> None:
        """An object is no more, nor its refusal."""
        self._objects[key] = None
        self._rejections.pop(key, None)
        self._arrived.set()

    def reject(self, rejected: Rejected) -> None:
        """An object's newest version cannot be used."""
        self._rejections[rejected.key] = rejected
        self._arrived.set()
        self.statuses.send()

    def take(self) -> ChangeSet:
        """Return everything and begin anew."""
        objects, self._objects = self._objects, {}
        rejections, self._rejections = self._rejections, {}
        self._arrived.clear()
        return ChangeSet(
            tuple(obj for obj in objects.values() if obj is not None),
            tuple(sorted(key for key, obj in objects.items() if obj is None)),
            tuple(rejections.values()),
        )
