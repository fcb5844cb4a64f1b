"""Keys and certificates as users give them, checked by what Envoy asks of them.

Envoy refuses the whole resource for a key that does not fit or a text that is no PEM, so none of that may reach it.
What only callers mind, a certificate that has ended, is said by ``begins`` and ``ends`` and judged by whoever has a
clock. The texts of errors never hold anything of what was read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from controlplane.documents.json_reader import decoded, json_value
from controlplane.documents.limits import UnreadableError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

PAIR_ENTRIES = (("cert", "key"), ("tls.crt", "tls.key"))
"""Entries with a certificate chain and its key; of two pairs the first counts. Source: ``data`` of a Secret."""
ROOT_ENTRIES = (("cacert", "crl"), ("ca.crt", "ca.crl"))
"""Entries with root certificates and with a list of what they revoked; of two the first with roots counts."""
STAPLE_ENTRY = "tls.ocsp-staple"
LOGIN_TYPE, LOGIN_ENTRY = "kubernetes.io/dockerconfigjson", ".dockerconfigjson"
"""The type of Secrets with logins of registries, and their entry for them. Source: Kubernetes, "Types of Secret"."""
_SMALLEST_RSA = 2048
_CURVES = frozenset({"secp256r1", "secp384r1", "secp521r1"})


class UnusableError(ValueError):
    """An entry is not what it should be; ``str()`` names it (``data.tls.key: reason``)."""

    def __init__(self, entry: str, reason: str) -> None:
        super().__init__(f"data.{entry}: {reason}")


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate chain (PEM) with its private key (PEM), and what its authority said of it (OCSP, DER) or nothing.

    ``begins`` and ``ends`` are those of the first certificate.
    """

    certificate_chain: bytes
    private_key: bytes = field(repr=False)
    ocsp_staple: bytes
    begins: datetime
    ends: datetime


@dataclass(frozen=True, slots=True)
class TrustedRoots:
    """Certificates (PEM) that others are checked against, and lists of what they revoked (PEM; ``None``: none given).

    ``ends`` is when the first of them does.
    """

    certificates: bytes
    revoked: bytes | None
    ends: datetime


def key_pair(data: Mapping[str, bytes]) -> KeyPair | None:
    """Return the key pair of a Secret's entries, ``None`` where there is none.

    Raises:
        UnusableError: there is one that Envoy would refuse.
    """
    for certificate, key in PAIR_ENTRIES:
        if data.get(certificate) and data.get(key):
            staple = data.get(STAPLE_ENTRY, b"") if certificate == "tls.crt" else b""
            return _pair(data, certificate, key, staple)
    return None


def trusted_roots(data: Mapping[str, bytes]) -> TrustedRoots | None:
    """Return the roots of a Secret's entries, ``None`` where there are none.

    Raises:
        UnusableError: there are some that Envoy would refuse.
    """
    for entry, revoked in ROOT_ENTRIES:
        if data.get(entry):
            roots = _certificates(entry, data[entry])
            _check_revoked(revoked, data.get(revoked))
            return TrustedRoots(data[entry], data.get(revoked), min(each.not_valid_after_utc for each in roots))
    return None


def registry_logins(data: Mapping[str, bytes]) -> str:
    """Return the logins of registries (JSON) of a Secret that is of their type, empty where it holds none.

    Raises:
        UnusableError: it is no JSON object.
    """
    entry = data.get(LOGIN_ENTRY, b"")
    if not entry:
        return ""
    try:
        text = decoded(entry)
        known = json_value(text)
    except UnreadableError:  # whose text may show some of it
        known = None
    if not isinstance(known, dict):
        raise UnusableError(LOGIN_ENTRY, "is no JSON object")
    return text


def _pair(data: Mapping[str, bytes], certificate: str, key: str, staple: bytes) -> KeyPair:
    first = _certificates(certificate, data[certificate])[0]
    ours = _public_key(certificate, first)
    if _private_key_public(key, data[key]) != ours:
        raise UnusableError(key, f"is not the key of the certificate in {certificate}")
    if staple:
        _check_staple(first, staple)
    return KeyPair(data[certificate], data[key], staple, first.not_valid_before_utc, first.not_valid_after_utc)


def _certificates(entry: str, pem: bytes) -> tuple[x509.Certificate, ...]:
    from controlplane.model.certificate_text import chain  # noqa: PLC0415 - its library is loaded where it is used

    try:
        return chain(pem)
    except ValueError:
        raise UnusableError(entry, "holds no certificate (PEM) that can be read") from None


def _public_key(entry: str, certificate: x509.Certificate) -> CertificatePublicKeyTypes:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa  # noqa: PLC0415 - as above

    from controlplane.model.certificate_text import certified_key  # noqa: PLC0415

    try:
        key = certified_key(certificate)
    except ValueError:
        raise UnusableError(entry, "has a public key of a kind that is not known") from None
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < _SMALLEST_RSA:
        raise UnusableError(entry, f"has an RSA key of {key.key_size} bits; Envoy takes {_SMALLEST_RSA} or more")
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name not in _CURVES:
        raise UnusableError(entry, f"has a key on the curve {key.curve.name}; Envoy takes P-256, P-384 and P-521")
    return key


def _private_key_public(entry: str, pem: bytes) -> object:
    """Return the public half of a private key."""
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    try:
        return load_pem_private_key(pem, None, unsafe_skip_rsa_key_validation=True).public_key()
    except TypeError:
        raise UnusableError(entry, "is encrypted; a proxy knows no password for it") from None
    except (ValueError, UnsupportedAlgorithm):
        raise UnusableError(entry, "holds no private key (PEM) that can be read") from None


def _check_staple(certificate: x509.Certificate, staple: bytes) -> None:
    from cryptography.x509 import ocsp  # noqa: PLC0415 - as above

    try:
        response = ocsp.load_der_ocsp_response(staple)
        ours = response.serial_number == certificate.serial_number
    except ValueError:
        raise UnusableError(STAPLE_ENTRY, "is no answer of an OCSP server (DER) that can be used") from None
    if not ours:
        raise UnusableError(STAPLE_ENTRY, "is about another certificate than the one in tls.crt")


def _check_revoked(entry: str, pem: bytes | None) -> None:
    from controlplane.model.certificate_text import revoked  # noqa: PLC0415 - as above

    if not pem:
        return
    try:
        found = revoked(pem)
    except ValueError:
        found = ()
    if not found:
        raise UnusableError(entry, "holds no list of revoked certificates (PEM) that can be read")
