"""Names that a script of Lua uses as it is loaded and that nothing sets: Envoy refuses the listener for the error.

A script is read and never run. Only what fails for certain is found, where it is reached: to call ``nil``, or to look
into it. Reference: Lua 5.1, which Envoy's LuaJIT speaks.
"""

from __future__ import annotations

import re2

_TOKENS = re2.compile(
    r"--\[\[(?:[^\]]|\][^\]])*\]\]"  # comments
    r"|--[^\n]*"
    r'|"(?:[^"\\\n]|\\(?s:.))*"'  # texts
    r"|'(?:[^'\\\n]|\\(?s:.))*'"
    r"|\[\[(?:[^\]]|\][^\]])*\]\]"
    r"|[A-Za-z_][A-Za-z0-9_]*"
    r"|[0-9][0-9A-Za-z_.]*"
    r"|::|\.\.\.|\.\.|[^\s]"
)


def _words(*lines: str) -> frozenset[str]:
    return frozenset(word for line in lines for word in line.split())


_LEVELS = re2.compile(r"\[=+\[")
_OPENING, _CLOSING = frozenset({"function", "do", "if", "repeat"}), frozenset({"end", "until"})
_USING = frozenset({"(", "{", "[", ".", ":", '"', "'"})
_WORDS = _words(
    "and break do else elseif end false for function goto if in local nil not or repeat return then true until while"
)
_KNOWN = _words(
    "assert bit collectgarbage coroutine debug error gcinfo getmetatable io ipairs jit math newproxy next os package",
    "pairs pcall print rawequal rawget rawlen rawset select setmetatable string table tonumber tostring type unpack",
    "utf8 xpcall",
)
#: whoever uses one of these may set a global by its name as a text
_SETTING = frozenset(
    {"_G", "dofile", "getfenv", "load", "loadfile", "loadstring", "module", "require", "setfenv", "setglobal"}
)


def unset_name(script: str) -> str:
    """Return a name that is called, or looked into, outside of functions and that nothing sets; empty if there is none.

    Texts and comments in brackets of further levels (``[=[``) are not read: then nothing is found.
    """
    if _LEVELS.search(script) is not None:
        return ""
    tokens = [token for token in _TOKENS.findall(script) if not token.startswith("--")]
    if not _SETTING.isdisjoint(tokens):
        return ""
    used: dict[str, None] = {}  # as a set, in order
    known = set(_KNOWN)
    blocks: list[str] = []
    for before, token, after in zip(["", *tokens], tokens, [*tokens[1:], ""], strict=False):
        if token in _OPENING:
            blocks.append(token)
        elif token in _CLOSING:
            del blocks[-1:]
        if token in _WORDS or not _is_name(token) or before in {".", ":", "goto", "::"} or not before.isascii():
            continue
        if after[:1] not in _USING or after == "::" or before in {"function", "local", "for", ","}:
            known.add(token)  # it may be set here
        elif "function" not in blocks:
            used[token] = None
    return next((name for name in used if name not in known), "")


def _is_name(token: str) -> bool:
    return token.isascii() and (token[0].isalpha() or token[0] == "_")
