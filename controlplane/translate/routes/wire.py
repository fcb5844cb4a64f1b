"""The wire form of protobuf messages, put together from parts that are encoded already.

A message is the concatenation of its fields, so a route configuration is its virtual hosts' bytes, each behind a
tag and a length. Reference: protobuf encoding, "message structure".
"""

from __future__ import annotations

_DELIMITED = 2


def varint(value: int) -> bytes:
    """Return an unsigned number as a base-128 varint."""
    out = bytearray()
    while value > 0x7F:  # noqa: PLR2004 - seven bits a byte
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def delimited(field: int, body: bytes) -> bytes:
    """Return one length-delimited field: an embedded message or a string."""
    return varint(field << 3 | _DELIMITED) + varint(len(body)) + body
