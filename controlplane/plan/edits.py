"""The difference of two JSON values, as the steps of a JSON patch. Reference: RFC 6902."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any, NamedTuple

Path = tuple[str | int, ...]
_MOST_COMPARED = 2_000
"""Elements of a list up to which an element that was put in moves the others; longer ones are compared by place."""


class Edit(NamedTuple):
    """One step: ``op`` is ``add``, ``remove`` or ``replace``; ``path`` leads to it through names and places.

    Steps count places as they are once all steps before are taken. ``place`` is the path as people count: of what goes
    in the value before, of all else in the one after.
    """

    op: str
    path: Path
    place: Path
    before: Any = None
    after: Any = None

    def words(self) -> dict[str, Any]:
        """Return the step of a JSON patch, and what RFC 6902 has readers ignore.

        ``was`` is the value of before, ``place`` the pointer as people count.
        """
        words: dict[str, Any] = {"op": self.op, "path": _pointer(self.path), "place": _pointer(self.place)}
        if self.op != "remove":
            words["value"] = self.after
        if self.op != "add":
            words["was"] = self.before
        return words


def _pointer(path: Path) -> str:
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in path)


class _Where(NamedTuple):
    """Where a pair of values stands: for who takes the steps, in the value before and in the one after."""

    path: Path = ()
    old: Path = ()
    new: Path = ()

    def at(self, step: str | int, old: str | int, new: str | int) -> _Where:
        return _Where((*self.path, step), (*self.old, old), (*self.new, new))


def edits(before: Any, after: Any) -> Iterator[Edit]:  # noqa: ANN401 - JSON
    """Yield the steps that make ``after`` of ``before``."""
    yield from _edits(before, after, _Where())


def _edits(before: Any, after: Any, where: _Where) -> Iterator[Edit]:  # noqa: ANN401 - JSON
    if before == after:
        return
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in sorted(before.keys() | after.keys()):
            inner = where.at(name, name, name)
            if name not in after:
                yield Edit("remove", inner.path, inner.old, before[name])
            elif name not in before:
                yield Edit("add", inner.path, inner.new, None, after[name])
            else:
                yield from _edits(before[name], after[name], inner)
    elif isinstance(before, list) and isinstance(after, list):
        yield from _of_lists(before, after, where)
    else:
        yield Edit("replace", where.path, where.new, before, after)


def _of_lists(before: list[Any], after: list[Any], where: _Where) -> Iterator[Edit]:
    at = 0
    for tag, low, high, new_low, new_high in _blocks(before, after):
        if tag == "equal":
            at += high - low
            continue
        shared = min(high - low, new_high - new_low)
        for offset in range(shared):
            inner = where.at(at, low + offset, new_low + offset)
            yield from _edits(before[low + offset], after[new_low + offset], inner)
            at += 1
        for old in range(low + shared, high):
            inner = where.at(at, old, new_low + shared)
            yield Edit("remove", inner.path, inner.old, before[old])
        for new in range(new_low + shared, new_high):
            inner = where.at(at, low + shared, new)
            yield Edit("add", inner.path, inner.new, None, after[new])
            at += 1


def _blocks(before: Sequence[Any], after: Sequence[Any]) -> list[tuple[str, int, int, int, int]]:
    if max(len(before), len(after)) > _MOST_COMPARED:
        return [("replace", 0, len(before), 0, len(after))]
    old, new = ([json.dumps(each, sort_keys=True) for each in held] for held in (before, after))
    return list(SequenceMatcher(None, old, new, autojunk=False).get_opcodes())
