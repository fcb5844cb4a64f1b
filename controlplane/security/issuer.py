"""What signs: a key with its certificate, the chain to a root, and the roots that are trusted beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

from controlplane.model.certificate_text import certified_key, decode, revoked
from controlplane.security.certificates import PrivateKey, is_authority, issued_by, private_key

_LONGEST_PATH = 10
CA_CERTIFICATE = "ca-cert.pem"
CA_KEY = "ca-key.pem"
CHAIN = "cert-chain.pem"
ROOTS = "root-cert.pem"
REVOKED = "ca-crl.pem"
GENERATED = "istio-generated"
"""Present (and empty) beside a self-signed root that a control plane made, and may renew."""

_ISTIO = (CA_CERTIFICATE, CA_KEY, CHAIN, ROOTS)
_KUBERNETES = ("tls.crt", "tls.key", "ca.crt")
FILES = frozenset({*_ISTIO, *_KUBERNETES, REVOKED, GENERATED})
"""The names of both layouts: Istio's own, and that of Secrets of type ``kubernetes.io/tls``."""


class InvalidIssuerError(ValueError):
    """What was found cannot sign; the message names the part and the reason."""


@dataclass(frozen=True, slots=True)
class Issuer:
    """A certificate authority's key and certificates, checked to belong together.

    ``chain`` is what a verifier needs between a leaf and a root: the signing certificate first, and empty if that is
    a root itself. ``roots`` are all that its source wants trusted; ``anchor`` is the one that the chain leads to.
    ``revoked`` is the source's lists of revoked certificates (PEM), empty without one.
    """

    certificate: x509.Certificate
    key: PrivateKey = field(repr=False, compare=False)  # stated by the certificate
    chain: tuple[x509.Certificate, ...]
    roots: tuple[x509.Certificate, ...]
    anchor: x509.Certificate
    revoked: str = ""

    @classmethod
    def of_files(cls, files: Mapping[str, bytes]) -> Self | None:
        """Return the issuer of a ``cacerts`` folder or Secret, by file name; ``None`` if it has none of the files.

        Raises:
            InvalidIssuerError: it has some files and not all of a layout, or they do not fit each other.
        """
        for certificate, key, *bundles in (_KUBERNETES, _ISTIO):
            names = (certificate, key, *bundles)
            if all(name in files for name in names):
                return cls._of_pem(files, certificate, key, tuple(bundles))
        if present := sorted(name for name in (*_ISTIO, *_KUBERNETES) if name in files):
            needed = " or ".join(", ".join(layout) for layout in (_KUBERNETES, _ISTIO))
            raise InvalidIssuerError(f"incomplete: has {', '.join(present)}, and needs {needed}")
        return None

    @classmethod
    def of_self_signed(cls, files: Mapping[str, bytes]) -> Self:
        """Return the issuer of a Secret that a control plane made, whose roots and chain may be left empty.

        Raises:
            InvalidIssuerError: the key or the certificate is missing, or they do not fit each other.
        """
        for name in (CA_CERTIFICATE, CA_KEY):
            if not files.get(name):
                raise InvalidIssuerError(f"{name} is missing")
        roots = files.get(ROOTS) or files[CA_CERTIFICATE]
        return cls._of_pem({**files, ROOTS: roots, CHAIN: b""}, CA_CERTIFICATE, CA_KEY, (CHAIN, ROOTS))

    @classmethod
    def _of_pem(cls, files: Mapping[str, bytes], certificate: str, key: str, bundles: tuple[str, ...]) -> Self:
        first, *further = _certificates(files, certificate) or (None,)
        if first is None:
            raise InvalidIssuerError(f"{certificate} is empty")
        try:
            signing_key = private_key(files[key])
        except ValueError as error:
            raise InvalidIssuerError(f"{key}: {error}") from error
        if signing_key.public_key() != _key_of(first, certificate):
            raise InvalidIssuerError(f"{key} is not the key of {certificate}")
        if not is_authority(first):
            raise InvalidIssuerError(f"{certificate} is not the certificate of a certificate authority")
        roots = _certificates(files, bundles[-1])
        if not roots:
            raise InvalidIssuerError(f"{bundles[-1]} is empty")
        between = [first, *further, *(each for name in bundles[:-1] for each in _certificates(files, name))]
        chain = tuple(each for each in dict.fromkeys(between) if each not in roots)
        anchor = _anchor(first, chain, roots)
        if anchor is None:
            raise InvalidIssuerError(f"{certificate} does not lead to any certificate of {bundles[-1]}")
        return cls(first, signing_key, chain, tuple(dict.fromkeys(roots)), anchor, _revoked(files.get(REVOKED, b"")))

    @property
    def expires(self) -> datetime:
        """When the first certificate from the signing one to its root ends."""
        return min(each.not_valid_after_utc for each in (self.certificate, *self.chain, self.anchor))


def _certificates(files: Mapping[str, bytes], name: str) -> tuple[x509.Certificate, ...]:
    try:
        return decode(files[name])
    except ValueError as error:
        raise InvalidIssuerError(f"{name}: {error}") from error


def _key_of(found: x509.Certificate, name: str) -> CertificatePublicKeyTypes:
    try:
        return certified_key(found)
    except ValueError as error:
        raise InvalidIssuerError(f"{name} has a key of no known kind: {error}") from error


def _revoked(pem: bytes) -> str:
    """Return lists of revoked certificates as they are, once all of them can be read."""
    try:
        revoked(pem)
        return pem.decode()
    except ValueError as error:
        raise InvalidIssuerError(f"{REVOKED}: {error}") from error


def _anchor(
    certificate: x509.Certificate, chain: tuple[x509.Certificate, ...], roots: tuple[x509.Certificate, ...]
) -> x509.Certificate | None:
    """Follow the signatures from a certificate to a root."""
    for _ in range(_LONGEST_PATH):
        if certificate in roots:
            return certificate
        found = [root for root in roots if issued_by(certificate, root)]
        if found:
            return max(found, key=lambda root: root.not_valid_after_utc)
        parent = next((each for each in chain if each != certificate and issued_by(certificate, each)), None)
        if parent is None:
            return None
        certificate = parent
    return None
