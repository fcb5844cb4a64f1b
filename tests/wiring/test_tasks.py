"""What becomes of work that fails."""

from __future__ import annotations

import asyncio
import ssl
from typing import NoReturn

import pytest

from controlplane.wiring.tasks import LONGEST_PROBLEM, NameTakenError, Pauses, Supervisor, Work, tell_unawaited
from tests.patience import patience

SOON = Pauses(first=0.001, longest=0.002, healthy=60.0)


async def for_ever() -> None:
    await asyncio.Event().wait()


async def fails() -> NoReturn:
    raise RuntimeError("no")


async def ends() -> None:
    return


async def is_cancelled_within() -> None:
    inner = asyncio.create_task(for_ever())
    inner.cancel()
    await inner


async def fails_together() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(for_ever())
        group.create_task(fails())


async def recurses() -> None:
    await recurses()


async def until_failures(supervisor: Supervisor, count: int) -> None:
    async with patience():
        while supervisor.states[0].failures < count:
            await asyncio.sleep(0.001)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("work", "problem"),
    [
        (fails, "RuntimeError: no"),
        (ends, "WorkEndedError: it ended by itself"),
        (is_cancelled_within, "CancelledError"),
        (fails_together, "RuntimeError: no"),
        (recurses, "RecursionError: maximum recursion depth exceeded"),
    ],
)
async def test_work_is_begun_again_whatever_way_it_ends(
    work: Work, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    supervisor = Supervisor(SOON)
    supervisor.start("it", work)
    supervisor.start("other", for_ever)
    await until_failures(supervisor, 3)
    it, other = supervisor.states
    assert it.problem.startswith(problem)
    assert it.failed_at > 0
    assert (other.failures, other.problem, other.running) == (0, "", True)
    await supervisor.stop()
    assert supervisor.states == ()
    assert capsys.readouterr().out.count("app.task_failed") >= 3


async def test_what_runs_well_for_a_while_has_no_problem_any_more() -> None:
    supervisor, attempts = Supervisor(Pauses(first=0.001, longest=0.001, healthy=0.05)), []

    async def work() -> None:
        attempts.append(1)
        if len(attempts) == 1:
            raise RuntimeError("x" * 2 * LONGEST_PROBLEM)
        await for_ever()

    supervisor.start("it", work)
    await until_failures(supervisor, 1)
    assert len(supervisor.states[0].problem) < LONGEST_PROBLEM + 10
    async with patience():
        while supervisor.states[0].problem:
            await asyncio.sleep(0.001)
    assert (supervisor.states[0].failures, supervisor.states[0].running) == (1, True)
    await supervisor.stop()


async def test_a_stop_ends_work_that_waits_for_its_next_attempt() -> None:
    supervisor = Supervisor(Pauses(first=3600.0))
    supervisor.start("it", fails)
    await until_failures(supervisor, 1)
    assert not supervisor.states[0].running
    async with patience():
        await supervisor.stop()


async def test_work_that_fails_as_it_is_ended_is_told_and_not_begun_again(capsys: pytest.CaptureFixture[str]) -> None:
    supervisor, begun = Supervisor(SOON), []

    async def work() -> None:
        begun.append(1)
        try:
            await for_ever()
        finally:
            raise OSError("cannot be closed")

    supervisor.start("it", work)
    while not begun:
        await asyncio.sleep(0)
    async with patience():
        await supervisor.stop()
    assert begun == [1]
    assert "cannot be closed" in capsys.readouterr().out


async def test_work_within_other_work_goes_on_under_its_name_when_it_comes_again() -> None:
    """As that of a leader, who loses the lease and has it again."""
    supervisor, running = Supervisor(SOON), asyncio.Event()

    async def work() -> None:
        running.set()
        await for_ever()

    for _ in range(3):
        running.clear()
        led = asyncio.create_task(supervisor.keep("writer", work))
        await running.wait()
        assert [state.name for state in supervisor.states] == ["writer"]
        led.cancel()
        await asyncio.wait([led])
        assert led.cancelled()
        assert supervisor.states == ()


async def test_a_failure_that_nobody_waits_for_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(tell_unawaited)
    loop.call_soon(lambda: 1 / 0)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert "app.unawaited_failed" in (told := capsys.readouterr().out)
    assert "ZeroDivisionError" in told
    closed = RuntimeError("unable to perform operation on <TCPTransport closed=True 0x1>; the handler is closed")
    assert "whose" not in told
    loop.call_exception_handler({"message": "Task was destroyed", "task": (task := loop.create_task(for_ever()))})
    assert f"{__name__}.for_ever" in capsys.readouterr().out
    task.cancel()
    for error in (ssl.SSLError("bad record"), closed):
        loop.call_exception_handler({"message": "SSL", "exception": error, "protocol": object()})
    assert "app.unawaited_failed" not in capsys.readouterr().out


async def test_a_second_work_of_a_name_is_a_mistake_that_is_told() -> None:
    """It would not run, and nobody would know; with its end, or that of all, the name is free again."""
    supervisor = Supervisor(SOON)
    supervisor.start("it", for_ever)
    with pytest.raises(NameTakenError, match="'it'"):
        supervisor.start("it", for_ever)
    with pytest.raises(NameTakenError, match="'it'"):
        await supervisor.keep("it", for_ever)
    assert [state.name for state in supervisor.states] == ["it"]
    await supervisor.stop()
    led = asyncio.create_task(supervisor.keep("it", for_ever))
    await asyncio.sleep(0)
    with pytest.raises(NameTakenError, match="'it'"):
        supervisor.start("it", for_ever)
    led.cancel()
    await asyncio.wait([led])
    supervisor.start("it", for_ever)
    await supervisor.stop()
