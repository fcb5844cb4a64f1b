r"""Paths into values, as ``--set`` and the overlays of an IstioOperator write them.

``a.b`` is a key of a key; a dot that belongs to a key is written ``\.``, or the key stands in brackets and quotes.
``[2]`` is a place of a list, ``[-1]`` what is added at its end, ``[name:x]`` the element whose ``name`` is ``x``, and
``[x]`` an element that is the text ``x``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from controlplane.documents.limits import UnreadableError
from controlplane.documents.yaml_reader import yaml_value
from controlplane.install.errors import RefusedInputError

Json = dict[str, Any]

_MOST = 1000
"""Elements that a path may make of a list: nobody means more."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a map."""

    name: str


@dataclass(frozen=True, slots=True)
class Index:
    """A place of a list; -1 is behind its end."""

    at: int


@dataclass(frozen=True, slots=True)
class Match:
    """The element of a list whose ``key`` has this value; an empty key means that the element is the value."""

    key: str
    value: str


Step = Key | Index | Match


def steps(path: str) -> tuple[Step, ...]:
    """Read a path.

    Raises:
        RefusedInputError: it is none.
    """
    found: list[Step] = []
    for part in _parts(path):
        name, bracket, rest = part.partition("[")
        if name:
            found.append(Key(name.replace("\0", ".")))
        while bracket:
            inside, closed, rest = rest.partition("]")
            if not closed or not inside or (rest and not rest.startswith("[")):
                raise RefusedInputError(f"{path}: is no path: a bracket is not closed, or is empty")
            found.append(_bracketed(inside.replace("\0", ".")))
            rest = rest.removeprefix("[")
            bracket = rest
    if not found:
        raise RefusedInputError(f"{path!r}: is no path")
    return tuple(found)


def set_at(base: Json, path: str, value: Any) -> None:  # noqa: ANN401 - whatever somebody states
    """Change what stands at a path, and make what leads to it. ``None`` takes it away.

    Raises:
        RefusedInputError: the path leads through something else than it says.
    """
    way = steps(path)
    here: Any = base
    for step, following in zip(way, (*way[1:], None), strict=True):
        if following is None:
            _put(here, step, value, path)
            return
        child = _child(here, step, path)
        if child is None:
            if value is None:
                return
            child = {} if isinstance(following, Key) else []
            if isinstance(step, Match) and step.key:
                child = {step.key: step.value}
            _put(here, step, child, path)
        here = child


def assignment(text: str, option: str = "--set") -> tuple[str, Any]:
    """Return path and value of ``path=value``; the value is read as YAML, and is a text where it is none.

    Raises:
        RefusedInputError: it is no assignment.
    """
    path, equals, value = text.partition("=")
    if not equals or not path.strip():
        raise RefusedInputError(f"{option} {text}: must be PATH=VALUE")
    try:
        return path.strip(), yaml_value(value)
    except UnreadableError:
        return path.strip(), value


def _parts(path: str) -> list[str]:
    """Split at dots outside of brackets; an escaped dot becomes a NUL."""
    parts, depth = [""], 0
    for each in path.replace("\\.", "\0"):
        depth += {"[": 1, "]": -1}.get(each, 0)
        if each == "." and not depth:
            parts.append("")
        else:
            parts[-1] += each
    if "" in parts:
        raise RefusedInputError(f"{path!r}: is no path: a part of it is empty")
    return parts


def _bracketed(inside: str) -> Step:
    if inside.removeprefix("-").isdecimal() and inside.isascii():
        return Index(int(inside))
    quoted = inside[1:-1]
    if len(inside) > 1 and inside[0] == inside[-1] and inside[0] in "\"'":
        return Key(quoted)
    key, colon, value = inside.partition(":")
    return Match(key, value) if colon else Match("", inside)


def _position(elements: list[Any], step: Index | Match) -> int | None:
    match step:
        case Index(at):
            return at if 0 <= at < len(elements) else None
        case Match(key, value):
            for at, each in enumerate(elements):
                if (str(each.get(key)) if key and isinstance(each, dict) else each) == value:
                    return at
            return None


def _child(here: Any, step: Step, path: str) -> Any:  # noqa: ANN401 - any values
    if isinstance(step, Key):
        if not isinstance(here, dict):
            raise RefusedInputError(f"{path}: {step.name} is no key of what stands there, which is no map")
        return here.get(step.name)
    if not isinstance(here, list):
        raise RefusedInputError(f"{path}: what stands there is no list")
    at = _position(here, step)
    return None if at is None else here[at]


def _put(here: Any, step: Step, value: Any, path: str) -> None:  # noqa: ANN401 - any values
    _child(here, step, path)  # refuses what is no map or list
    match step:
        case Key(name) if value is None:
            here.pop(name, None)
        case Key(name):
            here[name] = value
        case Index() | Match():
            _put_element(here, step, value, path)


def _put_element(here: list[Any], step: Index | Match, value: Any, path: str) -> None:  # noqa: ANN401 - any value
    at = _position(here, step)
    if value is None:
        if at is not None:
            del here[at]
        return
    if isinstance(step, Match) and isinstance(value, dict) and step.key not in {"", *value}:
        value = {step.key: step.value, **value}
    if at is not None:
        here[at] = value
    elif isinstance(step, Match) or step.at in (-1, len(here)):
        here.append(value)
    elif len(here) < step.at < _MOST:
        here.extend([{}] * (step.at - len(here)))
        here.append(value)
    else:
        raise RefusedInputError(f"{path}: the list has no place {step.at}")
