"""What is signed, for whom, and whom everybody trusts meanwhile; ``openssl`` is the judge of certificates."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from controlplane.security.ca import Authority, Lifetimes
from controlplane.security.issuer import Issuer
from controlplane.security.refusal import CallRefused, Refusal
from tests.feature.key_pairs import Issuer as KeyPairs
from tests.security.authorities import Clock, Signer, cacerts, csr, root

CART = "spiffe://cluster.local/ns/shop/sa/cart"
KEY = ec.generate_private_key(ec.SECP256R1())
ROOT, NEXT = root("root"), root("next")
LIFETIMES = Lifetimes()


def issuer(signer: Signer, between: list[Signer], roots: list[Signer]) -> Issuer:
    made = Issuer.of_files(cacerts(signer, between, roots))
    assert made is not None
    return made


@pytest.fixture
def clock() -> Clock:
    return Clock(datetime.now(UTC).replace(microsecond=0))


@pytest.fixture
def authority(clock: Clock) -> Authority:
    intermediate = ROOT.signs("intermediate")
    return Authority(issuer(intermediate, [], [ROOT]), LIFETIMES, clock)


def leaf_of(chain: tuple[str, ...]) -> x509.Certificate:
    return x509.load_pem_x509_certificate(chain[0].encode())


def openssl_accepts(
    chain: tuple[str, ...], trusted: str, folder: Path, purpose: str = "sslserver", at: datetime | None = None
) -> str:
    leaf, between, roots = folder / "leaf.pem", folder / "between.pem", folder / "roots.pem"
    leaf.write_text(chain[0])
    between.write_text("".join(chain[1:-1]))
    roots.write_text(trusted)
    chain_option = ["-untrusted", str(between)] if len(chain) > 2 else []
    done = subprocess.run(
        [
            "openssl",
            "verify",
            "-x509_strict",
            "-attime",
            str(int((at or datetime.now(UTC)).timestamp())),
            "-purpose",
            purpose,
            "-CAfile",
            roots,
            *chain_option,
            leaf,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    return "OK" if done.returncode == 0 else done.stderr + done.stdout


@pytest.mark.parametrize("key", [KEY, rsa.generate_private_key(65537, 2048)], ids=["ecdsa", "rsa"])
def test_the_certificate_is_for_the_caller_whatever_was_asked_for(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, authority: Authority, clock: Clock
) -> None:
    request = csr(key, x509.UniformResourceIdentifier("spiffe://cluster.local/ns/bank/sa/vault"), x509.DNSName("bank"))
    chain = authority.sign_csr(request, [CART], None)
    leaf = leaf_of(chain)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.critical
    assert [each.value for each in names.value] == [CART]
    assert leaf.public_key() == key.public_key()
    assert not leaf.subject.rdns
    assert leaf.not_valid_before_utc == clock.now - timedelta(minutes=2)
    assert leaf.not_valid_after_utc == clock.now + LIFETIMES.default
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_who_asks_to_be_an_authority_gets_a_leaf_that_signs_nothing(authority: Authority) -> None:
    leaf = leaf_of(authority.sign_csr(csr(KEY, authority=True), [CART], None))
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert not leaf.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign


@pytest.mark.parametrize("purpose", ["sslserver", "sslclient"])
def test_openssl_verifies_the_chain(authority: Authority, tmp_path: Path, purpose: str) -> None:
    chain = authority.sign_csr(csr(KEY), [CART], None)
    assert len(chain) == 3
    assert chain[-1] == authority.bundle == ROOT.pem.decode()
    assert openssl_accepts(chain, authority.bundle, tmp_path, purpose) == "OK"
    assert "unable to get" in openssl_accepts(chain, NEXT.pem.decode(), tmp_path)


def test_a_common_name_is_given_to_who_asks_for_one(authority: Authority) -> None:
    leaf = leaf_of(authority.sign_csr(csr(KEY, common_name="anything"), [CART], None))
    assert leaf.subject.rfc4514_string() == f"CN={CART}"


def test_a_certificate_ends_with_the_chain_at_the_latest(clock: Clock) -> None:
    short = issuer(ROOT.signs("short", days=0.5), [], [ROOT])
    leaf = leaf_of(Authority(short, LIFETIMES, clock).sign_csr(csr(KEY), [CART], timedelta(days=30)))
    assert leaf.not_valid_after_utc == short.expires


def test_the_lifetime_that_was_asked_for(authority: Authority, clock: Clock) -> None:
    leaf = leaf_of(authority.sign_csr(csr(KEY), [CART], timedelta(minutes=5)))
    assert leaf.not_valid_after_utc == clock.now + timedelta(minutes=5)


@pytest.mark.parametrize(
    ("request_pem", "lifetime", "reason"),
    [
        pytest.param("", None, "CSR_ERROR", id="empty"),
        pytest.param(ROOT.pem.decode(), None, "CSR_ERROR", id="a-certificate"),
        pytest.param(csr(rsa.generate_private_key(65537, 1024)), None, "RSA of 2048", id="weak-key"),
        pytest.param(csr(ec.generate_private_key(ec.SECP521R1())), None, "P-256 or P-384", id="other-curve"),
        pytest.param(csr(KEY), timedelta(days=91), "TTL_ERROR.*2160 hours", id="too-long"),
    ],
)
def test_what_is_not_signed(authority: Authority, request_pem: str, lifetime: timedelta | None, reason: str) -> None:
    with pytest.raises(CallRefused, match=reason) as refused:
        authority.sign_csr(request_pem, [CART], lifetime)
    assert refused.value.kind is Refusal.INVALID
    assert str(refused.value).startswith("CSR signing error (")


def test_a_request_signed_with_another_key_is_refused(authority: Authority) -> None:
    lines = csr(KEY).splitlines()
    lines[-2] = lines[-2][:-6] + ("A" * 4 if lines[-2][-6:-2] != "AAAA" else "B" * 4) + lines[-2][-2:]
    with pytest.raises(CallRefused, match="CSR_ERROR"):
        authority.sign_csr("\n".join(lines), [CART], None)


def test_nothing_is_signed_with_an_issuer_that_has_ended(authority: Authority, clock: Clock) -> None:
    clock.pass_by(timedelta(days=101))
    with pytest.raises(CallRefused, match="CERT_GEN_ERROR") as refused:
        authority.sign_csr(csr(KEY), [CART], None)
    assert refused.value.kind is Refusal.INTERNAL


def test_another_intermediate_of_a_trusted_root_signs_at_once(authority: Authority) -> None:
    another = ROOT.signs("another")
    authority.offer(issuer(another, [], [ROOT]))
    assert authority.issuer.certificate == another.certificate


def test_a_new_root_is_trusted_before_anything_is_signed_under_it(
    authority: Authority, clock: Clock, tmp_path: Path
) -> None:
    changes: list[str] = []
    authority.on_change(lambda: changes.append(authority.bundle))
    first = authority.sign_csr(csr(KEY), [CART], None)
    old, new = ROOT.pem.decode(), NEXT.pem.decode()
    offered = issuer(NEXT.signs("of next"), [], [NEXT])

    authority.offer(offered)
    assert changes == [old + new]
    second = authority.sign_csr(csr(KEY), [CART], None)
    assert second[-1] == old + new
    assert openssl_accepts(second, old, tmp_path) == "OK"  # who knows only the old root accepts it still

    clock.pass_by(LIFETIMES.root_overlap - timedelta(seconds=1))
    authority.offer(offered)
    assert authority.issuer.anchor == ROOT.certificate
    clock.pass_by(timedelta(seconds=1))
    authority.offer(offered)
    third = authority.sign_csr(csr(KEY), [CART], None)
    assert openssl_accepts(third, new, tmp_path, at=clock.now) == "OK"
    assert authority.bundle == new + old  # certificates of before still live
    assert openssl_accepts(first, authority.bundle, tmp_path, at=clock.now - timedelta(minutes=1)) == "OK"

    clock.pass_by(LIFETIMES.default)
    authority.update()
    assert authority.bundle == new
    assert changes == [old + new, new + old, new]


def test_a_root_that_joined_the_bundle_long_ago_may_sign_at_once(authority: Authority, clock: Clock) -> None:
    current = authority.issuer
    both = Issuer(current.certificate, current.key, current.chain, (ROOT.certificate, NEXT.certificate), current.anchor)
    authority.offer(both)
    clock.pass_by(LIFETIMES.root_overlap)
    authority.offer(issuer(NEXT.signs("of next"), [], [ROOT, NEXT]))
    assert authority.issuer.anchor == NEXT.certificate


def test_a_root_that_the_operator_drops_later_goes_at_once(authority: Authority) -> None:
    current = authority.issuer
    both = Issuer(current.certificate, current.key, current.chain, (ROOT.certificate, NEXT.certificate), current.anchor)
    authority.offer(both)
    authority.offer(current)
    assert authority.bundle == ROOT.pem.decode()


def test_a_new_root_signs_when_half_of_what_the_old_issuer_has_left_is_over(clock: Clock) -> None:
    """By then everybody has renewed once and knows the new root: nobody is left with a certificate that ends."""
    ending = issuer(ROOT.signs("ending", days=0.1), [], [ROOT])
    authority = Authority(ending, LIFETIMES, clock)
    since = clock.now
    authority.offer(issuer(NEXT.signs("of next"), [], [NEXT]))
    clock.now = since + (ending.expires - since) * 0.49
    authority.update()
    assert leaf_of(authority.sign_csr(csr(KEY), [CART], None)).issuer == ending.certificate.subject
    clock.now = since + (ending.expires - since) * 0.51
    authority.update()
    assert leaf_of(authority.sign_csr(csr(KEY), [CART], None)).not_valid_after_utc > ending.expires


def test_an_authority_that_has_ended_is_left_at_once(clock: Clock) -> None:
    ending = issuer(ROOT.signs("ending", days=0.1), [], [ROOT])
    authority = Authority(ending, LIFETIMES, clock)
    authority.offer(issuer(NEXT.signs("of next"), [], [NEXT]))
    clock.now = ending.expires
    assert leaf_of(authority.sign_csr(csr(KEY), [CART], None)).not_valid_after_utc > ending.expires
    assert authority.issuer.anchor == NEXT.certificate


def test_an_offer_that_is_taken_back(authority: Authority) -> None:
    before = authority.issuer
    authority.offer(issuer(NEXT.signs("of next"), [], [NEXT]))
    authority.offer(before)
    assert (authority.issuer, authority.bundle) == (before, ROOT.pem.decode())


def test_other_revocations_are_told_even_before_the_new_issuer_signs(authority: Authority) -> None:
    """They are the source's, whoever signs; nothing is told where nothing is new."""
    told: list[str] = []
    authority.on_change(lambda: told.append(authority.revoked))
    lists = [KeyPairs().revoked().decode() for _ in range(2)]
    next_one = replace(issuer(NEXT.signs("next-intermediate"), [], [NEXT]), revoked=lists[0])
    assert authority.revoked == ""
    authority.offer(next_one)
    authority.offer(next_one)
    authority.offer(replace(next_one, revoked=lists[1]))
    assert authority.issuer.certificate != next_one.certificate, "its root is not long enough in the bundle"
    authority.offer(replace(next_one, revoked=""))
    assert told == [*lists, ""]
