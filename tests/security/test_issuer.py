from __future__ import annotations

from ssl import DER_cert_to_PEM_cert

import pytest

from controlplane.security.issuer import InvalidIssuerError, Issuer
from tests.feature.key_pairs import Issuer as KeyPairs
from tests.security.authorities import cacerts, key_pem, of_unknown_curve, of_version_6, root

ROOT, OTHER = root("root"), root("other")
UPPER = ROOT.signs("upper")
LOWER = UPPER.signs("lower", days=5)
ODD_VERSION, ODD_CURVE = (DER_cert_to_PEM_cert(odd(LOWER)).encode() for odd in (of_version_6, of_unknown_curve))
FILES = cacerts(LOWER, [UPPER, ROOT], [ROOT, OTHER])


def test_a_chain_leads_to_its_root() -> None:
    issuer = Issuer.of_files(FILES)
    assert issuer is not None
    assert issuer.chain == (LOWER.certificate, UPPER.certificate)  # the root is in the bundle, not in the chain
    assert issuer.anchor == ROOT.certificate
    assert issuer.roots == (ROOT.certificate, OTHER.certificate)
    assert issuer.expires == LOWER.certificate.not_valid_after_utc
    assert "PRIVATE" not in repr(issuer)
    assert "key=" not in repr(issuer)


def test_the_layout_of_tls_secrets() -> None:
    issuer = Issuer.of_files({"tls.crt": LOWER.pem + UPPER.pem, "tls.key": key_pem(LOWER.key), "ca.crt": ROOT.pem})
    assert issuer is not None
    assert (issuer.chain, issuer.roots) == ((LOWER.certificate, UPPER.certificate), (ROOT.certificate,))


def test_a_root_signs_without_a_chain() -> None:
    issuer = Issuer.of_files(cacerts(ROOT, [], [ROOT]))
    assert issuer is not None
    assert (issuer.chain, issuer.anchor) == ((), ROOT.certificate)


def test_no_files_are_no_issuer() -> None:
    assert Issuer.of_files({}) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param({"cert-chain.pem": None}, "incomplete: has ca-cert.pem, ca-key.pem, root-cert.pem", id="partial"),
        pytest.param({"ca-key.pem": key_pem(UPPER.key)}, "ca-key.pem is not the key of ca-cert.pem", id="other-key"),
        pytest.param({"ca-key.pem": b"nonsense"}, "ca-key.pem: not an unencrypted private key", id="no-key"),
        pytest.param({"root-cert.pem": OTHER.pem}, "ca-cert.pem does not lead to any certificate", id="other-root"),
        pytest.param({"root-cert.pem": b""}, "root-cert.pem is empty", id="no-root"),
        pytest.param({"cert-chain.pem": LOWER.pem}, "ca-cert.pem does not lead to any certificate", id="gap"),
        pytest.param({"ca-cert.pem": b"-----BEGIN"}, "ca-cert.pem: ", id="broken-certificate"),
        pytest.param({"ca-cert.pem": ODD_VERSION}, "ca-cert.pem: 5 is not a valid", id="unknown-version"),
        pytest.param({"ca-cert.pem": ODD_CURVE}, "ca-cert.pem has a key of no known kind: ", id="unknown-curve"),
        pytest.param({"ca-crl.pem": b"nonsense"}, "ca-crl.pem: there is something else", id="no-list"),
        pytest.param(
            {"ca-crl.pem": b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"},
            "ca-crl.pem: ",
            id="broken-list",
        ),
        pytest.param({"ca-crl.pem": b"M\xfcller\n" + KeyPairs().revoked()}, "ca-crl.pem: 'utf-8' codec", id="no-text"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, bytes | None], reason: str) -> None:
    files = {name: content for name, content in {**FILES, **change}.items() if content is not None}
    with pytest.raises(InvalidIssuerError, match=reason):
        Issuer.of_files(files)


def test_a_leaf_signs_nothing() -> None:
    leaf = ROOT.signs("leaf", authority=False)
    with pytest.raises(InvalidIssuerError, match="not the certificate of a certificate authority"):
        Issuer.of_files(cacerts(leaf, [], [ROOT]))
