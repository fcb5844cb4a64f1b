"""Shares the event loop among the connections that have sent something."""

from __future__ import annotations

import asyncio
from collections import deque
from time import perf_counter
from typing import Protocol


class Worker(Protocol):
    """A connection, as a turn sees it."""

    def work(self, until: float) -> bool:
        """Do some of what waits, until then (``perf_counter``) at most; return whether something is left."""
        ...


class Turns:
    """Lets connections work at once while there is time in this turn of the event loop, and one by one after that.

    All of them together take ``SLICE`` seconds, and what one frame takes longer. Then the loop goes round: whatever
    else waits for it comes first, such as a probe of our health or a change of configuration.
    """

    SLICE = 0.004

    def __init__(self) -> None:
        self._waiting: deque[Worker] = deque()
        self._left = self.SLICE
        self._fresh = True

    def give(self, worker: Worker) -> None:
        """Give a worker that is not waiting its turn: now if nobody else waits and there is time."""
        if self._waiting or self._left <= 0:
            self._wait(worker)
            return
        begin = perf_counter()
        left = worker.work(begin + self._left)
        self._left -= perf_counter() - begin
        if self._fresh:
            self._fresh = False
            asyncio.get_running_loop().call_soon(self._begin)
        if left:
            self._wait(worker)

    def _begin(self) -> None:
        """Begin a turn of the event loop."""
        self._left, self._fresh = self.SLICE, True

    def _wait(self, worker: Worker) -> None:
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._run)
        self._waiting.append(worker)

    def _run(self) -> None:
        until = perf_counter() + self.SLICE
        waiting = self._waiting
        for _ in range(len(waiting)):
            worker = waiting[0]
            left = worker.work(until)
            waiting.popleft()
            if left:
                waiting.append(worker)
            if perf_counter() > until:
                break
        if waiting:
            asyncio.get_running_loop().call_soon(self._run)
