"""The control plane's certificate where somebody else signs it: files, such as those of cert-manager's istio-csr."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID

from controlplane.model.certificate_text import certified_key, decode, extension
from controlplane.security.ca import utc_now
from controlplane.security.certificates import encode, is_authority, issued_by, private_key
from controlplane.security.serving import Shown
from controlplane.security.sources import SourceUnavailableError

PAIR = ("tls/tls.crt", "tls/tls.key")
ROOTS = ("ca/root-cert.pem", "tls/ca.crt")
"""The places of the roots, the first that there is: the ConfigMap ``istio-ca-root-cert``, the Secret of the pair."""


class InvalidServingError(ValueError):
    """The files cannot be shown to clients; the message names the file and the reason, never what a key holds."""


class ServingFiles:
    """The pair and the roots below a folder, istiod's ``/var/run/secrets/istiod``: read anew each time."""

    def __init__(self, folder: Path, clock: Callable[[], datetime] = utc_now) -> None:
        self._folder = folder
        self._clock = clock
        self._contents: tuple[bytes, ...] = ()
        self._shown: Shown | None = None

    async def prepare(self) -> None:
        """Nothing takes time."""

    def current(self) -> Shown:
        """Return what the files hold, the same object while they are the same.

        Raises:
            InvalidServingError: they do not fit each other, or no client would take them now.
            SourceUnavailableError: one is missing or cannot be read.
        """
        contents = tuple(self._read(name) for name in (*PAIR, self._roots()))
        if self._shown is None or contents != self._contents:
            self._shown = self._checked(*contents)
            self._contents = contents
        return self._shown

    def _roots(self) -> str:
        return next((name for name in ROOTS if (self._folder / name).exists()), ROOTS[0])

    def _read(self, name: str) -> bytes:
        path = self._folder / name
        try:
            return path.read_bytes()
        except OSError as error:
            raise SourceUnavailableError(f"{path}: {error.strerror}") from error

    def _checked(self, chain_pem: bytes, key_pem: bytes, roots_pem: bytes) -> Shown:
        chain, roots = (self._decoded(*each) for each in ((PAIR[0], chain_pem), (self._roots(), roots_pem)))
        certificate = chain[0]
        try:
            key = private_key(key_pem)
        except ValueError as error:
            raise self._invalid(PAIR[1], str(error)) from error
        if key.public_key() != self._certified(certificate):
            raise self._invalid(PAIR[1], "is not the key of tls.crt")
        problem = _problem(certificate, self._clock())
        if problem:
            raise self._invalid(PAIR[0], f"the certificate {problem}, and no client would take it")
        if not _leads(chain, roots, self._clock()):
            raise self._invalid(PAIR[0], f"does not lead to any certificate of {self._roots()} that is valid now")
        return Shown(key_pem + b"\n" + encode(chain).encode(), certificate, encode(dict.fromkeys(roots)))

    def _decoded(self, name: str, pem: bytes) -> tuple[x509.Certificate, ...]:
        try:
            found = decode(pem)
        except ValueError as error:
            raise self._invalid(name, "is no list of certificates in PEM") from error
        if not found:
            raise self._invalid(name, "is empty")
        return found

    def _certified(self, certificate: x509.Certificate) -> CertificatePublicKeyTypes:
        try:
            return certified_key(certificate)
        except ValueError as error:
            raise self._invalid(PAIR[0], f"the certificate has a key of no known kind: {error}") from error

    def _invalid(self, name: str, reason: str) -> InvalidServingError:
        return InvalidServingError(f"{self._folder / name}: {reason}")


def _problem(certificate: x509.Certificate, now: datetime) -> str:
    """Say why nobody would take a certificate of a server; empty if that is not to be seen from it alone."""
    if now >= certificate.not_valid_after_utc:
        return f"ended at {certificate.not_valid_after_utc.isoformat(timespec='seconds')}"
    if now < certificate.not_valid_before_utc:
        return f"begins at {certificate.not_valid_before_utc.isoformat(timespec='seconds')}"
    try:
        names = extension(certificate, x509.SubjectAlternativeName)
        usages = extension(certificate, x509.ExtendedKeyUsage)
    except ValueError as error:
        return f"is of no use, {error}"
    if names is None:
        return "has no names"
    if usages is None:
        return ""
    good = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
    return "" if good & set(usages) else "is not for servers (extended key usage)"


def _leads(chain: Sequence[x509.Certificate], roots: Sequence[x509.Certificate], now: datetime) -> bool:
    """Whether the first certificate leads to a root over others of the chain, in any order, as clients look for it."""
    anchors, rest = ([each for each in among if _is_current(each, now)] for among in (roots, chain[1:]))
    reached = [chain[0]]
    for each in reached:
        if each in anchors or any(issued_by(each, root) for root in anchors):
            return True
        reached += [other for other in rest if other not in reached and is_authority(other) and issued_by(each, other)]
    return False


def _is_current(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc
