"""JSON Web Key Sets, as far as Envoy can use them.

Envoy refuses a whole listener for a key set of which it can use no key; of others it takes what it can use. Reference:
RFC 7517, RFC 7518 section 6, RFC 8037 section 2, and Envoy's library jwt_verify_lib (``jwks.cc``).
"""

from __future__ import annotations

import base64
import binascii
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import re2

from controlplane.documents.json_reader import json_documents
from controlplane.documents.limits import Unreadable

_BASE64URL = re2.compile(r"[A-Za-z0-9_-]*={0,2}")
_RSA_BITS = (512, 16384)
_RSA_EXPONENT_BITS = (2, 33)
_CURVES = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
_ED25519_BYTES = 32
EMPTY = "has no keys"


class _UnusableError(ValueError):
    """A key that Envoy cannot use; never leaves this module."""


@lru_cache(32)
def key_set_problem(text: str) -> str:
    """Return why Envoy would refuse a key set: no JSON, no list of keys, or none it can use; empty where it takes it.

    A set without any key is ``EMPTY``. Thousands of keys take a second, and are asked for with each listener: the last
    answers are remembered.
    """
    (found,) = json_documents(text)
    if isinstance(found, Unreadable):
        return f"is not JSON: {found.reason}"
    if found.warnings:
        return f"is not JSON that Envoy reads: {found.warnings[0]}"
    keys = found.value.get("keys") if isinstance(found.value, dict) else None
    if not isinstance(keys, list):
        return "is not a JSON web key set: it has no list of keys"
    if not _is_finite(found.value):
        return "is not JSON that Envoy reads: a number is too large"
    if not keys:
        return EMPTY
    first = ""
    for each in keys:
        reason = _problem(each)
        if not reason:
            return ""
        first = first or reason
    return f"has no key that Envoy can use: {first}"


def _is_finite(value: object) -> bool:
    """Whether all numbers fit into 64 bits with a floating point, as Envoy has them."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each
        elif isinstance(each, int | float) and not -sys.float_info.max <= each <= sys.float_info.max:
            return False
    return True


def _problem(key: object) -> str:
    """Return why Envoy cannot use a key; empty where it can."""
    if not isinstance(key, dict):
        return "a key is an object"
    check = _CHECKS.get(key["kty"]) if isinstance(key.get("kty"), str) else None
    if check is None:
        return f"kty is none of {', '.join(_CHECKS)}"
    try:
        check(key, key["alg"] if isinstance(key.get("alg"), str) else "")
    except _UnusableError as error:
        return str(error)
    return ""


def _decoded(key: Mapping[str, Any], part: str) -> bytes:
    text = key.get(part)
    if not isinstance(text, str) or not text:
        raise _UnusableError(f"{part} is required")
    if _BASE64URL.fullmatch(text) is None or (text.endswith("=") and len(text) % 4):
        raise _UnusableError(f"{part} is not base64url")
    padding = "" if text.endswith("=") else "=" * (-len(text) % 4)
    try:
        return base64.urlsafe_b64decode(text + padding)
    except binascii.Error:
        raise _UnusableError(f"{part} is not base64url") from None


def _integer(key: Mapping[str, Any], part: str) -> int:
    return int.from_bytes(_decoded(key, part), "big")


def _rsa(key: Mapping[str, Any], algorithm: str) -> None:
    if algorithm and not algorithm.startswith(("RS", "PS")):
        raise _UnusableError("alg is none of an RSA key")
    for part, (least, most) in (("n", _RSA_BITS), ("e", _RSA_EXPONENT_BITS)):
        number = _integer(key, part)
        if number % 2 == 0 or not least <= number.bit_length() <= most:
            raise _UnusableError(f"{part} must be an odd number of {least} to {most} bits")


def _elliptic(key: Mapping[str, Any], algorithm: str) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 - it loads slowly

    named = {of: curve for curve, of in _CURVES.items()}.get(algorithm)
    if algorithm and named is None:
        raise _UnusableError("alg is none of an EC key")
    curve = key.get("crv", named or "P-256")
    if not isinstance(curve, str) or curve not in _CURVES or (algorithm and named != curve):
        raise _UnusableError(f"crv must be one of {', '.join(_CURVES)}, and go with alg")
    x, y = _integer(key, "x"), _integer(key, "y")
    kinds: Mapping[str, ec.EllipticCurve] = {
        "P-256": ec.SECP256R1(),
        "P-384": ec.SECP384R1(),
        "P-521": ec.SECP521R1(),
    }
    try:
        ec.EllipticCurvePublicNumbers(x, y, kinds[curve]).public_key()
    except ValueError:
        raise _UnusableError("x and y are no point of the curve") from None


def _octets(key: Mapping[str, Any], algorithm: str) -> None:
    if algorithm and not algorithm.startswith("HS"):
        raise _UnusableError("alg is none of an oct key")
    _decoded(key, "k")


def _edwards(key: Mapping[str, Any], algorithm: str) -> None:
    if algorithm not in {"", "EdDSA"} or key.get("crv") != "Ed25519":
        raise _UnusableError("an OKP key must be of crv Ed25519 and alg EdDSA")
    if len(_decoded(key, "x")) != _ED25519_BYTES:
        raise _UnusableError(f"x must be {_ED25519_BYTES} bytes")


_CHECKS: Mapping[str, Callable[[Mapping[str, Any], str], None]] = {
    "RSA": _rsa,
    "EC": _elliptic,
    "oct": _octets,
    "OKP": _edwards,
}
