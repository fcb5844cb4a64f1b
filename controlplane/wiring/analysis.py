"""Looks at what changed once it has been sent: mistakes between objects, and fields without effect.

Proxies do not wait for it, and a failure of it costs them nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

from controlplane.admin.pace import Pace
from controlplane.analysis.problems import Problems
from controlplane.analysis.untranslated import UntranslatedFields
from controlplane.apis.kinds import KINDS
from controlplane.model.objects import ChangeSet, ObjectKey
from controlplane.watchers.kubernetes.broadcast import Broadcast


@dataclass(frozen=True)
class Broadcasts:
    """What those who write to the status of objects are told.

    ``applied``: some object is in force anew. ``judged``: one of Istio's is, or what is found about one is another.
    """

    applied: Broadcast = field(default_factory=Broadcast)
    judged: Broadcast = field(default_factory=Broadcast)


class Analysis:
    """Judges changes after they are in force, and have gone out to the proxies as far as these take them.

    ``pushed`` returns when they have. What is left out may be another where a proxy comes or goes, too.
    """

    def __init__(self, problems: Problems, pushed: Callable[[], Awaitable[None]]) -> None:
        self.broadcasts = Broadcasts()
        self._problems = problems
        self._pushed = pushed
        self._untranslated = UntranslatedFields()
        self._pending: ChangeSet | None = None
        self._arrived = asyncio.Event()
        self._pace = Pace()
        problems.left_out.on_change = self._arrived.set

    def changed(self, changes: ChangeSet) -> None:
        """Have a change set looked at that is in force by now."""
        self._problems.changed(changes)
        self._pending = changes if self._pending is None else self._pending.then(changes)
        self._arrived.set()
        self.broadcasts.applied.send()

    def proxies_changed(self) -> None:
        """Hear that a proxy has come or gone: what is for nobody may be for somebody now, or the other way round."""
        if self._problems.is_about_proxies:
            self._arrived.set()

    def renewed(self) -> None:
        """Hear that the same objects were given again: their generation may be another, nothing else is."""
        self.broadcasts.applied.send()
        self.broadcasts.judged.send()

    def once(self) -> None:
        """Look at what has changed since the last time, at one go."""
        for _ in self._steps():
            pass

    async def run(self) -> None:
        """Look after each change, a few milliseconds at a time, until cancelled."""
        while True:
            await self._arrived.wait()
            await self._pushed()
            await self._pace.gathered(self._steps())

    def _steps(self) -> Iterator[None]:
        changes, self._pending = self._pending, None
        self._arrived.clear()
        other = changes is not None and any(_has_condition(key) for key in _keys(changes))
        try:
            if changes is not None:
                yield from self._untranslated.note(changes)
        finally:
            before = self._problems.told
            yield from self._problems.find()
            if other or self._problems.told is not before:
                self.broadcasts.judged.send()


def _keys(changes: ChangeSet) -> Iterator[ObjectKey]:
    yield from (obj.key for obj in changes.upserts)
    yield from changes.deletes


def _has_condition(key: ObjectKey) -> bool:
    kind = KINDS.get(key.kind.name)
    return kind is not None and kind.group == key.kind.group
