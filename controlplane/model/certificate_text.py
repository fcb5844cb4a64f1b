"""Certificates, requests and lists of revoked ones as somebody else wrote them: what is odd there is a ``ValueError``.

The library's own errors of versions, algorithms and extensions are no ``ValueError``, and it reads names, keys and
extensions only when they are asked for. Whoever forgets one of these lets a peer's certificate end a task; so these are
read here and nowhere else, which the lint holds for all that loads them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

Stated = TypeVar("Stated", bound=x509.ExtensionType)
_END_OF_LIST = b"-----END X509 CRL-----"
_ODD = (x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, UnsupportedAlgorithm)


def decode(pem: bytes) -> tuple[x509.Certificate, ...]:
    """Read all certificates of a PEM text; none for an empty one.

    Raises:
        ValueError: the text holds something else.
    """
    return chain(pem) if pem.strip() else ()


def chain(pem: bytes) -> tuple[x509.Certificate, ...]:
    """Read all certificates of a PEM text, of which there is one at least.

    Raises:
        ValueError: the text is empty, or holds something else.
    """
    with _read():
        return tuple(map(_named, x509.load_pem_x509_certificates(pem)))


def first(pem: bytes) -> x509.Certificate:
    """Read the first certificate of a PEM text.

    Raises:
        ValueError: it begins with none.
    """
    with _read():
        return _named(x509.load_pem_x509_certificate(pem))


def decode_der(der: bytes) -> x509.Certificate:
    """Read one certificate.

    Raises:
        ValueError: it is none.
    """
    with _read():
        return _named(x509.load_der_x509_certificate(der))


def request(pem: bytes) -> tuple[x509.CertificateSigningRequest, bool]:
    """Read a request, and whether it is signed with its own key.

    Raises:
        ValueError: it is none, or its key is of a kind that nobody knows.
    """
    with _read():
        csr = x509.load_pem_x509_csr(pem)
        _ = csr.subject  # read when it is asked for
        return csr, csr.is_signature_valid


def revoked(pem: bytes) -> tuple[x509.CertificateRevocationList, ...]:
    """Read lists of revoked certificates; none for an empty text.

    Raises:
        ValueError: the text holds something else.
    """
    *lists, rest = pem.split(_END_OF_LIST)
    with _read():
        found = tuple(x509.load_pem_x509_crl(each + _END_OF_LIST) for each in lists)
    if rest.strip():
        raise ValueError("there is something else than lists of revoked certificates (PEM)")
    return found


def certified_key(of: x509.Certificate | x509.CertificateSigningRequest) -> CertificatePublicKeyTypes:
    """Return the public key that is certified, or is to be.

    Raises:
        ValueError: it is of a kind that nobody knows, or none at all.
    """
    with _read():
        return of.public_key()


def extensions(of: x509.Certificate | x509.CertificateSigningRequest) -> x509.Extensions:
    """Return all that is stated beside name, key and times.

    Raises:
        ValueError: it cannot be read; something is there twice, for example.
    """
    with _read("its extensions cannot be read: "):
        return of.extensions


def extension(certificate: x509.Certificate, kind: type[Stated]) -> Stated | None:
    """Return what a certificate states of a kind, ``None`` for nothing.

    Raises:
        ValueError: its extensions cannot be read.
    """
    try:
        return extensions(certificate).get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _named(certificate: x509.Certificate) -> x509.Certificate:
    """Read the names, which would else be done when somebody asks for them."""
    _ = certificate.subject, certificate.issuer
    return certificate


@contextmanager
def _read(what: str = "") -> Iterator[None]:
    try:
        yield
    except (ValueError, *_ODD) as error:
        raise ValueError(f"{what}{str(error) or type(error).__name__}") from error
