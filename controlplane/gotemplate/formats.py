"""``printf``. Reference: Go, package ``fmt``."""

from __future__ import annotations

import json
from typing import Any

import re2

from controlplane.gotemplate.errors import FunctionError
from controlplane.gotemplate.values import kind, printed

_VERB = re2.compile(r"%(?P<flags>[-+# 0]*)(?P<width>[0-9]{0,4})(?:\.(?P<precision>[0-9]{0,3}))?(?P<verb>.)")
_TYPES = {str: "string", bool: "bool", int: "int", float: "float64"}


def formatted(form: Any, *values: Any) -> str:  # noqa: ANN401 - any values
    """Return a text in which verbs (``%s``, ``%05.2f``) stand for values, as Go formats them.

    Raises:
        FunctionError: a verb is not known.
    """
    if not isinstance(form, str):
        raise FunctionError(f"wrong type for value; expected string; got {kind(form)}")
    left = list(values)
    text = str(_VERB.sub(lambda found: _verb(found, left), form))
    if left:
        rest = ", ".join(f"{_TYPES.get(type(each), kind(each))}={printed(each, nested=True)}" for each in left)
        text += f"%!(EXTRA {rest})"
    return text


def _verb(found: Any, left: list[Any]) -> str:  # noqa: ANN401 - a match
    verb = found["verb"]
    if verb == "%":
        return "%"
    if not left:
        return f"%!{verb}(MISSING)"
    value = left.pop(0)
    precision = found["precision"]
    text = _value(verb, value, None if precision is None else int(precision or 0), found["flags"])
    width = int(found["width"] or 0)
    if "-" in found["flags"]:
        return text.ljust(width)
    if "0" in found["flags"] and isinstance(value, (int, float)):
        return text.zfill(width)
    return text.rjust(width)


def _value(verb: str, value: Any, precision: int | None, flags: str) -> str:  # noqa: ANN401 - any value
    wrong = f"%!{verb}({_TYPES.get(type(value), kind(value))}={printed(value, nested=True)})"
    is_number = isinstance(value, int) and not isinstance(value, bool)
    match verb:
        case "v":
            return printed(value, nested=True)
        case "s" | "q" if isinstance(value, str):
            shown = value if precision is None else value[:precision]
            return json.dumps(shown, ensure_ascii=False) if verb == "q" else shown
        case "s":
            return printed(value, nested=True) if isinstance(value, (list, tuple, dict)) else wrong
        case "d" | "x" | "X" | "o" | "b" | "c" if is_number:
            return f"{'+' if '+' in flags and value >= 0 else ''}{value:{verb}}"
        case "x" | "X" if isinstance(value, str):
            return value.encode().hex() if verb == "x" else value.encode().hex().upper()
        case "f" | "F" | "e" | "E" | "g" | "G" if isinstance(value, float):
            return (
                f"{value:.{6 if precision is None else precision}{verb}}"
                if verb not in "gG" or precision
                else printed(value)
            )
        case "t" if isinstance(value, bool):
            return printed(value)
        case "T":
            return _TYPES.get(type(value), kind(value))
        case "s" | "q" | "d" | "x" | "X" | "o" | "b" | "c" | "f" | "F" | "e" | "E" | "g" | "G" | "t":
            return wrong
        case _:
            raise FunctionError(f"the verb %{verb} is not supported")
