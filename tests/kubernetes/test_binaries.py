"""Programs are built to run alone in an image, on machines with and without a C compiler."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster import build, elf

PROGRAM = """
package main

import (
	"fmt"
	"net" // with a C compiler on PATH, Go links it to libc unless told otherwise
)

func main() {
	address, err := net.LookupHost("127.0.0.1")
	fmt.Println("program", "v1.2", address, err)
}
"""


@pytest.mark.usefixtures("kube_binaries")
def test_a_program_with_networking_needs_no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, folder = tmp_path / "module", tmp_path / "bin"
    module.mkdir()
    folder.mkdir()
    (module / "go.mod").write_text("module program\n\ngo 1.26.0\n")
    (module / "main.go").write_text(PROGRAM)
    (tmp_path / "go.work").write_text("no workspace of others counts\n")
    monkeypatch.setenv("CGO_ENABLED", "1")
    build.make(build.Program("program", module, asked=("program",), version="v1.2 [127.0.0.1] <nil>"), folder)
    assert elf.interpreter(folder / "program") is None
