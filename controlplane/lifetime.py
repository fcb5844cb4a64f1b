"""What the program does around its work: opening ports, ending tasks, keeping the event loop free."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from controlplane import metrics

LAG_PROBE_SECONDS = 0.25

T = TypeVar("T")


async def opened(option: str, opening: Coroutine[None, None, T]) -> T:
    """Return what ``opening`` gives; a port that cannot be opened is named by its option."""
    try:
        return await opening
    except OSError as error:
        raise RuntimeError(f"{option}: {error.strerror or error}") from error


async def ended(*tasks: asyncio.Task[Any]) -> None:
    """End tasks, and wait until they have."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


async def unless(stop: asyncio.Event, work: Coroutine[None, None, bool], beside: asyncio.Task[int]) -> bool:
    """Return what some work returns, false if ``stop`` is set before that; a failure beside it is raised at once."""
    working, stopped = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((working, stopped, beside), return_when=asyncio.FIRST_COMPLETED)
        if beside.done():
            beside.result()
            await asyncio.wait((working, stopped), return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else False
    finally:
        for task in (working, stopped):
            task.cancel()
        await asyncio.gather(working, stopped, return_exceptions=True)


def settle_memory() -> None:
    """Keep the collector away from what lives as long as the process: a full pass over it stops the loop.

    Nothing here makes cycles at a rate that matters; what there is, the rarer passes find.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)


async def probe_lag() -> None:
    """Measure how late the event loop runs its timers."""
    loop = asyncio.get_running_loop()
    with suppress(asyncio.CancelledError):
        while True:
            due = loop.time() + LAG_PROBE_SECONDS
            await asyncio.sleep(LAG_PROBE_SECONDS)
            metrics.EVENT_LOOP_LAG.observe(max(loop.time() - due, 0.0))
