"""The limit of writes, in virtual time."""

from __future__ import annotations

import pytest

from controlplane.controllers.rate import Rate


def grants(rate: Rate, count: int, start: float = 1000.0) -> list[float]:
    """Return when each of so many grants holds, for one who asks again as soon as it does."""
    now, found = start, []
    for _ in range(count):
        now += rate.pause(now)
        found.append(now)
    return found


def test_a_burst_and_then_the_rate() -> None:
    found = grants(Rate(per_second=10, burst=5), 25)
    assert found[:5] == pytest.approx([1000.0] * 5)
    assert found[24] == pytest.approx(1002.0)


def test_a_quiet_time_gives_no_more_than_a_burst() -> None:
    rate = Rate(per_second=10, burst=5)
    grants(rate, 25)
    found = grants(rate, 10, start=5000.0)
    assert found[:5] == pytest.approx([5000.0] * 5)
    assert found[9] == pytest.approx(5000.5)


def test_no_second_ever_sees_more_than_the_rate_and_a_burst() -> None:
    found = grants(Rate(per_second=20, burst=10), 300)
    for begin in found:
        assert sum(begin <= each < begin + 1 - 1e-6 for each in found) <= 30
