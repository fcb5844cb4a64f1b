"""What a connection writes. What is written together goes as one: a call of the system costs more than most frames."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_ENOUGH = 64 << 10  # bytes that are not held back any longer


class Output:
    """Writes to a transport, at once or with what follows."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._parts: list[bytes | memoryview] = []
        self._size = 0
        self._holding = False
        self.written = 0
        """Bytes that the transport was given so far."""

    def begin_with(self, data: bytes) -> None:
        """Write this before whatever comes next."""
        self._parts.append(data)
        self.written += len(data)

    def write(self, *parts: bytes | memoryview) -> None:
        """Write bytes, which may be in pieces."""
        if not (self._holding or self._parts) and len(parts) == 1:
            if not self._transport.is_closing():
                self.written += len(parts[0])
                self._transport.write(parts[0])
            return
        self._parts += parts
        self._size += sum(map(len, parts))
        if not self._holding or self._size > _ENOUGH:
            self.flush()

    def together(self, work: Callable[[], T]) -> T:
        """Do something; what it writes goes out when it is done, or is much."""
        if self._holding:
            return work()
        self._holding = True
        try:
            return work()
        finally:
            self._holding = False
            if self._size:
                self.flush()

    def flush(self) -> None:
        """Write all that is held back."""
        parts, size = self._parts, self._size
        self._parts, self._size = [], 0
        if not parts or self._transport.is_closing():
            return
        self.written += size
        if size > _ENOUGH:
            self._transport.writelines(parts)
        else:
            self._transport.write(b"".join(parts))
