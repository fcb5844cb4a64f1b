"""JSON text of megabytes read in steps: a library reads it at one go, which holds up everything else for as long."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

from controlplane.documents.json_reader import no_constant

Steps = Generator[None, None, Any]
"""Gives way after each step, and returns the value."""

_SPACE = " \t\n\r"
_scan = json.JSONDecoder(parse_constant=no_constant).scan_once  # type: ignore[attr-defined]  # as ``raw_decode``


def json_steps(text: str, levels: int) -> Steps:
    """Read a JSON text; each value that lies ``levels`` containers deep is one step, whatever is in it.

    Of a repeated key the last one counts.

    Raises:
        ValueError: it is not JSON, and nothing is said of where.
        RecursionError: some value is nested too deep to be read.
    """
    try:
        value, at = yield from _value(text, _after_space(text, 0), levels)
        if _after_space(text, at) != len(text):
            raise ValueError("more than one value")
    except IndexError as error:
        raise ValueError("not JSON") from error
    return value


def _value(text: str, at: int, levels: int) -> Generator[None, None, tuple[Any, int]]:
    """Read the value that begins there; return it and where it ends."""
    if levels and text[at] == "{":
        return (yield from _object(text, at + 1, levels - 1))
    if levels and text[at] == "[":
        return (yield from _array(text, at + 1, levels - 1))
    return _scanned(text, at)


def _scanned(text: str, at: int) -> tuple[Any, int]:
    try:
        found: tuple[Any, int] = _scan(text, at)
    except StopIteration:  # which a generator may not raise
        raise ValueError("not JSON") from None
    return found


def _object(text: str, at: int, levels: int) -> Generator[None, None, tuple[dict[str, Any], int]]:
    held: dict[str, Any] = {}
    at = _after_space(text, at)
    if text[at] == "}":
        return held, at + 1
    while True:
        if text[at] != '"':
            raise ValueError("a name must be text")
        name, at = _scanned(text, at)
        at = _after_space(text, at)
        if text[at] != ":":
            raise ValueError("a name without a value")
        held[name], at = yield from _value(text, _after_space(text, at + 1), levels)
        yield
        at = _after_space(text, at)
        if text[at] == "}":
            return held, at + 1
        at = _next(text, at)


def _array(text: str, at: int, levels: int) -> Generator[None, None, tuple[list[Any], int]]:
    held: list[Any] = []
    at = _after_space(text, at)
    if text[at] == "]":
        return held, at + 1
    while True:
        value, at = (yield from _value(text, at, levels)) if levels else _scanned(text, at)
        held.append(value)
        yield
        at = _after_space(text, at)
        if text[at] == "]":
            return held, at + 1
        at = _next(text, at)


def _next(text: str, at: int) -> int:
    """Return where what comes behind a comma begins."""
    if text[at] != ",":
        raise ValueError("a comma is missing")
    return _after_space(text, at + 1)


def _after_space(text: str, at: int) -> int:
    while text[at : at + 1] and text[at] in _SPACE:
        at += 1
    return at
