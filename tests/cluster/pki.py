"""Certificates and keys of one Kubernetes cluster, made anew each time it is set up."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

LIFETIME = timedelta(days=30)
AGE = timedelta(hours=1)
"""How old it is when made: a client whose clock is behind accepts it, as it does in a cluster of some age."""


def write_pki(folder: Path, names: Iterable[str], addresses: Iterable[str]) -> None:
    """Write ``ca.crt``, ``ca.key``, a server's ``api.crt``, ``api.key``, and ``sa.key``, ``sa.pub`` for tokens."""
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _name("cluster-ca")
    ca = (
        _certificate(authority, authority, authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    key = ec.generate_private_key(ec.SECP256R1())
    subjects: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    subjects += [x509.IPAddress(ip_address(address)) for address in addresses]
    serving = (
        _certificate(_name("kube-apiserver"), authority, key.public_key())
        .add_extension(x509.SubjectAlternativeName(subjects), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    _write_key(folder / "ca.key", authority_key)
    _write_key(folder / "api.key", key)
    (folder / "ca.crt").write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    (folder / "api.crt").write_bytes(serving.public_bytes(serialization.Encoding.PEM))
    token_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    _write_key(folder / "sa.key", token_key)
    (folder / "sa.pub").write_bytes(
        token_key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _certificate(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - AGE)
        .not_valid_after(now + LIFETIME)
    )


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
