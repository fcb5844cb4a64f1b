"""A few seconds of churn; `make churn` makes as much of it as one likes, and looks at the memory too."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.churn.churn import Report, Sample, churn


async def test_nothing_is_stale_after_a_few_seconds_of_churn(tmp_path: Path) -> None:
    report = await churn(tmp_path, seconds=4, seed=7, each_second=60)
    assert report.faults == []
    assert {"change", "drop", "open", "close", "reopen", "refuse", "spoil", "mend"} <= report.done.keys()
    assert report.samples[-1].sessions > 1
    assert report.responses > 100


@pytest.mark.parametrize(("each_minute", "grows"), [(0, False), (2_000, False), (200_000, True)])
def test_memory_that_grows_is_told_from_memory_that_is_filled_once(each_minute: int, *, grows: bool) -> None:
    report = Report()
    report.samples = [
        Sample(60 * minute, 80_000_000 + 2_000_000 * min(minute, 10) + each_minute * minute, 40, 100)
        for minute in range(61)
    ]
    assert report.grows() is grows
