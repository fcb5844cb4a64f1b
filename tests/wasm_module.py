"""A WebAssembly module for Envoy, made byte by byte: it answers each request with a status of its own.

Reference: WebAssembly core specification 1.0, "Binary Format"; proxy-wasm ABI 0.2.1.
"""

from __future__ import annotations

I32 = 0x7F
_ARGUMENTS_OF_RESPONSE = 8
_END = 0x0B


def module(status: int) -> bytes:
    """Return a module that answers every request with this status."""
    types = [([I32] * _ARGUMENTS_OF_RESPONSE, [I32]), ([], []), ([I32], [I32]), ([I32, I32], []), ([I32] * 3, [I32])]
    imports = [_text("env") + _text("proxy_send_local_response") + b"\0" + _number(0)]
    bodies = {
        "proxy_abi_version_0_2_1": (1, b""),
        "_initialize": (1, b""),
        "malloc": (2, _constant(1024)),
        "proxy_on_context_create": (3, b""),
        "proxy_on_request_headers": (4, _answer(status)),
    }
    exports = [_text("memory") + b"\x02" + _number(0)]
    exports += [_text(name) + b"\0" + _number(at) for at, name in enumerate(bodies, len(imports))]
    return b"".join(
        (
            b"\0asm\1\0\0\0",
            _section(
                1, [b"\x60" + _vector([bytes([t]) for t in a]) + _vector([bytes([t]) for t in r]) for a, r in types]
            ),
            _section(2, imports),
            _section(3, [_number(kind) for kind, _ in bodies.values()]),
            _section(5, [b"\0" + _number(1)]),
            _section(7, exports),
            _section(10, [_sized(b"\0" + code + bytes([_END])) for _, code in bodies.values()]),
        )
    )


def _answer(status: int) -> bytes:
    """Return the code that sends a response, drops what the call returns, and stops the iteration (1)."""
    arguments = [status, 0, 0, 0, 0, 0, 0, -1]
    return b"".join(map(_constant, arguments)) + b"\x10" + _number(0) + b"\x1a" + _constant(1)


def _constant(value: int) -> bytes:
    """Return ``i32.const`` in signed LEB128."""
    found = bytearray(b"\x41")
    while True:
        byte, value = value & 0x7F, value >> 7
        if (value, byte & 0x40) in {(0, 0), (-1, 0x40)}:
            return bytes([*found, byte])
        found.append(byte | 0x80)


def _number(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def _sized(body: bytes) -> bytes:
    return _number(len(body)) + body


def _text(text: str) -> bytes:
    return _sized(text.encode())


def _vector(items: list[bytes]) -> bytes:
    return _number(len(items)) + b"".join(items)


def _section(number: int, items: list[bytes]) -> bytes:
    return bytes([number]) + _sized(_vector(items))
