"""Takes credentials out of what is handed on: by how they look, and by what they are called."""

from __future__ import annotations

import json
from typing import Any

from controlplane.documents.json_reader import json_value
from controlplane.documents.limits import UnreadableError
from controlplane.logs.cleaning import REDACTED, redacted

_CALLED = frozenset(
    {"apikey", "authorization", "clientsecret", "credentials", "passwd", "password", "privatekey", "secret", "token"}
)
_LONGEST = 1_000_000_000
_SCHEME = "://"


def redacted_body(body: bytes) -> bytes:
    """Return an answer without credentials: JSON member by member, anything else as text."""
    try:
        value = json_value(body, limit=_LONGEST)
    except (UnreadableError, ValueError):
        return redacted_text(body.decode(errors="replace")).encode()
    return json.dumps(redacted_value(value), indent=1).encode()


def redacted_value(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return a value of JSON without credentials; an ``env`` entry is called what its ``name`` says."""
    if isinstance(value, str):
        return redacted_text(value)
    if isinstance(value, list):
        return [redacted_value(each) for each in value]
    if not isinstance(value, dict):
        return value
    named = _is_credential(str(value.get("name", "")))
    return {
        name: REDACTED
        if isinstance(each, str) and each and (_is_credential(name) or (named and name == "value"))
        else redacted_value(each)
        for name, each in value.items()
    }


def redacted_text(text: str) -> str:
    """Return text without tokens, private keys, passwords of HTTP, and those in URLs."""
    text = redacted(text)
    if "@" not in text:
        return text
    head, *rest = text.split(_SCHEME)
    return _SCHEME.join([head, *map(_without_user, rest)])


def _without_user(after: str) -> str:
    """Return what stands behind ``://`` without ``user:password@``."""
    end = next((at for at, letter in enumerate(after) if letter in "/ \t\n\"'<>?#,"), len(after))
    user, at, host = after[:end].rpartition("@")
    return f"{REDACTED}@{host}{after[end:]}" if at and ":" in user else after


def _is_credential(name: str) -> bool:
    plain = "".join(letter for letter in name.lower() if letter.isalnum())
    return any(plain.endswith(each) for each in _CALLED)
