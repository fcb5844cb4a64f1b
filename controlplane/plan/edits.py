"""The difference of two JSON values, as the steps of a JSON patch. Reference: RFC 6902."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any, NamedTuple

_MOST_COMPARED = 2_000
"""Elements of a list up to which an element that was put in moves the others; longer ones are compared by place."""


class Edit(NamedTuple):
    """One step: ``op`` is ``add``, ``remove`` or ``replace``; ``path`` leads to it through names and places.

    Steps count places as they are once all steps before are taken.
    """

    op: str
    path: tuple[str | int, ...]
    before: Any = None
    after: Any = None

    def words(self) -> dict[str, Any]:
        """Return the step of a JSON patch; ``was``, which RFC 6902 has readers ignore, is the value of before."""
        path = "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in self.path)
        words: dict[str, Any] = {"op": self.op, "path": path}
        if self.op != "remove":
            words["value"] = self.after
        if self.op != "add":
            words["was"] = self.before
        return words


def edits(before: Any, after: Any, path: tuple[str | int, ...] = ()) -> Iterator[Edit]:  # noqa: ANN401 - JSON
    """Yield the steps that make ``after`` of ``before``."""
    if before == after:
        return
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in sorted(before.keys() | after.keys()):
            if name not in after:
                yield Edit("remove", (*path, name), before[name])
            elif name not in before:
                yield Edit("add", (*path, name), None, after[name])
            else:
                yield from edits(before[name], after[name], (*path, name))
    elif isinstance(before, list) and isinstance(after, list):
        yield from _of_lists(before, after, path)
    else:
        yield Edit("replace", path, before, after)


def _of_lists(before: list[Any], after: list[Any], path: tuple[str | int, ...]) -> Iterator[Edit]:
    at = 0
    for tag, low, high, new_low, new_high in _blocks(before, after):
        if tag == "equal":
            at += high - low
            continue
        shared = min(high - low, new_high - new_low)
        for offset in range(shared):
            yield from edits(before[low + offset], after[new_low + offset], (*path, at))
            at += 1
        for old in before[low + shared : high]:
            yield Edit("remove", (*path, at), old)
        for new in after[new_low + shared : new_high]:
            yield Edit("add", (*path, at), None, new)
            at += 1


def _blocks(before: Sequence[Any], after: Sequence[Any]) -> list[tuple[str, int, int, int, int]]:
    if max(len(before), len(after)) > _MOST_COMPARED:
        return [("replace", 0, len(before), 0, len(after))]
    old, new = ([json.dumps(each, sort_keys=True) for each in held] for held in (before, after))
    return list(SequenceMatcher(None, old, new, autojunk=False).get_opcodes())
