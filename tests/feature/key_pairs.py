"""Keys and certificates as users put them into Secrets."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key (PEM)."""

    certificate: bytes
    key: bytes

    @property
    def serial(self) -> int:
        return x509.load_pem_x509_certificate(self.certificate).serial_number


def ec_key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: Key, encryption: serialization.KeySerializationEncryption | None = None) -> bytes:
    encryption = encryption or serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


class Issuer:
    """A certificate authority of somebody else."""

    def __init__(self, name: str = "Test CA") -> None:
        self._key = ec_key()
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._builder(self._name, self._key, timedelta(), 30 * DAY)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.certificate = self._signed(builder)

    def pair(self, *hosts: str, ago: timedelta = DAY, lasts: timedelta = 10 * DAY, key: Key | None = None) -> Pair:
        """Return a pair for these hosts, valid since so long ago."""
        key = key or ec_key()
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0] if hosts else "nobody")])
        builder = self._builder(name, key, ago, lasts)
        names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
        builder = builder.add_extension(names, critical=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        return Pair(self._signed(builder), key_pem(key))

    def revoked(self, *pairs: Pair) -> bytes:
        """Return a list of what is revoked (PEM)."""
        now = datetime.now(UTC)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self._name)
        builder = builder.last_update(now - DAY).next_update(now + DAY)
        for pair in pairs:
            entry = x509.RevokedCertificateBuilder().serial_number(pair.serial).revocation_date(now - DAY)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def _builder(self, name: x509.Name, key: Key, ago: timedelta, lasts: timedelta) -> x509.CertificateBuilder:
        begins = datetime.now(UTC) - ago
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(self._name).public_key(key.public_key())
        return (
            builder.serial_number(x509.random_serial_number()).not_valid_before(begins).not_valid_after(begins + lasts)
        )

    def _signed(self, builder: x509.CertificateBuilder) -> bytes:
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def secret(
    name: str, data: Mapping[str, bytes], namespace: str = "istio-system", kind: str = "Opaque"
) -> dict[str, Any]:
    """Return a Secret."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "type": kind,
        "data": {entry: base64.b64encode(content).decode() for entry, content in data.items()},
    }


def tls_secret(name: str, pair: Pair, namespace: str = "istio-system", **further: bytes) -> dict[str, Any]:
    """Return a Secret of the type that Kubernetes has for key pairs; ``further`` entries have ``_`` for dots."""
    data = {"tls.crt": pair.certificate, "tls.key": pair.key}
    data |= {entry.replace("_", "."): content for entry, content in further.items()}
    return secret(name, data, namespace, "kubernetes.io/tls")
