"""One gRPC call: messages in, messages out, over its stream of a connection."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from controlplane.http2 import frames
from controlplane.http2.frames import END_HEADERS, END_STREAM, LARGEST_FRAME, ErrorCode, Kind
from controlplane.http2.headers import RESPONSE, Status, trailers
from controlplane.http2.messages import PREFIX_SIZE, MessageRefused, Reassembly

if TYPE_CHECKING:
    from controlplane.http2.connection import Connection

STREAM_WINDOW = 1 << 20
"""How much a peer may send ahead of what is read, in bytes."""

_LARGEST_SHARED = 1 << 20  # bytes of a message whose frames are kept for the next call that sends it


@lru_cache(maxsize=16)
def _framed(message: bytes, stream_id: int) -> bytes:
    """Encode a message of several frames. Proxies in the same state are sent the same one, on the same stream id."""
    prefixed = memoryview(len(message).to_bytes(PREFIX_SIZE) + message)
    parts: list[bytes | memoryview] = []
    for start in range(0, len(prefixed), LARGEST_FRAME):
        piece = prefixed[start : start + LARGEST_FRAME]
        parts += (frames.head(len(piece), Kind.DATA, 0, stream_id), piece)
    return b"".join(parts)


class CallEnded(Exception):  # noqa: N818 - not always an error
    """The peer is gone, or ended the call by itself; ``str()`` says how."""


class Call:
    """What a handler works with. A handler is called with it once its headers are there, and must not wait.

    It reads with ``message`` until it calls ``listen``; from then on messages are given to its callbacks as they come.
    """

    def __init__(self, connection: Connection, stream_id: int, headers: Mapping[str, str], window: int) -> None:
        self._connection = connection
        self._id = stream_id
        self.method = headers.get(":path", "")
        """``/package.Service/Method``."""
        self.metadata = headers
        """The request's headers by lower-case name."""
        self.window = window
        self._room = STREAM_WINDOW  # what the peer may still send
        self._credit = 0  # bytes that were taken in, and that the peer was not given back yet
        self._begun = False  # response headers are sent
        self._pieces: deque[bytes | memoryview] = deque()  # of the message that is being sent, a frame each
        self._partial = Reassembly(connection.largest_message)
        self._queue: deque[bytes] = deque()
        self._waiting: asyncio.Future[None] | None = None
        self._on_message: Callable[[bytes], None] | None = None
        self._on_writable: Callable[[], None] | None = None
        self._on_end: Callable[[], None] | None = None
        self._half_closed = False
        self._cut: str | None = None  # how the peer ended the call
        self.finished = False
        self._trailers = b""

    @property
    def peer(self) -> str:
        """The peer's address, for people to read."""
        return self._connection.peer

    @property
    def secure(self) -> bool:
        """Whether the call came over TLS."""
        return self._connection.secure

    @property
    def peer_certificate(self) -> bytes | None:
        """The peer's certificate (DER), ``None`` where it showed none."""
        return self._connection.peer_certificate

    @property
    def writable(self) -> bool:
        """Whether a message can be sent now: the last one is on its way."""
        return not self._pieces and not self._connection.paused

    async def message(self) -> bytes | None:
        """Return the next message; ``None`` when the peer has sent its last.

        Raises:
            CallEnded: the peer is gone or cancelled the call.
        """
        while not self._queue:
            if self._half_closed and self._cut is None:
                return None
            await self._wait()
        return self._pop()

    async def room(self) -> None:
        """Return when a message can be sent; for handlers that do not ``listen``.

        Raises:
            CallEnded: the peer is gone or cancelled the call.
        """
        while not self.writable:
            await self._wait()
        if self._cut is not None:
            raise CallEnded(self._cut)

    async def _wait(self) -> None:
        if self._cut is not None:
            raise CallEnded(self._cut)
        self._waiting = asyncio.get_running_loop().create_future()
        try:
            await self._waiting
        finally:
            self._waiting = None

    def listen(
        self, on_message: Callable[[bytes], None], on_writable: Callable[[], None], on_end: Callable[[], None]
    ) -> None:
        """Have messages and events delivered, beginning with what has come already.

        ``on_writable`` is called when ``writable`` becomes true, ``on_end`` when the peer has sent its last message,
        and when the call is over before its time (``cut``). Callbacks run on the event loop and must not raise.
        """
        self._on_message, self._on_writable, self._on_end = on_message, on_writable, on_end
        while self._queue and not self.finished:
            on_message(self._pop())
        if self._half_closed or self._cut is not None:
            on_end()

    def leave(self) -> None:
        """Tell the peer to open new calls on another connection; this one goes on."""
        self._connection.leave()

    @property
    def cut(self) -> str | None:
        """How the peer ended the call before its time; ``None`` if it did not."""
        return self._cut

    def send(self, message: bytes) -> None:
        """Send a message; only when ``writable``. Large ones are sent as the peer makes room, without a copy."""
        if self.finished or self._cut is not None:
            return
        connection, size = self._connection, len(message) + PREFIX_SIZE
        prefix = len(message).to_bytes(PREFIX_SIZE)
        begin = b"" if self._begun else frames.head(len(RESPONSE), Kind.HEADERS, END_HEADERS, self._id) + RESPONSE
        self._begun = True
        if size <= LARGEST_FRAME and size <= self.window and size <= connection.window:
            self.window -= size
            connection.window -= size
            connection.write(b"".join((begin, frames.head(size, Kind.DATA, 0, self._id), prefix, message)))
            return
        if begin:
            connection.write(begin)
        if size <= min(self.window, connection.window, _LARGEST_SHARED):
            self.window -= size
            connection.window -= size
            connection.write(_framed(message, self._id))
            return
        view, first = memoryview(message), LARGEST_FRAME - PREFIX_SIZE
        self._pieces.append(prefix + message[:first])
        self._pieces.extend(view[start : start + LARGEST_FRAME] for start in range(first, len(message), LARGEST_FRAME))
        self.flush()

    def flush(self) -> None:
        """Send what the peer's windows have room for."""
        connection, pieces = self._connection, self._pieces
        parts: list[bytes | memoryview] = []
        room = min(self.window, connection.window)
        before = room
        while pieces and room > 0:
            piece = pieces.popleft()
            if len(piece) > room:
                pieces.appendleft(memoryview(piece)[room:])
                piece = memoryview(piece)[:room]
            room -= len(piece)
            parts += (frames.head(len(piece), Kind.DATA, 0, self._id), piece)
        if parts:
            self.window -= before - room
            connection.window -= before - room
            connection.write_parts(parts)
        if pieces:
            connection.blocked(self)
        elif self.finished:
            self._end()

    def finish(self, status: Status, reason: str = "") -> None:
        """End the call: with ``OK`` once the last message is sent, otherwise at once."""
        if self.finished:
            return
        self.finished = True
        self._trailers = trailers(status, reason)
        if status is not Status.OK or not self._pieces:
            self._end()

    def _end(self) -> None:
        if self._cut is None:
            block = self._trailers if self._begun else RESPONSE + self._trailers
            out = frames.head(len(block), Kind.HEADERS, END_HEADERS | END_STREAM, self._id) + block
            if not self._half_closed:  # nobody will read the rest of the request
                out += frames.reset(self._id, ErrorCode.NO_ERROR)
            self._connection.write(out)
        self._pieces.clear()
        self._connection.closed(self._id)

    # What the connection tells of its stream.

    def resumed(self) -> None:
        """Hear that the connection takes more, or the peer's window opened."""
        if self._pieces:
            self.flush()
        if self.writable and not self.finished:
            self._wake()
            if self._on_writable is not None:
                self._on_writable()

    def data(self, payload: bytes, size: int, *, end: bool) -> None:
        """Take a piece of the request; ``size`` is what it counts for flow control: padding too."""
        if self._half_closed:
            self._connection.write(frames.reset(self._id, ErrorCode.STREAM_CLOSED))
            self._connection.closed(self._id)
            self.cancel("it sent more after its last message")
            return
        self._room -= size
        if self._room < 0:
            self._refuse(Status.RESOURCE_EXHAUSTED, "more was sent than the window had room for")
            return
        self._credit += size
        if payload:
            self._partial.add(payload)
            self._take()
        if self._credit > STREAM_WINDOW // 2:
            self._give_back()
        if end and not self.finished:
            self._half_closed = True
            if self._partial:
                self._refuse(Status.INTERNAL, "the last message is cut short")
            else:
                self._ended()

    def _take(self) -> None:
        try:
            while not self.finished and (message := self._partial.take()) is not None:
                self._deliver(message)
        except MessageRefused as refusal:
            self._refuse(refusal.status, str(refusal))

    def _refuse(self, status: Status, reason: str) -> None:
        """End the call because of what the peer sent, and let its handler know."""
        self.finish(status, reason)
        self._cut = reason
        self._ended()

    def _deliver(self, message: bytes) -> None:
        if self._on_message is not None:
            self._on_message(message)
            return
        # What nobody reads yet stays in the peer's window, which bounds the queue.
        self._credit -= len(message) + PREFIX_SIZE
        self._queue.append(message)
        self._wake()

    def _pop(self) -> bytes:
        message = self._queue.popleft()
        self._credit += len(message) + PREFIX_SIZE
        if self._credit > STREAM_WINDOW // 2:
            self._give_back()
        return message

    def _give_back(self) -> None:
        if not self.finished and not self._half_closed and self._cut is None:
            self._connection.write(frames.window_update(self._id, self._credit))
            self._room += self._credit
            self._credit = 0

    def cancel(self, reason: str) -> None:
        """Hear that the peer ended the stream, or went."""
        if self._cut is not None:
            return
        self._cut = reason
        self._pieces.clear()
        if not self.finished:
            self._ended()

    def _ended(self) -> None:
        self._wake()
        if self._on_end is not None:
            self._on_end()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
