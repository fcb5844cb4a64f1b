"""Long answers in slices: the event loop, which serves the proxies, is held for a few milliseconds at most.

What is slow is written as an iterator of steps, each of which takes a fraction of a millisecond. A thread would not do:
it takes the interpreter away for longer, and each time that the loop waits for a socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from heapq import merge
from time import perf_counter
from typing import Any, Final, TypeVar

T = TypeVar("T")

SLICE_SECONDS = 0.001
"""How long steps are taken for, before everything else gets a turn."""
_RUN = 256
"""How many items are sorted in one step."""


class Pause:
    """A step without a result: a good place to stop for a moment."""


PAUSE: Final = Pause()


class Pace:
    """Takes steps, those of all answers together for one slice in each turn of the event loop."""

    def __init__(self, slice_seconds: float = SLICE_SECONDS) -> None:
        self._slice_seconds = slice_seconds
        self._turn = asyncio.Lock()

    async def slices(self, steps: Iterable[T | Pause]) -> AsyncIterator[list[T]]:
        """Yield the results of one slice after the other; a slice may have none."""
        iterator, ended = iter(steps), False
        while not ended:
            results: list[T] = []
            async with self._turn:
                until = perf_counter() + self._slice_seconds
                ended = True
                for step in iterator:
                    if not isinstance(step, Pause):
                        results.append(step)
                    if perf_counter() > until:
                        ended = False
                        break
                await asyncio.sleep(0)
            yield results

    async def gathered(self, steps: Iterable[T | Pause]) -> list[T]:
        """Return all results."""
        return [result async for results in self.slices(steps) for result in results]


def in_order(items: Iterable[T | Pause], key: Callable[[T], Any]) -> Iterator[T | Pause]:
    """Yield items sorted by a key, which is computed once for each; equal ones in the order they came in."""
    runs: list[list[tuple[Any, int, T]]] = [[]]
    for position, item in enumerate(items):
        if isinstance(item, Pause):
            yield item
            continue
        if len(runs[-1]) == _RUN:
            runs[-1].sort()
            runs.append([])
        runs[-1].append((key(item), position, item))
        yield PAUSE
    runs[-1].sort()
    for _, _, item in merge(*runs):
        yield item
