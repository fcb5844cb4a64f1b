"""No object takes more than its share: time grows with size, and there is an end to both."""

from __future__ import annotations

from typing import Any

import pytest

from bench.growth import OBJECTS, ROWS, spent
from controlplane.apis.validation import report
from controlplane.model.objects import Rejected
from controlplane.model.parse import MAX_PROBLEMS, MAX_SIZE
from controlplane.validation.verdict import verdict
from controlplane.watchers.kinds import parse

SIZE = 800
SHORT = 0.05
#: quadratic work would be 16 times as much; a busy machine and its caches make linear work look like up to 8
TIMES = 11
#: a busy machine makes one measurement long, or short; what grows too fast does so in each
TRIES = 5


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS)
def test_time_grows_with_size(row: str) -> None:
    work, make = ROWS[row]
    work(make(10))
    found = []
    for _ in range(TRIES):
        once, four_times = spent(work, make(SIZE)), spent(work, make(4 * SIZE))
        if four_times < max(SHORT, TIMES * once):
            return
        found.append(f"{once * 1e3:.1f} ms, {four_times * 1e3:.1f} ms")
    pytest.fail("; ".join(found))


def errors(obj: dict[str, Any]) -> list[str]:
    found = verdict(obj)
    assert found is not None
    return list(map(str, found.errors))


def test_an_object_beyond_all_size_is_refused_by_its_name() -> None:
    obj = OBJECTS["header-value"](MAX_SIZE // 20)
    assert errors(obj) == [f"is larger than {MAX_SIZE} characters"]
    found = parse(obj, "file:1")
    assert isinstance(found, Rejected)
    assert str(found.key) == "VirtualService b/a"


@pytest.mark.parametrize("row", ["routes", "regexes", "tls", "header-value", "path-template"])
def test_an_object_that_takes_too_long_is_refused(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "BUDGET_SECONDS", -1.0)
    assert any("takes more than" in each for each in errors(OBJECTS[row](3)))


def test_many_problems_are_counted() -> None:
    found = errors(OBJECTS["unknown-fields"](5000))
    assert len(found) == MAX_PROBLEMS + 1
    assert found[-1] == f"and {5000 - MAX_PROBLEMS} more"
