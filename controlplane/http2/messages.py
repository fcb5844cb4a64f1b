"""gRPC messages from the pieces that frames hold, and as frames.

Reference: gRPC over HTTP2, "Length-Prefixed-Message": a byte that says whether it is compressed, its length, its bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from controlplane.http2 import frames
from controlplane.http2.frames import LARGEST_FRAME, Kind
from controlplane.http2.headers import Status
from controlplane.rope import Body

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
        """Take messages of up to ``largest`` bytes, which may be changed while there is none."""
        self.largest = largest
        self.size = 0
        """Bytes of what is not complete yet."""
        self._pieces: list[bytes | bytearray | memoryview] = []
        self._needed = PREFIX_SIZE  # bytes of them before there is anything to do

    def __bool__(self) -> bool:
        """Whether there is something of a message that is not complete yet."""
        return bool(self._pieces)

    def add(self, piece: bytes) -> None:
        """Take in what came next."""
        self.size += len(piece)
        if len(piece) >= _CRUMB_SIZE:
            self._pieces.append(piece)
        elif self._pieces and isinstance(self._pieces[-1], bytearray):
            self._pieces[-1] += piece
        else:
            self._pieces.append(bytearray(piece))

    def drop(self) -> None:
        """Forget what is not complete."""
        self._pieces, self.size, self._needed = [], 0, PREFIX_SIZE

    def take(self) -> bytes | None:
        """Return the next message; ``None`` while it is not complete.

        Raises:
            MessageRefused: it is compressed or too large.
        """
        if self.size < self._needed:
            return None
        if self._needed == PREFIX_SIZE:
            self._needed += self._length()
            if self.size < self._needed:
                return None
        pieces, needed = self._pieces, self._needed
        self._needed = PREFIX_SIZE
        if self.size > needed:
            data = b"".join(pieces)
            self._pieces, self.size = [memoryview(data)[needed:]], self.size - needed
            return data[PREFIX_SIZE:needed]
        self._pieces, self.size = [], 0
        return b"".join((memoryview(pieces[0])[PREFIX_SIZE:], *pieces[1:]))

    def _length(self) -> int:
        """Return the length of the next message, with its prefix in one piece from now on."""
        if len(self._pieces[0]) < PREFIX_SIZE:
            self._pieces = [b"".join(self._pieces)]
        prefix = self._pieces[0][:PREFIX_SIZE]
        if prefix[0]:
            raise MessageRefused(Status.UNIMPLEMENTED, "compressed messages are not supported")
        length = int.from_bytes(prefix[1:])
        if length > self.largest:
            reason = f"a message of {length} bytes is over the limit of {self.largest}"
            raise MessageRefused(Status.RESOURCE_EXHAUSTED, reason)
        return length


class Unsent:
    """What is left to send of a message, which is taken as the peer makes room. Nothing of it is copied before."""

    __slots__ = ("_at", "_rest", "_run", "size")

    def __init__(self, message: Body) -> None:
        self.size = len(message) + PREFIX_SIZE
        """Bytes that are left, with those of the prefix."""
        self._run = memoryview(len(message).to_bytes(PREFIX_SIZE))
        self._at = 0  # what comes before it in the run was taken
        self._rest: Iterator[bytes] = iter((message,)) if isinstance(message, bytes) else message.runs()

    def frame(self, room: int, stream_id: int) -> list[bytes | memoryview]:
        """Take as much as a frame and the room hold; return the frame in pieces. Only while there is any ``size``."""
        size = left = min(room, LARGEST_FRAME, self.size)
        parts: list[bytes | memoryview] = [frames.head(size, Kind.DATA, 0, stream_id)]
        while left:
            piece = self._run[self._at : self._at + left]
            if piece:
                parts.append(piece)
                self._at += len(piece)
                left -= len(piece)
            else:
                self._run, self._at = memoryview(next(self._rest)), 0
        self.size -= size
        return parts


@lru_cache(maxsize=16)
def framed(message: Body, stream_id: int) -> bytes:
    """Encode a message of several frames. Proxies in the same state are sent the same one, on the same stream id."""
    unsent = Unsent(message)
    parts: list[bytes | memoryview] = []
    while unsent.size:
        parts += unsent.frame(LARGEST_FRAME, stream_id)
    return b"".join(parts)
