"""How long tests wait for what has to happen: until it has, or until so much time went by that it never will.

The limit is for what hangs, and the same everywhere: a machine that others use takes many times as long for a step, so
a short one says nothing about the program.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

PATIENCE_SECONDS = 120.0
PAUSE_SECONDS = 0.005
LONGEST_PAUSE_SECONDS = 0.1

T = TypeVar("T")


async def until(holds: Callable[[], bool | Awaitable[bool]], what: Callable[[], object] | str = "") -> None:
    """Wait until ``holds`` says yes. Raises ``AssertionError`` with ``what``, or what it returns, where it never does.

    The pauses grow, so that asking does not take the time of what is waited for.
    """
    end, pause = time.monotonic() + PATIENCE_SECONDS, PAUSE_SECONDS
    while True:
        held = holds()
        if await held if inspect.isawaitable(held) else held:
            return
        _give_up_after(end, what or repr(holds))
        await asyncio.sleep(pause)
        pause = min(1.2 * pause, LONGEST_PAUSE_SECONDS)


def wait_until(holds: Callable[[], bool], what: Callable[[], object] | str = "") -> None:
    """Do the same where there is no loop."""
    end, pause = time.monotonic() + PATIENCE_SECONDS, PAUSE_SECONDS
    while not holds():
        _give_up_after(end, what or repr(holds))
        time.sleep(pause)
        pause = min(1.2 * pause, LONGEST_PAUSE_SECONDS)


def _give_up_after(end: float, what: Callable[[], object] | str) -> None:
    if time.monotonic() > end:
        said = what if isinstance(what, str) else what()
        raise AssertionError(f"did not come true in {PATIENCE_SECONDS:.0f} s: {said}")


def patience() -> asyncio.Timeout:
    """Return the limit for a block that waits by itself; ``TimeoutError`` says that it hung."""
    return asyncio.timeout(PATIENCE_SECONDS)


async def in_time(awaitable: Awaitable[T]) -> T:
    """Return what comes of this. Raises ``TimeoutError`` where it hangs."""
    return await asyncio.wait_for(awaitable, PATIENCE_SECONDS)
