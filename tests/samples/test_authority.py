"""Workload certificates: what they say, and that they verify."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from samples.authority import LocalAuthority, spiffe_id

SHOP = spiffe_id("shop", "cart")


def test_spiffe_id() -> None:
    assert SHOP == "spiffe://cluster.local/ns/shop/sa/cart"
    assert spiffe_id("a", trust_domain="td") == "spiffe://td/ns/a/sa/default"


def test_certificate_proves_the_identity() -> None:
    """The id is its only name, critical as the subject is empty; the key is the certificate's; the root signed it."""
    authority = LocalAuthority()
    identity = authority.issue(SHOP, timedelta(hours=1))
    certificate = x509.load_pem_x509_certificate(identity.certificate_chain)
    root = x509.load_pem_x509_certificate(identity.root_certificate)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.critical
    assert names.value.get_values_for_type(x509.UniformResourceIdentifier) == [SHOP]
    assert list(certificate.subject) == []
    key = load_pem_private_key(identity.private_key, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert isinstance(key.curve, ec.SECP256R1)
    assert key.public_key() == certificate.public_key()
    certificate.verify_directly_issued_by(root)
    assert certificate.not_valid_before_utc < datetime.now(UTC) < certificate.not_valid_after_utc
    assert certificate.not_valid_after_utc - datetime.now(UTC) <= timedelta(hours=1)


def test_no_certificate_outlives_its_root() -> None:
    authority = LocalAuthority(lifetime=timedelta(minutes=5))
    identity = authority.issue(SHOP, timedelta(days=1))
    certificate = x509.load_pem_x509_certificate(identity.certificate_chain)
    root = x509.load_pem_x509_certificate(authority.root_certificate)
    assert certificate.not_valid_after_utc == root.not_valid_after_utc


def test_another_root_does_not_verify() -> None:
    certificate = x509.load_pem_x509_certificate(LocalAuthority().issue(SHOP).certificate_chain)
    other = x509.load_pem_x509_certificate(LocalAuthority("other").root_certificate)
    with pytest.raises(ValueError, match="does not match certificate issuer"):
        certificate.verify_directly_issued_by(other)


def test_keys_are_not_printed() -> None:
    assert "PRIVATE" not in repr(LocalAuthority().issue(SHOP))
