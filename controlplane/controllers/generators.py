"""Async generators that their users leave midway: here they are closed, and not left to the garbage collector.

It would find a generator together with the tasks that this was waiting for, and destroy those while they are pending.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable
from contextvars import ContextVar
from typing import Any

Generator = AsyncGenerator[Any, Any]
_FEWEST_HELD = 32

_noting: ContextVar[Generators | None] = ContextVar("noting", default=None)


class Generators:
    """The async generators that are begun by a task which has called ``note``, and by all tasks that it begins then."""

    def __init__(self) -> None:
        """Begin with none."""
        self.tasks: set[asyncio.Task[Any]] = set()
        """The tasks that have begun them, and have not ended."""
        self._held: list[Generator] = []
        self._look_at = _FEWEST_HELD

    def note(self) -> None:
        """Hold each generator that is begun in this context from now on, until it has ended."""
        _noting.set(self)
        first, _ = sys.get_asyncgen_hooks()
        if not isinstance(first, _Noted):
            sys.set_asyncgen_hooks(firstiter=_Noted(first))

    def add(self, generator: Generator) -> None:
        """Hold a generator."""
        if len(self._held) >= self._look_at:
            self._held = [each for each in self._held if _goes_on(each)]
            self._look_at = max(_FEWEST_HELD, 2 * len(self._held))
        self._held.append(generator)
        task = asyncio.current_task()
        if task is not None and task not in self.tasks:
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def close(self) -> None:
        """End those that have not, whoever began first before those that it uses. All tasks have ended.

        Raises:
            Exception: the first that one of them raised in answer; all were closed.
        """
        failure: Exception | None = None
        held, self._held = self._held, []
        for generator in held:
            try:
                await generator.aclose()
            except Exception as error:  # noqa: BLE001 - raised below
                failure = failure or error
        if failure is not None:
            raise failure


class _Noted:
    """What is called with each generator that begins: it is noted where somebody notes, then ``then`` is called."""

    def __init__(self, then: Callable[[Generator], Any] | None) -> None:
        self._then = then

    def __call__(self, generator: Generator) -> None:
        noting = _noting.get()
        if noting is not None:
            noting.add(generator)
        if self._then is not None:
            self._then(generator)


def _goes_on(generator: Any) -> bool:  # noqa: ANN401 - ag_frame is not in its type
    return generator.ag_frame is not None
