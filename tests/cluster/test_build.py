"""What goes into the cache: a folder for each recipe, and only programs that run alone."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cluster import build

SCRIPT = "#!/bin/sh\necho program v1.2\n"
PROGRAM = build.Program("program", Path("/nowhere"), asked=("program", "--version"), version="v1.2")


def test_a_recipe_is_the_same_in_each_checkout_and_another_after_each_change(tmp_path: Path) -> None:
    copied = Path(shutil.copytree(build.COREDNS.module, tmp_path / "dns"))
    there = replace(build.COREDNS, module=copied)
    assert there.folder == build.COREDNS.folder
    recipes = {there.recipe(), replace(there, linker_flags="").recipe(), replace(there, names=("other",)).recipe()}
    for file in ("main.go", "go.mod", "go.sum"):
        (copied / file).write_text((copied / file).read_text() + "\n")
        recipes.add(there.recipe())
    (copied / "further.go").write_text("package main\n")
    assert len({*recipes, there.recipe()}) == 7


@pytest.mark.parametrize("named", ["", "relative/cache"])
def test_a_cache_that_moves_with_the_working_directory_is_none(monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", named)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert build.cache() == Path("/home/somebody/.cache/controlplane-kubernetes", build.VERSION)


def test_a_program_that_tells_its_version_is_good(tmp_path: Path) -> None:
    _executable(tmp_path / "program", SCRIPT)
    build.check(PROGRAM, tmp_path)


def test_a_program_that_needs_the_machines_libraries_is_refused(tmp_path: Path) -> None:
    shutil.copy(Path(sys.executable).resolve(), tmp_path / "program")
    with pytest.raises(build.UnusableBinaryError, match=r"program needs /lib\S+ to run: it must be linked statically"):
        build.check(replace(PROGRAM, version="Python"), tmp_path)


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        pytest.param(
            "#!/bin/sh\necho program v1.1\n", r"is not v1\.2; exit status 0: program v1\.1", id="another-version"
        ),
        pytest.param(f"{SCRIPT}exit 3\n", r"is not v1\.2; exit status 3", id="fails"),
        pytest.param("#!/no/such/interpreter\n", r"does not run: .*No such file", id="does-not-start"),
    ],
)
def test_a_program_that_does_not_run_is_refused(tmp_path: Path, script: str, complaint: str) -> None:
    _executable(tmp_path / "program", script)
    with pytest.raises(build.UnusableBinaryError, match=complaint):
        build.check(PROGRAM, tmp_path)


def _executable(path: Path, script: str) -> None:
    path.write_text(script, encoding="utf-8")
    path.chmod(0o755)
