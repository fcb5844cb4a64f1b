"""X.509 as this mesh uses it: roots, and certificates for workloads and for the control plane itself."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from controlplane.model.certificate_text import certified_key, extension

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

CLOCK_SKEW = timedelta(minutes=2)
"""Certificates begin so long ago: a verifier whose clock runs behind must not see one of the future."""

_RSA_SIZES = range(2048, 8193)  # bits; verifying with a key of a peer's choice must not take long
_CURVES = (ec.SECP256R1, ec.SECP384R1)
_LONGEST_COMMON_NAME = 64  # characters; X.520's upper bound


def encode(certificates: Iterable[x509.Certificate]) -> str:
    """Return certificates as PEM, one after another."""
    return "".join(each.public_bytes(serialization.Encoding.PEM).decode() for each in certificates)


def private_key(pem: bytes) -> PrivateKey:
    """Read an unencrypted private key, PKCS#1, SEC 1 or PKCS#8.

    Raises:
        ValueError: the text is none, or of a type that is not used here; the message never shows it.
    """
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ValueError("not an unencrypted private key in PEM") from error
    public_key(key.public_key())
    if not isinstance(
        key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
    ):  # only then is its public key of a used type
        raise TypeError(f"{type(key).__name__} is no private key of RSA or ECDSA")
    return key


def public_key(key: object) -> PublicKey:
    """Return a key if it is of a type and size that is used here.

    Raises:
        ValueError: it is not; the message says what is.
    """
    if isinstance(key, rsa.RSAPublicKey) and key.key_size in _RSA_SIZES:
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES):
        return key
    raise ValueError("the key must be RSA of 2048 to 8192 bits, or ECDSA on P-256 or P-384")


def encode_key(key: PrivateKey) -> bytes:
    """Return a private key as PEM, PKCS#1 or SEC 1: what istiod writes."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


def root_subject(trust_domain: str) -> x509.Name:
    """Return the subject of a self-signed root: the trust domain as organisation, no common name."""
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, trust_domain)])


def self_signed_root(key: PrivateKey, subject: x509.Name, lifetime: timedelta, now: datetime) -> x509.Certificate:
    """Return a root for a key. Roots of the same key and subject verify the same certificates."""
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_key_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def leaf(
    signer: tuple[x509.Certificate, PrivateKey],
    key: PublicKey,
    names: Sequence[str],
    validity: tuple[datetime, datetime],
    *,
    common_name: bool = False,
) -> x509.Certificate:
    """Return a certificate for client and server, for exactly these names: SPIFFE ids, IP addresses, DNS names.

    The subject is empty, or the first name as common name if that is wanted and fits. ``validity`` is begin and end.
    Reference: SPIFFE X.509-SVID, sections 2 and 4.
    """
    certificate, signing_key = signer
    subject = []
    if common_name and len(names[0]) <= _LONGEST_COMMON_NAME:
        subject = [x509.NameAttribute(NameOID.COMMON_NAME, names[0])]
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name(subject))
        .issuer_name(certificate.subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(validity[0])
        .not_valid_after(validity[1])
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.SubjectAlternativeName([general_name(name) for name in names]), critical=True)
        .add_extension(_authority_key(certificate), critical=False)
        .sign(signing_key, hashes.SHA256())
    )


def general_name(name: str) -> x509.GeneralName:
    """Return a name as certificates state it: a SPIFFE id, an IP address, else a DNS name."""
    if name.startswith("spiffe://"):
        return x509.UniformResourceIdentifier(name)
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether a certificate may sign others; one whose extensions cannot be read may not."""
    try:
        constraints = extension(certificate, x509.BasicConstraints)
    except ValueError:
        return False
    return constraints is not None and constraints.ca


def issued_by(certificate: x509.Certificate, parent: x509.Certificate) -> bool:
    """Whether ``parent`` signed this certificate: names and signature, not times."""
    try:
        certificate.verify_directly_issued_by(parent)
    except Exception:  # noqa: BLE001 - ValueError, TypeError or InvalidSignature, and of no other interest
        return False
    return True


def leads_to(chain: Sequence[x509.Certificate], roots: Sequence[x509.Certificate]) -> bool:
    """Whether each certificate is signed by the next, and the last by one of the roots: names and signatures only."""
    pairs = pairwise(chain)
    return all(issued_by(*pair) for pair in pairs) and any(issued_by(chain[-1], root) for root in roots)


def _authority_key(certificate: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """Name the signer's key as the signer's certificate does, which need not be the usual hash."""
    subject_key = extension(certificate, x509.SubjectKeyIdentifier)
    if subject_key is None:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(public_key(certified_key(certificate)))
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(subject_key)


def _key_usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_encipherment=not signs,
        key_cert_sign=signs,
        crl_sign=False,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
