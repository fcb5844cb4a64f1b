"""What Envoy checks of extensions: that they have settings, routes the right ones, and that scripts are Lua."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from hashlib import blake2b
from typing import Any

import re2
from google.protobuf import descriptor_pool
from lupa import luajit21

from controlplane.kept import kept
from controlplane.patches.messages import load_type

Wrong = Iterator[tuple[str, str]]

_HTTP = "envoy.extensions.filters.http."
_WRAPPER = "envoy.config.route.v3.FilterConfig"
_FOR_ROUTES = ("PerRoute", "PerRouteConfig", "Policy")
#: HTTP filters that a route has nothing to say to
_NOT_FOR_ROUTES = frozenset(
    f"{_HTTP}{name}"
    for name in (
        "cdn_loop.v3.CdnLoopConfig",
        "grpc_http1_bridge.v3.Config",
        "grpc_stats.v3.FilterConfig",
        "grpc_web.v3.GrpcWeb",
        "health_check.v3.HealthCheck",
        "original_src.v3.OriginalSrc",
        "router.v3.Router",
        "wasm.v3.Wasm",
    )
)
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


def route_settings_faults(held: Any) -> Wrong:  # noqa: ANN401
    """Check what a route, or something above it, says to filters: each knows one type of that."""
    for name, packed in held.typed_per_filter_config.items():
        where = f"typed_per_filter_config[{name}]"
        kind = packed.type_url.rpartition("/")[2]
        if kind == _WRAPPER:
            wrapper: Any = _message(packed)
            kind = wrapper.config.type_url.rpartition("/")[2] if wrapper is not None else ""
        if kind in _NOT_FOR_ROUTES:
            yield where, f"{kind} is not for routes"
        elif wanted := _wanted(kind):
            yield where, f"must be a {wanted} instead of {kind}"


def _message(packed: Any) -> Any:  # noqa: ANN401
    from envoy.config.route.v3.route_components_pb2 import FilterConfig  # noqa: PLC0415 - only where one is met

    wrapper = FilterConfig()
    return wrapper if packed.Unpack(wrapper) else None


@kept(1024)
def _wanted(kind: str) -> str:
    """Return the type that a route states instead of this one, empty where this one is right or nothing is known."""
    if not kind.startswith(_HTTP):
        return ""
    load_type(kind)
    try:
        file: Any = descriptor_pool.Default().FindMessageTypeByName(kind).file
    except KeyError:
        return ""
    for_routes = [each.full_name for each in file.message_types_by_name.values() if each.name.endswith(_FOR_ROUTES)]
    return for_routes[0] if for_routes and kind not in for_routes else ""


def lua_faults(config: Any) -> Wrong:  # noqa: ANN401
    """Check the scripts of a Lua filter, as far as they stand in it."""
    scripts = {
        "inline_code": config.inline_code,
        "default_source_code.inline_string": config.default_source_code.inline_string,
        **{f"source_codes[{name}].inline_string": each.inline_string for name, each in config.source_codes.items()},
    }
    for path, script in scripts.items():
        if script and (problem := lua_problem(script)):
            yield path, problem


def lua_per_route_faults(config: Any) -> Wrong:  # noqa: ANN401
    """Check the script that a route gives the Lua filter."""
    script = config.source_code.inline_string
    if script and (problem := lua_problem(script)):
        yield "source_code.inline_string", problem


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
