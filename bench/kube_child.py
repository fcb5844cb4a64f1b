"""A process of its own that reads a cluster and tells what that took, so that only reading is measured."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

Report = Mapping[str, float]


class Child:
    """One such process; an asynchronous context manager that ends it. ``ask`` gives what it used so far."""

    def __init__(self, module: str, *arguments: str) -> None:
        self._command = (sys.executable, "-m", module, *arguments)
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(*self._command, stdin=pipe, stdout=pipe)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def first(self) -> Report:
        """Return the report that comes once its list is complete.

        Raises:
            RuntimeError: it ended instead.
        """
        if self._process is None or self._process.stdout is None:
            raise RuntimeError("it was not started")
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(self._command)} ended with {await self._process.wait()}")
        report: Report = json.loads(line)
        return report

    async def ask(self, order: str = "report") -> Report:
        """Give an order and return the report after it; raises as ``first`` does."""
        if self._process is None or self._process.stdin is None:
            raise RuntimeError("it was not started")
        self._process.stdin.write(f"{order}\n".encode())
        return await self.first()

    async def until(self, holds: Callable[[Report], bool], timeout_seconds: float = 300) -> Report:
        """Ask until a report is as it should be.

        Raises:
            RuntimeError: it is not; the message has the last one.
        """
        end = time.monotonic() + timeout_seconds
        while not holds(report := await self.ask()):
            if time.monotonic() > end:
                raise RuntimeError(f"{' '.join(self._command)} still reports {report}")
            await asyncio.sleep(0.1)
        return report


async def orders() -> asyncio.StreamReader:
    """Return what the parent says, for the child."""
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    return lines


def tell(figures: Report) -> None:
    """Send a report to the parent, with the processor time so far (s) and the memory held (MB)."""
    print(json.dumps({**figures, "cpu": time.process_time(), "resident_mb": resident_bytes() / 1e6}), flush=True)


def resident_bytes() -> int:
    """Return the memory that this process holds resident."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * resource.getpagesize()
