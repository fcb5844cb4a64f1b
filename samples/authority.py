"""Workload identities from a certificate authority that lives and dies with this process.

For running proxies without a cluster (samples, tests). A mesh's identities are signed by the control plane's CA.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from controlplane.agent.identity import WorkloadIdentity

_CLOCK_SKEW = timedelta(minutes=2)  # a verifier whose clock runs behind must not see a certificate of the future


def spiffe_id(namespace: str, service_account: str = "default", trust_domain: str = "cluster.local") -> str:
    """Return the id of a service account: ``spiffe://<trust domain>/ns/<namespace>/sa/<service account>``."""
    return f"spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}"


class LocalAuthority:
    """A self-signed root that signs workload certificates; keys are EC P-256 and stay in memory."""

    def __init__(self, organisation: str = "cluster.local", lifetime: timedelta = timedelta(days=1)) -> None:
        """Make the root; ``lifetime`` is that of the root and the longest of any certificate it signs."""
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation)])
        now = datetime.now(UTC)
        self._not_after = now + lifetime
        self._root = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _CLOCK_SKEW)
            .not_valid_after(self._not_after)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )

    @property
    def root_certificate(self) -> bytes:
        """The root certificate, PEM."""
        return self._root.public_bytes(serialization.Encoding.PEM)

    def revoked(self, *identities: WorkloadIdentity) -> bytes:
        """Return the list of these certificates as those that count no more (PEM)."""
        now = datetime.now(UTC)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self._root.subject)
        builder = builder.last_update(now - _CLOCK_SKEW).next_update(self._not_after)
        for each in identities:
            number = x509.load_pem_x509_certificate(each.certificate_chain).serial_number
            entry = x509.RevokedCertificateBuilder().serial_number(number).revocation_date(now - _CLOCK_SKEW)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def issue(self, identity: str, lifetime: timedelta = timedelta(hours=12)) -> WorkloadIdentity:
        """Sign a certificate for a SPIFFE id, usable as client and as server.

        The subject is empty, so the id's subject alternative name is critical. Reference: SPIFFE X.509-SVID,
        sections 2 and 4.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self._root.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _CLOCK_SKEW)
            .not_valid_after(min(now + lifetime, self._not_after))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity)]), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return WorkloadIdentity(
            spiffe_id=identity,
            certificate_chain=certificate.public_bytes(serialization.Encoding.PEM),
            private_key=key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
            root_certificate=self.root_certificate,
        )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
