"""When the proxies of a change had it."""

from __future__ import annotations

import time

import pytest

from controlplane.ads.observer import Pushed
from controlplane.model.delivery import Delivery
from controlplane.wiring.deliveries import MOST_OPEN, Deliveries


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


def told(deliveries: Deliveries) -> Delivery:
    found = deliveries.told()
    assert found is not None
    return found


def test_each_change_has_its_own_numbers(clock: list[float]) -> None:
    known = Deliveries()
    for before, at in ((7, 10.0), (8, 20.0)):
        known.begin(at, before)
        pushed = Pushed("CDS", at, before + 1, 100)
        known.sent(pushed)
        known.sent(pushed)
        clock[0] = at + 0.25
        known.acknowledged(pushed)
        known.compiled()
        clock[0] = at + 0.5
        known.acknowledged(pushed)
        change = told(known)
        assert (change.responses, change.size_bytes, change.acknowledged, change.last_seconds) == (2, 200, 2, 0.5)
        assert (change.within(0.5), change.within(0.99)) == (0.25, 0.5)


def test_a_response_with_two_changes_counts_for_both_from_their_own_beginnings(clock: list[float]) -> None:
    known = Deliveries()
    known.begin(10.0, 7)
    known.compiled()
    first = told(known)
    known.begin(20.0, 8)
    known.compiled()
    both = Pushed("CDS", 10.0, 9, 100)
    known.sent(both)
    clock[0] = 21.0
    known.acknowledged(both)
    second = told(known)
    assert [(each.responses, each.last_seconds) for each in (first, second)] == [(1, 11.0), (1, 1.0)]


def test_what_a_response_does_not_have_yet_is_not_counted(clock: list[float]) -> None:
    known = Deliveries()
    known.begin(10.0, 7)
    known.compiled()
    first = told(known)
    known.begin(20.0, 8)
    clock[0] = 21.0
    known.acknowledged(Pushed("CDS", 10.0, 8, 100))
    known.compiled()
    assert (first.acknowledged, told(known).acknowledged) == (1, 0)


def test_changes_that_are_told_of_together_are_counted_together_and_each_response_once(clock: list[float]) -> None:
    known = Deliveries()
    clock[0] = 10.5
    for before, at in ((7, 10.0), (8, 10.25)):
        known.begin(at, before)
        known.sent(Pushed("EDS", at, before + 1, 10))  # while it is compiled
        known.compiled()
    known.acknowledged(Pushed("CDS", 10.0, 9, 100))
    change = told(known)
    assert (change.responses, change.acknowledged, change.last_seconds) == (2, 1, 0.5)
    assert known.told() is None


def test_a_response_with_a_change_that_is_told_of_and_one_that_is_compiled_counts_once(clock: list[float]) -> None:
    known = Deliveries()
    known.begin(10.0, 7)
    known.compiled()
    known.begin(10.25, 8)
    both = Pushed("EDS", 10.0, 9, 10)
    for _ in range(4):
        known.sent(both)  # while the second is compiled
    clock[0] = 10.5
    known.acknowledged(both)
    known.refused(both)
    known.compiled()
    known.acknowledged(both)
    known.acknowledged(both)
    change = told(known)
    assert (change.responses, change.size_bytes, change.acknowledged, change.refused) == (4, 40, 3, 1)
    assert (change.within(0.01), change.within(1.0)) == (0.5, 0.5)


def test_a_change_that_is_compiled_when_those_before_are_told_of_keeps_what_it_shares(clock: list[float]) -> None:
    known = Deliveries()
    known.begin(10.0, 7)
    known.compiled()
    known.begin(10.25, 8)
    both = Pushed("EDS", 10.0, 9, 10)
    known.sent(both)
    first = told(known)
    clock[0] = 10.5
    known.acknowledged(both)
    known.compiled()
    second = told(known)
    assert [(each.responses, each.acknowledged, each.last_seconds) for each in (first, second)] == [
        (1, 1, 0.5),
        (1, 1, 0.25),
    ]


def test_a_refusal_is_no_acknowledgement() -> None:
    known = Deliveries()
    known.begin(10.0, 7)
    known.compiled()
    known.refused(Pushed("LDS", 10.0, 8, 100))
    change = told(known)
    assert (change.refused, change.acknowledged, change.within(0.5)) == (1, 0, None)


def test_only_the_last_changes_are_waited_for() -> None:
    known = Deliveries()
    known.begin(0.0, 0)
    known.compiled()
    old = told(known)
    for number in range(MOST_OPEN):
        known.begin(float(number + 1), number + 1)
        known.compiled()
    known.sent(Pushed("CDS", 0.0, MOST_OPEN + 2, 1))
    assert old.responses == 0
    assert told(known).responses == 1


def test_times_of_many_proxies_are_few_numbers() -> None:
    change = Delivery()
    for number in range(10_000):
        change.answered(number / 1000)
    assert (change.acknowledged, change.last_seconds) == (10_000, 9.999)
    assert len(change._times) < 500  # noqa: SLF001 - it must not grow with the mesh
    assert change.within(0.5) == 5.0
