"""Takes credentials out of what is handed on: by how they look, and by what they are called.

Texts may be documents themselves (annotations, entries of ConfigMaps, inline values of Envoy in base64): JSON is looked
into, and of YAML and lines of a log a name and its value are found. Rather too much is taken out than too little.
"""

from __future__ import annotations

import base64
import binascii
import json
from functools import lru_cache
from typing import Any

import re2

from controlplane.documents.json_reader import json_value
from controlplane.documents.limits import UnreadableError
from controlplane.logs.cleaning import REDACTED, redacted

_CALLED = """
access-key account-key api-key auth-key authorization connection-string cookie credential credentials encryption-key
hmac-key key-data master-key passphrase passwd password private-key secret secret-access-key secret-key session-key
shared-key signing-key token
""".split()  # noqa: SIM905 - a list has a line for each
_CALLED_SHORT = ("auth", "dsn", "pass", "pwd")
"""These are the whole last word of a name: ``bypass`` is none."""
_PLAIN = tuple(each.replace("-", "") for each in _CALLED)
_LAST_WORD = re2.compile(
    rf"(?:^|[^A-Za-z])(?i:{'|'.join(_CALLED_SHORT)})$|[a-z](?:{'|'.join(map(str.title, _CALLED_SHORT))})$"
)
_HOLDING = frozenset(
    {"contains", "exact", "exactmatch", "inlinebytes", "inlinestring", "prefix", "regex", "suffix", "value"}
)
"""Members that hold what an object is about, as Envoy and Istio call them."""
_SECRET_PARTS = frozenset({"d", "dp", "dq", "k", "oth", "p", "q", "qi"})
"""Members of a JSON web key that only its owner knows. Source: RFC 7518, section 6."""
_SHORT = 200
_LONGEST = 1_000_000_000
_SCHEME = "://"
_SHORTEST_BASE64 = 16
_BASE64 = re2.compile(r"[A-Za-z0-9+/\s]+={0,2}\s*")

_WORDS = "|".join([*(each.replace("-", "[_.-]?") for each in _CALLED), *(f"[_.-]{each}" for each in _CALLED_SHORT)])
_VALUE = (
    r"(\\+\"[^\"\\]*\\+\"|\"(?:[^\"\\]|\\.)*\"|'[^']*'|[|>][+-]?[0-9]?[ \t]*(?:\r?\n[ \t]+[^\n]*)+|[^\s,;&\"'{}\[\])]+)"
)
_QUOTE, _IS = r"\\*[\"']?", r"[ \t]*[:=][ \t]*"
_INSIDE = rf"(?:\s*\{{?\s*{_QUOTE}(?:inline_?(?:string|bytes)|exact|prefix|regex|value){_QUOTE}{_IS})?"
_LINES = re2.compile(rf"(?im)^([ \t]*(?:- )?[\"']?[\w.-]*(?:{_WORDS})[\"']?:[ \t]+)([^\s\"'|>{{\[][^\n]*)$")
_NAMED = re2.compile(rf"(?i)([\w.-]*(?:{_WORDS}){_QUOTE}{_IS}{_INSIDE}){_VALUE}")
_BESIDE = re2.compile(
    rf"(?i)((?:name|key){_QUOTE}{_IS}{_QUOTE}[\w.-]*(?:{_WORDS}){_QUOTE}\s*(?:,|\n)\s*{_QUOTE}value{_QUOTE}{_IS}){_VALUE}"
)
_OPTION = re2.compile(rf"(?i)(--[\w.-]*(?:{_WORDS})[ \t]+){_VALUE}")
_OPTION_ALONE = re2.compile(rf"(?i)--?[\w.-]*(?:{_WORDS})")
_SHAPES = re2.compile(
    r"(?s:-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----.*?-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----)"
    r"|\b(?:gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{20,}|AKIA[0-9A-Z]{16}|xox[abeprs]-[\w-]{10,}"
    r"|ya29\.[\w-]{20,}|AIza[\w-]{35})"
    r"|LS0tLS1CRUdJTi(?:BQUklWQVRFIEtFWS|BSU0EgUFJJVkFURSBLRVkt|BFQyBQUklWQVRFIEtFWS|BFTkNSWVBURUQg|BPUEVOU1NIIF"
    r"|BEU0EgUFJJVkFURS)[A-Za-z0-9+/=]*"
)
_HINT = re2.compile(rf"(?i)@|{_WORDS}|PRIVATE KEY|bearer|eyJ|{_SHAPES.pattern}")
"""Stands in each text that has a credential; most have none."""


def redacted_body(body: bytes) -> bytes:
    """Return an answer without credentials: JSON member by member, also that of lines, and the rest as text."""
    try:
        value = json_value(body, limit=_LONGEST)
    except (UnreadableError, ValueError):
        lines = body.decode(errors="replace").split("\n")
        return redacted_text("\n".join(_redacted_string(each) if each[:1] == "{" else each for each in lines)).encode()
    return json.dumps(redacted_value(value), indent=1).encode()


def redacted_value(value: Any, *, secret: bool = False) -> Any:  # noqa: ANN401 - JSON
    """Return a value of JSON without credentials; an ``env`` entry or a header is called what its ``name`` says.

    ``secret`` says that what holds it is called a credential.
    """
    if isinstance(value, str):
        return _redacted_short(value) if len(value) <= _SHORT else _redacted_string(value)
    if isinstance(value, list):
        return _redacted_list(value, secret=secret)
    if not isinstance(value, dict):
        return value
    secret = secret or any(_is_credential(str(value.get(each, ""))) for each in ("name", "key"))
    found: dict[str, Any] = {}
    for name, each in value.items():
        called = _is_credential(name)
        if _is_scalar(each) and (called or (secret and _plain(name) in _HOLDING) or _is_key_part(value, name)):
            found[name] = REDACTED
        elif value.get("kind") == "Secret" and name in {"data", "stringData"} and isinstance(each, dict):
            found[name] = dict.fromkeys(each, REDACTED)
        else:
            found[name] = redacted_value(each, secret=secret or called)
    return found


def redacted_text(text: str) -> str:
    """Return text without tokens, private keys, passwords of HTTP, those in URLs, and what is called a credential."""
    if _HINT.search(text) is None:
        return text
    text = redacted(_SHAPES.sub(REDACTED, text))
    for pattern in (_LINES, _BESIDE, _NAMED, _OPTION):
        text = pattern.sub(_without_value, text)
    if "@" not in text:
        return text
    head, *rest = text.split(_SCHEME)
    return _SCHEME.join([head, *map(_without_user, rest)])


@lru_cache(1 << 16)
def _redacted_short(text: str) -> str:
    """Do so for a string of those that come again and again."""
    return _redacted_string(text)


def _redacted_string(text: str) -> str:
    if text.lstrip()[:1] in {"{", "["}:
        try:
            return json.dumps(redacted_value(json_value(text, limit=_LONGEST)))
        except (UnreadableError, ValueError):
            return redacted_text(text)
    if len(text) >= _SHORTEST_BASE64 and _BASE64.fullmatch(text) is not None:
        try:
            inner = base64.b64decode(text).decode()
        except (binascii.Error, UnicodeDecodeError):
            return redacted_text(text)
        if _has_credential(inner):
            return REDACTED
    return redacted_text(text)


def _has_credential(inner: str) -> bool:
    """Whether a text that was written in base64 would not be told as it is."""
    if inner.lstrip()[:1] in {"{", "["}:
        try:
            value = json_value(inner, limit=_LONGEST)
        except (UnreadableError, ValueError):
            return redacted_text(inner) != inner
        return bool(redacted_value(value) != value)
    return redacted_text(inner) != inner


def _redacted_list(values: list[Any], *, secret: bool) -> list[Any]:
    """Return a list without credentials; of a command line, an option's value stands behind it."""
    found, before = [], ""
    for each in values:
        behind = isinstance(each, str) and _OPTION_ALONE.fullmatch(before) is not None
        found.append(REDACTED if behind else redacted_value(each, secret=secret))
        before = each if isinstance(each, str) else ""
    return found


def _without_value(match: Any) -> str:  # noqa: ANN401 - re2's
    name, value = match.group(1), match.group(2)
    bare = value.lstrip("\\\"'")
    if bare.startswith(REDACTED[:-1]):
        return str(match.group(0))
    quotes = value[: len(value) - len(bare)]
    return f"{name}{quotes}{REDACTED}{quotes}"


def _without_user(after: str) -> str:
    """Return what stands behind ``://`` without ``user:password@``."""
    end = next((at for at, letter in enumerate(after) if letter in " \t\n\"'<>,"), len(after))
    user, at, host = after[:end].rpartition("@")
    if not at or not (":" in user or "/" not in user):
        return after
    port, slash, _ = user.partition(":")[2].partition("/")
    if slash and port.isdigit():  # host:port/path@more
        return after
    return f"{REDACTED}@{host}{after[end:]}"


def _is_scalar(value: object) -> bool:
    return bool(value) and isinstance(value, str | int | float) and not isinstance(value, bool)


def _is_key_part(value: dict[str, Any], name: str) -> bool:
    return name in _SECRET_PARTS and "kty" in value


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "").replace(".", "")


@lru_cache(4096)
def _is_credential(name: str) -> bool:
    plain = _plain(name)
    return plain.endswith(_PLAIN) or (plain.endswith(_CALLED_SHORT) and _LAST_WORD.search(name) is not None)
