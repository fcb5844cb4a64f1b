"""Keys that are made right: each by itself."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from controlplane.controllers.work_queue import WorkQueue
from tests.patience import patience

SOON = (0.005, 0.02)


@asynccontextmanager
async def running(
    right: Callable[[str], Awaitable[bool]], pauses: tuple[float, float] = SOON
) -> AsyncIterator[WorkQueue]:
    queue = WorkQueue(right, *pauses)
    task = asyncio.create_task(queue.run())
    try:
        async with patience():
            yield queue
    finally:
        task.cancel()
        await asyncio.wait([task])


async def until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0.001)


async def test_one_that_is_refused_delays_nobody() -> None:
    tries: Counter[str] = Counter()

    async def right(key: str) -> bool:
        tries[key] += 1
        return key != "refused"

    async with running(right, (3600.0, 3600.0)) as queue:
        queue.add("refused", "a", "b")
        await until(lambda: tries.total() == 3)
        queue.add("new")
        await until(lambda: tries["new"] == 1)
        queue.add("refused")  # something about it is another
        await until(lambda: tries["refused"] == 2)
    assert tries == {"refused": 2, "a": 1, "b": 1, "new": 1}


async def test_one_that_never_answers_delays_nobody() -> None:
    done: list[str] = []

    async def right(key: str) -> bool:
        if key == "stuck":
            await asyncio.Event().wait()
        done.append(key)
        return True

    async with running(right) as queue:
        queue.add("stuck", "a")
        await until(lambda: done == ["a"])
        queue.add("b", "stuck")
        await until(lambda: done == ["a", "b"])


async def test_a_key_is_tried_until_it_is_right_and_never_twice_at_once() -> None:
    tries: Counter[str] = Counter()
    at_once = 0

    async def right(key: str) -> bool:
        nonlocal at_once
        at_once += 1
        assert at_once == 1
        await asyncio.sleep(0.001)
        at_once -= 1
        tries[key] += 1
        return tries[key] == 5

    async with running(right) as queue:
        queue.add("a")
        queue.add("a")
        await until(lambda: tries["a"] == 5)
        await asyncio.sleep(0.05)
        assert tries["a"] == 5


async def test_what_changes_meanwhile_is_looked_at_again() -> None:
    seen: list[int] = []
    value = 1

    async def right(_key: str) -> bool:
        seen.append(value)
        await asyncio.sleep(0.01)
        return True

    async with running(right) as queue:
        queue.add("a")
        await until(lambda: seen == [1])
        value = 2
        queue.add("a")
        await until(lambda: seen == [1, 2])


async def test_our_mistake_ends_it_and_it_begins_anew() -> None:
    async def wrong(_key: str) -> bool:
        raise ZeroDivisionError

    queue = WorkQueue(wrong, *SOON)
    for _ in range(2):
        queue.add("a")
        with pytest.raises(ExceptionGroup):
            await queue.run()
