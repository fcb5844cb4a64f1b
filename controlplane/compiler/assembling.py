"""Snapshots from the parts of a class.

Classes that have the same of a type share one mapping of it, even where it comes from different parts: what is derived
from a mapping further on (names, versions, differences, responses) is then derived once for all of them.
"""

from __future__ import annotations

import weakref
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence

from controlplane.compiler.parts import HeldPart
from controlplane.snapshots import Failures, Resource, ResourceType, Snapshot

_LARGE = 64
"""Resources of a part above which it is known by its mapping, and not by what is in it."""


class _Joined(dict[str, Resource]):
    """What several parts of a type have in them; ``of`` are theirs, which it keeps alive: it is known by their ids."""

    __slots__ = ("__weakref__", "failures", "of")

    failures: Failures
    of: tuple[object, ...]


class Assembler:
    """Makes the snapshots of all classes, and knows what they share as long as there is a snapshot with it."""

    def __init__(self) -> None:
        self._joined: weakref.WeakValueDictionary[Hashable, _Joined] = weakref.WeakValueDictionary()

    def assembled(
        self, parts: Iterable[HeldPart], before: Snapshot | None, outdated: set[ResourceType], revision: int
    ) -> Snapshot:
        """Join the parts by type; a type with one part shares its mapping, types that are not outdated keep theirs."""
        resources = dict(before.resources) if before is not None else {}
        failures = dict(before.failures) if before is not None else {}
        by_type: defaultdict[ResourceType, list[HeldPart]] = defaultdict(list)
        for part in parts:
            if before is None or part.part.type in outdated:
                by_type[part.part.type].append(part)
        for type_, held in by_type.items():
            if len(held) == 1:
                resources[type_], failures[type_] = held[0].resources, held[0].failures
            else:
                joined = self._join(held)
                resources[type_], failures[type_] = joined, joined.failures
            if not failures[type_]:
                del failures[type_]
        return Snapshot(revision, resources, failures)

    def _join(self, parts: Sequence[HeldPart]) -> _Joined:
        key = tuple(map(_identity, parts))
        known = self._joined.get(key)
        if known is None:
            known = self._joined[key] = _join(parts)
        return known


def _identity(part: HeldPart) -> Hashable:
    held = part.resources
    return (id(held) if len(held) > _LARGE else tuple(held.values()), id(part.failures))


def _join(parts: Sequence[HeldPart]) -> _Joined:
    joined = _Joined()
    reasons: dict[str, str] = {}
    for part in reversed(parts):  # of two with one name the first wins
        joined.update(part.resources)
        reasons.update(part.failures.reasons)
    blocking = frozenset[str]().union(*(part.failures.blocking for part in parts))
    joined.failures = Failures(reasons, blocking, partial=any(part.failures.partial for part in parts))
    joined.of = tuple(held for part in parts for held in (part.resources, part.failures))
    return joined
