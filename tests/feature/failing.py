"""The program with a fault in it, as a script: ``failing.py FAULT serve ...``."""

# ruff: noqa: B010 - an assignment would have to fool the type checker

from __future__ import annotations

import asyncio
import itertools
import operator
import random
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any, NoReturn

from controlplane.backoff import Backoff
from controlplane.cli.main import main
from controlplane.compiler.holdoff import Holdoff
from controlplane.model.objects import ChangeSet
from controlplane.watchers.files.source import FileSource
from controlplane.wiring import tasks

REASON = "broken on purpose"


def every_task() -> None:
    """Have all supervised work fail at once, again and again, and be begun again soon."""

    async def failing() -> NoReturn:
        raise RuntimeError(REASON)

    _do_instead(lambda _name, _work: failing)


def every_task_after_a_while() -> None:
    """Have all supervised work do what it does for a moment, and then fail, again and again; elections hold longer.

    Moments grow, so that on a machine of any speed one comes that is long enough for the work to be done.
    """

    def short(name: str, work: tasks.Work) -> tasks.Work:
        longest = itertools.accumulate(itertools.repeat(1.2), operator.mul, initial=4.0 if "election" in name else 0.5)

        async def failing() -> NoReturn:
            working = asyncio.ensure_future(work())
            try:
                await asyncio.wait([working], timeout=random.uniform(0.0, next(longest)))
            finally:
                working.cancel()
                (failure,) = await asyncio.gather(working, return_exceptions=True)
            raise RuntimeError(REASON) from failure

        return failing

    _do_instead(short)


def _do_instead(instead: Callable[[str, tasks.Work], tasks.Work]) -> None:
    """Have other work done under each name, with short pauses."""
    run, pauses = tasks.Supervisor._run, tasks.Pauses(first=0.01, longest=0.05)  # noqa: SLF001 - all work comes by there

    async def replaced(self: tasks.Supervisor, name: str, held: Any, work: tasks.Work) -> None:
        held.backoff = Backoff(pauses.first, pauses.longest)
        await run(self, name, held, instead(name, work))

    setattr(tasks.Supervisor, "_run", replaced)


def source_ends() -> None:
    """Have the source of objects end by itself."""

    async def changes(_: FileSource) -> AsyncIterator[ChangeSet]:
        return
        yield

    setattr(FileSource, "changes", changes)


def compiler_fails() -> None:
    """Have the task fail that compiles changes."""

    async def run(_: Holdoff) -> NoReturn:
        raise RuntimeError(REASON)

    setattr(Holdoff, "run", run)


FAULTS = {fault.__name__: fault for fault in (every_task, every_task_after_a_while, source_ends, compiler_fails)}

if __name__ == "__main__":
    FAULTS[sys.argv.pop(1)]()
    main()
