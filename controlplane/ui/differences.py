"""Where two JSON values differ, field by field."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any, NamedTuple


class Difference(NamedTuple):
    """A field, and its values as JSON; a value is empty where there is no such field."""

    path: str
    one: str
    other: str


_ABSENT = object()


def differences(one: Any, other: Any, path: str = "") -> Iterator[Difference]:  # noqa: ANN401 - any JSON value
    """Yield the fields in which two values differ; items of a list that have names belong together by these."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in (*one, *(name for name in other if name not in one)):
            inner = f"{path}.{name}" if path else name
            yield from differences(one.get(name, _ABSENT), other.get(name, _ABSENT), inner)
    elif isinstance(one, list) and isinstance(other, list):
        mine, theirs = _named(one), _named(other)
        if mine is not None and theirs is not None:
            for name in (*mine, *(name for name in theirs if name not in mine)):
                yield from differences(mine.get(name, _ABSENT), theirs.get(name, _ABSENT), f"{path}[{name}]")
            if [name for name in mine if name in theirs] != [name for name in theirs if name in mine]:
                yield Difference(f"{path} (order)", ", ".join(mine), ", ".join(theirs))
        else:
            for place, (left, right) in enumerate(zip_longest(one, other, fillvalue=_ABSENT)):
                yield from differences(left, right, f"{path}[{place}]")
    elif one != other or type(one) is not type(other):
        yield Difference(path, *(("" if each is _ABSENT else json.dumps(each)) for each in (one, other)))


def _named(items: list[Any]) -> dict[str, Any] | None:
    """Return items by their names; ``None`` where one has none, or two have the same."""
    found = {each["name"]: each for each in items if isinstance(each, dict) and isinstance(each.get("name"), str)}
    return found if len(found) == len(items) and found else None
