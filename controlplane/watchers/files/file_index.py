"""Who defines what: the readings of many files, and what they say together."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from controlplane.model.objects import ChangeSet, Object, ObjectKey, Rejected, Warned
from controlplane.watchers.reading import NOWHERE, Reading, conflict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

log = structlog.get_logger()


@dataclass(slots=True)
class _File:
    """What a file says now, the last good version of what it says wrongly now, and what stands where there is none."""

    reading: Reading = field(default_factory=Reading)
    kept: dict[ObjectKey, Object] = field(default_factory=dict)
    standing: dict[ObjectKey, Object] = field(default_factory=dict)

    def good(self, key: ObjectKey) -> Object | None:
        return self.reading.objects.get(key) or self.kept.get(key)

    def get(self, key: ObjectKey) -> Object | None:
        return self.good(key) or self.standing.get(key)

    def keys(self) -> set[ObjectKey]:
        return self.reading.objects.keys() | self.kept.keys() | self.standing.keys()

    def after(self, reading: Reading) -> _File:
        """Return this file as it is after another reading."""
        refused = {rejected.key for rejected in reading.rejections}
        newly_unreadable = bool(reading.unreadable - self.reading.unreadable)
        kept, standing = {}, dict(reading.stand_ins)
        was_hidden = self.kept.keys() | (self.standing.keys() - self.reading.stand_ins.keys())
        for key in self.keys() - reading.objects.keys():
            hidden = bool(reading.unreadable) and (newly_unreadable or key in was_hidden)
            if (key in refused or hidden) and (obj := self.good(key)) is not None:
                kept[key] = obj
            elif hidden and key in self.standing:
                standing.setdefault(key, self.standing[key])
        return _File(reading, kept, standing)


class FileIndex:
    """The readings of all files; ``enter`` takes new ones and returns what that changes.

    ``rejected``, ``warnings`` and ``unused`` are replaced, never changed in place.
    """

    def __init__(self) -> None:
        self.rejected: Mapping[str, Rejected] = {}
        self.warnings: frozenset[Warned] = frozenset()
        self.unused: Counter[str] = Counter()
        self._files: dict[str, _File] = {}
        self._stated_in: defaultdict[ObjectKey, set[str]] = defaultdict(set)
        self._current: dict[ObjectKey, Object] = {}
        self._stand_ins: set[ObjectKey] = set()  # of what is current, that which only stands for a refused object
        self._conflicts: dict[ObjectKey, list[Rejected]] = {}
        self._named: set[str] = set()

    def reading(self, path: str) -> Reading | None:
        """Return what a file said last; ``None`` for a file that is not there."""
        file = self._files.get(path)
        return None if file is None else file.reading

    def refuse(self, source: str, reason: str) -> ChangeSet:
        """Report that nothing can be read; what was read before stays."""
        refused = Rejected(NOWHERE, (reason,), source)
        if self.rejected.get(source) == refused:
            return ChangeSet()
        self._reject([], [refused])
        return ChangeSet(rejections=(refused,))

    def enter(self, readings: Mapping[str, Reading | None], directory: str) -> ChangeSet:
        """Replace the readings of some files (``None``: the file is gone); return what differs now.

        ``directory`` is the source under which ``refuse`` may have reported before; that is over.
        """
        ended = [refused for source in (directory,) if (refused := self.rejected.get(source)) is not None]
        if not readings:
            self._reject(ended, [])
            return ChangeSet()
        before = {path: self._files.get(path, _File()) for path in readings}
        after = {
            path: before[path].after(reading) if reading is not None else _File() for path, reading in readings.items()
        }
        self._count(before.values(), after.values())
        self._warn(before.values(), after.values())
        ended += [rejected for file in before.values() for rejected in file.reading.rejections]
        begun = [rejected for file in after.values() for rejected in file.reading.rejections]
        touched = {key for file in (*before.values(), *after.values()) for key in file.keys()}  # noqa: SIM118 - a method of ours
        self._restate(readings, before, after)
        self._inherit(after, touched)
        ended += [rejected for key in touched for rejected in self._conflicts.pop(key, ())]
        upserts, deletes = self._settle(touched, begun)
        fresh = self._reject(ended, begun)
        self._repeat({r.key for r in ended} - {r.key for r in begun}, upserts, deletes)
        return ChangeSet(tuple(upserts.values()), tuple(sorted(deletes)), fresh)

    def _restate(
        self, readings: Mapping[str, Reading | None], before: Mapping[str, _File], after: Mapping[str, _File]
    ) -> None:
        for path, reading in readings.items():
            old, new = before[path].keys(), after[path].keys()
            for key in old - new:
                self._stated_in[key].discard(path)
            for key in new - old:
                self._stated_in[key].add(path)
            if reading is None:
                self._files.pop(path, None)
            else:
                self._files[path] = after[path]

    def _inherit(self, after: Mapping[str, _File], touched: Iterable[ObjectKey]) -> None:
        """Let an object that moved into a file which has it wrong keep its last good version there."""
        orphans = {key for key in touched if not self._good_in(key) and key in self._current.keys() - self._stand_ins}
        if not orphans:
            return
        for path, file in after.items():
            for key in orphans & {rejected.key for rejected in file.reading.rejections}:
                file.kept[key] = self._current[key]
                self._stated_in[key].add(path)

    def _good_in(self, key: ObjectKey) -> list[str]:
        """Return the files that have a good version of an object, sorted."""
        return sorted(path for path in self._stated_in.get(key, ()) if self._files[path].good(key) is not None)

    def _settle(
        self, touched: Iterable[ObjectKey], begun: list[Rejected]
    ) -> tuple[dict[ObjectKey, Object], set[ObjectKey]]:
        """Decide each key's definition; conflicts are added to ``begun``."""
        upserts: dict[ObjectKey, Object] = {}
        deletes: set[ObjectKey] = set()
        for key in touched:
            self._stand_ins.discard(key)
            paths = self._good_in(key)
            if not paths and (paths := sorted(self._stated_in.get(key, ()))):
                self._stand_ins.add(key)
            if not paths:
                self._stated_in.pop(key, None)
                if self._current.pop(key, None) is not None:
                    deletes.add(key)
                continue
            winner = self._files[paths[0]].get(key)
            if winner is None:
                continue
            if self._current.get(key) != winner:
                upserts[key] = winner
            self._current[key] = winner
            losers = [obj for path in paths[1:] if (obj := self._files[path].reading.objects.get(key)) is not None]
            if losers:
                self._conflicts[key] = [conflict(key, obj.meta.source, winner) for obj in losers]
                begun += self._conflicts[key]
        return upserts, deletes

    def _repeat(self, over: Iterable[ObjectKey], upserts: dict[ObjectKey, Object], deletes: set[ObjectKey]) -> None:
        """Name the keys whose refusal is over, so that a receiver learns it."""
        for key in over:
            if key in self._current:
                upserts.setdefault(key, self._current[key])
            elif key.kind.name and key.name:
                deletes.add(key)

    def _reject(self, ended: Iterable[Rejected], begun: Iterable[Rejected]) -> tuple[Rejected, ...]:
        """Replace rejections; return, and log, those whose content is new."""
        known = {(rejected.key, rejected.problems) for rejected in ended}
        fresh = tuple(rejected for rejected in begun if (rejected.key, rejected.problems) not in known)
        if known or fresh:
            over = {rejected.source for rejected in ended}
            kept = {source: rejected for source, rejected in self.rejected.items() if source not in over}
            self.rejected = kept | {rejected.source: rejected for rejected in begun}
        for rejected in fresh:
            name = str(rejected.key) if rejected.key.kind.name else None
            log.warning("registry.rejected", object=name, problems=list(rejected.problems), source=rejected.source)
        return fresh

    def _warn(self, before: Iterable[_File], after: Iterable[_File]) -> None:
        old = {warned for file in before for warned in file.reading.warnings}
        sources = {
            warned: file.reading.objects[warned.key].meta.source for file in after for warned in file.reading.warnings
        }
        new = set(sources)
        if old != new:
            for warned in sorted(new - self.warnings):
                key, problem, source = str(warned.key), warned.text, sources[warned]
                log.warning("watchers.warned", object=key, problem=problem, source=source)
            self.warnings = (self.warnings - old) | new

    def _count(self, before: Iterable[_File], after: Iterable[_File]) -> None:
        old: Counter[tuple[str, str]] = sum((file.reading.unused for file in before), Counter())
        new: Counter[tuple[str, str]] = sum((file.reading.unused for file in after), Counter())
        if old == new:
            return
        counts = Counter(self.unused)
        for (kind, reason), count in new.items():
            counts[kind] += count
            if kind not in self._named:
                log.info("watchers.kind_unused", kind=kind, count=count, reason=reason)
                self._named.add(kind)
        for (kind, _), count in old.items():
            counts[kind] -= count
        self.unused = +counts
