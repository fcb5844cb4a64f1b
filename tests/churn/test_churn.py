"""A few seconds of churn; `make churn` makes as much of it as one likes, and looks at the memory too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.churn.churn import Report, Sample, churn
from tests.churn.held import Holding, holding
from tests.feature.server import serving


async def test_nothing_is_stale_after_a_few_seconds_of_churn(tmp_path: Path) -> None:
    report = await churn(tmp_path, seconds=4, seed=7, each_second=60)
    assert report.faults == []
    assert {"change", "drop", "open", "close", "reopen", "refuse", "spoil", "mend"} <= report.done.keys()
    assert report.samples[-1].sessions > 1
    assert report.responses > 100


def run_of(each_minute: int, rests: Sequence[Holding] = ()) -> Report:
    """Return what is reported of an hour in which the resident memory grew so much each minute, after it was filled."""
    report = Report(rests=list(rests))
    report.samples = [
        Sample(60 * minute, 80_000_000 + 2_000_000 * min(minute, 10) + each_minute * minute, 40, 100)
        for minute in range(61)
    ]
    return report


@pytest.mark.parametrize(("each_minute", "grows"), [(0, False), (50_000, False), (500_000, True)])
def test_memory_that_grows_is_told_from_memory_that_is_filled_once(each_minute: int, *, grows: bool) -> None:
    assert bool(run_of(each_minute).growth()) is grows


@pytest.mark.parametrize(
    ("last", "growth"),
    [
        pytest.param(Holding(401_000, 20_100_000, Counter(tuple=1_020)), "", id="as-it-was"),
        pytest.param(Holding(420_000, 20_000_000, Counter(tuple=900, Watch=7_000)), "7000 Watch", id="objects"),
        pytest.param(Holding(400_000, 30_000_000, Counter(tuple=1_000)), "30000000", id="native-memory"),
    ],
)
def test_what_is_still_held_with_nothing_there_is_a_leak(last: Holding, growth: str) -> None:
    filling, filled = Holding(380_000, 18_000_000), Holding(400_000, 20_000_000, Counter(tuple=1_000))
    said = run_of(0, [filling, filled, filled, last]).growth()
    assert (growth in said) if growth else not said


async def test_the_control_plane_tells_what_it_holds(tmp_path: Path) -> None:
    told, config = tmp_path / "held.json", tmp_path / "mesh"
    config.mkdir()
    with serving(config, program=("tests.churn.held", str(told))) as server:
        held = await holding(server.process.pid, told)
    assert held.blocks > 100_000
    assert held.native_bytes > 1_000_000
    assert held.objects["builtins.tuple"] > 0
