"""An authority in a folder: plugged in, or made and renewed here."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from controlplane.model.certificate_text import decode
from controlplane.security.issuer import InvalidIssuerError
from controlplane.security.self_signed import RootPolicy, new_root, renewal
from controlplane.security.sources import FolderSource, SourceUnavailableError
from tests.security.authorities import Clock, cacerts, root

pytestmark = pytest.mark.slow

POLICY = RootPolicy("mesh.example", lifetime=timedelta(days=100), grace=0.2, overlap=timedelta(days=1))
START = datetime(2026, 1, 1, tzinfo=UTC)


def source(folder: Path, clock: Clock) -> FolderSource:
    return FolderSource(folder, POLICY, clock)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


async def test_a_root_is_made_where_there_is_none_and_found_again(tmp_path: Path) -> None:
    folder, clock = tmp_path / "new" / "ca", Clock(START)
    issuer = await source(folder, clock).read()
    assert issuer.certificate.subject.rfc4514_string() == "O=mesh.example"
    assert issuer.expires == START + timedelta(days=100)
    assert (issuer.chain, issuer.roots) == ((), (issuer.certificate,))
    assert await source(folder, clock).read() == issuer
    assert stat.S_IMODE((folder / "ca-key.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


async def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    await source(tmp_path, Clock(START)).read()
    assert (tmp_path / "ca-cert.pem").exists()


async def test_two_that_start_at_once_agree(tmp_path: Path) -> None:
    sources = [source(tmp_path / "ca", Clock(START)) for _ in range(4)]
    first, *others = await asyncio.gather(*(each.read() for each in sources))
    assert all(each == first for each in others)


async def test_plugged_in_files_stay_as_they_are(tmp_path: Path) -> None:
    top = root("top", days=1)
    for name, content in cacerts(top.signs("signer", days=1), [], [top]).items():
        (tmp_path / name).write_bytes(content)
    before = contents(tmp_path)
    issuer = await FolderSource(tmp_path, POLICY).read()
    assert issuer.anchor == top.certificate
    assert contents(tmp_path) == before


async def test_part_of_an_authority_is_refused_and_not_completed(tmp_path: Path) -> None:
    (tmp_path / "root-cert.pem").write_bytes(root("top").pem)
    with pytest.raises(InvalidIssuerError, match=r"/.*: incomplete: has root-cert.pem"):
        await FolderSource(tmp_path, POLICY).read()
    assert list(contents(tmp_path)) == ["root-cert.pem"]


async def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SourceUnavailableError, match="cannot make a root there"):
        await source(tmp_path / "file" / "ca", Clock(START)).read()


async def test_a_root_in_files_is_renewed(tmp_path: Path) -> None:
    folder, clock = tmp_path / "ca", Clock(START)
    old = await source(folder, clock).read()
    clock.pass_by(timedelta(days=81))
    staged = await source(folder, clock).read()
    assert staged.certificate == old.certificate
    assert len(staged.roots) == 2
    clock.pass_by(timedelta(days=1))
    renewed = await source(folder, clock).read()
    assert renewed.certificate == staged.roots[1]
    assert renewed.certificate.public_key() == old.certificate.public_key()
    assert not [name for name in contents(folder) if name.startswith(".")]


def steps(files: Mapping[str, bytes], days: list[float]) -> list[Mapping[str, bytes]]:
    """What is held after each of these days, counted from the start."""
    held = []
    for day in days:
        files = renewal(files, POLICY, START + timedelta(days=day)) or files
        held.append(files)
    return held


def test_a_renewed_root_keeps_key_and_subject_and_is_trusted_first() -> None:
    files = new_root(POLICY, START)
    (old,) = decode(files["ca-cert.pem"])
    before, staged, waiting, promoted, later = steps(files, [79, 81, 81.9, 82, 101])
    assert before == files
    assert staged["ca-cert.pem"] == files["ca-cert.pem"]
    assert decode(staged["root-cert.pem"])[0] == old
    new = decode(staged["root-cert.pem"])[1]
    assert (new.public_key(), new.subject) == (old.public_key(), old.subject)
    assert new.not_valid_after_utc == START + timedelta(days=181)
    assert waiting == staged
    assert decode(promoted["ca-cert.pem"]) == (new,)
    assert decode(promoted["root-cert.pem"]) == (new, old)
    assert later == promoted  # the old one has ended, and goes with the next renewal
    assert all(each["ca-key.pem"] == files["ca-key.pem"] for each in (staged, promoted))


def test_a_root_that_has_ended_is_replaced_in_two_steps_without_waiting() -> None:
    staged, promoted = steps(new_root(POLICY, START), [150, 150])
    assert len(decode(staged["root-cert.pem"])) == 2
    assert decode(promoted["ca-cert.pem"]) == decode(promoted["root-cert.pem"]) == decode(staged["root-cert.pem"])[1:]


def test_a_secret_of_istiod_has_no_roots_beside_its_own() -> None:
    files = {**new_root(POLICY, START), "root-cert.pem": b""}
    renewed = renewal(files, POLICY, START + timedelta(days=81))
    assert renewed is not None
    assert len(decode(renewed["root-cert.pem"])) == 2
