"""The parts of a serialised message: a large one is divided before it is parsed, which a library does at one go.

Source: the protobuf wire format. The bytes are our own, so they are well-formed.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

from controlplane.admin.pace import PAUSE, Pause

_VARINT, _FIXED64, _SIZED, _FIXED32 = 0, 1, 2, 5
_FIXED = {_FIXED64: 8, _FIXED32: 4}


def divided(
    descriptor: Any,  # noqa: ANN401 - protobuf ships no type for it
    body: bytes | bytearray,
    rest: bytearray,
    parts: MutableMapping[int, list[bytes]],
) -> Iterator[Pause]:
    """Put the elements of repeated messages into ``parts``, by field number, and all other fields into ``rest``.

    Raises:
        ValueError: the message has a group, which no message of Envoy's has.
    """
    repeated = {
        number: field
        for number, field in descriptor.fields_by_number.items()
        if field.is_repeated and field.message_type is not None and not field.message_type.GetOptions().map_entry
    }
    at = 0
    while at < len(body):
        begin = at
        tag, at = _varint(body, at)
        number, wire = tag >> 3, tag & 7
        if wire == _SIZED:
            size, at = _varint(body, at)
            if number in repeated:
                parts.setdefault(number, []).append(bytes(body[at : at + size]))
                at += size
                yield PAUSE
                continue
            at += size
        elif wire == _VARINT:
            _, at = _varint(body, at)
        elif wire in _FIXED:
            at += _FIXED[wire]
        else:
            raise ValueError(f"a field of wire type {wire}")
        rest += body[begin:at]


def _varint(body: bytes | bytearray, at: int) -> tuple[int, int]:
    """Return the number that begins there, and where it ends."""
    value = shift = 0
    while True:
        byte = body[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the last byte has no continuation bit
            return value, at
        shift += 7
