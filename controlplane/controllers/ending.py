"""The end of tasks that belong to a work: it waits for them, and nothing that they fail with is lost."""

from __future__ import annotations

import asyncio
from typing import Any


async def ended(*tasks: asyncio.Future[Any]) -> None:
    """Cancel tasks, and wait until all have ended, also where this is cancelled meanwhile.

    Raises:
        BaseException: the first failure of one that was not yet told.
        asyncio.CancelledError: this was cancelled, and none has failed.
    """
    cancelled = False
    for task in tasks:
        task.cancel()
    while pending := [task for task in tasks if not task.done()]:
        try:
            await asyncio.wait(pending)
        except asyncio.CancelledError:
            cancelled = True
    failures = [error for task in tasks if not task.cancelled() and (error := task.exception()) is not None]
    if failures:
        raise failures[0]
    if cancelled:
        raise asyncio.CancelledError
