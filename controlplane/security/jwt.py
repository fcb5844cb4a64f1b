"""ServiceAccount tokens, read and checked against a cluster's published keys without asking its API server.

Reference: RFC 7515 (signatures), 7517 and 7518 (keys), 7519 (claims).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from jwt.algorithms import ECAlgorithm, RSAAlgorithm, get_default_algorithms
from jwt.exceptions import InvalidKeyError

from controlplane.documents.json_reader import json_value

LEEWAY = timedelta(minutes=1)
"""How far the clocks of two machines may be apart."""

_ALGORITHMS = get_default_algorithms()
_OF_RSA = frozenset({"RS256", "RS384", "RS512"})
_OF_CURVES = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
_KEYS = ("RSA", "EC")


class InvalidTokenError(ValueError):
    """A token that is not accepted; the message says why and never shows it."""


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """One public key of a cluster, with the only algorithms that it is for: those of its type and curve."""

    key: Any  # of the cryptography package, as the algorithm wants it
    algorithms: frozenset[str]

    def verify(self, algorithm: str, signed: bytes, signature: bytes) -> None:
        """Check a signature.

        Raises:
            InvalidTokenError: it is wrong, or of an algorithm that this key is not for.
        """
        if algorithm not in self.algorithms:
            raise InvalidTokenError(f"the algorithm {algorithm!r} is not that of the key")
        if not _ALGORITHMS[algorithm].verify(signed, self.key, signature):
            raise InvalidTokenError("the signature is wrong")


@dataclass(frozen=True, slots=True)
class IssuerJwks:
    """What a cluster publishes of itself as an issuer of tokens: its name and its keys by their ids."""

    issuer: str
    keys: Mapping[str, VerificationKey]

    @classmethod
    def parse(cls, configuration: bytes, jwks: bytes) -> IssuerJwks:
        """Read an OpenID configuration and a JSON web key set; keys of other types are left out.

        Raises:
            ValueError: they cannot be read.
        """
        try:
            keys = {each["kid"]: _key(each) for each in json_value(jwks)["keys"] if each.get("kty") in _KEYS}
            return cls(str(json_value(configuration)["issuer"]), keys)
        except (KeyError, TypeError, AttributeError, InvalidKeyError) as error:
            raise ValueError(f"not an OpenID configuration with a key set: {error!r}") from error

    def signed(self, token: str) -> bool | None:
        """Whether the key that a token names has signed it; ``None`` where that is no key of the cluster's.

        Nothing else of the token is looked at, and one that is no token at all was not signed by anybody.
        """
        try:
            header = _part(token, 0)
            key = self.keys.get(str(header.get("kid")))
            if key is None:
                return None
            text, _, signature = token.rpartition(".")
            key.verify(str(header.get("alg")), text.encode(), _decoded(signature))
        except InvalidTokenError:
            return False
        return True

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
        value = json_value(_decoded(parts[index]))
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


def _key(entry: Mapping[str, Any]) -> VerificationKey:
    """Read one key; of a private one, which should not be there, only what is public."""
    if entry["kty"] == "RSA":
        return VerificationKey(RSAAlgorithm.from_jwk({name: entry[name] for name in ("kty", "n", "e")}), _OF_RSA)
    algorithm = _OF_CURVES[entry["crv"]]
    key = ECAlgorithm.from_jwk({name: entry[name] for name in ("kty", "crv", "x", "y")})
    return VerificationKey(key, frozenset({algorithm}))
