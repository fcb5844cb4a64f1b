"""JSON text to plain values."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from controlplane.documents.extent import is_deeper
from controlplane.documents.limits import (
    MAX_CHARACTERS,
    MAX_DEPTH,
    Document,
    Unreadable,
    UnreadableError,
    too_deep,
    too_long,
)

_SURROGATE = ("\\ud", "\\uD")


def json_documents(text: str) -> list[Document | Unreadable]:
    """Read a JSON text, which is one document; a key that is repeated is a warning, and the last one counts."""
    warnings: list[str] = []

    def pairs(members: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(members)
        if len(value) < len(members):
            counts = Counter(name for name, _ in members)
            repeated = sorted(name for name, count in counts.items() if count > 1)
            warnings.extend(f"key {name!r} is repeated; the last one is used" for name in repeated)
        return value

    found = _read(text, MAX_CHARACTERS, pairs)
    return [found if isinstance(found, Unreadable) else Document(found[0], 1, tuple(warnings))]


def json_value(text: str | bytes, *, limit: int = MAX_CHARACTERS) -> Any:  # noqa: ANN401 - whatever somebody wrote
    """Read a JSON text that a machine wrote; of a repeated key the last one counts.

    Raises:
        UnreadableError: it is not JSON, is longer than ``limit``, nested too deep or holds what no text can.
    """
    found = _read(decoded(text), limit, None)
    if isinstance(found, Unreadable):
        raise UnreadableError(f"line {found.line}: {found.reason}")
    return found[0]


def json_pruned(text: bytes) -> Any:  # noqa: ANN401 - whatever somebody wrote
    """Read JSON of which one part, nested too deep, must not hide the others: what lies too deep is left out.

    It is left out only where it is beyond ``MAX_DEPTH`` in any object of a list, so that this object can still be named
    and refused (``extent.is_deeper``). Length is not limited. Raises as ``json_value`` does.
    """
    characters = decoded(text)
    try:
        try:
            return json.loads(characters, parse_constant=no_constant)
        except RecursionError:
            return json.loads(_without_depth(characters, 2 * MAX_DEPTH), parse_constant=no_constant)
    except ValueError as error:
        raise UnreadableError(f"is not JSON: {error}") from None


def decoded(text: str | bytes) -> str:
    """Return the characters of a text; ``UnreadableError`` where it is no UTF-8."""
    if isinstance(text, str):
        return text
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UnreadableError("line 1: is not UTF-8 text") from None


def _read(text: str, limit: int, pairs: Any) -> tuple[Any] | Unreadable:  # noqa: ANN401 - a hook of the JSON library
    if len(text) > limit:
        return Unreadable(1, too_long(limit))
    try:
        value = json.loads(text, object_pairs_hook=pairs, parse_constant=no_constant)
    except json.JSONDecodeError as error:
        return Unreadable(error.lineno, error.msg)
    except RecursionError:
        return Unreadable(1, too_deep())
    except ValueError as error:  # NaN, or an integer of thousands of digits
        return Unreadable(1, str(error))
    if is_deeper(value, MAX_DEPTH, brackets=text.count("{") + text.count("[")):
        return Unreadable(1, too_deep())
    if any(escape in text for escape in _SURROGATE) and not _is_text(value):
        return Unreadable(1, "holds half of a surrogate pair, which is no character")
    return (value,)


def no_constant(name: str) -> None:
    """Refuse NaN and infinities, which JSON does not have."""
    raise ValueError(f"{name} is not a JSON value")


def _is_text(value: object) -> bool:
    """Whether all texts of a value can be written as UTF-8."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _without_depth(text: str, depth: int) -> str:
    """Return JSON text without what its containers hold that are nested deeper than this."""
    masked = text.replace("\\\\", "__").replace('\\"', "__")  # as long, and each quote left begins or ends a text
    kept: list[str] = []
    level = begin = at = 0
    for position, piece in enumerate(masked.split('"')):
        for offset, char in enumerate(piece) if position % 2 == 0 else ():
            if char in "[{":
                level += 1
                if level == depth:
                    kept.append(text[begin : at + offset + 1])
            elif char in "]}":
                if level == depth:
                    begin = at + offset
                level -= 1
        at += len(piece) + 1
    if level < depth:
        kept.append(text[begin:])
    return "".join(kept)
