"""The sample that newcomers run first."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from tests.patience import PATIENCE_SECONDS, in_time


async def test_make_run_once_holds_every_promise() -> None:
    """``make run ARGS=--once`` as a person would run it: it ends by itself, and every expectation held."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "samples.run", "--once", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output = (await asyncio.wait_for(process.communicate(), timeout=4 * PATIENCE_SECONDS))[0].decode()
    assert process.returncode == 0, output
    assert "FAILED" not in output
    for shown in (
        "route canary",
        "route testers",
        "route broken",
        "route moved",
        "/new/page",
        "ingressgateway.default",
    ):
        assert shown in output, output


async def test_ctrl_c_ends_everything_that_make_run_started() -> None:
    """The signal goes to the whole group, as from a terminal; nothing of it is left, whatever group it went to."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "samples.run"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    shown = []
    async with asyncio.timeout(4 * PATIENCE_SECONDS):
        async for line in process.stdout:
            shown.append(line.decode())
            if "Ctrl-C" in shown[-1]:
                break
    started = _descendants(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    rest = (await in_time(process.communicate()))[0].decode()
    assert len(started) >= 3, "the control plane and two Envoys"
    assert process.returncode in {0, 130}, rest
    assert "Traceback" not in rest
    assert not _alive(started)


def _descendants(pid: int) -> list[int]:
    """Return the processes below one, as ``/proc`` knows them."""
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()]
    return children + [below for child in children for below in _descendants(child)]


def _alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]
