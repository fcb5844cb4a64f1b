"""The workload's private key and the request for its certificate. The key stays in this process's memory."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from controlplane.agent.environment import Environment, StartError

_SHORTEST_RSA = 2048
_EXPONENT = 65537
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True, slots=True)
class KeyPolicy:
    """Which keys are made: ``rsa_bits`` of 0 is a key on an elliptic curve, P-256 unless ``p384``.

    ``pkcs8`` is the form in which the key is written; without it, the older form of its kind.
    """

    rsa_bits: int = 0
    p384: bool = False
    pkcs8: bool = False

    @classmethod
    def of(cls, environment: Environment) -> KeyPolicy:
        """Read what was said. A size for RSA asks for RSA, where no curve is named. Raises ``StartError``."""
        bits = environment.number("WORKLOAD_RSA_KEY_SIZE", 0)
        algorithm, curve = environment.text("ECC_SIGNATURE_ALGORITHM"), environment.text("ECC_CURVE", "P256")
        if bits and bits < _SHORTEST_RSA:
            raise StartError(f"WORKLOAD_RSA_KEY_SIZE: {bits} is less than {_SHORTEST_RSA}, which nobody accepts")
        if algorithm not in {"", "ECDSA"}:
            raise StartError(f"ECC_SIGNATURE_ALGORITHM: {algorithm!r} is not known; there is ECDSA")
        if curve not in {"P256", "P384"}:
            raise StartError(f"ECC_CURVE: {curve!r} is not known; there are P256 and P384")
        return cls(0 if algorithm else bits, curve == "P384", environment.flag("PKCS8_KEY"))


def new_key(policy: KeyPolicy) -> Key:
    """Make a key. RSA takes up to a second of processor time."""
    if policy.rsa_bits:
        return rsa.generate_private_key(public_exponent=_EXPONENT, key_size=policy.rsa_bits)
    return ec.generate_private_key(ec.SECP384R1() if policy.p384 else ec.SECP256R1())


def encoded(key: Key, policy: KeyPolicy) -> bytes:
    """Return the key as Envoy reads it (PEM)."""
    form = serialization.PrivateFormat.PKCS8 if policy.pkcs8 else serialization.PrivateFormat.TraditionalOpenSSL
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def signing_request(key: Key, spiffe_id: str) -> str:
    """Return the request (PEM) for a certificate of this identity; the subject is empty, so its name is critical."""
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(spiffe_id)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).add_extension(names, critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
