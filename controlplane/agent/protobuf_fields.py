"""Reads single fields of an encoded message without decoding the rest: a response may have megabytes of resources."""

from __future__ import annotations

from collections.abc import Iterator

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10


def length_delimited(message: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield number, start and end of each field that is a text, bytes or a message, in their order.

    Raises:
        ValueError: the bytes are no message.
    """
    at, size = 0, len(message)
    while at < size:
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == _LENGTH:
            length, at = _varint(message, at)
            if at + length > size:
                raise ValueError("a field is longer than its message")
            yield tag >> 3, at, at + length
            at += length
        elif kind == _VARINT:
            _, at = _varint(message, at)
        elif kind in {_FIXED32, _FIXED64}:
            at += 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"a field has the unknown kind {kind}")


def text(message: bytes, number: int) -> str:
    """Return a text field, the last where it is repeated, empty where it is absent. Raises ``ValueError``."""
    found = ""
    for field, start, end in length_delimited(message):
        if field == number:
            found = message[start:end].decode()
    return found


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for count, byte in enumerate(message[at : at + _LONGEST_VARINT]):
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:  # noqa: PLR2004 - the continuation bit
            return value, at + count + 1
    raise ValueError("a number has no end")
