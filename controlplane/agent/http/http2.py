"""One question over HTTP/2, on a connection of its own: for servers over TLS that speak nothing else.

Reference: RFC 9113. Nothing is pushed, and no more is taken than the windows that a connection begins with let through
and the caller's limit allows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

import hpack

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY, _WINDOW, _CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
_END_STREAM, _ACK, _END_HEADERS, _PADDED, _PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
_HEAD, _LARGEST_FRAME, _LARGEST_HEADERS = 9, 1 << 14, 1 << 16
_NO_PUSH = b"\x00\x02\x00\x00\x00\x00"
_STREAM = 1
_UNSPEAKABLE = frozenset("\r\n\0")
_OF_HTTP1 = frozenset({"host", "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"})


class BrokenPeerError(OSError):
    """The peer speaks no HTTP/2, or has ended the connection or the request; the text says which."""


@dataclass(slots=True)
class _Answer:
    """What has come of the answer; ``block`` are headers that are not whole yet."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    block: bytearray = field(default_factory=bytearray)
    last: bool = False
    ended: bool = False


async def asked(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, question: Iterable[tuple[str, str]], limit: int
) -> tuple[int, dict[str, str], bytes, bool]:
    """Return status, headers (in lower case) and body of the answer, and whether the body was cut at the limit.

    ``question`` are its headers, those with a colon first. Raises ``BrokenPeerError``.
    """
    headers = [(name.lower(), value) for name, value in question if name.lower() not in _OF_HTTP1]
    block = hpack.Encoder().encode(headers)
    if len(block) > _LARGEST_FRAME:
        raise BrokenPeerError("the headers of the request are too long for HTTP/2")
    request = _frame(_HEADERS, _END_HEADERS | _END_STREAM, _STREAM, block)
    writer.write(_PREFACE + _frame(_SETTINGS, 0, 0, _NO_PUSH) + request)
    await writer.drain()
    answer, decoder = _Answer(), hpack.Decoder()
    while not answer.ended and len(answer.body) <= limit:
        kind, flags, stream, payload = await _read(reader)
        if reply := _of_connection(kind, flags, payload):
            writer.write(reply)
            await writer.drain()  # a peer that asks and does not read is not answered without end
        elif stream == _STREAM:
            _of_stream(answer, decoder, kind, flags, payload)
            if kind == _DATA and payload:
                size = len(payload).to_bytes(4, "big")
                writer.write(_frame(_WINDOW, 0, 0, size) + _frame(_WINDOW, 0, _STREAM, size))
    return answer.status, answer.headers, bytes(answer.body[:limit]), len(answer.body) > limit


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


async def _read(reader: asyncio.StreamReader) -> tuple[int, int, int, bytes]:
    try:
        head = await reader.readexactly(_HEAD)
        length = int.from_bytes(head[:3], "big")
        if length > _LARGEST_FRAME:
            raise BrokenPeerError(f"a frame of {length} bytes came: no HTTP/2, or larger than was agreed")
        payload = await reader.readexactly(length)
    except asyncio.IncompleteReadError:
        raise BrokenPeerError("the connection ended before the answer") from None
    return head[3], head[4], int.from_bytes(head[5:], "big") & 0x7FFFFFFF, payload


def _of_connection(kind: int, flags: int, payload: bytes) -> bytes:
    """Return what a frame about the connection has to be answered with, empty for others."""
    if kind == _GOAWAY and int.from_bytes(payload[:4], "big") & 0x7FFFFFFF < _STREAM:
        raise BrokenPeerError(f"the server takes no request: {payload[8:].decode(errors='replace') or 'GOAWAY'}")
    if kind == _SETTINGS and not flags & _ACK:
        return _frame(_SETTINGS, _ACK, 0, b"")
    if kind == _PING and not flags & _ACK:
        return _frame(_PING, _ACK, 0, payload)
    return b""


def _of_stream(answer: _Answer, decoder: hpack.Decoder, kind: int, flags: int, payload: bytes) -> None:
    """Take what a frame adds to the answer. Raises ``BrokenPeerError``."""
    if kind == _RESET:
        raise BrokenPeerError(f"the server reset the request: error {int.from_bytes(payload, 'big')}")
    if kind == _DATA:
        if not answer.status:
            raise BrokenPeerError("the answer has no status")
        answer.body += _content(flags, payload)
        answer.ended = bool(flags & _END_STREAM)
    elif kind in {_HEADERS, _CONTINUATION}:
        if kind == _HEADERS:
            content = _content(flags, payload)
            answer.block += content[5:] if flags & _PRIORITY else content
            answer.last = bool(flags & _END_STREAM)
        else:
            answer.block += payload
        if len(answer.block) > _LARGEST_HEADERS:
            raise BrokenPeerError("the headers of the answer are too long")
        if flags & _END_HEADERS:
            _take_headers(answer, decoder)


def _take_headers(answer: _Answer, decoder: hpack.Decoder) -> None:
    """Take headers that are whole; those that come before the answer (100 to 199) and behind it are passed over."""
    try:
        held = [(_text(name), _text(value)) for name, value in decoder.decode(bytes(answer.block))]
    except hpack.HPACKError as error:
        raise BrokenPeerError(f"the headers of the answer cannot be read: {error}") from error
    answer.block.clear()
    if any(not _UNSPEAKABLE.isdisjoint(value) for _, value in held):
        raise BrokenPeerError("a header of the answer has a line end or a zero in it")
    status = dict(held).get(":status", "")
    if not answer.status and _is_final(status):
        answer.status = int(status)
        answer.headers = {name: value for name, value in held if not name.startswith(":")}
    if answer.last and not answer.status:
        raise BrokenPeerError("the answer has no status")
    answer.ended = answer.last


def _is_final(status: str) -> bool:
    """Whether it is that of an answer, 200 to 999, and not of what comes before one."""
    return len(status) == len("200") and status.isascii() and status.isdecimal() and status[0] >= "2"


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode(errors="replace")


def _content(flags: int, payload: bytes) -> bytes:
    """Return what a frame holds, without what fills it up. Raises ``BrokenPeerError``."""
    if not flags & _PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise BrokenPeerError("a frame has more padding than content")
    return payload[1 : len(payload) - payload[0]]
