"""What functions take: each check returns the value, or says what it should have been."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import re2

from controlplane.gotemplate.errors import FunctionError
from controlplane.gotemplate.values import kind

_MAX_INT64 = 2**63
_INTEGER = re2.compile(r"[+-]?[0-9]{1,18}")
MAX_ELEMENTS = 10_000
"""Elements of a list that a function makes."""
MAX_CHARACTERS = 1_000_000
"""Characters of a text that a function makes."""


def text(value: Any) -> str:  # noqa: ANN401 - any value
    """Take a text."""
    if not isinstance(value, str):
        raise FunctionError(f"wrong type for value; expected string; got {kind(value)}")
    return value


def integer(value: Any) -> int:  # noqa: ANN401 - any value
    """Take a whole number, also one that is written as a float or a text."""
    match value:
        case bool():
            return int(value)
        case int():
            return value
        case float():
            return int(value) if abs(value) < _MAX_INT64 else 0
        case str():
            return int(value) if _INTEGER.fullmatch(value) else 0
        case None:
            return 0
        case _:
            raise FunctionError(f"wrong type for value; expected int; got {kind(value)}")


def number(value: Any) -> float:  # noqa: ANN401 - any value
    """Take a number, also one that is written as a text."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return 0.0
    return float(value) if isinstance(value, float) else float(integer(value))


def items(value: Any) -> list[Any]:  # noqa: ANN401 - any value
    """Take a list."""
    if not isinstance(value, (list, tuple)):
        raise FunctionError(f"wrong type for value; expected list; got {kind(value)}")
    return list(value)


def mapping(value: Any) -> dict[str, Any]:  # noqa: ANN401 - any value
    """Take a map."""
    if not isinstance(value, Mapping):
        raise FunctionError(f"wrong type for value; expected map; got {kind(value)}")
    return dict(value)


def bounded(value: str) -> str:
    """Return a text that is not too long."""
    if len(value) > MAX_CHARACTERS:
        raise FunctionError(f"makes more than {MAX_CHARACTERS} characters")
    return value
