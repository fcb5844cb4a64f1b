"""Looks into values as somebody wrote them: what is missing or of another type is the empty value of what is asked for.

Nothing is raised, whatever the value is: what is wrong with its shape is for the validation to say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def at(value: object, *way: str | int) -> Any:  # noqa: ANN401 - unread YAML
    """Return what keys and list positions lead to; ``None`` where they lead nowhere."""
    for step in way:
        if isinstance(value, Mapping) and isinstance(step, str):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return None
    return value


def mapping(value: object, *way: str | int) -> Mapping[str, Any]:
    """Return a mapping."""
    found = at(value, *way)
    return found if isinstance(found, Mapping) else {}


def mappings(value: object, *way: str | int) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield the mappings of a list with their positions."""
    found = at(value, *way)
    for position, each in enumerate(found if isinstance(found, list) else ()):
        if isinstance(each, Mapping):
            yield position, each


def text(value: object, *way: str | int) -> str:
    """Return a text."""
    found = at(value, *way)
    return found if isinstance(found, str) else ""


def texts(value: object, *way: str | int) -> list[str]:
    """Return the texts of a list, in their order."""
    found = at(value, *way)
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []


def number(value: object, *way: str | int) -> int:
    """Return a whole number, also one that is written as text; 0 where there is none."""
    found = at(value, *way)
    if isinstance(found, str) and found.isascii() and found.isdecimal():
        return int(found[:18])
    return found if isinstance(found, int) and not isinstance(found, bool) else 0


def string_map(value: object, *way: str | int) -> dict[str, str]:
    """Return a mapping of texts to texts, such as labels."""
    return {key: each for key, each in mapping(value, *way).items() if isinstance(each, str)}
