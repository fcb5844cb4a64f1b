"""What a problem's path leads to: the value that somebody wrote there, and its line in the text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from controlplane.documents.yaml_reader import tree

if TYPE_CHECKING:
    from yaml import MappingNode, Node

Steps = tuple[str | int, ...]
"""Keys and list positions, from the outside in."""

_MAX_VALUE = 80
_FEW = 64
"""Keys of a mapping that are tried one by one; in larger ones, ends of keys in a path that are tried."""


def steps(value: object, path: str) -> tuple[Steps, bool]:
    """Return the steps that a path such as ``spec.http[0].match[1].headers.x-a.b`` takes into a value.

    A key may itself hold dots. The second part tells whether the whole path is there; if not, the steps lead as far as
    there is something.
    """
    found: list[str | int] = []
    here: Any = value
    while path:
        if isinstance(here, list) and (position := _position(path)) is not None and position < len(here):
            step: str | int = position
            path = path[path.index("]") + 1 :]
        elif isinstance(here, Mapping) and (key := _key(here, path.removeprefix("."))) is not None:
            step = key
            path = path.removeprefix(".")[len(key) :]
        else:
            return tuple(found), False
        found.append(step)
        here = here[step]
    return tuple(found), True


def _position(path: str) -> int | None:
    """The list position that a path begins with."""
    digits = path[1:].partition("]")[0] if path[:1] == "[" else ""
    return int(digits) if digits.isdecimal() and digits.isascii() and len(digits) < _MAX_VALUE else None


def _key(mapping: Mapping[str, Any], path: str) -> str | None:
    """The longest key that the path may begin with."""
    if len(mapping) <= _FEW:
        fitting = [key for key in mapping if key and _begins_with(path, key)]
        return max(fitting, key=len, default=None)
    ends = [len(path)]
    for at, char in enumerate(path):
        if char in ".[":
            ends.append(at)
        if len(ends) > _FEW:
            break
    return next((path[:end] for end in sorted(ends, reverse=True) if end and path[:end] in mapping), None)


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


class Lines:
    """The lines of what a text holds; the text is read again only where a line is asked for."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._root: Node | None = None
        self._entries: dict[int, dict[str, tuple[Node, Node]]] = {}

    def line(self, way: Steps) -> int:
        """Return the line (from 0) on which the value at the end of the way begins, or the last thing on the way."""
        from yaml import MappingNode, SequenceNode  # noqa: PLC0415 - costs start-up time where nothing is wrong

        node = self._root = self._root or tree(self._text)
        line = 0 if node is None else node.start_mark.line
        for step in way:
            entry: tuple[Node, Node] | None = None
            if isinstance(node, MappingNode):
                entry = self._mapping(node).get(str(step))
            elif isinstance(node, SequenceNode) and isinstance(step, int) and step < len(node.value):
                entry = (node.value[step], node.value[step])
            if entry is None:
                return int(line)
            line, node = entry[0].start_mark.line, entry[1]
        return int(line)

    def _mapping(self, node: MappingNode) -> dict[str, tuple[Node, Node]]:
        if id(node) not in self._entries:
            self._entries[id(node)] = {str(pair[0].value): pair for pair in reversed(node.value)}
        return self._entries[id(node)]


def pointer_path(pointer: str) -> str:
    """Return a JSON pointer (RFC 6901) as fields are named: ``spec.http[0].timeout``."""
    found = ""
    for step in pointer.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        plain = name.replace("_", "").replace("-", "").isalnum()
        found += f"[{name}]" if name.isdecimal() or not plain else f".{name}" if found else name
    return found
