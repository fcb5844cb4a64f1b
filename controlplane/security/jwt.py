"""ServiceAccount tokens, read and checked against a cluster's published keys without asking its API server.

Reference: RFC 7515 (signatures), 7517 and 7518 (keys), 7519 (claims).
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

LEEWAY = timedelta(minutes=1)
"""How far the clocks of two machines may be apart."""

_HASHES: Mapping[str, hashes.HashAlgorithm] = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
_CURVES: Mapping[str, ec.EllipticCurve] = {"256": ec.SECP256R1(), "384": ec.SECP384R1(), "512": ec.SECP521R1()}
_CURVE_NAMES = {"P-256": "256", "P-384": "384", "P-521": "512"}


class InvalidTokenError(ValueError):
    """A token that is not accepted; the message says why and never shows it."""


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """One public key of a cluster, with the only algorithm family that it is for: ``RS`` or ``ES256``, ``ES384``..."""

    key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey
    algorithms: frozenset[str]

    def verify(self, algorithm: str, signed: bytes, signature: bytes) -> None:
        """Check a signature.

        Raises:
            InvalidTokenError: it is wrong, or of an algorithm that this key is not for.
        """
        if algorithm not in self.algorithms:
            raise InvalidTokenError(f"the algorithm {algorithm!r} is not that of the key")
        digest = _HASHES[algorithm[2:]]
        try:
            if isinstance(self.key, rsa.RSAPublicKey):
                self.key.verify(signature, signed, padding.PKCS1v15(), digest)
            else:
                half = (self.key.curve.key_size + 7) // 8
                if len(signature) != 2 * half:
                    raise InvalidTokenError("the signature is wrong")
                numbers = int.from_bytes(signature[:half]), int.from_bytes(signature[half:])
                self.key.verify(encode_dss_signature(*numbers), signed, ec.ECDSA(digest))
        except InvalidSignature as error:
            raise InvalidTokenError("the signature is wrong") from error


@dataclass(frozen=True, slots=True)
class IssuerKeys:
    """What a cluster publishes of itself as an issuer of tokens: its name and its keys by their ids."""

    issuer: str
    keys: Mapping[str, VerificationKey]

    @classmethod
    def parse(cls, configuration: bytes, key_set: bytes) -> IssuerKeys:
        """Read an OpenID configuration and a JSON web key set; keys of other types are left out.

        Raises:
            ValueError: they cannot be read.
        """
        try:
            keys = {each["kid"]: _key(each) for each in json.loads(key_set)["keys"] if each.get("kty") in _KEYS}
            return cls(str(json.loads(configuration)["issuer"]), keys)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not an OpenID configuration with a key set: {error!r}") from error

    def verify(self, token: str, audiences: Collection[str], now: datetime) -> Mapping[str, Any]:
        """Return the claims of a token that one of these keys has signed, for one of the audiences, valid now.

        Raises:
            InvalidTokenError: one of this does not hold.
        """
        header, claims = _part(token, 0), _part(token, 1)
        key = self.keys.get(str(header.get("kid")))
        if key is None:
            raise InvalidTokenError("no key of the cluster has signed it")
        signed, _, signature = token.rpartition(".")
        key.verify(str(header.get("alg")), signed.encode(), _decoded(signature))
        if claims.get("iss") != self.issuer:
            raise InvalidTokenError(f"its issuer is {claims.get('iss')!r}, not {self.issuer!r}")
        stated = claims.get("aud")
        has = [stated] if isinstance(stated, str) else stated or []
        if not set(audiences) & set(has):
            raise InvalidTokenError(f"its audience is {', '.join(map(str, has))}, not {' or '.join(sorted(audiences))}")
        end, begin = _time(claims, "exp"), _time(claims, "nbf")
        if end is None or end + LEEWAY <= now:
            raise InvalidTokenError(
                f"it has expired at {end.isoformat()}" if end else "it does not say when it expires"
            )
        if begin is not None and now + LEEWAY < begin:
            raise InvalidTokenError(f"it is valid from {begin.isoformat()} only; is a clock wrong?")
        return claims


def expiry(token: str) -> datetime | None:
    """Return when a token says it ends; ``None`` where it does not, or is not of this format."""
    try:
        return _time(_part(token, 1), "exp")
    except InvalidTokenError:
        return None


def _part(token: str, index: int) -> Mapping[str, Any]:
    parts = token.split(".")
    if len(parts) != 3:  # noqa: PLR2004 - header, claims, signature
        raise InvalidTokenError("it is not a JSON web token")
    try:
        value = json.loads(_decoded(parts[index]))
    except ValueError as error:
        raise InvalidTokenError("it is not a JSON web token") from error
    if not isinstance(value, dict):
        raise InvalidTokenError("it is not a JSON web token")
    return value


def _decoded(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError) as error:
        raise InvalidTokenError("it is not a JSON web token") from error


def _time(claims: Mapping[str, Any], name: str) -> datetime | None:
    value = claims.get(name)
    if not isinstance(value, int | float):
        return None
    try:
        return datetime.fromtimestamp(value, UTC)
    except (OverflowError, ValueError, OSError) as error:
        raise InvalidTokenError(f"its {name} is not a time") from error


def _number(text: str) -> int:
    return int.from_bytes(_decoded(text))


def _rsa_key(entry: Mapping[str, Any]) -> VerificationKey:
    key = rsa.RSAPublicNumbers(_number(entry["e"]), _number(entry["n"])).public_key()
    return VerificationKey(key, frozenset({"RS256", "RS384", "RS512"}))


def _ec_key(entry: Mapping[str, Any]) -> VerificationKey:
    size = _CURVE_NAMES[entry["crv"]]
    key = ec.EllipticCurvePublicNumbers(_number(entry["x"]), _number(entry["y"]), _CURVES[size]).public_key()
    return VerificationKey(key, frozenset({f"ES{size}"}))


_KEYS = {"RSA": _rsa_key, "EC": _ec_key}


def _key(entry: Mapping[str, Any]) -> VerificationKey:
    return _KEYS[entry["kty"]](entry)
