"""What a program says of itself in its ELF header."""

from __future__ import annotations

import struct
from pathlib import Path

_HEADER = struct.Struct("<4sBB10xHHIQQQIHHHHHH")  # of 64 bits, little-endian: every machine that the tests know
_SEGMENT = struct.Struct("<IIQQQQQQ")
_BITS_64, _LITTLE_ENDIAN = 2, 1
_INTERPRETER = 3
"""Type of the segment that names the dynamic loader. Reference: elf(5), PT_INTERP."""


def interpreter(path: Path) -> str | None:
    """Return the dynamic loader that the kernel must find to run a program.

    ``None``: it is linked statically, or it is no program of 64 bits. Most libraries name none either.
    """
    with path.open("rb") as file:
        head = file.read(_HEADER.size)
        if len(head) < _HEADER.size:
            return None
        magic, bits, order, *_, offset, _, _, _, size, count, _, _, _ = _HEADER.unpack(head)
        if (magic, bits, order) != (b"\x7fELF", _BITS_64, _LITTLE_ENDIAN):
            return None
        for number in range(count):
            file.seek(offset + number * size)
            kind, _, at, _, _, length, *_ = _SEGMENT.unpack(file.read(_SEGMENT.size))
            if kind == _INTERPRETER:
                file.seek(at)
                return file.read(length).rstrip(b"\0").decode()
    return None
