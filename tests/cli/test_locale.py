"""The command line where the locale knows ASCII alone, as that of a bare container or an old shell may."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.command import run

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
MANIFEST = """\
# Grüße
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: shop}
spec: {hosts: [größe]}
"""
CLUSTERS = Path(__file__).with_name("clusters.json")


@pytest.mark.parametrize("source", ["file", "standard-input"])
async def test_letters_that_the_locale_lacks_are_escaped(tmp_path: Path, source: str) -> None:
    path = tmp_path / "manifest.yaml"
    path.write_text(MANIFEST, encoding="utf-8")
    given = ("-f", str(path)) if source == "file" else ("-f", "-")
    result = await run("validate", *given, environment=ASCII, text="" if source == "file" else MANIFEST)
    assert result.code == 1, result.err
    assert r"gr\xf6\xdfe" in result.out
    assert "Traceback" not in result.err


@pytest.mark.parametrize("source", ["file", "standard-input"])
async def test_a_dump_is_read_as_utf_8(tmp_path: Path, source: str) -> None:
    dump = CLUSTERS.read_text(encoding="utf-8").replace("reviews", "größe")
    path = tmp_path / "dump.json"
    path.write_text(dump, encoding="utf-8")
    given = str(path) if source == "file" else "-"
    result = await run("proxy-config", "endpoint", "--file", given, environment=ASCII, text=dump)
    assert result.code == 0, result.err
    assert r"gr\xf6\xdfe" in result.out


async def test_a_file_whose_name_is_no_text_is_named(tmp_path: Path) -> None:
    """File names are bytes; one that is no UTF-8 is printed with an escape, in every locale."""
    path = tmp_path / os.fsdecode(b"\xff.yaml")
    path.write_text(MANIFEST, encoding="utf-8")
    result = await run("validate", "-f", str(tmp_path), environment={"PYTHONUTF8": "1"})
    assert result.code == 1, result.err
    assert r"\udcff.yaml:5: VirtualService shop/reviews" in result.out
