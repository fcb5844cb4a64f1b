"""Messages that differ in texts alone: encoded once with marks in place of these, then joined for each from bytes.

Making one message by its fields costs ten times as much, and what is checked of it is the same for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from controlplane.translate.routes.wire import varint

_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5
_NO_FIELDS = "a mark is a piece of a longer text"
_FIXED = {_FIXED64: 8, _FIXED32: 4}


@dataclass(frozen=True, slots=True)
class Within:
    """A message in a message: its parts, without its length."""

    parts: tuple[Part, ...]


Part = bytes | int | Within
"""Bytes as they are, the position of a text, or a message that has one in it."""


@dataclass(frozen=True, slots=True)
class Template:
    """An encoded message with places for texts, which stand there by their positions."""

    parts: tuple[Part, ...]

    @classmethod
    def of(cls, message: bytes, marks: Sequence[str]) -> Template:
        """Make one of an encoded message; each mark stands for a text, and is found nowhere else.

        Raises:
            ValueError: a mark is a piece of a longer text, and what would be there is not known.
        """
        places = {mark.encode(): position for position, mark in enumerate(marks)}
        try:
            return cls(_parts(message, places))
        except IndexError as error:
            raise ValueError(_NO_FIELDS) from error

    def filled(self, texts: Sequence[str]) -> bytes:
        """Return the message with these texts in place of the marks; none of them is empty: it would not be written."""
        encoded = [text.encode() for text in texts]
        return _joined(self.parts, [varint(len(text)) + text for text in encoded])


def _joined(parts: tuple[Part, ...], texts: list[bytes]) -> bytes:
    out: list[bytes] = []
    for part in parts:
        if type(part) is bytes:
            out.append(part)
        elif type(part) is int:
            out.append(texts[part])
        else:
            body = _joined(part.parts, texts)  # type: ignore[union-attr]  # what is left
            out.append(varint(len(body)))
            out.append(body)
    return b"".join(out)


def _parts(message: bytes, places: Mapping[bytes, int]) -> tuple[Part, ...]:
    """Divide a message at its marks.

    Raises:
        ValueError: these are no fields, since a text was taken for a message.
        IndexError: likewise.
    """
    parts: list[Part] = []
    plain = position = 0
    while position < len(message):
        tag, after = _varint(message, position)
        if tag & 7 == _VARINT:
            _, position = _varint(message, after)
        elif tag & 7 == _DELIMITED:
            size, start = _varint(message, after)
            position = start + size
            held = message[start:position]
            if any(mark in held for mark in places):
                known = places.get(held)
                parts += (message[plain:after], known if known is not None else Within(_parts(held, places)))
                plain = position
        else:
            position = after + _FIXED.get(tag & 7, len(message) + 1)
        if position > len(message):
            raise ValueError(_NO_FIELDS)
    return (*parts, message[plain:])


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """Return the number at a position, and where it ends."""
    value = shift = 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the highest bit says that there is more
            return value, position
        shift += 7
