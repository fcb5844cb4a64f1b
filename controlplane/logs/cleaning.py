"""What becomes of the values of an event before it is written: no credential, no control character, no endless text."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import re2
import structlog
from structlog.typing import EventDict, ExcInfo, WrappedLogger

from controlplane.printable import printable

LONGEST_VALUE = 4 * 1024
"""Characters of one value; of a traceback so many times more."""
LONGEST_TRACEBACK = 16 * LONGEST_VALUE
MOST_ELEMENTS = 200
"""Of a list or a mapping."""
DEEPEST = 6
"""Levels of lists and mappings within each other."""

_CREDENTIALS = re2.compile(
    r"(?i:\bbearer[ \t]+[\w.~+/=-]{20,})"
    r"|(?i:authorization[\"']{0,2}[ \t]*[:=,][ \t]*b?[\"']?[a-z]+[ \t]+[^\s\"']+)"
    r"|\beyJ[\w-]{6,}(?:\.[\w-]+){1,4}"
    r"|-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----[^-]*(?:-----END [A-Z ]{0,20}PRIVATE KEY-----)?"
)
_HINTS = ("eyJ", "earer", "EARER", "uthorization", "UTHORIZATION", "PRIVATE KEY")
REDACTED = "[redacted]"
_KEPT = frozenset({"timestamp", "level"})


def redacted(text: str) -> str:
    """Return the text without what looks like a credential: a token, a password of HTTP, a private key."""
    if not any(hint in text for hint in _HINTS):
        return text
    shown: str = _CREDENTIALS.sub(REDACTED, text)
    return shown


def clean_values(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Clean every value of an event; see the module."""
    for key, value in event.items():
        if key not in _KEPT and key != "exc_info":
            event[key] = _traceback(value) if key == "exception" else _clean(value, DEEPEST)
    return event


def escape_values(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Escape what is not for printing, where lines go to a terminal as they are; JSON escapes by itself."""
    for key, value in event.items():
        if key != "exc_info":
            event[key] = _escaped(value, "\n" if key == "exception" else "")
    return event


def plain_traceback(stream: Any, exc_info: ExcInfo) -> None:  # noqa: ANN401 - structlog's
    """Write a traceback, cleaned: its message may be of a peer."""
    text = io.StringIO()
    structlog.dev.plain_traceback(text, exc_info)
    stream.write(printable(_traceback(text.getvalue()), keep="\n"))


def _traceback(text: Any) -> Any:  # noqa: ANN401 - text, unless somebody has put something else there
    return _cut(redacted(text), LONGEST_TRACEBACK) if isinstance(text, str) else text


def _clean(value: Any, levels: int) -> Any:  # noqa: ANN401 - whatever is logged
    if isinstance(value, str):
        return _cut(redacted(value), LONGEST_VALUE)
    if value is None or isinstance(value, bool | int | float):
        return value
    if levels and isinstance(value, Mapping):
        pairs = list(value.items())[:MOST_ELEMENTS]
        return {_clean(str(key), 0): _clean(each, levels - 1) for key, each in pairs}
    if levels and isinstance(value, list | tuple | set | frozenset):
        kept = [_clean(each, levels - 1) for each in list(value)[:MOST_ELEMENTS]]
        return kept if len(value) <= MOST_ELEMENTS else [*kept, f"... ({len(value)} in all)"]
    try:
        return _cut(redacted(str(value)), LONGEST_VALUE)
    except Exception as error:  # noqa: BLE001 - a line of the log is worth no failure
        return f"<{type(value).__name__}: {type(error).__name__}>"


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]}... ({len(text)} characters in all)"


def _escaped(value: Any, keep: str) -> Any:  # noqa: ANN401 - the same
    if isinstance(value, str):
        return printable(value, keep)
    if isinstance(value, Mapping):
        return {printable(str(key)): _escaped(each, keep) for key, each in value.items()}
    if isinstance(value, list):
        return [_escaped(each, keep) for each in value]
    return value
