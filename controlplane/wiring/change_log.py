"""Answers "I saved; what happened?" in the log, with one event for each accepted change and one for each push.

| event | its keys |
|---|---|
| ``registry.accepted`` | ``objects``: how many were changed or removed; ``changed``, ``removed``: the first of them
by name; ``changes``: how many change sets this is about | | ``compiler.pushed`` | ``objects``; ``targets``: how many
resources were built; ``classes`` and ``proxies`` that got something new; ``milliseconds`` from the beginning of the
work until it went out; ``revision``: what ``status PROXY`` shows once a proxy has it; ``pushes``: how many this is
about |

What these tell goes into a ``Timeline`` too, where people look at it; and what is refused, which others have logged.

A few are written at once, then one a second, which is about all since the last one: a burst of changes is not a burst
of lines, and the last change of it is told of too.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable

import structlog

from controlplane.admin.timeline import Timeline
from controlplane.model.events import Event, Happened
from controlplane.model.objects import ChangeSet
from controlplane.snapshots import Snapshot
from controlplane.wiring.deliveries import Deliveries

log = structlog.get_logger(__name__)

BURST, PER_SECOND = 5, 1.0
MOST_NAMES = 10
"""Of the objects of one event."""


class _Pace:
    """Calls ``tell`` at once after a quiet time, else once a second, and always after the last ``due``."""

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell = tell
        self._tokens, self._at = float(BURST), time.monotonic()
        self._timer: asyncio.TimerHandle | None = None

    def due(self) -> None:
        """There is something to tell."""
        if self._timer is not None:
            return
        now = time.monotonic()
        self._tokens = min(float(BURST), self._tokens + (now - self._at) * PER_SECOND)
        self._at = now
        if self._tokens >= 1:
            self._tokens -= 1
            self._tell()
        else:
            pause = (1 - self._tokens) / PER_SECOND
            self._timer = asyncio.get_running_loop().call_later(pause, self._late)

    def _late(self) -> None:
        self._timer = None
        self.due()


class _Names:
    """Counts the objects of changes, and remembers the first of them by name, with who wrote them."""

    def __init__(self) -> None:
        self.objects = 0
        self._changed: dict[str, str] = {}
        self._removed: dict[str, None] = {}

    def add(self, changes: ChangeSet) -> None:
        """Take one more."""
        self.objects += len(changes.upserts) + len(changes.deletes)
        for obj in changes.upserts[:MOST_NAMES]:
            self._changed[str(obj.key)] = obj.meta.author
        for key in changes.deletes[:MOST_NAMES]:
            self._removed[str(key)] = None

    @property
    def changed(self) -> tuple[str, ...]:
        """Objects that were written."""
        return tuple(self._changed)[:MOST_NAMES]

    @property
    def authors(self) -> tuple[str, ...]:
        """Who wrote each of them."""
        return tuple(self._changed.values())[:MOST_NAMES]

    @property
    def removed(self) -> tuple[str, ...]:
        """Objects that are gone."""
        return tuple(self._removed)[:MOST_NAMES]


class ChangeLog:
    """Writes both events; ``snapshots`` gives what each connected proxy has to be served now."""

    timeline: Timeline

    def __init__(self, snapshots: Callable[[], Iterable[Snapshot]], deliveries: Deliveries) -> None:
        self._snapshots = snapshots
        self._deliveries = deliveries
        self.timeline = Timeline()
        self._accepting, self._pushing = _Pace(self._tell_accepted), _Pace(self._tell_pushed)
        self._refusing, self._nacking = _Pace(self._tell_refused), _Pace(self._tell_nacked)
        self._refused: dict[str, None] = {}
        self._refusals = 0
        self._nacks: Counter[str] = Counter()
        self._accepted, self._compiled = _Names(), _Names()
        self._changes = self._pushes = self._targets = 0
        self._seconds = 0.0
        self._since = self._revision = 0

    def accepted(self, changes: ChangeSet) -> None:
        """A change set of the source has objects that count."""
        if changes.rejections:
            self._refusals += len(changes.rejections)
            for rejected in changes.rejections[:MOST_NAMES]:
                self._refused[str(rejected.key) if rejected.key.kind.name else rejected.source] = None
            self._refusing.due()
        if not (changes.upserts or changes.deletes):
            return
        self._changes += 1
        self._accepted.add(changes)
        self._accepting.due()

    def nacked(self, type_url: str) -> None:
        """A proxy has refused what it was sent of a type."""
        self._nacks[type_url if len(self._nacks) < MOST_NAMES else ""] += 1
        self._nacking.due()

    def pushed(self, changes: ChangeSet, targets: int, seconds: float, revision: int) -> None:
        """A change set is compiled; from now on proxies are sent what is new for them."""
        if not self._pushes:
            self._since = self._revision
        self._pushes += 1
        self._compiled.add(changes)
        self._deliveries.compiled()
        self._targets += targets
        self._seconds = max(self._seconds, seconds)
        self._revision = revision
        self._pushing.due()

    def _tell_accepted(self) -> None:
        names, self._accepted = self._accepted, _Names()
        log.info(
            "registry.accepted",
            objects=names.objects,
            changed=list(names.changed),
            removed=list(names.removed),
            changes=self._changes,
        )
        self.timeline.add(
            Event(Happened.ACCEPTED, names.objects, changed=names.changed, authors=names.authors, removed=names.removed)
        )
        self._changes = 0

    def _tell_pushed(self) -> None:
        new = [each for each in self._snapshots() if each.revision > self._since]
        names, self._compiled = self._compiled, _Names()
        event = Event(
            Happened.PUSHED,
            names.objects,
            changed=names.changed,
            authors=names.authors,
            removed=names.removed,
            targets=self._targets,
            classes=len({id(each) for each in new}),
            proxies=len(new),
            milliseconds=round(1000 * self._seconds, 1),
            revision=self._revision,
            delivery=self._deliveries.told(),
        )
        log.info(
            "compiler.pushed",
            objects=event.objects,
            targets=event.targets,
            classes=event.classes,
            proxies=event.proxies,
            milliseconds=event.milliseconds,
            revision=event.revision,
            pushes=self._pushes,
        )
        self.timeline.add(event)
        self._pushes = self._targets = 0
        self._seconds = 0.0

    def _tell_refused(self) -> None:
        refused = tuple(self._refused)[:MOST_NAMES]
        self.timeline.add(Event(Happened.REFUSED, self._refusals, refused=refused))
        self._refused, self._refusals = {}, 0

    def _tell_nacked(self) -> None:
        types = tuple(sorted(each.rpartition(".")[2] for each in self._nacks if each))
        self.timeline.add(Event(Happened.NACKED, self._nacks.total(), refused=types))
        self._nacks = Counter()
