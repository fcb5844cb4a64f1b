"""Certificate authorities for tests: what an operator would plug in, made without our code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_PURPOSES = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def key_pem(key: Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@dataclass(frozen=True)
class Signer:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def signs(
        self,
        common_name: str,
        days: float = 100,
        *,
        authority: bool = True,
        names: tuple[str, ...] = (),
        usage: str = "",
    ) -> Signer:
        """Sign a new key: for an authority, or for these DNS names and URIs; ``usage`` is "server", "client" or any."""
        return _signed(common_name, self, days, authority=authority, names=names, purpose=usage)


def root(common_name: str, days: float = 1000) -> Signer:
    return _signed(common_name, None, days, authority=True)


def _signed(
    common_name: str,
    parent: Signer | None,
    days: float,
    *,
    authority: bool,
    names: tuple[str, ...] = (),
    purpose: str = "",
) -> Signer:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    signing_key = parent.key if parent else key
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only"), False
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(common_name))
        .issuer_name(parent.certificate.subject if parent else name(common_name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=not authority,
                key_cert_sign=authority,
                crl_sign=authority,
                decipher_only=False,
                **usage,
            ),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key()), critical=False)
    )
    if names:
        kinds = [x509.UniformResourceIdentifier(each) if "://" in each else x509.DNSName(each) for each in names]
        builder = builder.add_extension(x509.SubjectAlternativeName(kinds), critical=False)
    if purpose:
        builder = builder.add_extension(x509.ExtendedKeyUsage([_PURPOSES[purpose]]), critical=False)
    return Signer(builder.sign(signing_key, hashes.SHA256()), key)


def repeating(signer: Signer) -> bytes:
    """A certificate (DER) that states one extension twice, which is forbidden; its signature is wrong by that."""
    key_id, authority_id = b"\x06\x03\x55\x1d\x0e", b"\x06\x03\x55\x1d\x23"
    der = signer.certificate.public_bytes(serialization.Encoding.DER)
    assert key_id in der
    return der.replace(key_id, authority_id)


def of_version_6(signer: Signer) -> bytes:
    """A certificate (DER) of a version that does not exist."""
    version_3 = b"\xa0\x03\x02\x01\x02"
    return signer.certificate.public_bytes(serialization.Encoding.DER).replace(version_3, version_3[:-1] + b"\x05", 1)


def of_unknown_curve(signer: Signer) -> bytes:
    """A certificate (DER) for a key on a curve that does not exist: the first one is the key's, of P-256."""
    curve = b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07"
    return signer.certificate.public_bytes(serialization.Encoding.DER).replace(curve, curve[:-1] + b"\x7f", 1)


def cacerts(signer: Signer, between: list[Signer], roots: list[Signer]) -> Mapping[str, bytes]:
    """The files of Istio's layout."""
    return {
        "ca-cert.pem": signer.pem,
        "ca-key.pem": key_pem(signer.key),
        "cert-chain.pem": b"".join(each.pem for each in [signer, *between]),
        "root-cert.pem": b"".join(each.pem for each in roots),
    }


def csr(
    key: Key,
    *names: x509.GeneralName,
    common_name: str = "",
    authority: bool = False,
    usages: Sequence[x509.ObjectIdentifier] = (),
) -> str:
    builder = x509.CertificateSigningRequestBuilder().subject_name(name(common_name) if common_name else x509.Name([]))
    if authority:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


@dataclass
class Clock:
    """A time that the test moves."""

    now: datetime

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, duration: timedelta) -> None:
        self.now += duration
