"""HTTP/2 frames as bytes: what RFC 9113 calls them, how they are read and written."""

from __future__ import annotations

import struct
from enum import IntEnum

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD_SIZE = 9
_HEAD = struct.Struct(">HBBBL")
LARGEST_FRAME = 1 << 14  # the default of SETTINGS_MAX_FRAME_SIZE, which nobody has to raise
LARGEST_WINDOW = (1 << 31) - 1
FIRST_WINDOW = (1 << 16) - 1  # of a connection and, unless SETTINGS says otherwise, of each stream


class Kind(IntEnum):
    """Frame types; section 6."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class ErrorCode(IntEnum):
    """Why a stream or a connection ends; section 7."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class Setting(IntEnum):
    """Parameters of SETTINGS; section 6.5.2."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


END_STREAM = 0x1
ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY_FLAG = 0x20


class ConnectionFailed(Exception):  # noqa: N818 - it states what happened, as the RFC does ("connection error")
    """The peer broke the protocol in a way that ends its connection; ``code`` says how, ``str()`` the sentence."""

    def __init__(self, code: ErrorCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


Frame = tuple[int, int, int, bytes]
"""Kind, flags, id of the stream (0 is the connection), payload."""


class Splitter:
    """Cuts the bytes of a client into frames. Its preface comes first."""

    def __init__(self) -> None:
        self._data = b""
        self._at = 0  # what comes before it was taken
        self.has_preface = False
        """Whether the preface has come."""

    def feed(self, data: bytes) -> None:
        """Take in what came next."""
        self._data = self._data[self._at :] + data if self._at < len(self._data) else data
        self._at = 0

    @property
    def size(self) -> int:
        """Bytes that came and were not taken."""
        return len(self._data) - self._at

    def take(self) -> Frame | None:
        """Return the next frame; ``None`` while it is not complete.

        Raises:
            ConnectionFailed: it does not speak HTTP/2, or a frame is larger than we allow.
        """
        if not self.has_preface and not self._take_preface():
            return None
        data, start = self._data, self._at
        if len(data) - start < HEAD_SIZE:
            return None
        high, low, kind, flags, stream_id = _HEAD.unpack_from(data, start)
        size = high << 8 | low
        if size > LARGEST_FRAME:
            raise ConnectionFailed(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {size} bytes")
        begin = start + HEAD_SIZE
        end = begin + size
        if end > len(data):
            return None
        self._at = end
        return kind, flags, stream_id & LARGEST_WINDOW, data[begin:end]

    def _take_preface(self) -> bool:
        """Take the preface; return whether all of it is there."""
        data = self._data
        if data[: len(PREFACE)] != PREFACE[: len(data)]:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "this port speaks HTTP/2 only")
        if len(data) < len(PREFACE):
            return False
        self.has_preface, self._at = True, len(PREFACE)
        return True


def head(size: int, kind: int, flags: int, stream_id: int) -> bytes:
    """Encode the nine bytes before a frame's payload of ``size`` bytes."""
    return (size << 48 | kind << 40 | flags << 32 | stream_id).to_bytes(HEAD_SIZE)


def settings(values: dict[Setting, int]) -> bytes:
    """Encode a SETTINGS frame."""
    payload = b"".join(name.to_bytes(2) + value.to_bytes(4) for name, value in values.items())
    return head(len(payload), Kind.SETTINGS, 0, 0) + payload


def window_update(stream_id: int, size: int) -> bytes:
    """Encode a WINDOW_UPDATE; stream 0 is the connection."""
    return head(4, Kind.WINDOW_UPDATE, 0, stream_id) + size.to_bytes(4)


def reset(stream_id: int, code: ErrorCode) -> bytes:
    """Encode a RST_STREAM."""
    return head(4, Kind.RST_STREAM, 0, stream_id) + code.to_bytes(4)


def ping(opaque: bytes, *, ack: bool = False) -> bytes:
    """Encode a PING of eight opaque bytes."""
    return head(8, Kind.PING, ACK if ack else 0, 0) + opaque


def go_away(last_stream_id: int, code: ErrorCode, reason: str = "") -> bytes:
    """Encode a GOAWAY."""
    payload = last_stream_id.to_bytes(4) + code.to_bytes(4) + reason.encode()
    return head(len(payload), Kind.GOAWAY, 0, 0) + payload


def unpadded(payload: bytes, flags: int) -> bytes:
    """Return a DATA or HEADERS payload without its padding.

    Raises:
        ConnectionFailed: there is more padding than payload.
    """
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "more padding than payload")
    return payload[1 : len(payload) - payload[0]]
