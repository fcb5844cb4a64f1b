"""One gRPC call: messages in, messages out, over its stream of a connection."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from controlplane.http2 import frames, tolerance
from controlplane.http2.frames import END_HEADERS, END_STREAM, LARGEST_FRAME, LARGEST_WINDOW, ErrorCode, Kind
from controlplane.http2.headers import RESPONSE, Status, trailers
from controlplane.http2.messages import PREFIX_SIZE, MessageRefused, Reassembly, Unsent, framed
from controlplane.rope import Body

if TYPE_CHECKING:
    from controlplane.http2.connection import Connection

STREAM_WINDOW = 1 << 20
"""How much a peer may send ahead of what is read, in bytes."""

_WORTH_IT = 1024  # bytes of a frame, from which on the peer's windows are not crumbs
_LARGEST_SHARED = 1 << 20  # bytes of a message whose frames are kept for the next call that sends it
_WRITTEN_AT_ONCE = 128 << 10
"""Bytes, about, after which it is asked whether the socket took them. A window may be as large as all messages of
hours: what it has room for is not in memory before the socket takes it."""


class CallEnded(Exception):  # noqa: N818 - not always an error
    """The peer is gone, or ended the call by itself; ``str()`` says how."""


class Call:
    """What a handler works with. A handler is called with it once its headers are there, and must not wait.

    It reads with ``message`` until it calls ``listen``; from then on messages are given to its callbacks as they come.
    """

    def __init__(self, connection: Connection, stream_id: int, headers: Mapping[str, str]) -> None:
        self._connection = connection
        self._id = stream_id
        self.method = headers.get(":path", "")
        """``/package.Service/Method``."""
        self.metadata = headers
        """The request's headers by lower-case name."""
        length = headers.get("content-length")
        self._length = int(length) if length is not None else None
        self._received = 0  # bytes of messages and their prefixes
        self._sent = 0  # bytes, less those by which the peer widened its window
        self._room = STREAM_WINDOW  # what the peer may still send
        self._credit = 0  # bytes that were taken in, and that the peer was not given back yet
        self._held = 0  # bytes of messages that are not complete, or not taken
        self._queued = 0  # bytes of the queue, as they came
        self._begun = False  # response headers are sent
        self._unsent: Unsent | None = None  # of the message that is being sent
        self._partial = Reassembly(connection.largest_message)
        self._queue: deque[bytes] = deque()
        self._waiting: asyncio.Future[None] | None = None
        self._on_message: Callable[[bytes], None] | None = None
        self._on_writable: Callable[[], None] | None = None
        self._on_end: Callable[[], None] | None = None
        self._on_cut: Callable[[], object] | None = None
        self._half_closed = False
        self._cut: str | None = None  # how the peer ended the call
        self.finished = False
        self._trailers = b""

    @property
    def peer(self) -> str:
        """The peer's address, for people to read."""
        return self._connection.peer

    @property
    def address(self) -> str:
        """What limits know the peer by: its address without a port, for IPv6 the network."""
        return self._connection.address

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
        return self._unsent is None and not self._connection.paused

    @property
    def window(self) -> int:
        """What the peer takes of this call now; it may be less than nothing."""
        return self._connection.outflow.first - self._sent

    def accept(self) -> None:
        """Say that this call is let in: its peer may send as much as others. Its connection is not pending any more."""
        self._connection.accept()

    def identified(self) -> None:
        """Say that it is known who calls: the connection is not pending any more, and sends little for now."""
        self._connection.identified()

    def limit(self, size: int) -> None:
        """Take messages of up to ``size`` bytes only; for handlers to say before they return."""
        self._partial.largest = min(size, self._partial.largest)

    @property
    def has_message(self) -> bool:
        """Whether a message has come and is not taken."""
        return bool(self._queue)

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
        self._on_message, self._on_writable, self._on_end, self._on_cut = on_message, on_writable, on_end, None
        while self._queue and not self.finished:
            on_message(self._pop())
        if self._half_closed or self._cut is not None:
            on_end()
        if self._cut is not None:
            self._on_message = self._on_writable = self._on_end = None

    def on_cut(self, callback: Callable[[], object]) -> None:
        """Have the callback called if the peer goes before the handler has come to ``listen``: nobody waits for it."""
        self._on_cut = callback

    def leave(self) -> None:
        """Tell the peer to open new calls on another connection; this one goes on."""
        self._connection.leave()

    @property
    def cut(self) -> str | None:
        """How the peer ended the call before its time; ``None`` if it did not."""
        return self._cut

    def send(self, message: Body) -> None:
        """Send a message; only when ``writable``. Large ones are sent as the peer makes room, without a copy."""
        if self.finished or self._cut is not None:
            return
        connection, size = self._connection, len(message) + PREFIX_SIZE
        connection.earn()
        prefix = len(message).to_bytes(PREFIX_SIZE)
        begin = b"" if self._begun else frames.head(len(RESPONSE), Kind.HEADERS, END_HEADERS, self._id) + RESPONSE
        self._begun = True
        if size <= LARGEST_FRAME and size <= self.window and size <= connection.outflow.window:
            self._sent += size
            connection.outflow.window -= size
            connection.write(b"".join((begin, frames.head(size, Kind.DATA, 0, self._id), prefix, bytes(message))))
            return
        if begin:
            connection.write(begin)
        if size <= min(self.window, connection.outflow.window, _LARGEST_SHARED):
            self._sent += size
            connection.outflow.window -= size
            connection.write(framed(message, self._id))
            return
        self._unsent = Unsent(message)
        self.flush()

    def together(self, work: Callable[[], None]) -> None:
        """Do something; all that it sends goes out at once."""
        self._connection.together(work)

    def flush(self) -> None:
        """Send what the peer's windows have room for, as far as the socket takes it."""
        connection, unsent = self._connection, self._unsent
        if unsent is None:
            return
        room = min(self.window, connection.outflow.window)
        while unsent.size and room > 0 and not connection.paused:
            parts: list[bytes | memoryview] = []
            before = room
            while unsent.size and room > 0 and before - room < _WRITTEN_AT_ONCE:
                left = unsent.size
                parts += unsent.frame(room, self._id)
                size = left - unsent.size
                room -= size
                if size >= _WORTH_IT:
                    connection.earn()
            self._sent += before - room
            connection.outflow.window -= before - room
            connection.write(*parts)
        if unsent.size:
            connection.outflow.block(self)
            return
        self._unsent = None
        if self.finished:
            self._end()

    def finish(self, status: Status, reason: str = "") -> None:
        """End the call: with ``OK`` once the last message is sent, otherwise at once."""
        if self.finished:
            return
        self.finished = True
        self._trailers = trailers(status, reason)
        if status is not Status.OK or self._unsent is None:
            self._end()

    def _end(self) -> None:
        if self._cut is None:
            block = self._trailers if self._begun else RESPONSE + self._trailers
            out = frames.head(len(block), Kind.HEADERS, END_HEADERS | END_STREAM, self._id) + block
            if not self._half_closed:  # nobody will read the rest of the request
                out += frames.reset(self._id, ErrorCode.NO_ERROR)
            self._connection.write(out)
        self._let_go(said_all=self._half_closed)

    def _let_go(self, *, said_all: bool) -> None:
        """Forget what is held, and who listens: what has ended refers to nothing that refers to it."""
        self._unsent = None
        self._queue.clear()
        self._partial.drop()
        self._queued = 0
        self._account(0)
        self._connection.closed(self._id, said_all=said_all)
        self._on_message = self._on_writable = self._on_end = self._on_cut = None

    # What the connection tells of its stream.

    def resumed(self) -> None:
        """Hear that the connection takes more, or the peer's window opened."""
        self.flush()
        if self.writable and not self.finished:
            self._wake()
            if self._on_writable is not None:
                self._on_writable()

    def widen(self, size: int) -> None:
        """Hear that the peer takes so many more bytes."""
        self._sent -= size
        if self.window > LARGEST_WINDOW:
            self.fail(ErrorCode.FLOW_CONTROL_ERROR, "a window out of bounds")
        elif self._connection.outflow.unblock(self):
            self.resumed()

    def data(self, payload: bytes, size: int, *, end: bool) -> bool:
        """Take a piece of the request; return whether a message is complete with it.

        ``size`` is what it counts for flow control: padding too.
        """
        if self._half_closed:
            self._connection.received(size, 0)
            self.fail(ErrorCode.STREAM_CLOSED, "it sent more after its last message")
            return False
        self._room -= size
        self._received += len(payload)
        if self._length is not None and (self._received > self._length or (end and self._received < self._length)):
            self._connection.received(size, 0)
            self.fail(ErrorCode.PROTOCOL_ERROR, f"the request is not of {self._length} bytes, as it says")
            return False
        if self._room < 0:
            self._connection.received(size, 0)
            self._refuse(Status.RESOURCE_EXHAUSTED, "more was sent than the window had room for")
            return False
        self._credit += size
        complete = False
        if payload:
            self._partial.add(payload)
            complete = self._take()
        self._account(size)
        if self._credit > STREAM_WINDOW // 2:
            self._give_back()
        if end and not self.finished and self._cut is None:
            self._half_closed = True
            if self._partial:
                self._refuse(Status.INTERNAL, "the last message is cut short")
            else:
                self._ended()
        return complete

    def _account(self, size: int) -> None:
        """Tell the connection of so many bytes that came, and of what is held now."""
        held = self._partial.size + self._queued
        change, self._held = held - self._held, held
        if (size or change) and self._connection.received(size, change):
            self._refuse(Status.RESOURCE_EXHAUSTED, "there is too much of unfinished messages on this connection")

    def _take(self) -> bool:
        complete = False
        try:
            while not self.finished and self._cut is None and (message := self._partial.take()) is not None:
                if message:
                    complete = True
                    self._connection.earn()
                else:
                    self._connection.waste(tolerance.MESSAGE, "empty messages")
                self._deliver(message)
        except MessageRefused as refusal:
            self._refuse(refusal.status, str(refusal))
            self._connection.waste(tolerance.CALL, "messages that are refused")
        return complete

    def _refuse(self, status: Status, reason: str) -> None:
        """End the call because of what the peer sent, and let its handler know."""
        ended = self._on_end or self._on_cut
        self.finish(status, reason)
        self._cut = reason
        self._tell(ended)

    def fail(self, code: ErrorCode, reason: str) -> None:
        """End the stream because it breaks the protocol; our own resets are not free either: raises as ``waste``."""
        if self._cut is not None:
            return
        self._connection.write(frames.reset(self._id, code))
        said_all = self._half_closed or code is ErrorCode.STREAM_CLOSED
        self._cancel(reason, said_all=said_all)
        self._connection.waste(tolerance.CALL, "calls that break the protocol")

    def _deliver(self, message: bytes) -> None:
        if self._on_message is not None:
            self._on_message(message)
            return
        # What nobody reads yet stays in the peer's window, which bounds the queue.
        self._credit -= len(message) + PREFIX_SIZE
        self._queued += len(message) + PREFIX_SIZE
        self._queue.append(message)
        self._wake()

    def _pop(self) -> bytes:
        message = self._queue.popleft()
        self._credit += len(message) + PREFIX_SIZE
        self._queued -= len(message) + PREFIX_SIZE
        self._account(0)
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
        if self._cut is None:
            self._cancel(reason, said_all=True)

    def _cancel(self, reason: str, *, said_all: bool) -> None:
        ended, self._cut = self._on_end or self._on_cut, reason
        finished = self.finished
        self._let_go(said_all=said_all)
        if not finished:
            self._tell(ended)

    def _ended(self) -> None:
        self._tell(self._on_end)

    def _tell(self, ended: Callable[[], object] | None) -> None:
        self._wake()
        if ended is not None:
            ended()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
