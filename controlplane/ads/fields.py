"""Fields of protobuf messages as bytes: a message is its fields one after the other, in any order."""

from __future__ import annotations

from functools import lru_cache

from controlplane.rope import Body, Rope

_SIZED = 2


@lru_cache(maxsize=4096)
def varint(number: int) -> bytes:
    """Encode a number that is not negative."""
    if number < 128:  # noqa: PLR2004 - one byte holds seven bits
        return bytes((number,))
    encoded = bytearray()
    while number > 127:  # noqa: PLR2004
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def sized(number: int, value: bytes) -> bytes:
    """Encode a length-delimited field, tag and length included."""
    return varint(number << 3 | _SIZED) + varint(len(value)) + value


def sized_rope(number: int, value: Body) -> Rope:
    """Encode likewise what may be large, without a copy of it."""
    return Rope([varint(number << 3 | _SIZED) + varint(len(value)), value])


def packed(type_url: str, value: Body) -> Rope:
    """Encode an ``Any`` of a serialised message, without a copy of that."""
    return Rope([sized(1, type_url.encode()), sized_rope(2, value)])
