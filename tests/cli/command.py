"""Runs the command line as its user does: as a process, without a terminal unless one is asked for."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from typer.testing import CliRunner

from controlplane.cli.group import app
from tests.patience import in_time

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Result:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str


async def run(*arguments: str, environment: dict[str, str] | None = None, text: str = "") -> Result:
    """Run a command to its end, with ``text`` on its standard input."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "controlplane",
        *arguments,
        cwd=ROOT,
        env=_environment() | (environment or {}),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await in_time(process.communicate(text.encode()))
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return Result(process.returncode, out.decode(), err.decode())


def invoked(*arguments: str) -> Result:
    """Run a command within this process, where what it needs is loaded once: for many calls of slow ones."""
    done = CliRunner().invoke(app, arguments)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Result(done.exit_code, done.stdout, done.stderr)


async def modules_imported(*arguments: str) -> set[str]:
    """Return the modules that a command imports, whatever it answers."""
    result = await run(*arguments, environment={"PYTHONPROFILEIMPORTTIME": "1"})
    return {line.rpartition("|")[2].strip() for line in result.err.splitlines() if line.startswith("import time:")}


def _environment() -> dict[str, str]:
    ours = ("CONTROLPLANE_", "PYTHONPROFILE", "FORCE_COLOR", "TERM")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}
