"""Attempts to make something right: after each change, and again after growing pauses while it is not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from controlplane.backoff import Backoff
from controlplane.controllers.operator import Operator

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 60.0


async def attempts(operator: Operator, awake: asyncio.Event, attempt: Callable[[], Awaitable[bool]]) -> None:
    """Run the operator, whose changes set ``awake``; attempt after each, again and again until ``attempt`` is true.

    Raises:
        ExceptionGroup: the operator or an attempt failed.
    """
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(operator.run())
        backoff = Backoff(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
        while True:
            awake.clear()
            if await attempt():
                backoff.reset()
                await awake.wait()
            else:
                await _either(awake, backoff.pause())


async def _either(awake: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await awake.wait()
    except TimeoutError:
        return
