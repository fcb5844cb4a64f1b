"""Secrets with a certificate and its key, as gateways use them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from controlplane.analysis import raw
from controlplane.model.certificate_text import certified_key, chain

_PAIRS = (("tls.crt", "tls.key"), ("cert", "key"))
"""The names of certificate and key in a Secret: those of Kubernetes, and Istio's older ones."""


def why_unusable(secret: Mapping[str, Any]) -> str:
    """Return why a gateway cannot use a Secret, empty where it can. What is in it is never told."""
    data = _data(secret)
    pair = next(
        ((data[certificate], data[key]) for certificate, key in _PAIRS if certificate in data and key in data), None
    )
    if pair is None:
        return "it has neither tls.crt and tls.key nor cert and key"
    certificate, key = pair
    if not certificate or not key:
        return "its certificate or key is empty or no base64"
    try:
        certificates = chain(certificate)
    except ValueError:
        return "its certificate cannot be read"
    return _by_date(certificates[0], datetime.now(UTC)) or _by_key(certificates[0], key)


def _by_date(certificate: x509.Certificate, now: datetime) -> str:
    if now > certificate.not_valid_after_utc:
        return f"its certificate expired on {certificate.not_valid_after_utc:%Y-%m-%d}"
    if now < certificate.not_valid_before_utc:
        return f"its certificate is not valid before {certificate.not_valid_before_utc:%Y-%m-%d}"
    return ""


def _by_key(certificate: x509.Certificate, text: bytes) -> str:
    try:
        key = serialization.load_pem_private_key(text, None)
        is_same = key.public_key() == certified_key(certificate)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it is encrypted
        return "its key cannot be read"
    return "" if is_same else "its key is not that of its certificate"


def _data(secret: Mapping[str, Any]) -> dict[str, bytes]:
    """Return what a Secret holds; ``stringData`` wins, and a value that is no base64 is empty."""
    data = {key: _decoded(text) for key, text in raw.string_map(secret, "data").items()}
    return data | {key: text.encode() for key, text in raw.string_map(secret, "stringData").items()}


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return b""
