"""Tasks of the event loop, and what becomes of one that fails.

Two are essential: the source of objects and the compiler. Without them nothing true can be served, so the end of one
ends the program. Everything else is supervised: a failure is logged with its traceback, counted, shown in ``status``
and on ``/debug/taskz``, and the task is begun again, later each time. Proxies notice nothing of it.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog

from controlplane import metrics
from controlplane.backoff import Backoff
from controlplane.model.tasks import TaskState

log = structlog.get_logger(__name__)

Work = Callable[[], Awaitable[None]]
"""Something that goes on until it is cancelled."""

LONGEST_PROBLEM = 500
"""Characters of a failure that are shown; the log has all of it."""
NOBODY_WAITS = "not awaited"
"""What failures are counted as that no part of the program waits for."""

T = TypeVar("T")


class StartError(Exception):
    """The program cannot start as it is asked to; the message is a sentence for the user."""


class WorkEndedError(RuntimeError):
    """Work that goes on for ever has ended by itself."""


class NameTakenError(RuntimeError):
    """Two works were to run under one name, of which only one would: a mistake of ours."""


@dataclass(frozen=True, slots=True)
class Pauses:
    """In seconds: the first pause after a failure, the longest one, and how long a task must run to count as well."""

    first: float = 1.0
    longest: float = 60.0
    healthy: float = 60.0


@dataclass(slots=True)
class _Supervised:
    """What is known of one task."""

    backoff: Backoff
    running: bool = True
    begun: float = field(default_factory=time.monotonic)
    failures: int = 0
    failed_at: float = 0.0
    problem: str = ""


class Supervisor:
    """Runs work that the program can do without for a while, each under a name that is one of few.

    ``start`` is for work of the whole life of the program, ``keep`` for work within other work, such as that of a
    leader. Names are labels of a metric: they never come from a peer or an object.
    """

    def __init__(self, pauses: Pauses | None = None) -> None:
        self._pauses = pauses or Pauses()
        self._known: dict[str, _Supervised] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def states(self) -> tuple[TaskState, ...]:
        """How all work is doing that is to be done now, by name."""
        return tuple(self._state(name, held) for name, held in sorted(self._known.items()))

    def start(self, name: str, work: Work) -> None:
        """Begin work, which goes on until ``stop``.

        Raises:
            NameTakenError: other work of that name goes on, or the same.
        """
        held = self._taken(name)
        self._tasks[name] = asyncio.create_task(self._run(name, held, work), name=name)

    async def keep(self, name: str, work: Work) -> None:
        """Do work until cancelled, and begin it again whenever it fails or ends by itself.

        Raises:
            NameTakenError: other work of that name goes on, or the same.
        """
        await self._run(name, self._taken(name), work)

    def _taken(self, name: str) -> _Supervised:
        """Take a name for some work."""
        if name in self._known:
            message = f"two works are called {name!r}"
            raise NameTakenError(message)
        held = self._known[name] = _Supervised(Backoff(self._pauses.first, self._pauses.longest))
        return held

    async def _run(self, name: str, held: _Supervised, work: Work) -> None:
        try:
            while True:
                held.running, held.begun = True, time.monotonic()
                working = asyncio.create_task(_done(work), name=name)
                try:
                    await asyncio.wait([working])
                except asyncio.CancelledError:
                    if (error := await _end(working)) is not None:
                        self._failed(name, held, error)
                    raise
                await asyncio.sleep(self._failed(name, held, _failure(working)))
        finally:
            if self._known.get(name) is held:
                del self._known[name]

    async def stop(self) -> None:
        """End all work that was started, and wait until it has ended."""
        tasks, self._tasks = self._tasks, {}
        await ended(*tasks.values())
        for name in tasks:
            self._known.pop(name, None)

    def _failed(self, name: str, held: _Supervised, error: BaseException) -> float:
        """Tell of a failure; return the seconds to wait."""
        if time.monotonic() - held.begun >= self._pauses.healthy:
            held.backoff.reset()
        pause = held.backoff.pause()
        held.running, held.failed_at = False, time.time()
        held.failures += 1
        held.problem = _reason(error)
        metrics.TASK_FAILURES.labels(name).inc()
        log.error("app.task_failed", task=name, failures=held.failures, retry_seconds=round(pause, 3), exc_info=error)
        return pause

    def _state(self, name: str, held: _Supervised) -> TaskState:
        well = held.running and time.monotonic() - held.begun >= self._pauses.healthy
        return TaskState(name, held.running, held.failures, held.failed_at, "" if well else held.problem)


async def _done(work: Work) -> None:
    await work()


def _failure(working: asyncio.Task[None]) -> BaseException:
    """Return why work has ended, which should go on."""
    if working.cancelled():  # by somebody within it, which is a failure like another
        return asyncio.CancelledError()
    return working.exception() or WorkEndedError("it ended by itself")


async def _end(working: asyncio.Task[None]) -> BaseException | None:
    """End work, and wait until it has, whoever else is ended meanwhile; return what it fails with."""
    working.cancel()
    while not working.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([working])
    return None if working.cancelled() else working.exception()


def _reason(error: BaseException) -> str:
    """Return what happened in a few words; of several failures at once the first."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return text if len(text) <= LONGEST_PROBLEM else f"{text[:LONGEST_PROBLEM]}..."


def tell_unawaited(_loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
    """Log and count a failure that nobody waits for; one of a peer's connection is no failure of ours."""
    error: BaseException | None = context.get("exception")
    if ("protocol" in context or "transport" in context) and _of_a_connection(error):
        log.debug("app.connection_failed", reason=str(error) or type(error).__name__)
        return
    metrics.TASK_FAILURES.labels(NOBODY_WAITS).inc()
    log.error("app.unawaited_failed", what=context.get("message"), exc_info=error, **_whose(context))


def _whose(context: Mapping[str, Any]) -> dict[str, str]:
    """Return the work that something happened to by the name of its code, never what it works on."""
    task = context.get("task", context.get("future"))
    if not isinstance(task, asyncio.Task):
        return {}
    work = task.get_coro()
    frame = getattr(work, "cr_frame", None)
    module = frame.f_globals.get("__name__", "") if frame is not None else ""
    return {"whose": f"{module}.{getattr(work, '__qualname__', type(work).__name__)}".lstrip(".")}


def _of_a_connection(error: BaseException | None) -> bool:
    """Whether a failure is one of the other side or the way to it; TLS of uvloop may write once more after the end."""
    if isinstance(error, ssl.SSLError | ConnectionError | TimeoutError):
        return True
    return isinstance(error, RuntimeError) and str(error).endswith("the handler is closed")


async def opened(option: str, port: int, opening: Coroutine[None, None, T]) -> T:
    """Return what ``opening`` gives; ``port`` is what was asked for.

    Raises:
        StartError: the port cannot be opened; it is named by its option.
    """
    try:
        return await opening
    except OSError as error:
        reason = error.strerror or str(error)
        raise StartError(f"{option}: cannot listen on port {port}: {reason[:1].lower()}{reason[1:]}") from error


async def ended(*tasks: asyncio.Task[Any]) -> None:
    """End tasks, and wait until they have."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


async def unless(stop: asyncio.Event, work: Coroutine[None, None, bool]) -> bool:
    """Return what some work returns, false if ``stop`` is set before that."""
    working, stopped = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((working, stopped), return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else False
    finally:
        for task in (working, stopped):
            task.cancel()
        await asyncio.gather(working, stopped, return_exceptions=True)
