"""Tokens checked with a cluster's keys alone."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from jwt import algorithms, encode

from controlplane.security.jwt import InvalidTokenError, IssuerJwks, expiry

ISSUER = "https://kubernetes.default.svc"
RSA, EC = rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256R1())
STRANGER = rsa.generate_private_key(65537, 2048)
NOW = datetime(2026, 5, 5, 12, tzinfo=UTC)


def text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def number(value: int) -> str:
    return text(value.to_bytes((value.bit_length() + 7) // 8))


def key_set() -> bytes:
    rsa_numbers, ec_numbers = RSA.public_key().public_numbers(), EC.public_key().public_numbers()
    keys = [
        {"kid": "r", "kty": "RSA", "n": number(rsa_numbers.n), "e": number(rsa_numbers.e)},
        {"kid": "e", "kty": "EC", "crv": "P-256", "x": number(ec_numbers.x), "y": number(ec_numbers.y)},
        {"kid": "o", "kty": "OKP", "crv": "Ed25519", "x": "AAAA"},
    ]
    return json.dumps({"keys": keys}).encode()


KEYS = IssuerJwks.parse(json.dumps({"issuer": ISSUER}).encode(), key_set())


def claims(**changed: Any) -> dict[str, Any]:
    stated = {
        "iss": ISSUER,
        "aud": ["istio-ca"],
        "sub": "system:serviceaccount:shop:cart",
        "nbf": int(NOW.timestamp()) - 60,
        "exp": int(NOW.timestamp()) + 600,
    }
    return {name: value for name, value in {**stated, **changed}.items() if value is not None}


def token(body: dict[str, Any], key: Any = RSA, kid: str = "r", algorithm: str = "") -> str:
    algorithm = algorithm or ("RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256")
    header = {"alg": algorithm, "kid": kid}
    signed = ".".join(text(json.dumps(each).encode()) for each in (header, body))
    if isinstance(key, rsa.RSAPrivateKey):
        signature = key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    else:
        numbers = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        signature = b"".join(each.to_bytes(32) for each in numbers)
    return f"{signed}.{text(signature)}"


@pytest.mark.parametrize(("key", "kid"), [(RSA, "r"), (EC, "e")])
def test_a_token_of_the_cluster(key: Any, kid: str) -> None:
    assert KEYS.verify(token(claims(), key, kid), ["istio-ca"], NOW)["sub"] == "system:serviceaccount:shop:cart"


@pytest.mark.parametrize(
    ("presented", "reason"),
    [
        pytest.param(token(claims(), STRANGER), "the signature is wrong", id="stranger"),
        pytest.param(token(claims(), RSA, "x"), "no key of the cluster", id="unknown-key"),
        pytest.param(token(claims(), RSA, "e"), "algorithm 'RS256' is not that of the key", id="confused-key"),
        pytest.param(token(claims(), RSA, "r", "none"), "algorithm 'none'", id="none"),
        pytest.param(token(claims(), RSA, "r", "HS256"), "algorithm 'HS256'", id="hmac"),
        pytest.param(token(claims(iss="other")), "its issuer is 'other'", id="issuer"),
        pytest.param(token(claims(aud=["api"])), "its audience is api, not istio-ca", id="audience"),
        pytest.param(token(claims(aud=None)), "its audience is , not istio-ca", id="no-audience"),
        pytest.param(token(claims(exp=None)), "does not say when it expires", id="for-ever"),
        pytest.param(token(claims(exp=int(NOW.timestamp()) - 61)), "has expired at 2026-05-05T11:58:59", id="ended"),
        pytest.param(token(claims(nbf=int(NOW.timestamp()) + 61)), "valid from 2026-05-05T12:01:01", id="to-come"),
        pytest.param("a.b", "not a JSON web token", id="two-parts"),
        pytest.param("a.b.c", "not a JSON web token", id="no-json"),
        pytest.param(token(claims())[:-8] + "AAAAAAAA", "the signature is wrong", id="changed"),
    ],
)
def test_what_is_not_accepted(presented: str, reason: str) -> None:
    with pytest.raises(InvalidTokenError, match=reason):
        KEYS.verify(presented, ["istio-ca"], NOW)


@pytest.mark.parametrize("apart", [timedelta(seconds=-59), timedelta(seconds=59)])
def test_clocks_may_be_a_minute_apart(apart: timedelta) -> None:
    just_made = token(claims(nbf=int(NOW.timestamp()), exp=int(NOW.timestamp())))
    assert KEYS.verify(just_made, ["istio-ca"], NOW + apart)


def test_when_a_token_ends() -> None:
    assert expiry(token(claims())) == NOW + timedelta(minutes=10)
    assert expiry("opaque") is None
    assert expiry(token(claims(exp=None))) is None


BROKEN = [
    json.dumps({"keys": [{"kid": "k", **key}]}).encode()
    for key in (
        {"kty": "RSA", "n": 5, "e": "AQAB"},
        {"kty": "RSA", "n": "AQAB", "e": ""},
        {"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA"},
        {"kty": "EC", "crv": "P-1", "x": "AAAA", "y": "AAAA"},
    )
]
CURVES = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512", *CURVES])
def test_keys_of_each_algorithm_check_their_signatures_and_no_others(algorithm: str) -> None:
    """Signed by another library; also where the key set tells more than it should."""
    made = algorithms.get_default_algorithms()[algorithm]
    key = RSA if algorithm.startswith("RS") else ec.generate_private_key(CURVES[algorithm])
    told = {**made.to_jwk(key, as_dict=True), "kid": "k"}
    assert "d" in told
    keys = IssuerJwks.parse(json.dumps({"issuer": ISSUER}).encode(), json.dumps({"keys": [told]}).encode())
    signed = encode(claims(), key, algorithm, {"kid": "k"})
    assert keys.signed(signed)
    assert keys.verify(signed, ["istio-ca"], NOW)["iss"] == ISSUER
    for changed in (signed[:-8] + "AAAAAAAA", signed[:-8], signed + "AAAA", signed.rpartition(".")[0] + "."):
        assert keys.signed(changed) is False
    assert not hasattr(keys.keys["k"].key, "sign"), "what is private is not kept"


@pytest.mark.parametrize("content", [b"{}", b"[]", b"no json", b'{"keys": [{"kty": "RSA", "kid": "r"}]}', *BROKEN])
def test_a_key_set_that_cannot_be_read(content: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        IssuerJwks.parse(b'{"issuer": "x"}', content)
