"""The package table catches what it says it catches."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest

from tests.layers.contract import PackageTable, table

FILES = {
    "__init__.py": "",
    "model/__init__.py": "",
    "registry/__init__.py": "import toy.model",
    "registry/view.py": "import toy.registry",
    "ads/__init__.py": "import json.decoder",
}


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name, text in FILES.items():
        (tmp_path / "toy" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "toy" / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path / "toy"
    for name in [name for name in sys.modules if name.partition(".")[0] == "toy"]:
        del sys.modules[name]


def problems(rows: list[str], outside: list[str] | None = None) -> list[str]:
    options = {"root": "toy", "rows": rows, "outside": outside or []}
    graph = grimp.build_graph("toy", include_external_packages=True, cache_dir=None)
    found = PackageTable("table", {}, options).check(graph, verbose=False).metadata["problems"]
    return [str(problem) for problem in found]


@pytest.mark.usefixtures("toy")
def test_a_table_that_fits_is_kept() -> None:
    assert problems(["model:", "registry: model", "ads:", "not_written_yet: model"], ["json: ads"]) == []


@pytest.mark.parametrize(
    ("rows", "outside", "expected"),
    [
        pytest.param(
            ["model:", "registry:", "ads:"],
            [],
            "toy.registry imports toy.model, which its row does not allow (line 1)",
            id="forbidden-package",
        ),
        pytest.param(["model:", "registry: model"], [], "toy.ads has no row in the package table", id="no-row"),
        pytest.param(
            ["model:", "registry: model", "ads: *"],
            ["json: model"],
            "toy.ads imports json, which is left to other packages (line 1)",
            id="library",
        ),
    ],
)
@pytest.mark.usefixtures("toy")
def test_a_breach_is_named(rows: list[str], outside: list[str], expected: str) -> None:
    assert problems(rows, outside) == [expected]


def test_rows_are_read() -> None:
    assert table(["a: b, c", "d:"]) == {"a": frozenset({"b", "c"}), "d": frozenset()}
