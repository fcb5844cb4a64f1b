"""Scalars of YAML as Kubernetes' own loader reads them: YAML 1.1, without timestamps and base 60."""

from __future__ import annotations

import math

import re2

Scalar = str | int | float | bool | None

STR_TAG = "tag:yaml.org,2002:str"
_TYPES: dict[str, tuple[type, ...]] = {
    "tag:yaml.org,2002:null": (type(None),),
    "tag:yaml.org,2002:bool": (bool,),
    "tag:yaml.org,2002:int": (int,),
    "tag:yaml.org,2002:float": (float, int),
}
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys((word for w in ("true", "yes", "on", "y") for word in (w, w.title(), w.upper())), True),
    **dict.fromkeys((word for w in ("false", "no", "off", "n") for word in (w, w.title(), w.upper())), False),
}
_INTEGER = re2.compile(r"[-+]?(?:(0|[1-9][0-9_]*)|0[xX]([0-9a-fA-F_]+)|0b([01_]+)|0o?([0-7_]+))")
_BASES = (10, 16, 2, 8)
_FLOAT = re2.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_MAX_NUMBER_TEXT = 100
_MAX_EXACT = 2.0**53
_BEGINS_NUMBER = frozenset("-+.0123456789")


def plain(text: str) -> Scalar:
    """Return the value of an unquoted scalar."""
    if not text or text[0] not in _BEGINS_NUMBER:
        return _WORDS.get(text, text)
    if len(text) > _MAX_NUMBER_TEXT or not text.isascii():
        return text
    if text.isdigit() and (text[0] != "0" or text == "0"):
        return int(text)
    if match := _INTEGER.fullmatch(text):
        digits, base = next((found, base) for found, base in zip(match.groups(), _BASES, strict=True) if found)
        digits = digits.replace("_", "")
        if digits:
            number = int(digits, base)
            return -number if text[0] == "-" else number
    if _FLOAT.fullmatch(text):
        value = float(text)
        if math.isinf(value):
            return text
        return int(value) if value.is_integer() and abs(value) < _MAX_EXACT else value
    return text


def tagged(text: str, tag: str) -> Scalar:
    """Return the value of a scalar with a tag.

    Raises:
        ValueError: the tag is none that JSON has a value for, or the text is none of its values.
    """
    if tag in (STR_TAG, "!"):
        return text
    if tag not in _TYPES:
        raise ValueError(f"tag {tag} is not allowed")
    value = plain(text)
    if type(value) not in _TYPES[tag]:
        raise ValueError(f"{text[:_MAX_NUMBER_TEXT]!r} is no value of the tag {tag}")
    return value


def key_text(value: object) -> str | None:
    """Return a mapping key as JSON has it, text; ``None`` where it cannot be one."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case _:
            return None
