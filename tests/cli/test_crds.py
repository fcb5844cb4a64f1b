"""``controlplane crds``."""

from __future__ import annotations

from pathlib import Path

import yaml

from controlplane.apis.kinds import KINDS
from tests.cli.command import ROOT, run


async def test_prints_every_definition_as_one_stream() -> None:
    result = await run("crds")
    assert (result.code, result.err) == (0, "")
    made = list(yaml.safe_load_all(result.out))
    assert [each["spec"]["names"]["kind"] for each in made] == list(KINDS)
    assert {each["apiVersion"] for each in made} == {"apiextensions.k8s.io/v1"}


async def test_writes_a_file_for_each(tmp_path: Path) -> None:
    result = await run("crds", "--output-dir", str(tmp_path / "new" / "crds"))
    assert (result.code, result.out, result.err) == (0, "", "")
    written = {path.name: path.read_text() for path in (tmp_path / "new" / "crds").iterdir()}
    kept = {path.name: path.read_text() for path in (ROOT / "crds").glob("*.yaml")}
    assert len(written) == len(KINDS)
    assert written.items() <= kept.items()


async def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = await run("crds", "--output-dir", str(tmp_path / "file"))
    assert result.code == 2
    assert str(tmp_path / "file") in result.err
