"""The first change goes out at once; a burst is gathered, but not for ever."""

from __future__ import annotations

import asyncio
import functools
import itertools
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from controlplane.compiler.holdoff import Holdoff
from controlplane.model import kinds
from controlplane.model.objects import ChangeSet, Meta, Object, ObjectKey, Rejected
from tests.compiler.virtual import run

QUIET, MOST = 0.1, 0.5


def obj(name: str, text: str = "") -> Object:
    return Object(kinds.CONFIG_MAP, Meta("default", name), text)


def change(*names: str) -> ChangeSet:
    return ChangeSet(upserts=tuple(obj(name) for name in names))


def virtual(scene: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a test on a loop of virtual time."""

    @functools.wraps(scene)
    def test() -> None:
        run(scene())

    return test


@asynccontextmanager
async def holding() -> AsyncIterator[tuple[Holdoff, list[tuple[float, list[str]]], Callable[[], float]]]:
    """Run a holdoff; what it hands on is listed with the seconds since the start."""
    loop = asyncio.get_running_loop()
    began, handed = loop.time(), []

    def elapsed() -> float:
        return loop.time() - began

    async def publish(changes: ChangeSet) -> None:
        handed.append((elapsed(), [upsert.key.name for upsert in changes.upserts]))

    holdoff = Holdoff(publish, timedelta(seconds=QUIET), timedelta(seconds=MOST))
    task = asyncio.create_task(holdoff.run())
    try:
        yield holdoff, handed, elapsed
    finally:
        task.cancel()


@virtual
async def test_the_first_change_of_a_quiet_time_goes_out_at_once() -> None:
    async with holding() as (holdoff, handed, elapsed):
        holdoff.add(change("a"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert [names for _, names in handed] == [["a"]]
        assert elapsed() < QUIET
        await asyncio.sleep(1.5 * QUIET)
        holdoff.add(change("b"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert [names for _, names in handed] == [["a"], ["b"]]


@virtual
async def test_a_burst_is_one_change_once_it_is_over() -> None:
    async with holding() as (holdoff, handed, elapsed):
        for name in "abcd":
            holdoff.add(change(name))
            last = elapsed()
            await asyncio.sleep(0.01)
        await asyncio.sleep(3 * QUIET)
        assert [names for _, names in handed] == [["a"], ["b", "c", "d"]]
        assert handed[1][0] - last >= QUIET - 1e-9


@virtual
async def test_an_endless_burst_does_not_wait_for_ever() -> None:
    async with holding() as (holdoff, handed, elapsed):
        while elapsed() < 2.5 * MOST:
            holdoff.add(change("a"))
            await asyncio.sleep(0.01)
        assert len(handed) >= 3
        gaps = [later - sooner for (sooner, _), (later, _) in itertools.pairwise(handed)]
        assert min(gaps) > QUIET, "it was gathered"


def test_of_each_object_the_last_state_counts() -> None:
    key = ObjectKey(kinds.CONFIG_MAP, "default", "x")
    old, new = obj("a", "1"), obj("a", "2")
    assert ChangeSet(upserts=(old,)).then(ChangeSet(upserts=(new,))) == ChangeSet(upserts=(new,))
    assert ChangeSet(upserts=(old,)).then(ChangeSet(deletes=(old.key,))) == ChangeSet(deletes=(old.key,))
    assert ChangeSet(deletes=(old.key,)).then(ChangeSet(upserts=(new,))) == ChangeSet(upserts=(new,))
    first, second = Rejected(key, ("one",), "f:1"), Rejected(key, ("two",), "f:1")
    assert ChangeSet(rejections=(first,)).then(ChangeSet(rejections=(second,))).rejections == (second,)


def test_a_burst_costs_what_its_changes_cost() -> None:
    """Ten times as many single changes take some ten times as long, not a hundred."""

    async def seconds(count: int) -> float:
        async with holding() as (holdoff, handed, _):
            holdoff.add(change("first"))
            await asyncio.sleep(0.01)
            changes = [change(f"c{number}") for number in range(count)]
            began = time.process_time()
            for each in changes:
                holdoff.add(each)
            spent = time.process_time() - began
            await asyncio.sleep(2 * QUIET)
            assert len(handed[1][1]) == count
            return spent

    least = min(run(seconds(300)) for _ in range(3))
    assert min(run(seconds(3000)) for _ in range(3)) < 30 * least
