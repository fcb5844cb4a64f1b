"""How the work goes that the program can do without for a while; what metrics, pages and ``status`` tell of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TaskState:
    """One supervised task.

    ``running`` is false while it waits to be begun again. ``failures`` counts since the program started;
    ``failed_at`` is the last one, in seconds since the epoch, 0 where there was none. ``problem`` says why it failed,
    and is empty once it has run well for a while.
    """

    name: str
    running: bool
    failures: int
    failed_at: float
    problem: str
