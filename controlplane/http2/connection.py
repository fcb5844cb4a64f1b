"""One HTTP/2 connection: frames to calls, calls to frames."""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import Callable, Mapping
from typing import Any, cast

import structlog

from controlplane.http2 import frames
from controlplane.http2.call import STREAM_WINDOW, Call
from controlplane.http2.frames import (
    ACK,
    END_HEADERS,
    END_STREAM,
    FIRST_WINDOW,
    LARGEST_WINDOW,
    PRIORITY_FLAG,
    ConnectionFailed,
    ErrorCode,
    Frame,
    Kind,
    Setting,
    Splitter,
)
from controlplane.http2.headers import LARGEST_LIST, UNSUPPORTED_MEDIA_TYPE, RequestHeaders, Status
from controlplane.http2.options import ConnectionOptions
from controlplane.http2.peer import Keepalive, Tolerance, address

log = structlog.get_logger(__name__)

Handler = Callable[[Call], None]

_CONNECTION_WINDOW = 16 << 20  # bytes on the way; what is not read yet is bounded by the windows of the streams
_HIGH_WATER = 256 << 10  # bytes written and not yet taken by the socket, above which nobody writes more
_LINGER_SECONDS = 1.0  # for a peer that broke the protocol to read why
_EMPTY_ACK = frames.head(0, Kind.SETTINGS, ACK, 0)


class Connection(asyncio.Protocol):
    """Serves the calls of one peer with the handlers of their methods."""

    def __init__(
        self, handlers: Mapping[str, Handler], options: ConnectionOptions, connections: set[Connection]
    ) -> None:
        self._handlers = handlers
        self._options = options
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._headers = RequestHeaders()
        self._calls: dict[int, Call] = {}
        self._splitter = Splitter()
        self._block: tuple[int, int, bytes] | None = None  # stream, flags and bytes of a header block that goes on
        self._last_id = 0
        self._first_window = FIRST_WINDOW
        self._blocked: dict[Call, None] = {}  # in the order in which they ran out of room
        self._credit = 0
        self._leaving = False
        self._failed = False
        self._tolerance = Tolerance(options.keepalive_interval)
        self._timers: list[asyncio.TimerHandle] = []
        self._keepalive: Keepalive
        self.window = FIRST_WINDOW
        self.paused = False
        self.largest_message = options.largest_message
        self.peer = ""
        self.lost: asyncio.Future[None] = self._loop.create_future()
        """Done when the connection is closed and its calls know."""

    # The event loop's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin: tell the peer our settings."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_HIGH_WATER)
        self.peer = address(self._transport.get_extra_info("peername"))
        self._connections.add(self)
        options = self._options
        self.write(
            frames.settings(
                {
                    Setting.MAX_CONCURRENT_STREAMS: options.max_streams,
                    Setting.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
                    Setting.MAX_HEADER_LIST_SIZE: LARGEST_LIST,
                }
            )
            + frames.window_update(0, _CONNECTION_WINDOW - FIRST_WINDOW)
        )
        self._keepalive = Keepalive(options.keepalive_interval, options.keepalive_timeout, self._probe, self._gone)
        if options.max_age is not None:
            age = options.max_age.total_seconds() * random.uniform(0.9, 1.1)  # noqa: S311 - a spread, not a secret
            self._timers.append(self._loop.call_later(age, self._grow_old))

    def connection_lost(self, exc: Exception | None) -> None:
        """End every call."""
        self._connections.discard(self)
        self._keepalive.stop()
        for timer in self._timers:
            timer.cancel()
        self._end_calls(str(exc) if exc is not None else "the connection was closed")
        self.lost.set_result(None)

    def pause_writing(self) -> None:
        """Hear that the socket takes no more for now."""
        self.paused = True

    def resume_writing(self) -> None:
        """Hear that it does again."""
        self.paused = False
        self._tolerance.read()
        for call in tuple(self._calls.values()):
            call.resumed()

    def data_received(self, data: bytes) -> None:
        """Take bytes from the peer."""
        if self._failed:
            return
        self._keepalive.heard()
        try:
            for frame in self._splitter.frames(data):
                self._frame(frame)
                if self._transport.is_closing():
                    return
        except ConnectionFailed as failure:
            self._fail(failure)

    def _fail(self, failure: ConnectionFailed) -> None:
        """Tell the peer what it did wrong, end its calls, and give it a moment to read that.

        What it still sends is taken and dropped: a socket that is closed with something unread is reset, and the
        peer would never know.
        """
        log.info("http2.failed", peer=self.peer, code=failure.code.name, reason=str(failure))
        self.write(frames.go_away(self._last_id, failure.code, str(failure)))
        self._failed = True
        self._end_calls(str(failure))
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._timers.append(self._loop.call_later(_LINGER_SECONDS, self.cut))

    def _end_calls(self, reason: str) -> None:
        calls, self._calls = self._calls, {}
        self._blocked.clear()
        for call in calls.values():
            call.cancel(reason)

    def eof_received(self) -> bool:
        """Close when the peer does."""
        return False

    # What calls ask for.

    @property
    def secure(self) -> bool:
        """Whether this is TLS."""
        return self._transport.get_extra_info("ssl_object") is not None

    @property
    def peer_certificate(self) -> bytes | None:
        """The peer's certificate (DER), ``None`` without TLS or where it showed none."""
        tls: Any = self._transport.get_extra_info("ssl_object")
        return cast("bytes | None", tls.getpeercert(binary_form=True)) if tls is not None else None

    def write(self, data: bytes) -> None:
        """Write frames."""
        if not (self._failed or self._transport.is_closing()):
            self._transport.write(data)
        self._tolerance.wrote()

    def write_parts(self, parts: list[bytes | memoryview]) -> None:
        """Write frames that are in pieces."""
        if not (self._failed or self._transport.is_closing()):
            self._transport.writelines(parts)
        self._tolerance.wrote()

    def blocked(self, call: Call) -> None:
        """Remember a call that has more to send than the peer takes now."""
        self._blocked[call] = None

    def closed(self, stream_id: int) -> None:
        """Forget a call that has ended."""
        call = self._calls.pop(stream_id, None)
        if call is not None:
            self._blocked.pop(call, None)
        if self._leaving and not self._calls and not self._failed:
            self._transport.close()

    # What the server asks for.

    def leave(self, reason: str = "") -> None:
        """Tell the peer to open new calls elsewhere; closes once the last one here has ended."""
        if self._leaving or self._failed:
            return
        self._leaving = True
        self.write(frames.go_away(self._last_id, ErrorCode.NO_ERROR, reason))
        if not self._calls:
            self._transport.close()

    def cut(self) -> None:
        """Close at once."""
        self._transport.abort()

    # Timers.

    def _probe(self) -> None:
        self.write(frames.ping(b"keepaliv"))

    def _gone(self) -> None:
        log.info("http2.gone", peer=self.peer, reason="it answers no ping")
        self._transport.abort()

    def _grow_old(self) -> None:
        self.leave(reason="max_age")
        self._timers.append(self._loop.call_later(self._options.max_age_grace.total_seconds(), self.cut))

    # Frames.

    def _frame(self, frame: Frame) -> None:
        kind, flags, stream_id, payload = frame
        if self._block is not None and kind != Kind.CONTINUATION:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "a header block is interrupted")
        if kind == Kind.DATA:
            self._data(payload, flags, stream_id)
        elif kind in _RECEIVE:
            _RECEIVE[kind](self, payload, flags, stream_id)

    def _data(self, payload: bytes, flags: int, stream_id: int) -> None:
        size = len(payload)
        self._credit += size
        if self._credit > _CONNECTION_WINDOW // 2:
            self.write(frames.window_update(0, self._credit))
            self._credit = 0
        call = self._calls.get(stream_id)
        if call is not None:
            call.data(frames.unpadded(payload, flags), size, end=bool(flags & END_STREAM))
        elif stream_id > self._last_id or not stream_id:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "data for a stream that was never opened")

    def _request(self, payload: bytes, flags: int, stream_id: int) -> None:
        payload = frames.unpadded(payload, flags)
        if flags & PRIORITY_FLAG:
            if len(payload) < 5:  # noqa: PLR2004 - a dependency and a weight
                raise ConnectionFailed(ErrorCode.FRAME_SIZE_ERROR, "headers too short for their priority")
            payload = payload[5:]
        if not stream_id & 1:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, f"stream {stream_id} is not a client's")
        self._block = (stream_id, flags, payload)
        if flags & END_HEADERS:
            self._open()

    def _continuation(self, payload: bytes, flags: int, stream_id: int) -> None:
        if self._block is None or self._block[0] != stream_id:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "a continuation of nothing")
        block = self._block[2] + payload
        if len(block) > 2 * LARGEST_LIST:
            raise ConnectionFailed(ErrorCode.ENHANCE_YOUR_CALM, "the headers are too large")
        self._block = (stream_id, self._block[1], block)
        if flags & END_HEADERS:
            self._open()

    def _open(self) -> None:
        assert self._block is not None  # noqa: S101 - callers set it
        stream_id, flags, block = self._block
        self._block = None
        headers = self._headers.decode(block)  # also where it is not needed: later blocks build on it
        end = bool(flags & END_STREAM)
        if stream_id in self._calls:  # trailers
            if not end:
                raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "headers in the middle of a request")
            self._calls[stream_id].data(b"", 0, end=True)
            return
        if stream_id <= self._last_id:
            return  # trailers of a call that we have ended
        self._last_id = stream_id
        if self._leaving or len(self._calls) >= self._options.max_streams:
            self.write(frames.reset(stream_id, ErrorCode.REFUSED_STREAM))
            return
        if not headers.get("content-type", "").startswith("application/grpc"):
            out = frames.head(len(UNSUPPORTED_MEDIA_TYPE), Kind.HEADERS, END_HEADERS | END_STREAM, stream_id)
            self.write(out + UNSUPPORTED_MEDIA_TYPE + frames.reset(stream_id, ErrorCode.NO_ERROR))
            return
        call = self._calls[stream_id] = Call(self, stream_id, headers, self._first_window)
        handler = self._handlers.get(call.method)
        if handler is None:
            call.finish(Status.UNIMPLEMENTED, f"there is no method {call.method}")
            return
        handler(call)
        if end:
            call.data(b"", 0, end=True)

    def _reset(self, payload: bytes, _: int, stream_id: int) -> None:
        if len(payload) != 4:  # noqa: PLR2004 - an error code
            raise ConnectionFailed(ErrorCode.FRAME_SIZE_ERROR, "a reset of the wrong size")
        if stream_id > self._last_id or not stream_id:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "a reset of a stream that was never opened")
        call = self._calls.pop(stream_id, None)
        if call is not None:
            self._blocked.pop(call, None)
            call.cancel("the peer cancelled it")
            self._tolerance.cancelled()
        if self._leaving and not self._calls:
            self._transport.close()

    def _settings(self, payload: bytes, flags: int, stream_id: int) -> None:
        if stream_id:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "settings for one stream")
        if flags & ACK and payload:
            raise ConnectionFailed(ErrorCode.FRAME_SIZE_ERROR, "an acknowledgement of settings that holds some")
        if flags & ACK:
            return
        if len(payload) % 6:
            raise ConnectionFailed(ErrorCode.FRAME_SIZE_ERROR, "settings of the wrong size")
        for name, value in struct.iter_unpack(">HL", payload):
            if name == Setting.INITIAL_WINDOW_SIZE:
                self._set_first_window(value)
        self._reply(_EMPTY_ACK)

    def _set_first_window(self, size: int) -> None:
        if size > LARGEST_WINDOW:
            raise ConnectionFailed(ErrorCode.FLOW_CONTROL_ERROR, f"an initial window of {size} bytes")
        change, self._first_window = size - self._first_window, size
        if any(call.window + change > LARGEST_WINDOW for call in self._calls.values()):
            raise ConnectionFailed(ErrorCode.FLOW_CONTROL_ERROR, "a stream's window is out of bounds")
        for call in tuple(self._calls.values()):
            call.window += change
            if change > 0:
                call.resumed()

    def _ping(self, payload: bytes, flags: int, stream_id: int) -> None:
        if stream_id or len(payload) != 8:  # noqa: PLR2004 - opaque bytes
            code = ErrorCode.PROTOCOL_ERROR if stream_id else ErrorCode.FRAME_SIZE_ERROR
            raise ConnectionFailed(code, "a ping of the wrong form")
        if flags & ACK:
            return
        self._tolerance.pinged()
        self._reply(frames.ping(payload, ack=True))

    def _reply(self, frame: bytes) -> None:
        """Answer a ping or settings; unlike ``write`` that forgives no strikes."""
        if self.paused:
            self._tolerance.unread()
        if not (self._failed or self._transport.is_closing()):
            self._transport.write(frame)

    def _window_update(self, payload: bytes, _: int, stream_id: int) -> None:
        if len(payload) != 4:  # noqa: PLR2004 - an increment
            raise ConnectionFailed(ErrorCode.FRAME_SIZE_ERROR, "a window update of the wrong size")
        size = int.from_bytes(payload) & LARGEST_WINDOW
        if not size:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "a window update of nothing")
        if not stream_id:
            self.window += size
            if self.window > LARGEST_WINDOW:
                raise ConnectionFailed(ErrorCode.FLOW_CONTROL_ERROR, "the connection's window is out of bounds")
            blocked, self._blocked = self._blocked, {}
            while blocked and self.window:  # those who get nothing this time are first the next time
                waiting = next(iter(blocked))
                del blocked[waiting]
                waiting.resumed()
            self._blocked = blocked | self._blocked
            return
        call = self._calls.get(stream_id)
        if call is None:
            return
        call.window += size
        if call.window > LARGEST_WINDOW:
            raise ConnectionFailed(ErrorCode.FLOW_CONTROL_ERROR, "a stream's window is out of bounds")
        if call in self._blocked:
            del self._blocked[call]
            call.resumed()

    def _go_away(self, _payload: bytes, _flags: int, _stream_id: int) -> None:
        """Hear that the peer opens no more streams; those that are open go on."""

    def _refuse(self, _payload: bytes, _flags: int, _stream_id: int) -> None:
        raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "a client does not push")


_RECEIVE: Mapping[int, Callable[[Connection, bytes, int, int], None]] = {
    Kind.HEADERS: Connection._request,  # noqa: SLF001 - its own table
    Kind.RST_STREAM: Connection._reset,  # noqa: SLF001
    Kind.SETTINGS: Connection._settings,  # noqa: SLF001
    Kind.PUSH_PROMISE: Connection._refuse,  # noqa: SLF001
    Kind.PING: Connection._ping,  # noqa: SLF001
    Kind.GOAWAY: Connection._go_away,  # noqa: SLF001
    Kind.WINDOW_UPDATE: Connection._window_update,  # noqa: SLF001
    Kind.CONTINUATION: Connection._continuation,  # noqa: SLF001
}
