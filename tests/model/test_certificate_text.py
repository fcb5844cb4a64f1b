"""Whatever is odd in a certificate of somebody else is one kind of error."""

from __future__ import annotations

import base64
import warnings
from collections.abc import Callable, Iterator
from ssl import DER_cert_to_PEM_cert
from typing import Any

import pytest
from cryptography import x509

from controlplane.model.certificate_text import (
    certified_key,
    chain,
    decode,
    decode_der,
    extension,
    extensions,
    first,
    request,
    revoked,
)

CERTIFICATE = base64.b64decode("""
MIIBvTCCAWSgAwIBAgIUHRx29kITvpDK2SoSMVYX9mp/iAswCgYIKoZIzj0EAwIwDDEKMAgGA1UEAwwBcjAeFw0yNjAxMDEwMDAwMDBaFw0yNj
AxMDEwMTAwMDBaMB8xHTAbBgNVBAMMFHNwaWZmZTovL2EvbnMvYi9zYS9jMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE2GVAiMDfwafpq4qp
PFg4jlHkwqY7q8c6+YtoCb5Cy9ZjX7uxPoq3I+Omk2AY4RsogpzVkL+NMLJR+Mwx8bifB6OBkDCBjTAMBgNVHRMBAf8EAjAAMA4GA1UdDwEB/w
QEAwIFoDAdBgNVHSUEFjAUBggrBgEFBQcDAQYIKwYBBQUHAwIwLQYDVR0RAQH/BCMwIYYUc3BpZmZlOi8vYS9ucy9iL3NhL2OHBAoAAAGCA2Eu
YjAfBgNVHSMEGDAWgBSjA1wTOJBcYwx8FHUUlEx6mNbLejAKBggqhkjOPQQDAgNHADBEAiAYz49uwfF5KgOHUU2qKETCekiNn9rrU4m4T9e3nf
aJHwIgUsuCv6TrXP+nK02mLA9oOJKdAxXN+786xJIafNaRF0o=
""")
REQUEST = base64.b64decode("""
MIHyMIGYAgEAMAsxCTAHBgNVBAoMADBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABNhlQIjA38Gn6auKqTxYOI5R5MKmO6vHOvmLaAm+QsvWY1
+7sT6KtyPjppNgGOEbKIKc1ZC/jTCyUfjMMfG4nwegKzApBgkqhkiG9w0BCQ4xHDAaMBgGA1UdEQEB/wQOMAyGCnNwaWZmZTovL2EwCgYIKoZI
zj0EAwIDSQAwRgIhANpTpirU9CWoQSEX9BuiO62Z5EQVg6yNIRppJmz9ZchiAiEAqYINQxyTgXbQr9pe7jKbiVNDWZ19R4wNQdeR53Zm/vY=
""")
REVOKED = base64.b64decode("""
MIGGMC8CAQEwCgYIKoZIzj0EAwIwABcNMjYwMTAxMDAwMDAwWhcNMjYwMTAxMDAwMDAwWjAKBggqhkjOPQQDAgNHADBEAiAw12hFI+yXHjjmCQ
wHu+IWz6/T2wlNCQzJiGn9NoD6TgIgb4pSKocDZ6gt2Q7jIHY3nUXFwyh9R0TWEjoUKPcIQn0=
""")


def changed(der: bytes) -> Iterator[bytes]:
    """The same bytes, each once with one bit other, and once as it never stands there."""
    for index, byte in enumerate(der):
        for other in {*(byte ^ (1 << bit) for bit in range(8)), 0, 255} - {byte}:
            yield der[:index] + bytes([other]) + der[index + 1 :]


def as_pem(der: bytes, kind: str) -> bytes:
    return DER_cert_to_PEM_cert(der).replace("CERTIFICATE", kind).encode()


def read_certificate(der: bytes) -> None:
    certificate = decode_der(der)
    assert chain(as_pem(der, "CERTIFICATE")) == decode(as_pem(der, "CERTIFICATE")) == (certificate,)
    assert first(as_pem(der, "CERTIFICATE")) == certificate
    assert certificate.subject.rfc4514_string() is not None
    for reader in (certified_key, extensions, lambda each: extension(each, x509.SubjectAlternativeName)):
        attempt(reader, certificate)


def read_request(der: bytes) -> None:
    csr, _ = request(as_pem(der, "CERTIFICATE REQUEST"))
    assert csr.subject.rfc4514_string() is not None
    attempt(extensions, csr)


def attempt(reader: Callable[[Any], object], value: object) -> bool:
    """Whether something can be read; all other errors than ``ValueError`` are the test's."""
    try:
        reader(value)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    ("der", "reader"),
    [
        pytest.param(CERTIFICATE, read_certificate, id="certificate"),
        pytest.param(REQUEST, read_request, id="request"),
        pytest.param(REVOKED, lambda der: revoked(as_pem(der, "X509 CRL")), id="revoked"),
    ],
)
def test_no_byte_makes_another_error_than_of_a_value(der: bytes, reader: Callable[[bytes], object]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of numbers and names that nobody may use any more
        assert attempt(reader, der)
        found = [attempt(reader, each) for each in changed(der)]
    assert set(found) == {True, False}


def test_an_empty_text_has_no_certificate() -> None:
    assert decode(b" \n") == ()
    for reader in (chain, first):
        with pytest.raises(ValueError, match=r"."):
            reader(b" \n")
