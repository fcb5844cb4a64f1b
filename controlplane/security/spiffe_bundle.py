"""Roots of another mesh from where it publishes them. Reference: SPIFFE Trust Domain and Bundle, section 4."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import aiohttp
from cryptography.hazmat.primitives.serialization import Encoding

from controlplane.model.certificate_text import decode_der
from controlplane.security.certificates import is_authority
from controlplane.security.jwks_fetcher import JwksLocation, NoKeysError, json_object

_HTTPS = "https://"
_USE = "x509-svid"


async def spiffe_bundle(session: aiohttp.ClientSession, location: JwksLocation) -> str:
    """Return the roots at a location, PEM, one after another. Whoever answers has to be known to the system's roots.

    Raises:
        NoKeysError: it answered, with something else, or not by HTTPS all the way.
        aiohttp.ClientError, OSError: it did not answer.
    """
    uri = location.uri if location.uri.startswith(_HTTPS) else f"{_HTTPS}{location.uri}"
    answer = await json_object(session, uri, secured=True)
    keys = answer.get("keys")
    if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
        raise NoKeysError("the answer is no SPIFFE bundle: it has no list of keys")
    roots = [_root(key) for key in keys if key.get("use") == _USE]
    if not roots:
        raise NoKeysError(f"the answer is a SPIFFE bundle without keys for {_USE}")
    return "".join(roots)


def _root(key: dict[str, Any]) -> str:
    held = key.get("x5c")
    if not isinstance(held, list) or len(held) != 1 or not isinstance(held[0], str):
        raise NoKeysError(f"a key for {_USE} has not exactly one certificate (x5c)")
    try:
        certificate = decode_der(base64.b64decode(held[0], validate=True))
    except (ValueError, binascii.Error) as error:
        raise NoKeysError(f"what is in x5c of a key for {_USE} is no certificate") from error
    if not is_authority(certificate):
        raise NoKeysError(f"a certificate for {_USE} is not that of an authority")
    return certificate.public_bytes(Encoding.PEM).decode()
