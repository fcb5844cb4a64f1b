"""gRPC messages from the pieces that frames hold.

Reference: gRPC over HTTP2, "Length-Prefixed-Message": a byte that says whether it is compressed, its length, its bytes.
"""

from __future__ import annotations

from controlplane.http2.headers import Status

PREFIX_SIZE = 5

_CRUMB_SIZE = 1024
"""Bytes of a piece below which it is copied into one buffer with its neighbours: every object takes some space."""


class MessageRefused(Exception):  # noqa: N818 - the peer's fault
    """What ends a call because of a message that was sent on it; ``str()`` is the reason."""

    def __init__(self, status: Status, reason: str) -> None:
        """Say which status the call ends with."""
        super().__init__(reason)
        self.status = status


class Reassembly:
    """The messages of one call. Each is copied once, when it is complete."""

    def __init__(self, largest: int) -> None:
        """Take messages of up to ``largest`` bytes."""
        self._largest = largest
        self._pieces: list[bytes | bytearray | memoryview] = []
        self._size = 0  # of all pieces
        self._needed = PREFIX_SIZE  # bytes of them before there is anything to do

    def __bool__(self) -> bool:
        """Whether there is something of a message that is not complete yet."""
        return bool(self._pieces)

    def add(self, piece: bytes) -> None:
        """Take in what came next."""
        self._size += len(piece)
        if len(piece) >= _CRUMB_SIZE:
            self._pieces.append(piece)
        elif self._pieces and isinstance(self._pieces[-1], bytearray):
            self._pieces[-1] += piece
        else:
            self._pieces.append(bytearray(piece))

    def take(self) -> bytes | None:
        """Return the next message; ``None`` while it is not complete.

        Raises:
            MessageRefused: it is compressed or too large.
        """
        if self._size < self._needed:
            return None
        if self._needed == PREFIX_SIZE:
            self._needed += self._length()
            if self._size < self._needed:
                return None
        pieces, needed = self._pieces, self._needed
        self._needed = PREFIX_SIZE
        if self._size > needed:
            data = b"".join(pieces)
            self._pieces, self._size = [memoryview(data)[needed:]], self._size - needed
            return data[PREFIX_SIZE:needed]
        self._pieces, self._size = [], 0
        return b"".join((memoryview(pieces[0])[PREFIX_SIZE:], *pieces[1:]))

    def _length(self) -> int:
        """Return the length of the next message, with its prefix in one piece from now on."""
        if len(self._pieces[0]) < PREFIX_SIZE:
            self._pieces = [b"".join(self._pieces)]
        prefix = self._pieces[0][:PREFIX_SIZE]
        if prefix[0]:
            raise MessageRefused(Status.UNIMPLEMENTED, "compressed messages are not supported")
        length = int.from_bytes(prefix[1:])
        if length > self._largest:
            reason = f"a message of {length} bytes is over the limit of {self._largest}"
            raise MessageRefused(Status.RESOURCE_EXHAUSTED, reason)
        return length
