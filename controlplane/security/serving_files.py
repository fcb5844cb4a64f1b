"""The control plane's certificate where somebody else signs it: files, such as those of cert-manager's istio-csr."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from cryptography import x509

from controlplane.security.ca import utc_now
from controlplane.security.certificates import decode, encode, issued_by, private_key
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
            InvalidServingError: they do not fit each other, or have ended.
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
        if key.public_key() != certificate.public_key():
            raise self._invalid(PAIR[1], "is not the key of tls.crt")
        if self._clock() >= certificate.not_valid_after_utc:
            ended = certificate.not_valid_after_utc.isoformat(timespec="seconds")
            raise self._invalid(PAIR[0], f"the certificate ended at {ended}")
        if not any(issued_by(chain[-1], root) or chain[-1] == root for root in roots):
            raise self._invalid(PAIR[0], f"does not lead to any certificate of {self._roots()}")
        return Shown(key_pem + b"\n" + encode(chain).encode(), certificate, encode(dict.fromkeys(roots)))

    def _decoded(self, name: str, pem: bytes) -> tuple[x509.Certificate, ...]:
        try:
            found = decode(pem)
        except ValueError as error:
            raise self._invalid(name, "is no list of certificates in PEM") from error
        if not found:
            raise self._invalid(name, "is empty")
        return found

    def _invalid(self, name: str, reason: str) -> InvalidServingError:
        return InvalidServingError(f"{self._folder / name}: {reason}")
