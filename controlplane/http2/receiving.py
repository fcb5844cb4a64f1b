"""What a peer's frames mean: RFC 9113, sections 5 to 8."""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from controlplane.http2 import frames, tolerance
from controlplane.http2.frames import (
    ACK,
    END_HEADERS,
    END_STREAM,
    LARGEST_FRAME,
    LARGEST_WINDOW,
    PRIORITY_FLAG,
    ConnectionFailed,
    ErrorCode,
    Frame,
    Kind,
    Setting,
)
from controlplane.http2.headers import LARGEST_LIST, MalformedRequest, RequestHeaders

if TYPE_CHECKING:
    from controlplane.http2.connection import Connection

_EMPTY_ACK = frames.head(0, Kind.SETTINGS, ACK, 0)
_MOST_ENDED = 256
_SMALL = 64
"""Bytes of a payload below which a frame is a crumb, if nothing is complete with it."""


class Receiver:
    """Takes the frames of one connection, one after the other.

    ``ended`` are streams that ended lately, by whether the peer had said its last then: until it hears of an end that
    was ours it may send more, which is passed over.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._headers = RequestHeaders()
        self._block: tuple[int, int, list[bytes]] | None = None  # stream, flags, pieces of a header block that goes on
        self._block_size = 0
        self.last_id = 0
        self._ended: OrderedDict[int, bool] = OrderedDict()

    def frame(self, frame: Frame) -> None:
        """Take the next frame.

        Raises:
            ConnectionFailed: it breaks the protocol so that the connection ends, or is one useless frame too many.
        """
        kind, flags, stream_id, payload = frame
        if self._block is not None and kind != Kind.CONTINUATION:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "a header block is interrupted")
        if kind == Kind.DATA:
            self._data(payload, flags, stream_id)
        elif kind in _RECEIVE:
            _RECEIVE[kind](self, payload, flags, stream_id)
        else:
            self._connection.waste(tolerance.FRAME, "frames of unknown types")

    def ended(self, stream_id: int, *, said_all: bool) -> None:
        """Note that a stream has ended; ``said_all``: the peer may send nothing more on it."""
        self._ended[stream_id] = said_all
        if len(self._ended) > _MOST_ENDED:
            self._ended.popitem(last=False)

    def _late(self, stream_id: int, what: str) -> None:
        """Pass over what comes for a stream that was ended here; raise if it was ended by the peer, or never opened."""
        said_all = self._ended.get(stream_id)
        if said_all is None:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, f"{what} for a stream that is not open")
        if said_all:
            raise ConnectionFailed(ErrorCode.STREAM_CLOSED, f"{what} for a stream that the peer had ended")
        self._connection.waste(tolerance.FRAME, "frames for calls that have ended")

    def _data(self, payload: bytes, flags: int, stream_id: int) -> None:
        connection, size = self._connection, len(payload)
        call = connection.calls.get(stream_id)
        content = frames.unpadded(payload, flags)
        end = bool(flags & END_STREAM)
        if call is None:
            connection.received(size, 0)
            self._late(stream_id, "data")
            return
        complete = call.data(content, size, end=end)
        if not complete and not end and len(content) < _SMALL:
            connection.waste(tolerance.FRAME, "frames of data with little in them")

    def _request(self, payload: bytes, flags: int, stream_id: int) -> None:
        payload = frames.unpadded(payload, flags)
        if flags & PRIORITY_FLAG:
            if len(payload) < 5:  # noqa: PLR2004 - a dependency and a weight
                raise ConnectionFailed(ErrorCode.FRAME_SIZE_ERROR, "headers too short for their priority")
            payload = payload[5:]
        if not stream_id & 1:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, f"stream {stream_id} is not a client's")
        self._block, self._block_size = (stream_id, flags, [payload]), len(payload)
        if flags & END_HEADERS:
            self._open()

    def _continuation(self, payload: bytes, flags: int, stream_id: int) -> None:
        if self._block is None or self._block[0] != stream_id:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "a continuation of nothing")
        self._connection.waste(tolerance.FRAME, "pieces of headers")
        self._block[2].append(payload)
        self._block_size += len(payload)
        if self._block_size > LARGEST_LIST:
            raise ConnectionFailed(ErrorCode.ENHANCE_YOUR_CALM, "the headers are too large")
        if flags & END_HEADERS:
            self._open()

    def _open(self) -> None:
        assert self._block is not None  # noqa: S101 - callers set it
        stream_id, flags, pieces = self._block
        self._block = None
        block, end, connection = b"".join(pieces), bool(flags & END_STREAM), self._connection
        if stream_id <= self.last_id:
            self._trailers(stream_id, block, end=end)
            return
        self.last_id = stream_id
        try:
            headers = self._headers.request(block)  # also where it is not needed: later blocks build on it
        except MalformedRequest as malformed:
            connection.refuse_stream(stream_id, ErrorCode.PROTOCOL_ERROR, str(malformed), said_all=end)
            return
        connection.open(stream_id, headers, end=end)

    def _trailers(self, stream_id: int, block: bytes, *, end: bool) -> None:
        call = self._connection.calls.get(stream_id)
        malformed = None
        try:
            self._headers.trailers(block)
        except MalformedRequest as error:
            malformed = error
        if call is None:
            self._late(stream_id, "headers")
        elif not end:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "headers in the middle of a request")
        elif malformed is not None:
            call.fail(ErrorCode.PROTOCOL_ERROR, str(malformed))
        else:
            call.data(b"", 0, end=True)

    def _priority(self, payload: bytes, _: int, stream_id: int) -> None:
        if not stream_id:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "a priority of no stream")
        if len(payload) != 5:  # noqa: PLR2004 - a dependency and a weight
            raise ConnectionFailed(ErrorCode.FRAME_SIZE_ERROR, "a priority of the wrong size")
        self._connection.waste(tolerance.FRAME, "priorities")

    def _reset(self, payload: bytes, _: int, stream_id: int) -> None:
        if len(payload) != 4:  # noqa: PLR2004 - an error code
            raise ConnectionFailed(ErrorCode.FRAME_SIZE_ERROR, "a reset of the wrong size")
        if stream_id > self.last_id or not stream_id & 1:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "a reset of a stream that was never opened")
        self.ended(stream_id, said_all=True)
        call = self._connection.calls.get(stream_id)
        if call is None:
            self._connection.waste(tolerance.FRAME, "resets of calls that have ended")
            return
        call.cancel("the peer cancelled it")
        self._connection.waste(tolerance.CALL, "calls were cancelled")

    def _settings(self, payload: bytes, flags: int, stream_id: int) -> None:
        if stream_id:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "settings for one stream")
        if flags & ACK and payload:
            raise ConnectionFailed(ErrorCode.FRAME_SIZE_ERROR, "an acknowledgement of settings that holds some")
        self._connection.waste(tolerance.FRAME, "settings")
        if flags & ACK:
            return
        if len(payload) % 6:
            raise ConnectionFailed(ErrorCode.FRAME_SIZE_ERROR, "settings of the wrong size")
        last = {name: _checked(name, value) for name, value in struct.iter_unpack(">HL", payload)}
        self._connection.reply(_EMPTY_ACK)  # before what they make possible
        window = last.get(Setting.INITIAL_WINDOW_SIZE)
        if window is not None:
            connection = self._connection
            connection.waste(tolerance.FRAME * (len(connection.calls) // 16 + connection.outflow.blocked), "settings")
            connection.outflow.set_first(window, connection.calls.values())

    def _ping(self, payload: bytes, flags: int, stream_id: int) -> None:
        if stream_id or len(payload) != 8:  # noqa: PLR2004 - opaque bytes
            code = ErrorCode.PROTOCOL_ERROR if stream_id else ErrorCode.FRAME_SIZE_ERROR
            raise ConnectionFailed(code, "a ping of the wrong form")
        if flags & ACK:
            self._connection.waste(tolerance.FRAME, "answers to pings")
            self._connection.answered(payload)
        else:
            self._connection.pinged()
            self._connection.reply(frames.ping(payload, ack=True))

    def _window_update(self, payload: bytes, _: int, stream_id: int) -> None:
        if len(payload) != 4:  # noqa: PLR2004 - an increment
            raise ConnectionFailed(ErrorCode.FRAME_SIZE_ERROR, "a window update of the wrong size")
        size = int.from_bytes(payload) & LARGEST_WINDOW
        if not size:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "a window update of nothing")
        if stream_id > self.last_id or (stream_id and not stream_id & 1):
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "a window update for a stream that was never opened")
        self._connection.waste(tolerance.FRAME, "window updates")
        if not stream_id:
            self._connection.outflow.widen(size)
            return
        call = self._connection.calls.get(stream_id)
        if call is not None:
            call.widen(size)

    def _go_away(self, payload: bytes, _: int, stream_id: int) -> None:
        """Hear that the peer opens no more streams; those that are open go on."""
        if stream_id:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "a goodbye on one stream")
        if len(payload) < 8:  # noqa: PLR2004 - the last stream and a code
            raise ConnectionFailed(ErrorCode.FRAME_SIZE_ERROR, "a goodbye of the wrong size")
        self._connection.waste(tolerance.FRAME, "goodbyes")

    def _refuse(self, _payload: bytes, _flags: int, _stream_id: int) -> None:
        raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "a client does not push")


def _checked(name: int, value: int) -> int:
    """Return the value of a setting; section 6.5.2.

    Raises:
        ConnectionFailed: it may not be that.
    """
    if name == Setting.INITIAL_WINDOW_SIZE and value > LARGEST_WINDOW:
        raise ConnectionFailed(ErrorCode.FLOW_CONTROL_ERROR, f"an initial window of {value} bytes")
    if name == Setting.ENABLE_PUSH and value > 1:
        raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, f"ENABLE_PUSH is {value}")
    if name == Setting.MAX_FRAME_SIZE and not LARGEST_FRAME <= value < 1 << 24:
        raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, f"frames of up to {value} bytes")
    return value


_RECEIVE: Mapping[int, Callable[[Receiver, bytes, int, int], None]] = {
    Kind.HEADERS: Receiver._request,  # noqa: SLF001 - its own table
    Kind.PRIORITY: Receiver._priority,  # noqa: SLF001
    Kind.RST_STREAM: Receiver._reset,  # noqa: SLF001
    Kind.SETTINGS: Receiver._settings,  # noqa: SLF001
    Kind.PUSH_PROMISE: Receiver._refuse,  # noqa: SLF001
    Kind.PING: Receiver._ping,  # noqa: SLF001
    Kind.GOAWAY: Receiver._go_away,  # noqa: SLF001
    Kind.WINDOW_UPDATE: Receiver._window_update,  # noqa: SLF001
    Kind.CONTINUATION: Receiver._continuation,  # noqa: SLF001
}
