"""What a problem's path leads to: the value that somebody wrote there, and its line in the text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from yaml import Node

Steps = tuple[str | int, ...]
"""Keys and list positions, from the outside in."""

_POSITION = re.compile(r"\[(\d+)\]")
_MAX_VALUE = 80


def steps(value: object, path: str) -> tuple[Steps, bool]:
    """Return the steps that a path such as ``spec.http[0].match[1].headers.x-a.b`` takes into a value.

    A key may itself hold dots. The second part tells whether the whole path is there; if not, the steps lead as far as
    there is something.
    """
    found: list[str | int] = []
    here: Any = value
    while path:
        if isinstance(here, list) and (position := _POSITION.match(path)) and int(position[1]) < len(here):
            step: str | int = int(position[1])
            path = path[position.end() :]
        elif isinstance(here, Mapping) and (key := _key(here, path.removeprefix("."))) is not None:
            step = key
            path = path.removeprefix(".")[len(key) :]
        else:
            return tuple(found), False
        found.append(step)
        here = here[step]
    return tuple(found), True


def _key(mapping: Mapping[str, Any], path: str) -> str | None:
    """The longest key that the path may begin with."""
    fitting = [key for key in mapping if key and _begins_with(path, key)]
    return max(fitting, key=len, default=None)


def _begins_with(path: str, key: str) -> bool:
    return path.startswith(key) and path[len(key) : len(key) + 1] in {"", ".", "["}


def value_text(value: object, path: str) -> str:
    """Return the text, number or truth value at a path as one would quote it; empty for anything else."""
    way, is_there = steps(value, path)
    here: Any = value
    for step in way:
        here = here[step]
    if not is_there or not path or isinstance(here, Mapping | list) or here is None:
        return ""
    text = repr(here)
    return text if len(text) <= _MAX_VALUE else f"{text[:_MAX_VALUE]}..."


def line_of(node: Node | None, way: Steps) -> int:
    """Return the line (from 0) on which the value at the end of the way begins, or the last thing on the way to it."""
    from yaml import MappingNode, SequenceNode  # noqa: PLC0415 - costs start-up time where nothing is wrong

    line = 0 if node is None else node.start_mark.line
    for step in way:
        entry: tuple[Node, Node] | None = None
        if isinstance(node, MappingNode):
            entry = next((pair for pair in node.value if pair[0].value == str(step)), None)
        elif isinstance(node, SequenceNode) and isinstance(step, int) and step < len(node.value):
            entry = (node.value[step], node.value[step])
        if entry is None:
            return line
        line, node = entry[0].start_mark.line, entry[1]
    return line
