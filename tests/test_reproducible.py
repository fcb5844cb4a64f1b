"""What a property is tried with is the same in each run of CI, whatever ran before it in the same process."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies


def tried() -> list[tuple[int, str]]:
    """Return what a property is tried with in CI."""
    found: list[tuple[int, str]] = []

    @settings(derandomize=True, database=None, max_examples=300)
    @given(strategies.integers(0, 2**64), strategies.text())
    def examples(number: int, text: str) -> None:
        found.append((number, text))

    examples()
    return found


def test_what_is_tried_does_not_depend_on_the_modules_that_are_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tried()
    path = tmp_path / "constants.py"
    path.write_text("".join(f"A{index}, B{index} = {10**12 + index}, 'odd {index}'\n" for index in range(50)))
    spec = importlib.util.spec_from_file_location("constants", path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "constants", module)
    assert spec.loader is not None
    spec.loader.exec_module(module)
    assert tried() == before
