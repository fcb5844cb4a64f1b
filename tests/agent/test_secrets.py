"""What Envoy gets for the name of a secret, whatever it is made of."""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509 import load_pem_x509_certificate, load_pem_x509_csr
from structlog.testing import capture_logs

from controlplane.agent.certificate_files import PairFiles, RevokedFile, RootFile
from controlplane.agent.environment import Environment, StartError
from controlplane.agent.keys import KeyPolicy, encoded, new_key, signing_request
from controlplane.agent.metrics import exposition
from controlplane.agent.output_certificates import NAMES, OutputCertificates
from controlplane.agent.secrets import Secrets
from controlplane.agent.trust_bundle import roots
from controlplane.agent.workload_certificate import RenewalPolicy
from controlplane.analysis.credentials import why_unusable
from controlplane.model.credentials import UnusableError, trusted_roots
from samples.authority import LocalAuthority, spiffe_id
from tests.compiler import virtual
from tests.feature.key_pairs import DAY, Issuer, Pair
from tests.patience import patience

AUTHORITY, OTHER = LocalAuthority(), LocalAuthority("other")
WEB, LATER = AUTHORITY.issue(spiffe_id("shop")), AUTHORITY.issue(spiffe_id("shop"))


def trusted(secrets: Secrets, name: str = "ROOTCA") -> bytes:
    secret = secrets.find(name)
    assert secret is not None
    return bytes(secret.validation_context.trusted_ca.inline_bytes)


def test_nothing_is_there_before_a_certificate_is() -> None:
    secrets, told = Secrets(), []
    secrets.listen(lambda: told.append(1))
    assert [secrets.find(name) for name in ("default", "ROOTCA", "kubernetes://web")] == [None, None, None]
    secrets.use(WEB)
    found = secrets.find("anything")
    assert found is not None
    assert (found.name, found.tls_certificate.certificate_chain.inline_bytes) == ("anything", WEB.certificate_chain)
    assert secrets.find("kubernetes://web") is None, "such are the control plane's"
    assert trusted(secrets) == WEB.root_certificate
    assert told == [1]


def test_roots_of_the_control_plane_are_added_once() -> None:
    secrets = Secrets(WEB)
    pem = OTHER.root_certificate.decode()
    assert secrets.trust([pem, pem])
    assert not secrets.trust([pem, pem])
    assert trusted(secrets) == b"".join(sorted([AUTHORITY.root_certificate, OTHER.root_certificate]))
    secrets.use(LATER)
    assert trusted(secrets).count(b"BEGIN") == 2


def test_further_roots_come_in_a_proxy_config() -> None:
    pem = b"-----BEGIN"
    encoded_config = b"\x08\x01" + b"\x92\x02" + bytes([len(pem)]) + pem + b"\xa0\x02\x05"
    assert roots(encoded_config) == ["-----BEGIN"]
    with pytest.raises(ValueError, match="longer"):
        roots(b"\x92\x02\x7fx")


def test_a_certificate_of_no_known_version_is_none(tmp_path: Path) -> None:
    """The library says so in another way than of all else that it cannot read."""
    odd = of_odd_version(OTHER.root_certificate)
    (tmp_path / "root.pem").write_bytes(odd + OTHER.root_certificate)
    assert trusted(Secrets(WEB), f"file-root:{tmp_path}/root.pem") == OTHER.root_certificate
    (tmp_path / "key.pem").write_bytes(WEB.private_key)
    assert Secrets(WEB).find(f"file-cert:{tmp_path}/root.pem~{tmp_path}/key.pem") is None
    with pytest.raises(UnusableError, match=r"^data\.ca\.crt: holds no certificate"):
        trusted_roots({"ca.crt": odd})
    assert "cannot be read" in why_unusable({"stringData": {"cert": odd.decode(), "key": WEB.private_key.decode()}})


def of_odd_version(pem: bytes) -> bytes:
    der = load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
    changed = der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x16", 1)
    return b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(changed) + b"-----END CERTIFICATE-----\n"


def test_files_by_name(tmp_path: Path) -> None:
    """A pair must fit; of roots, what is no certificate is left out; what is gone leaves what was there."""
    chain, key, root = (tmp_path / name for name in ("chain.pem", "key.pem", "root.pem"))
    secrets = Secrets(WEB)
    pair, trust = f"file-cert:{chain}~{key}", f"file-root:{root}"
    assert [secrets.find(name) for name in (pair, trust, "file-cert:x", "file-root:")] == [None, None, None, None]
    chain.write_bytes(LATER.certificate_chain)
    key.write_bytes(WEB.private_key)
    assert secrets.find(pair) is None, "the key is another's"
    key.write_bytes(LATER.private_key)
    found = secrets.find(pair)
    assert found is not None
    assert found.tls_certificate.private_key.inline_bytes == LATER.private_key
    key.unlink()
    assert secrets.find(pair) == found
    garbage = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    root.write_bytes(b"# comment\n" + garbage + OTHER.root_certificate)
    assert trusted(secrets, trust) == OTHER.root_certificate
    root.write_bytes(garbage)
    assert trusted(secrets, trust) == OTHER.root_certificate
    assert trusted(secrets, "file-root:system").count(b"BEGIN") > 10


def test_a_certificate_that_has_ended_takes_the_place_of_none_that_has_not(tmp_path: Path) -> None:
    """It is told of, with the metric of when the workload's own ends; where there is nothing better, it is served."""
    issuer = Issuer()
    ended, good, later = issuer.pair("a", ago=3 * DAY, lasts=DAY), issuer.pair("a"), issuer.pair("a", lasts=20 * DAY)
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    secrets = Secrets(pair=PairFiles(chain, key))

    def shown(pair: Pair) -> bytes:
        replaced(chain, pair.certificate)
        replaced(key, pair.key)
        found = secrets.find("default")
        assert found is not None
        return bytes(found.tls_certificate.certificate_chain.inline_bytes)

    with capture_logs() as logs:
        assert shown(ended) == ended.certificate
        assert shown(good) == good.certificate
        expiry = (
            f"expiry_timestamp_seconds {load_pem_x509_certificate(good.certificate).not_valid_after_utc.timestamp()}"
        )
        assert expiry in exposition()
        assert shown(ended) == good.certificate
        assert expiry in exposition()
        assert shown(later) == later.certificate
    assert [(each["event"], each["former_kept"]) for each in logs] == [
        ("agent.certificate_ended", False),
        ("agent.certificate_ended", True),
    ]


def test_files_are_read_once_all_of_them_are_written(tmp_path: Path) -> None:
    """A chain and its key change one after the other: in between, nothing is read, told or complained of."""
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(WEB.certificate_chain)
    key.write_bytes(WEB.private_key)
    name = f"file-cert:{chain}~{key}"
    told: list[bytes] = []

    async def changing() -> None:
        secrets = Secrets(quiet=5.0)

        def tell() -> None:
            found = secrets.find(name)
            assert found is not None
            told.append(found.tls_certificate.certificate_chain.inline_bytes)

        assert secrets.find(name) is not None
        secrets.listen(tell)
        watching = asyncio.create_task(secrets.watch())
        await asyncio.sleep(1.5)
        replaced(chain, LATER.certificate_chain)
        await asyncio.sleep(4)
        replaced(key, LATER.private_key)
        await asyncio.sleep(20)
        assert told == [LATER.certificate_chain]
        for number in range(300):  # somebody writes for ever: it is read all the same
            replaced(chain, (WEB, LATER)[number % 2].certificate_chain)
            await asyncio.sleep(1)
        assert len(told) > 1
        watching.cancel()

    with capture_logs() as logs:
        virtual.run(changing())
    said = [each["event"] for each in logs]
    assert said.count("agent.file_unusable") <= len(told) - 1


async def test_revoked_certificates_go_with_every_set_of_roots(tmp_path: Path) -> None:
    """The file comes and goes with a ConfigMap; what is no list leaves those there were."""
    path, root, issuer = tmp_path / "crl.pem", tmp_path / "root.pem", Issuer()
    first, both = issuer.revoked(), issuer.revoked(issuer.pair("a.test")) + issuer.revoked()
    root.write_bytes(OTHER.root_certificate)
    secrets, changes = Secrets(WEB, crl=path, look_at_revoked=0.01), asyncio.Queue[bytes]()

    def revoked(name: str = "ROOTCA") -> bytes:
        secret = secrets.find(name)
        assert secret is not None
        return bytes(secret.validation_context.crl.inline_bytes)

    secrets.listen(lambda: changes.put_nowait(revoked()))
    watching = asyncio.create_task(secrets.watch_revoked())
    try:
        await asyncio.sleep(0)  # until it has looked once
        for content in (first, both):
            replaced(path, content)
            async with patience():
                assert await changes.get() == content
            assert revoked(f"file-root:{root}") == content
        for garbage in (b"nonsense", b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"):
            replaced(path, garbage)
            assert revoked() == both
        replaced(path, b"\n")
        async with patience():
            assert await changes.get() == b""
        secret = secrets.find("default")
        assert secret is not None
        assert not secret.HasField("validation_context")
    finally:
        watching.cancel()


def test_lists_of_revoked_certificates_that_cannot_be_read_leave_those_there_were(tmp_path: Path) -> None:
    """Only a file that is gone says that nobody is revoked; the reason is told once."""
    path, lists = tmp_path / "crl.pem", Issuer().revoked()
    path.write_bytes(lists)
    held = RevokedFile(path)
    assert held.lists() == lists
    path.unlink()
    path.mkdir()
    with capture_logs() as logs:
        assert [held.lists(), held.lists()] == [lists, lists]
    assert [each["reason"] for each in logs] == [f"{path} cannot be read: Is a directory"]
    path.rmdir()
    assert held.lists() == b""


def replaced(path: Path, content: bytes) -> None:
    """Replace a file in one moment, as the kubelet does."""
    beside = path.with_suffix(".new")
    beside.write_bytes(content)
    beside.replace(path)


def test_mounted_files_stand_for_the_workloads_own(tmp_path: Path) -> None:
    for name, content in (("c", WEB.certificate_chain), ("k", WEB.private_key), ("r", WEB.root_certificate)):
        (tmp_path / name).write_bytes(content)
    secrets = Secrets(pair=PairFiles(tmp_path / "c", tmp_path / "k"), root=RootFile(tmp_path / "r"))
    secrets.trust([OTHER.root_certificate.decode()])
    found = secrets.find("default")
    assert found is not None
    assert found.tls_certificate.certificate_chain.inline_bytes == WEB.certificate_chain
    assert trusted(secrets).count(b"BEGIN") == 2


@pytest.mark.parametrize(("cluster", "mode"), [("", 0o600), ("10.96.0.1", 0o644)])
def test_files_are_written_where_asked(tmp_path: Path, cluster: str, mode: int) -> None:
    """Each in one moment, and only when it is another."""
    secrets, folder = Secrets(WEB), tmp_path / "out"
    variables = {"OUTPUT_CERTS": str(folder), "KUBERNETES_SERVICE_HOST": cluster}
    output = OutputCertificates.of(Environment(variables), secrets)
    assert output is not None
    output.write()
    contents = [(folder / name).read_bytes() for name in NAMES]
    assert contents == [WEB.certificate_chain, WEB.private_key, WEB.root_certificate]
    assert {(folder / name).stat().st_mode & 0o777 for name in NAMES} == {mode}
    before = {name: (folder / name).stat().st_ino for name in NAMES}
    secrets.use(LATER)
    output.write()
    after = {name: (folder / name).stat().st_ino for name in NAMES}
    assert [before[name] == after[name] for name in NAMES] == [False, False, True]
    assert {path.name for path in folder.iterdir()} == set(NAMES)
    assert OutputCertificates.of(Environment({}), secrets) is None


@pytest.mark.parametrize(
    ("variables", "kind", "begin"),
    [
        ({}, ec.SECP256R1, b"-----BEGIN EC PRIVATE KEY"),
        ({"PKCS8_KEY": "true"}, ec.SECP256R1, b"-----BEGIN PRIVATE KEY"),
        ({"ECC_SIGNATURE_ALGORITHM": "ECDSA", "ECC_CURVE": "P384"}, ec.SECP384R1, b"-----BEGIN EC PRIVATE KEY"),
        ({"WORKLOAD_RSA_KEY_SIZE": "2048"}, 2048, b"-----BEGIN RSA PRIVATE KEY"),
        ({"WORKLOAD_RSA_KEY_SIZE": "2048", "ECC_SIGNATURE_ALGORITHM": "ECDSA"}, ec.SECP256R1, b"-----BEGIN EC"),
    ],
)
def test_keys_are_of_the_kind_that_was_asked_for(variables: dict[str, str], kind: object, begin: bytes) -> None:
    policy = KeyPolicy.of(Environment(variables))
    key = new_key(policy)
    assert encoded(key, policy).startswith(begin)
    assert load_pem_private_key(encoded(key, policy), None) is not None
    request = load_pem_x509_csr(signing_request(key, spiffe_id("shop")).encode())
    assert request.is_signature_valid
    assert request.public_key() == key.public_key()
    assert (key.key_size if isinstance(key, rsa.RSAPrivateKey) else type(key.curve)) == kind


@pytest.mark.parametrize(
    "variables", [{"WORKLOAD_RSA_KEY_SIZE": "1024"}, {"ECC_CURVE": "P521"}, {"ECC_SIGNATURE_ALGORITHM": "X"}]
)
def test_keys_that_nobody_accepts(variables: dict[str, str]) -> None:
    with pytest.raises(StartError, match=next(iter(variables))):
        KeyPolicy.of(Environment(variables))


def test_renewals_are_spread_around_the_share_that_is_left() -> None:
    received = datetime(2026, 1, 1, tzinfo=UTC)
    expires = received + timedelta(hours=24)
    times = {RenewalPolicy().renew_at(received, expires) for _ in range(200)}
    middle, spread = received + timedelta(hours=12), timedelta(hours=0.24)
    assert all(middle - spread <= each <= middle + spread for each in times)
    assert max(times) - min(times) > spread, "they do not come together"
    early = RenewalPolicy(ratio=0.9, jitter=0).renew_at(received, expires)
    assert abs(early - (received + timedelta(hours=2.4))) < timedelta(seconds=1)
