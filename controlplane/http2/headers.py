"""Request headers in, response headers out.

Requests are decoded with the ``hpack`` library. The few headers of a response are literals without indexing, so that a
header block needs no state and is one constant.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import ClassVar, cast

from hpack import Decoder, HPACKError

from controlplane.http2.frames import ConnectionFailed, ErrorCode

LARGEST_LIST = 16 << 10  # bytes of request headers
_MOST_FIRST_BLOCKS = 64
_LONGEST_LENGTH = 20  # digits
_LONGEST_REASON = 1024  # characters, each up to twelve bytes long: trailers must fit a frame


class Status(IntEnum):
    """gRPC status codes."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


class MalformedRequest(Exception):  # noqa: N818 - what the RFC calls it (section 8.1.1)
    """A header block that could be decoded and breaks HTTP's rules: its stream ends, and nothing else."""


class RequestHeaders:
    """Decodes the header blocks of one connection, which share a table.

    Proxies begin their connections with the same block, and most never send a second one. So the first is looked up
    among those decoded before, and decoded here only when another one builds on it.
    """

    _first_blocks: ClassVar[OrderedDict[bytes, Mapping[str, str]]] = OrderedDict()

    def __init__(self) -> None:
        self._decoder: Decoder | None = None
        self._first: bytes | None = None

    def request(self, block: bytes) -> Mapping[str, str]:
        """Return the headers of a request by lower-case name, repeated ones joined by commas.

        Raises:
            ConnectionFailed: the block cannot be read, and with it none that follows.
            MalformedRequest: it could be read, and is no request.
        """
        if self._decoder is not None or self._first is not None:
            return _request(self._pairs(block))
        headers = self._first_blocks.get(block)
        if headers is not None:
            self._first = block
            return headers
        headers = _request(self._pairs(block))
        if "authorization" in headers:  # nobody else's, and not to be kept
            return headers
        self._first_blocks[block] = headers
        if len(self._first_blocks) > _MOST_FIRST_BLOCKS:
            self._first_blocks.popitem(last=False)
        return headers

    def trailers(self, block: bytes) -> None:
        """Take the headers that end a request, which say nothing to us.

        Raises:
            ConnectionFailed: as for ``request``.
            MalformedRequest: there are such among them as only begin a request.
        """
        for name, value in self._pairs(block):
            _check(name, value)
            if name.startswith(b":"):
                raise MalformedRequest("a pseudo-header in trailers")

    def _pairs(self, block: bytes) -> Sequence[tuple[bytes, bytes]]:
        if self._decoder is None:
            self._decoder = Decoder(max_header_list_size=LARGEST_LIST)
            if self._first is not None:
                self._pairs(self._first)
        try:
            return cast("Sequence[tuple[bytes, bytes]]", self._decoder.decode(block, raw=True))
        except HPACKError as error:
            raise ConnectionFailed(ErrorCode.COMPRESSION_ERROR, f"the headers cannot be decoded: {error}") from error


_PSEUDO_HEADERS = frozenset({b":method", b":scheme", b":path", b":authority"})
_NEEDED = frozenset({":method", ":scheme", ":path"})
_OF_THE_CONNECTION = frozenset({b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"})
_NOT_IN_A_NAME = bytes((*range(0x21), *range(ord("A"), ord("Z") + 1), *range(0x7F, 0x100)))
_NOT_IN_A_VALUE = b"\0\r\n"


def _request(pairs: Sequence[tuple[bytes, bytes]]) -> Mapping[str, str]:
    """Return a request's headers. Reference: RFC 9113, sections 8.2 and 8.3."""
    headers: dict[str, str] = {}
    pseudo = True
    for name, value in pairs:
        _check(name, value)
        key = name.decode()
        if name.startswith(b":"):
            if not pseudo or name not in _PSEUDO_HEADERS or key in headers:
                raise MalformedRequest(f"the pseudo-header {key} is unknown, repeated or late")
        else:
            pseudo = False
        try:
            text = value.decode()
        except UnicodeDecodeError as error:
            raise MalformedRequest(f"the header {key} is not UTF-8") from error
        headers[key] = f"{headers[key]},{text}" if key in headers else text
    missing = [name for name in _NEEDED if not headers.get(name)]
    if missing:
        raise MalformedRequest(f"the request lacks {', '.join(sorted(missing))}")
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdecimal() and len(length) < _LONGEST_LENGTH):
        raise MalformedRequest("content-length is no number")
    return headers


def _check(name: bytes, value: bytes) -> None:
    """Raise ``MalformedRequest`` for a header that may not be in any block."""
    bare = name.removeprefix(b":")
    if not bare or b":" in bare or bare.translate(None, _NOT_IN_A_NAME) != bare:
        raise MalformedRequest("the name of a header has characters that may not be in one")
    if value.translate(None, _NOT_IN_A_VALUE) != value or value.strip(b" \t") != value:
        raise MalformedRequest(f"the header {name.decode()} has characters that may not be in it")
    if name in _OF_THE_CONNECTION or (name == b"te" and value != b"trailers"):
        raise MalformedRequest(f"the header {name.decode()} is about a connection")


def _literal(name: str, value: str) -> bytes:
    """Encode a header without indexing or Huffman coding (RFC 7541, section 6.2.2)."""
    return b"\x00" + _text(name) + _text(value)


def _text(text: str) -> bytes:
    raw = text.encode()
    rest, encoded = len(raw), bytearray()
    if rest < 0x7F:  # noqa: PLR2004 - seven bits of length
        encoded.append(rest)
    else:
        encoded.append(0x7F)
        rest -= 0x7F
        while rest >= 0x80:  # noqa: PLR2004
            encoded.append(rest & 0x7F | 0x80)
            rest >>= 7
        encoded.append(rest)
    return bytes(encoded) + raw


_STATUS_200 = b"\x88"  # an entry of the static table
RESPONSE = _STATUS_200 + _literal("content-type", "application/grpc")
UNSUPPORTED_MEDIA_TYPE = _literal(":status", "415")


def trailers(status: Status, message: str) -> bytes:
    """Encode how a call ended."""
    block = _literal("grpc-status", str(status.value))
    return block + _literal("grpc-message", _percent_encoded(message[:_LONGEST_REASON])) if message else block


def _percent_encoded(message: str) -> str:
    """Encode what may not stand in a header as it is (gRPC over HTTP/2, "Status-Message")."""
    return "".join(chr(c) if 0x20 <= c <= 0x7E and c != 0x25 else f"%{c:02X}" for c in message.encode())  # noqa: PLR2004
