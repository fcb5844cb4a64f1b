"""The functions of the language itself, but ``and`` and ``or``, which the evaluation knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import Any
from urllib.parse import quote_plus

from controlplane.gotemplate.errors import FunctionError
from controlplane.gotemplate.formats import formatted
from controlplane.gotemplate.values import TextMap, is_equal, is_less, is_true, kind, printed


def _index(value: Any, *keys: Any) -> Any:  # noqa: ANN401 - any values
    for key in keys:
        match value:
            case TextMap():
                value = value.get(key, "")
            case Mapping():
                value = value.get(key)
            case list() | tuple() | str():
                if isinstance(key, bool) or not isinstance(key, int):
                    raise FunctionError(f"cannot index slice/array with type {kind(key)}")
                if not 0 <= key < len(value):
                    raise FunctionError(f"index out of range: {key}")
                value = ord(value[key]) if isinstance(value, str) else value[key]
            case None:
                raise FunctionError("index of untyped nil")
            case _:
                raise FunctionError(f"can't index item of type {kind(value)}")
    return value


def _slice(value: Any, *at: Any) -> Any:  # noqa: ANN401 - any values
    if not isinstance(value, (str, list, tuple)):
        raise FunctionError(f"can't slice item of type {kind(value)}")
    if any(isinstance(each, bool) or not isinstance(each, int) for each in at):
        raise FunctionError("cannot slice with what is no number")
    begin, end = [*at, 0][0], [*at, len(value), len(value)][1] if len(at) > 1 else len(value)
    if not 0 <= begin <= end <= len(value):
        raise FunctionError("index out of range")
    return value[begin:end]


def length(value: Any) -> int:  # noqa: ANN401 - any value
    """Return how many elements a value has, or bytes a text."""
    match value:
        case str():
            return len(value.encode())
        case Mapping() | list() | tuple():
            return len(value)
        case None:
            raise FunctionError("len of nil pointer")
        case _:
            raise FunctionError(f"len of type {kind(value)}")


def _equal(one: Any, *others: Any) -> bool:  # noqa: ANN401 - any values
    if not others:
        raise FunctionError("missing argument for comparison")
    return any(is_equal(one, other) for other in others)


def _print(*values: Any) -> str:  # noqa: ANN401 - any values
    text = ""
    for at, value in enumerate(values):
        spaced = at and not isinstance(value, str) and not isinstance(values[at - 1], str)
        text += f"{' ' if spaced else ''}{_shown(value)}"
    return text


def _shown(value: object) -> str:
    return "<nil>" if value is None else printed(value)


def _all_printed(values: tuple[Any, ...]) -> str:
    return values[0] if len(values) == 1 and isinstance(values[0], str) else _print(*values)


def _javascript(*values: Any) -> str:  # noqa: ANN401 - any values
    letters = {"\\": "\\\\", "'": "\\'", '"': '\\"', "<": "\\u003C", ">": "\\u003E", "&": "\\u0026", "=": "\\u003D"}
    return "".join(letters.get(each, each if each >= " " else f"\\u{ord(each):04X}") for each in _all_printed(values))


def _html(*values: Any) -> str:  # noqa: ANN401 - any values
    return escape(_all_printed(values)).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "eq": _equal,
    "ne": lambda one, other: not is_equal(one, other),
    "lt": is_less,
    "le": lambda one, other: is_less(one, other) or is_equal(one, other),
    "gt": lambda one, other: is_less(other, one),
    "ge": lambda one, other: not is_less(one, other),
    "not": lambda value: not is_true(value),
    "index": _index,
    "slice": _slice,
    "len": length,
    "print": _print,
    "println": lambda *values: " ".join(map(_shown, values)) + "\n",
    "printf": formatted,
    "html": _html,
    "js": _javascript,
    "urlquery": lambda *values: quote_plus(_all_printed(values)),
}
"""By name."""
