"""Sources that come, go and change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from controlplane.security.ca import Authority, Lifetimes
from controlplane.security.issuer import InvalidIssuerError
from controlplane.security.rotation import Rotator, open_authority
from controlplane.security.self_signed import RootPolicy
from controlplane.security.serving import ServingTls, SignedHere
from controlplane.security.sources import FolderSource
from tests.security.authorities import Clock, Signer, cacerts, root

NAMES = ("istiod.istio-system.svc",)
ROOT = root("root")


def plug_in(folder: Path, signer: Signer) -> None:
    for name, content in cacerts(signer, [], [ROOT]).items():
        (folder / name).write_bytes(content)


async def test_a_change_of_the_files_takes_effect_and_nonsense_does_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plug_in(tmp_path, ROOT.signs("first"))
    source = FolderSource(tmp_path, RootPolicy())
    authority = await open_authority(source, Lifetimes())
    serving = ServingTls(SignedHere(authority, lambda: NAMES))
    rotator = Rotator(source, authority, serving, timedelta(minutes=1))
    second = ROOT.signs("second")
    plug_in(tmp_path, second)
    await rotator.once()
    assert authority.issuer.certificate == second.certificate
    assert serving.certificate is not None
    assert serving.certificate.issuer == second.certificate.subject
    (tmp_path / "ca-key.pem").write_bytes(b"nonsense")
    capsys.readouterr()
    for _ in range(2):
        await rotator.once()
    assert authority.issuer.certificate == second.certificate
    assert f"{tmp_path}: ca-key.pem: not an unencrypted private key in PEM" in rotator.problem
    assert capsys.readouterr().out.count("security.source_unusable") == 1
    plug_in(tmp_path, second)
    await rotator.once()
    assert not rotator.problem


async def test_an_issuer_that_has_ended_is_reported_and_the_port_stays(tmp_path: Path) -> None:
    clock = Clock(datetime.now(UTC))
    plug_in(tmp_path, ROOT.signs("short", days=0.5))
    source = FolderSource(tmp_path, RootPolicy(), clock)
    authority = Authority(await source.read(), Lifetimes(), clock)
    serving = ServingTls(SignedHere(authority, lambda: NAMES, clock))
    shown = serving.certificate
    clock.pass_by(timedelta(days=1))
    rotator = Rotator(source, authority, serving, timedelta(minutes=1))
    await rotator.once()
    assert "the signing certificate ended at" in rotator.problem
    assert serving.certificate == shown


async def test_what_cannot_sign_does_not_start(tmp_path: Path) -> None:
    plug_in(tmp_path, ROOT.signs("first"))
    (tmp_path / "root-cert.pem").write_bytes(root("other").pem)
    with pytest.raises(InvalidIssuerError, match=r"does not lead to any certificate of root-cert\.pem"):
        await open_authority(FolderSource(tmp_path, RootPolicy()), Lifetimes())
