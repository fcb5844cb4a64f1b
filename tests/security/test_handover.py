"""A root that is replaced together with a restart: everybody trusts the new one before anything is signed under it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from controlplane.security.ca import Authority, Lifetimes
from controlplane.security.handover import files_of, past_of
from controlplane.security.issuer import InvalidIssuerError, Issuer
from tests.security.authorities import Clock, Signer, cacerts, csr, root

CART = "spiffe://cluster.local/ns/shop/sa/cart"
KEY = ec.generate_private_key(ec.SECP256R1())
OLD, NEW = root("old"), root("new")
BOTH = (OLD.pem + NEW.pem).decode()
LIFETIMES = Lifetimes()


def issuer(signer: Signer, anchor: Signer) -> Issuer:
    made = Issuer.of_files(cacerts(signer, [], [anchor]))
    assert made is not None
    return made


OF_OLD, OF_NEW = issuer(OLD.signs("a"), OLD), issuer(NEW, NEW)


@pytest.fixture
def clock() -> Clock:
    return Clock(datetime.now(UTC))


def restarted(before: Authority, offered: Issuer, clock: Clock) -> Authority:
    """A new process that finds the files of the last one, and another issuer at the source."""
    return Authority(offered, LIFETIMES, clock, past_of(files_of(before.past)))


def test_the_old_issuer_signs_across_a_restart_until_everybody_trusts_the_new_root(clock: Clock) -> None:
    authority = restarted(Authority(OF_OLD, LIFETIMES, clock), OF_NEW, clock)
    assert (authority.issuer, authority.bundle) == (OF_OLD, BOTH)
    assert authority.sign_csr(csr(KEY), [CART], None)[-1] == BOTH
    clock.pass_by(timedelta(hours=23))
    authority = restarted(authority, OF_NEW, clock)  # does not begin again
    assert authority.issuer == OF_OLD
    clock.pass_by(timedelta(hours=1))
    authority.update()
    assert (authority.issuer, authority.bundle) == (OF_NEW, (NEW.pem + OLD.pem).decode())


def test_the_old_root_is_trusted_across_a_restart_until_its_last_certificate_ends(clock: Clock) -> None:
    authority = Authority(OF_OLD, LIFETIMES, clock)
    authority.sign_csr(csr(KEY), [CART], timedelta(days=5))
    authority = restarted(authority, OF_NEW, clock)
    clock.pass_by(timedelta(days=1))
    authority = restarted(authority, OF_NEW, clock)
    assert authority.issuer == OF_NEW
    clock.pass_by(timedelta(days=3))
    authority = restarted(authority, OF_NEW, clock)
    assert OLD.certificate in authority.roots
    clock.pass_by(timedelta(days=2))  # of which the last is begun, as only whole days are kept
    authority.update()
    assert authority.roots == (NEW.certificate,)


def test_an_issuer_that_ended_meanwhile_is_not_gone_on_with(clock: Clock) -> None:
    authority = Authority(issuer(OLD.signs("short", days=0.5), OLD), LIFETIMES, clock)
    clock.pass_by(timedelta(days=1))
    assert restarted(authority, OF_NEW, clock).issuer == OF_NEW


def test_a_replica_follows_the_one_that_was_first(clock: Clock) -> None:
    first, second = Authority(OF_OLD, LIFETIMES, clock), Authority(OF_OLD, LIFETIMES, clock)
    first.offer(OF_NEW)
    second.sign_csr(csr(KEY), [CART], None)
    clock.pass_by(timedelta(hours=12))
    second.offer(OF_NEW, first.past)
    clock.pass_by(timedelta(hours=12))  # since the first has seen it
    first.update()
    assert first.issuer == OF_NEW
    changes: list[str] = []
    second.on_change(lambda: changes.append(second.bundle))
    second.offer(OF_NEW, first.past)
    assert (second.issuer, set(second.roots)) == (OF_NEW, {OLD.certificate, NEW.certificate})
    assert len(changes) == 1
    second.offer(OF_NEW, first.past)
    assert len(changes) == 1


def test_going_back_needs_no_overlap(clock: Clock) -> None:
    authority = Authority(OF_OLD, LIFETIMES, clock)
    authority.offer(OF_NEW)
    clock.pass_by(timedelta(days=1))
    authority = restarted(authority, OF_NEW, clock)
    assert authority.issuer == OF_NEW
    assert restarted(authority, OF_OLD, clock).issuer == OF_OLD


def test_what_stays_the_same_has_the_same_files(clock: Clock) -> None:
    authority = Authority(OF_OLD, LIFETIMES, clock)
    authority.sign_csr(csr(KEY), [CART], timedelta(days=5))
    first = files_of(authority.past)
    for _ in range(3):
        clock.pass_by(timedelta(minutes=1))
        authority.sign_csr(csr(KEY), [CART], None)
        authority.offer(OF_OLD, past_of(first))
        assert files_of(authority.past) == first


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        pytest.param("trust.json", None, r"trust\.json is missing", id="no-times"),
        pytest.param("trust.json", b"{", r"trust\.json: line 1: Expecting", id="no-json"),
        pytest.param("trust.json", b"[]", r"trust\.json: list indices", id="another-shape"),
        pytest.param("trust.json", b'{"since": [], "until": [], "signedUntil": "2026-01-01"}', "zone", id="no-zone"),
        pytest.param("ca-key.pem", b"", r"ca-key\.pem: not an unencrypted private key", id="no-key"),
    ],
)
def test_nonsense_is_refused(clock: Clock, name: str, content: bytes | None, reason: str) -> None:
    files = dict(files_of(Authority(OF_OLD, LIFETIMES, clock).past))
    del files[name]
    if content is not None:
        files[name] = content
    with pytest.raises(InvalidIssuerError, match=reason):
        past_of(files)
