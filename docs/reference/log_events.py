"""The log events of the code: their names, levels and keys, read from the calls that log them."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

TOP = Path(__file__).resolve().parents[2]
PACKAGE = TOP / "controlplane"
LEVELS = ("debug", "info", "warning", "error", "exception")


class Event(NamedTuple):
    """A log event: its name, the levels and keys that the code gives it, and the modules that log it."""

    name: str
    levels: frozenset[str]
    keys: frozenset[str]
    modules: frozenset[str]


@cache
def events() -> Mapping[str, Event]:
    """Return every log event of the code by its name."""
    calls = [
        (path, call)
        for path in sorted(PACKAGE.rglob("*.py"))
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call)
    ]
    logged = [(path, call, level) for path, call in calls if (level := _level(call)) and _first_text(call)]
    packages = {_first_text(call).partition(".")[0] for _, call, _ in logged}
    passed = [  # to a function that logs it
        (path, call, "")
        for path, call in calls
        if not _level(call) and (name := _event_argument(call)) and name.partition(".")[0] in packages
    ]
    found: dict[str, Event] = {}
    for path, call, level in (*logged, *passed):
        name = _first_text(call) if level else _event_argument(call)
        before = found.get(name, Event(name, frozenset(), frozenset(), frozenset()))
        keys = {keyword.arg for keyword in call.keywords if keyword.arg} - {"exc_info"}
        module = ".".join(path.relative_to(TOP).with_suffix("").parts)
        found[name] = Event(
            name,
            before.levels | ({"error" if level == "exception" else level} - {""}),
            before.keys | frozenset(keys),
            before.modules | {module},
        )
    return dict(sorted(found.items()))


def _level(call: ast.Call) -> str:
    function = call.func
    is_log = isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) and function.value.id == "log"
    return function.attr if is_log and isinstance(function, ast.Attribute) and function.attr in LEVELS else ""


def _first_text(call: ast.Call) -> str:
    first = call.args[0] if call.args else None
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else ""


def _event_argument(call: ast.Call) -> str:
    """Return an argument that looks like an event's name, for functions that log what they are given."""
    for each in call.args:
        if isinstance(each, ast.Constant) and isinstance(each.value, str):
            head, dot, tail = each.value.partition(".")
            if dot and head.isidentifier() and tail.isidentifier() and "_" in tail and tail.islower():
                return each.value
    return _first_text(call) if isinstance(call.func, ast.Name) and call.func.id == "tell" else ""
