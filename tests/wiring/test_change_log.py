"""What the log says of a change that somebody has made."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from structlog.testing import capture_logs

from controlplane.model import kinds
from controlplane.model.events import Happened
from controlplane.model.objects import ChangeSet, ObjectKey, Rejected
from controlplane.snapshots import Snapshot
from controlplane.wiring import change_log
from controlplane.wiring.change_log import BURST, MOST_NAMES, ChangeLog
from controlplane.wiring.deliveries import Deliveries
from tests.patience import patience


def removal(*names: str) -> ChangeSet:
    return ChangeSet(deletes=tuple(ObjectKey(kinds.VIRTUAL_SERVICE, "shop", name) for name in names))


KEY = ObjectKey(kinds.VIRTUAL_SERVICE, "shop", "bad")
NOBODY = ObjectKey(kinds.NO_KIND, "", "")


def of(events: list[Any], name: str) -> list[Any]:
    return [event for event in events if event["event"] == name]


async def test_a_change_and_its_push_are_two_events() -> None:
    old, new = Snapshot(3), Snapshot(7)
    told = ChangeLog(lambda: [old, new, new], Deliveries())
    with capture_logs() as events:
        told.pushed(ChangeSet(), 0, 0.0, 6)
        told.accepted(removal("cart"))
        told.pushed(removal("cart"), 4, 0.0123, 7)
    (accepted,) = of(events, "registry.accepted")
    assert accepted["removed"] == ["VirtualService shop/cart"]
    assert (accepted["objects"], accepted["changed"], accepted["changes"]) == (1, [], 1)
    pushed = of(events, "compiler.pushed")[-1]
    del pushed["event"], pushed["log_level"]
    assert pushed == {
        "objects": 1,
        "targets": 4,
        "classes": 1,
        "proxies": 2,
        "milliseconds": 12.3,
        "revision": 7,
        "pushes": 1,
    }


async def test_what_is_told_is_remembered_for_those_who_look() -> None:
    told = ChangeLog(lambda: [Snapshot(7)], Deliveries())
    told.accepted(removal("cart"))
    told.accepted(
        ChangeSet(rejections=(Rejected(KEY, ("spec: bad",), "a.yaml:1"), Rejected(NOBODY, ("no YAML",), "b.yaml")))
    )
    told.pushed(removal("cart"), 4, 0.0123, 7)
    told.nacked("type.googleapis.com/envoy.config.listener.v3.Listener")
    accepted, refused, pushed, nacked = told.timeline.after(0)
    assert (accepted.happened, accepted.objects, accepted.removed) == (
        Happened.ACCEPTED,
        1,
        ("VirtualService shop/cart",),
    )
    assert (refused.happened, refused.objects, refused.refused) == (
        Happened.REFUSED,
        2,
        ("VirtualService shop/bad", "b.yaml"),
    )
    assert (pushed.happened, pushed.revision, pushed.targets, pushed.proxies) == (Happened.PUSHED, 7, 4, 1)
    assert (nacked.happened, nacked.objects, nacked.refused) == (Happened.NACKED, 1, ("Listener",))


async def test_refusals_without_end_are_few_events() -> None:
    told = ChangeLog(list, Deliveries())
    for number in range(10_000):
        told.nacked(f"type.googleapis.com/envoy.T{number}")
    assert 1 <= len(told.timeline.after(0)) <= BURST + 1, "the rest is told later, in one"


async def test_nothing_is_not_told() -> None:
    with capture_logs() as events:
        ChangeLog(list, Deliveries()).accepted(ChangeSet())
    assert events == []


async def test_a_burst_is_a_few_lines_and_its_end_is_among_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_log, "PER_SECOND", 20.0)
    told = ChangeLog(list, Deliveries())
    begun = time.monotonic()
    with capture_logs() as events:
        for number in range(1000):
            told.accepted(removal(*(f"{number}-{each}" for each in range(20))))
            told.pushed(removal("a"), 1, 0.001 * number, number)
        async with patience():
            while of(events, "compiler.pushed")[-1]["revision"] != 999:
                await asyncio.sleep(0.01)
    accepted, pushed = of(events, "registry.accepted"), of(events, "compiler.pushed")
    most = 3 * BURST + 20 * (time.monotonic() - begun)
    assert max(len(accepted), len(pushed)) < most
    assert sum(event["changes"] for event in accepted) == sum(event["pushes"] for event in pushed) == 1000
    assert sum(event["objects"] for event in accepted) == 20_000
    assert sum(event["targets"] for event in pushed) == 1000
    assert max(len(event["removed"]) for event in accepted) == MOST_NAMES
