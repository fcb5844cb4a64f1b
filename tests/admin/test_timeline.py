"""What is remembered of what happened, and who waits for more."""

from __future__ import annotations

import asyncio

import pytest

from controlplane.admin import timeline
from controlplane.admin.timeline import Timeline
from controlplane.model.events import Event, Happened

ONE = Event(Happened.ACCEPTED, 1)


def test_events_are_numbered_from_one_and_told_after_a_number() -> None:
    told = Timeline()
    assert told.last == 0
    for _ in range(3):
        told.add(ONE)
    assert [event.number for event in told.after(1)] == [2, 3]
    assert told.last == 3


def test_only_the_last_events_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline, "MOST_EVENTS", 4)
    told = Timeline()
    for _ in range(10):
        told.add(ONE)
    assert [event.number for event in told.after(0)] == [7, 8, 9, 10]


async def test_all_who_wait_are_woken_by_the_next_event_and_none_is_left_behind() -> None:
    told = Timeline()
    waiting = [asyncio.create_task(told.wait(0)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    told.add(ONE)
    await asyncio.gather(*waiting[1:])
    assert waiting[0].cancelled()
    await told.wait(0)  # it is there already
    assert not told._waiting  # noqa: SLF001 - nothing may stay behind for each who went away
