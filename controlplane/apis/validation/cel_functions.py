"""The functions and literals of CEL that Envoy takes: fewer than the language has.

Envoy looks functions up by name and number of arguments when it reads an expression, and refuses what it does not know.
Comprehensions (``all``, ``map`` and the like), conversions to ``string`` and messages are switched off in it.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

import re2


class Kind(Enum):
    """What an expression is, as far as it matters to a function that is called with it."""

    NAME = "name"
    SELECTION = "selection"
    STRING = "string"
    OTHER = "other"


class Term(NamedTuple):
    """An expression: the text of its literal or its one name, empty for any other."""

    kind: Kind = Kind.OTHER
    text: str = ""


class Call(NamedTuple):
    """A function that is called: on ``target``, ``None`` for none, with these arguments."""

    name: str
    target: Term | None
    arguments: tuple[Term, ...]


_TEXTS = ("contains", "endsWith", "matches", "startsWith")
_DATES = (
    *("getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getFullYear", "getHours"),
    *("getMilliseconds", "getMinutes", "getMonth", "getSeconds"),
)
_OF_ONE = ("bool", "bytes", "double", "duration", "dyn", "has", "int", "size", "timestamp", "type", "uint")
_FREE = (
    {(name, 2) for name in _TEXTS}
    | {(name, 1) for name in _OF_ONE}
    | {("re.capture", 2), ("re.captureN", 2), ("re.extract", 3)}
)
"""Functions that are called on nothing, with the number of their arguments."""
_METHODS = {(name, 1) for name in _TEXTS} | {(name, count) for name in _DATES for count in (0, 1)} | {("size", 0)}
_COMPREHENSIONS = frozenset({"all", "exists", "existsOne", "exists_one", "filter", "map"})
_MAX_PROGRAM_SIZE = 100
"""Instructions of an expression that ``matches`` is called with."""

_INTEGER = re2.compile(r"(?:0x([0-9a-fA-F]+)|([0-9]+))([uU]?)")
_LONGEST_NUMBER = 1000  # characters: with as many zeros before it as anybody writes
_LARGEST, _LARGEST_UNSIGNED = 2**63 - 1, 2**64 - 1
_LITERAL = re2.compile(r"""(?s)([rRbB]*)(?:\"{3}(.*)\"{3}|'{3}(.*)'{3}|"(.*)"|'(.*)')""")
_ESCAPE = re2.compile(
    r"""\\(?:([abfnrtv\\?"'`])|[xX]([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2}))"""
)
_CONTROLS = dict(zip("abfnrtv", "\a\b\f\n\r\t\v", strict=True))
_HEXADECIMAL, _OCTAL = 16, 8
_QUIET = re2.Options()
_QUIET.log_errors = False


def call_problem(call: Call) -> str:
    """Why Envoy does not take a call, or an empty text."""
    count = len(call.arguments)
    if call.target is None:
        known = (call.name, count) in _FREE
    elif call.name in _COMPREHENSIONS:
        return f"calls {call.name}(), but comprehensions are switched off in Envoy"
    else:
        in_namespace = call.target == Term(Kind.NAME, "re") and (f"re.{call.name}", count) in _FREE
        known = in_namespace or (call.name, count) in _METHODS
    if not known:
        return f"calls {call.name}() with {len(call.arguments)} arguments, which Envoy does not know"
    if call.name == "has" and call.arguments[0].kind is not Kind.SELECTION:
        return "asks has() about what is no field of anything"
    if call.name == "matches" and call.arguments[-1].kind is Kind.STRING:
        return _regex_problem(call.arguments[-1].text)
    return ""


def _regex_problem(literal: str) -> str:
    try:
        size = re2.compile(_decoded(literal), options=_QUIET).programsize
    except re2.error:
        return f"calls matches() with {literal}, which is no RE2 expression"
    if size > _MAX_PROGRAM_SIZE:
        return f"calls matches() with an expression of {size} instructions; Envoy takes {_MAX_PROGRAM_SIZE}"
    return ""


def number_problem(text: str, *, negative: bool) -> str:
    """Why a number is out of range, or an empty text."""
    found = _INTEGER.fullmatch(text)
    if found is None:
        return ""
    if len(text) > _LONGEST_NUMBER:
        return "is out of range"
    value = int(found[1], _HEXADECIMAL) if found[1] else int(found[2])
    return "is out of range" if value > (_LARGEST_UNSIGNED if found[3] else _LARGEST + negative) else ""


def string_problem(literal: str) -> str:
    """Why a text, or a sequence of bytes, has an escape that is none, or an empty text."""
    try:
        _decoded(literal)
    except ValueError as error:
        return str(error)
    return ""


def _decoded(literal: str) -> str:
    """Return what a literal stands for, of bytes one character each. Raises ``ValueError`` for a wrong escape."""
    prefix, *bodies = _LITERAL.fullmatch(literal).groups()
    text = next(body for body in bodies if body is not None)
    if "r" in prefix.lower():
        return str(text)
    found: list[str] = []
    at = 0
    while (begin := text.find("\\", at)) >= 0:
        escape = _ESCAPE.match(text, begin)
        if escape is None:
            message = f"has an escape that is none: {text[begin : begin + 2]}"
            raise ValueError(message)
        found += (text[at:begin], _character(escape.groups(), of_bytes="b" in prefix.lower()))
        at = escape.end()
    return "".join((*found, text[at:]))


def _character(escape: tuple[str | None, ...], *, of_bytes: bool) -> str:
    plain, two, four, eight, octal = escape
    if plain is not None:
        return _CONTROLS.get(plain, plain)
    point = int(octal, _OCTAL) if octal is not None else int(two or four or eight or "", _HEXADECIMAL)
    if of_bytes and (four or eight):
        message = "has an escape of a character among bytes"
        raise ValueError(message)
    if point > 0x10FFFF or 0xD800 <= point <= 0xDFFF:  # noqa: PLR2004 - the range of Unicode, and its surrogates
        message = "has an escape that is no character"
        raise ValueError(message)
    return chr(point)
