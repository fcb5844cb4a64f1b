"""The wire form of protobuf messages, put together from parts that are encoded already.

A message is the concatenation of its fields, so a route configuration is its virtual hosts' bytes, each behind a
tag and a length. Reference: protobuf encoding, "message structure".
"""

from __future__ import annotations

_DELIMITED = 2
_ONE_BYTE = 0x80
"""Numbers below it take one byte."""
_SHORT = tuple(bytes((value,)) for value in range(_ONE_BYTE))
_FEW = 16  # fields below it have tags of one byte


def varint(value: int) -> bytes:
    """Return an unsigned number as a base-128 varint."""
    if 0 <= value < _ONE_BYTE:
        return _SHORT[value]
    out = bytearray()
    while value >= _ONE_BYTE:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def delimited(field: int, body: bytes) -> bytes:
    """Return one length-delimited field: an embedded message or a string."""
    size = len(body)
    if size < _ONE_BYTE and field < _FEW:
        return b"%c%c%b" % (field << 3 | _DELIMITED, size, body)
    return varint(field << 3 | _DELIMITED) + varint(size) + body
