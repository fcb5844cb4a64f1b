"""A certificate of our ports that somebody else signs, such as istio-csr: files that come, change and may be wrong."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from ssl import DER_cert_to_PEM_cert

import pytest
from structlog.testing import capture_logs

from controlplane.security.rotation import ServingKeeper
from controlplane.security.serving import ServingTls
from controlplane.security.serving_files import InvalidServingError, ServingFiles
from controlplane.security.sources import SourceUnavailableError
from tests.security.authorities import Clock, Signer, key_pem, of_unknown_curve, of_version_6, root

ROOT, OTHER = root("root"), root("other")
ISSUER = ROOT.signs("issuer")
ODD_KEY = "the certificate has a key of no known kind: Curve 1.2.840.10045.3.1.127 is not supported"
ASTRAY = "tls/tls.crt: does not lead to any certificate of ca/root-cert.pem that is valid now"


def mount(folder: Path, pair: Signer, *between: Signer, roots: bytes = ROOT.pem) -> None:
    """Put the files in their places, as the kubelet does with a Secret and a ConfigMap."""
    for name in ("tls", "ca"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "tls" / "tls.crt").write_bytes(b"".join(each.pem for each in (pair, *between)))
    (folder / "tls" / "tls.key").write_bytes(key_pem(pair.key))
    (folder / "ca" / "root-cert.pem").write_bytes(roots)


def as_pem(der: bytes) -> bytes:
    return DER_cert_to_PEM_cert(der).encode()


def istiod(signer: Signer = ISSUER, days: float = 100) -> Signer:
    name = "istiod.istio-system.svc"
    return signer.signs(name, days, authority=False, names=(name,))


def test_the_roots_of_the_config_map_win_over_those_of_the_secret(tmp_path: Path) -> None:
    mount(tmp_path, istiod(), ISSUER)
    (tmp_path / "tls" / "ca.crt").write_bytes(OTHER.pem + ROOT.pem)
    files = ServingFiles(tmp_path)
    assert files.current().bundle == ROOT.pem.decode()
    assert files.current() is files.current()
    (tmp_path / "ca" / "root-cert.pem").unlink()
    assert files.current().bundle == (OTHER.pem + ROOT.pem).decode()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("tls/tls.crt", b"nonsense", "tls/tls.crt: is no list of certificates in PEM"),
        ("tls/tls.crt", as_pem(of_version_6(ROOT)), "tls/tls.crt: is no list of certificates in PEM"),
        ("tls/tls.crt", as_pem(of_unknown_curve(ROOT)), f"tls/tls.crt: {ODD_KEY}"),
        ("tls/tls.crt", b"", "tls/tls.crt: is empty"),
        ("tls/tls.key", b"nonsense", "tls/tls.key: not an unencrypted private key in PEM"),
        ("tls/tls.key", key_pem(ROOT.key), "tls/tls.key: is not the key of tls.crt"),
        ("ca/root-cert.pem", b"\n", "ca/root-cert.pem: is empty"),
        ("ca/root-cert.pem", OTHER.pem, ASTRAY),
        ("ca/root-cert.pem", root("root").pem, ASTRAY),
    ],
)
async def test_what_does_not_fit_is_named_and_the_last_good_pair_stays(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    mount(tmp_path, istiod(), ISSUER)
    serving = ServingTls(ServingFiles(tmp_path))
    shown = serving.certificate
    (tmp_path / name).write_bytes(content)
    keeper = ServingKeeper(serving, timedelta(seconds=30))
    with capture_logs() as logs:
        await keeper.once()
        await keeper.once()
    assert keeper.problem == f"{tmp_path}/{reason}"
    assert [each["reason"] for each in logs] == [keeper.problem]
    assert b"PRIVATE" not in repr(logs).encode()
    assert serving.certificate is shown
    with pytest.raises(InvalidServingError, match=reason.partition(": ")[2]):
        ServingTls(ServingFiles(tmp_path))


async def test_a_new_pair_and_new_roots_are_taken_up(tmp_path: Path) -> None:
    mount(tmp_path, istiod(), ISSUER)
    serving, told = ServingTls(ServingFiles(tmp_path)), []
    keeper = ServingKeeper(serving, timedelta(seconds=30), lambda: told.append(serving.bundle))
    await keeper.once()
    assert not told
    second = istiod(OTHER)
    mount(tmp_path, second, roots=ROOT.pem + OTHER.pem)
    await keeper.once()
    assert told == [(ROOT.pem + OTHER.pem).decode()]
    assert serving.certificate == second.certificate
    assert serving.grpc_context().verify_mode is ssl.CERT_OPTIONAL


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceUnavailableError, match=r"tls/tls\.crt: No such file"):
        ServingTls(ServingFiles(tmp_path))


def test_a_certificate_that_has_ended_does_not_begin(tmp_path: Path) -> None:
    mount(tmp_path, istiod(days=1), ISSUER)
    later = Clock(datetime.now(UTC) + timedelta(days=2))
    with pytest.raises(InvalidServingError, match="the certificate ended at"):
        ServingFiles(tmp_path, later).current()


def test_one_of_the_future_does_not_begin(tmp_path: Path) -> None:
    mount(tmp_path, istiod(), ISSUER)
    earlier = Clock(datetime.now(UTC) - timedelta(days=2))
    with pytest.raises(InvalidServingError, match=r"the certificate begins at .*no client would take it"):
        ServingFiles(tmp_path, earlier).current()


def test_a_root_that_has_ended_does_not_count(tmp_path: Path) -> None:
    ended = root("ended", days=-0.5)
    mount(tmp_path, istiod(ended), roots=ended.pem + ROOT.pem)
    with pytest.raises(InvalidServingError, match="does not lead to any certificate"):
        ServingFiles(tmp_path).current()


SERVER, CLIENT = (ISSUER.signs("a", authority=False, names=("a",), usage=usage) for usage in ("server", "client"))
MIDDLE = ISSUER.signs("middle")


@pytest.mark.parametrize(
    ("pair", "between", "reason"),
    [
        pytest.param(istiod(MIDDLE), (MIDDLE, ISSUER), "", id="two"),
        pytest.param(istiod(MIDDLE), (ISSUER, OTHER, MIDDLE, ROOT), "", id="any-order-and-others"),
        pytest.param(istiod(ROOT), (), "", id="of-the-root"),
        pytest.param(SERVER, (ISSUER,), "", id="for-servers"),
        pytest.param(istiod(MIDDLE), (ISSUER,), "does not lead to", id="gap"),
        pytest.param(istiod(OTHER), (ISSUER, ROOT), "does not lead to", id="another-root-behind-it"),
        pytest.param(istiod(MIDDLE), (MIDDLE, ROOT.signs("issuer", days=-0.5)), "does not lead to", id="issuer-ended"),
        pytest.param(istiod(istiod()), (istiod(), ISSUER), "does not lead to", id="signed-by-no-authority"),
        pytest.param(ISSUER.signs("a", authority=False), (ISSUER,), "the certificate has no names", id="no-names"),
        pytest.param(CLIENT, (ISSUER,), "the certificate is not for servers", id="for-clients"),
    ],
)
def test_only_what_clients_take_is_shown(
    tmp_path: Path, pair: Signer, between: tuple[Signer, ...], reason: str
) -> None:
    mount(tmp_path, pair, *between)
    if not reason:
        assert ServingFiles(tmp_path).current().certificate == pair.certificate
        return
    with pytest.raises(InvalidServingError, match=reason):
        ServingFiles(tmp_path).current()


def test_a_key_is_not_shown(tmp_path: Path) -> None:
    mount(tmp_path, istiod(), ISSUER)
    assert "PRIVATE" not in repr(ServingFiles(tmp_path).current())
