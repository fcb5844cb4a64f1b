"""What is asked of whoever signs certificates of workloads: our own authority, or a signer outside."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple, Protocol

from cryptography import x509

from controlplane.model.certificate_text import certified_key, request
from controlplane.security.certificates import PublicKey, public_key
from controlplane.security.refusal import CallRefused, NamesRefused, Refusal

CSR_ERROR = "CSR_ERROR"
"""What is wrong is the request itself."""


class Wanted(NamedTuple):
    """One request: the CSR (PEM), the names that the caller has proved, how long, and who shall sign it.

    ``lifetime`` is ``None`` where the usual one will do; ``signer`` is empty where the caller names none.
    """

    csr: str
    names: Sequence[str]
    lifetime: timedelta | None = None
    signer: str = ""


class Signer(Protocol):
    """Signs requests of callers whose identity somebody else has checked."""

    async def chain(self, wanted: Wanted) -> tuple[str, ...]:
        """Return the certificate, each intermediate, and last all roots to trust, each as PEM.

        Raises:
            CallRefused: it is not signed, and why.
        """


def refused(what: str, reason: str, kind: Refusal = Refusal.INVALID) -> CallRefused:
    """Return a refusal in istiod's words: ``what`` is one of its kinds of errors, such as ``CSR_ERROR``."""
    return CallRefused(kind, _sentence(what, reason))


def names_refused(reason: str) -> NamesRefused:
    """Return the refusal of a request for its names."""
    return NamesRefused(Refusal.INVALID, _sentence(CSR_ERROR, reason))


def _sentence(what: str, reason: str) -> str:
    return f"CSR signing error ({what}): {reason}"


def checked_lifetime(wanted: timedelta | None, default: timedelta, longest: timedelta) -> timedelta:
    """Return how long a certificate shall live.

    Raises:
        CallRefused: longer than it may.
    """
    if wanted is not None and wanted > longest:
        hours = longest // timedelta(hours=1)
        raise refused("TTL_ERROR", f"the longest lifetime is {hours} hours, and {wanted} was asked for")
    return wanted or default


def read_request(csr_pem: str) -> tuple[x509.CertificateSigningRequest, PublicKey]:
    """Return a request and its public key, which has signed it.

    Raises:
        CallRefused: it is none, or its key is of a kind that is not used here.
    """
    try:
        csr, signed = request(csr_pem.encode())
        key = public_key(certified_key(csr))
    except ValueError as error:
        raise refused(CSR_ERROR, str(error)) from error
    if not signed:
        raise refused(CSR_ERROR, "the request is not signed with its own key")
    return csr, key
