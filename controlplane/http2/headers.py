"""Request headers in, response headers out.

Requests are decoded with the ``hpack`` library. The few headers of a response are literals without indexing, so that a
header block needs no state and is one constant.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from enum import IntEnum
from typing import ClassVar

from hpack import Decoder, HPACKError

from controlplane.http2.frames import ConnectionFailed, ErrorCode

LARGEST_LIST = 16 << 10  # bytes of request headers
_MOST_FIRST_BLOCKS = 64
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


class RequestHeaders:
    """Decodes the header blocks of one connection, which share a table.

    Proxies begin their connections with the same block, and most never send a second one. So the first is looked up
    among those decoded before, and decoded here only when another one builds on it.
    """

    _first_blocks: ClassVar[OrderedDict[bytes, Mapping[str, str]]] = OrderedDict()

    def __init__(self) -> None:
        self._decoder: Decoder | None = None
        self._first: bytes | None = None

    def decode(self, block: bytes) -> Mapping[str, str]:
        """Return a block's headers by lower-case name, repeated ones joined by commas.

        Raises:
            ConnectionFailed: the block cannot be read, and with it none that follows.
        """
        if self._decoder is None and self._first is None:
            self._first = block
            headers = self._first_blocks.get(block)
            if headers is None:
                headers = self._decode(block)
                if "authorization" in headers:  # nobody else's, and not to be kept
                    return headers
                self._first_blocks[block] = headers
                if len(self._first_blocks) > _MOST_FIRST_BLOCKS:
                    self._first_blocks.popitem(last=False)
            return headers
        if self._decoder is None and self._first is not None:
            self._decode(self._first)
        return self._decode(block)

    def _decode(self, block: bytes) -> Mapping[str, str]:
        if self._decoder is None:
            self._decoder = Decoder(max_header_list_size=LARGEST_LIST)
        try:
            pairs = self._decoder.decode(block)
        except HPACKError as error:
            raise ConnectionFailed(ErrorCode.COMPRESSION_ERROR, f"the headers cannot be decoded: {error}") from error
        headers: dict[str, str] = {}
        for name, value in pairs:
            key, text = str(name), str(value)
            headers[key] = f"{headers[key]},{text}" if key in headers else text
        return headers


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
