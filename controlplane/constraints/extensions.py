"""What Envoy checks of extensions: that they have settings, and that scripts are Lua."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from hashlib import blake2b
from typing import Any

import re2
from lupa import luajit21

Wrong = Iterator[tuple[str, str]]

_BINARY = "\x1b"  # how compiled Lua begins
_MOST_CHARACTERS = 1_000_000
_BRANCH = re2.compile(r"\b(?:and|or|elseif|goto)\b")
_MOST_BRANCHES = 10_000
"""The compiler's time grows with the square of these: with 100,000 it takes 10 s, in which nothing else is done."""


def listener_filter_faults(held: Any) -> Wrong:  # noqa: ANN401 - a generated message, here and below
    """Check a listener filter: Envoy finds it by its settings alone."""
    if not held.HasField("typed_config") and not held.HasField("config_discovery"):
        yield "typed_config", f"is required: {held.name} is not found by its name alone"


def settings_faults(held: Any) -> Wrong:  # noqa: ANN401
    """Check an access log, a transport socket or the like: Envoy finds it by its settings alone."""
    if not held.HasField("typed_config"):
        yield "typed_config", f"is required: {held.name} is not found by its name alone"


def lua_faults(config: Any) -> Wrong:  # noqa: ANN401
    """Check the scripts of a Lua filter, as far as they stand in it."""
    if config.inline_code and (problem := lua_problem(config.inline_code)):
        yield "inline_code", problem
    yield from _source("default_source_code", config.default_source_code)
    for name, each in config.source_codes.items():
        yield from _source(f"source_codes[{name}]", each)


def lua_per_route_faults(config: Any) -> Wrong:  # noqa: ANN401
    """Check the script that a route gives the Lua filter."""
    yield from _source("source_code", config.source_code)


def _source(path: str, source: Any) -> Wrong:  # noqa: ANN401
    kind = source.WhichOneof("specifier")
    if kind not in {"inline_string", "inline_bytes"}:
        return
    given = getattr(source, kind)
    script = given if isinstance(given, str) else given.decode("latin-1")  # Lua knows bytes alone
    if script and (problem := lua_problem(script)):
        yield f"{path}.{kind}", problem


def lua_problem(script: str) -> str:
    """Why a text is no Lua, or an empty text. It is compiled by the Lua that Envoy has, and never run.

    What is known is kept by the script's digest: the scripts themselves would take hundreds of megabytes.
    """
    digest = blake2b(script.encode(errors="surrogatepass"), digest_size=32).digest()
    known = _known_scripts.get(digest)
    if known is None:
        while len(_known_scripts) >= _MOST_KNOWN_SCRIPTS:
            del _known_scripts[next(iter(_known_scripts))]
        known = _known_scripts[digest] = _lua_problem(script)
    return known


_MOST_KNOWN_SCRIPTS = 256
_known_scripts: dict[bytes, str] = {}


def _lua_problem(script: str) -> str:
    if script.startswith(_BINARY) or len(script) > _MOST_CHARACTERS:
        return "must be the text of a script, of less than a million characters"
    try:
        if sum(1 for _ in _BRANCH.finditer(script)) > _MOST_BRANCHES:
            return f"must not have more than {_MOST_BRANCHES} branches (and, or, elseif, goto)"
        _runtime().compile(script)
    except luajit21.LuaSyntaxError as error:
        return f"is no Lua: {str(error).rpartition(']:')[2]}"
    except (luajit21.LuaError, UnicodeEncodeError) as error:
        return f"is no Lua: {error}"
    return ""


@cache
def _runtime() -> Any:  # noqa: ANN401 - a Lua machine
    return luajit21.LuaRuntime(register_eval=False, register_builtins=False)
