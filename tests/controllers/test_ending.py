"""Tasks that are ended are waited for, and what they fail with is told."""

from __future__ import annotations

import asyncio

import pytest

from controlplane.controllers.ending import ended


async def for_ever() -> None:
    await asyncio.Event().wait()


async def fails_at_its_end() -> None:
    try:
        await for_ever()
    finally:
        raise OSError("cannot be closed")


async def begun(*works: asyncio.Task[None]) -> tuple[asyncio.Task[None], ...]:
    await asyncio.sleep(0)
    return works


async def test_a_failure_is_raised_once_all_have_ended() -> None:
    tasks = await begun(*(asyncio.create_task(work()) for work in (for_ever, fails_at_its_end, for_ever)))
    with pytest.raises(OSError, match="cannot be closed"):
        await ended(*tasks)
    assert [task.cancelled() for task in tasks] == [True, False, True]


async def test_who_is_cancelled_waits_all_the_same() -> None:
    may_end, ends = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        try:
            await for_ever()
        finally:
            ends.set()
            await may_end.wait()

    (task,) = await begun(asyncio.create_task(slow()))
    ending = asyncio.create_task(ended(task))
    await ends.wait()
    ending.cancel()
    await asyncio.sleep(0)
    assert not ending.done()
    may_end.set()
    await asyncio.wait([ending])
    assert ending.cancelled()
    assert task.done()


async def test_nothing_is_ended_at_once() -> None:
    await ended()
