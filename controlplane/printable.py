"""Text that somebody else wrote, made harmless for a terminal and for whoever reads lines.

Control characters move the cursor, colour what follows or hide it; marks of writing direction reorder what is read. All
of them are shown as escapes instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache

_UNPRINTABLE = (
    (0x00, 0x1F),  # control characters
    (0x7F, 0x9F),
    (0x061C, 0x061C),  # marks of writing direction, separators and what has no width
    (0x200B, 0x200F),
    (0x2028, 0x202E),
    (0x2066, 0x2069),
    (0xFEFF, 0xFEFF),
    (0xD800, 0xDFFF),  # half a character, which no encoding takes
)
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def printable(text: str, keep: str = "") -> str:
    """Return the text with every character escaped that is not for printing, except those of ``keep``."""
    if text.isascii() and text.isprintable():
        return text
    return text.translate(_escapes(keep))


@cache
def _escapes(keep: str) -> Mapping[int, str]:
    return {code: _escape(chr(code)) for code in _codes() if chr(code) not in keep}


def _codes() -> Iterator[int]:
    for first, last in _UNPRINTABLE:
        yield from range(first, last + 1)


def _escape(character: str) -> str:
    return _SHORT.get(character) or character.encode("unicode_escape").decode()
