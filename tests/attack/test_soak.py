"""A few attacks at random; `make soak` makes as many as one likes, and looks at the memory too."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tests.attack.beside import Measured, Waited
from tests.attack.connects import SAMPLES
from tests.attack.soak import FAILURES, Report, come_and_go, percentile, soak, table
from tests.cli.command import ROOT


async def test_honest_proxies_outlast_attacks_at_random(tmp_path: Path) -> None:
    report = await soak(tmp_path, seconds=5, seed=3)
    assert report.faults == []
    assert report.beside
    assert all(found.changes and found.answers for each in report.beside.values() for found in each)


def test_what_may_not_be_logged_is_something_that_can_be_logged() -> None:
    assert set(FAILURES) <= tomllib.loads((ROOT / "docs/reference/events.toml").read_text()).keys()


@pytest.mark.parametrize(("each", "grows"), [(0, False), (1 << 20, True)])
def test_memory_that_grows_is_told_from_memory_that_is_filled_once(each: int, *, grows: bool) -> None:
    report = Report(resident=[(100 << 20) + (min(number, 20) << 20) + each * number for number in range(100)])
    assert report.grows() is grows


def test_the_table_has_a_line_for_each_attack() -> None:
    report = Report(
        beside={
            "pings": [Measured([Waited(0.01, 0), Waited(0.02, 0)], [Waited(0.001, 0)], 5 << 20)],
            "a and b": [Measured([Waited(1, 0)], [Waited(1, 0)], 1)],
        }
    )
    lines = list(table(report))
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| (all)", "| pings"]
    assert lines[3] == "| pings | 2 | 20 | 20 | 20 | 1 | 1 | 1 | 1 | 5 |"
    assert percentile(list(range(100)), 0.99) == 99


async def test_proxies_come_and_leave_and_each_is_served(tmp_path: Path) -> None:
    report = await come_and_go(tmp_path, 80)
    assert report.faults == []
    assert len(report.resident) == SAMPLES
