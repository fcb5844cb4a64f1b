"""JSON text of values that are made while it is written, piece by piece."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from controlplane.admin.pace import PAUSE, Pause

Value = Any
"""A JSON value as ``json`` takes it, or one of ``Items`` and ``Members``; these may hold one another."""


@dataclass(frozen=True, slots=True)
class Items:
    """A JSON array; its items are made when they are written, and among them may be pauses."""

    items: Iterable[Value | Pause]


@dataclass(frozen=True, slots=True)
class Members:
    """A JSON object, likewise. A name must not come twice."""

    members: Iterable[tuple[str, Value] | Pause]


def pieces(value: Value, indent: int | None = None) -> Iterator[str | Pause]:
    """Yield the text, as ``json.dumps`` would write it; a piece is one item or member, or less."""
    yield from _pieces(value, indent, "\n")
    yield "\n"


def _pieces(value: Value, indent: int | None, line: str) -> Iterator[str | Pause]:
    """Yield the text of one value; ``line`` is the end of a line and the indentation of the value's own."""
    if isinstance(value, Items):
        yield from _listed(
            "[]", ((("", item) if not isinstance(item, Pause) else item) for item in value.items), indent, line
        )
    elif isinstance(value, Members):
        yield from _listed("{}", value.members, indent, line)
    else:
        text = json.dumps(value, indent=indent)
        yield text if indent is None else text.replace("\n", line)  # in a text of JSON a line's end is written \\n


def _listed(
    brackets: str, members: Iterable[tuple[str, Value] | Pause], indent: int | None, line: str
) -> Iterator[str | Pause]:
    inner = line + " " * indent if indent is not None else ""
    between, first = ("," + inner if indent is not None else ", "), True
    for member in members:
        if isinstance(member, Pause):
            yield PAUSE
            continue
        name, value = member
        before = brackets[0] + inner if first else between
        yield f"{before}{json.dumps(name)}: " if brackets == "{}" else before
        yield from _pieces(value, indent, inner)
        first = False
    if first:
        yield brackets
    else:
        yield f"{line if indent is not None else ''}{brackets[1]}"
