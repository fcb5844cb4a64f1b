"""A child process with a log file: started, watched and ended by its own handle, never by name."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

POLL_INTERVAL = timedelta(milliseconds=50)
GRACE = timedelta(seconds=5)
_LOG_TAIL_LINES = 15


class ProcessFailedError(RuntimeError):
    """A process ended by itself, or did not get ready in time; the message holds the end of its log."""


class ChildProcess:
    """One process that writes to ``log_path``.

    It runs in a session of its own: Ctrl-C in a terminal reaches only the parent, which then ends its children in
    the order it likes. ``environment`` is added to that of the parent.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log_path: Path,
        environment: Mapping[str, str] | None = None,
        *,
        folder: Path | None = None,
    ) -> None:
        """Prepare the process, which runs in ``folder``; nothing runs before ``start``."""
        self._folder = folder
        self.name = name
        self.log_path = log_path
        self._command = tuple(command)
        self._environment = {**os.environ, **(environment or {})}
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """The process id while it runs, else ``None``."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    @property
    def returncode(self) -> int | None:
        """Its exit code, ``None`` before it has ended."""
        return self._process.returncode if self._process is not None else None

    async def start(self) -> None:
        """Start it; a second start after it ended runs it anew, its log appended. Raises ``OSError``."""
        with self.log_path.open("ab") as log_file:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log_file,
                stderr=log_file,
                env=self._environment,
                cwd=self._folder,
                start_new_session=True,
            )

    async def wait_until(self, ready: Callable[[], Awaitable[bool]], timeout: timedelta) -> None:  # noqa: ASYNC109
        """Ask ``ready`` again and again until it says yes.

        Raises ``ProcessFailedError`` when the process ends before that, or after ``timeout``.
        """
        clock = asyncio.get_running_loop()
        deadline = clock.time() + timeout.total_seconds()
        while clock.time() < deadline:
            if self.pid is None:
                raise ProcessFailedError(self.failure("ended before it was ready"))
            if await ready():
                return
            await asyncio.sleep(POLL_INTERVAL.total_seconds())
        raise ProcessFailedError(self.failure(f"was not ready after {timeout.total_seconds():.0f} s"))

    async def stop(self) -> None:
        """End it and wait for it: politely first, by force after ``GRACE``. Nothing happens when it has ended."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """End it at once, as a crash would."""
        await self._end(signal.SIGKILL)

    async def _end(self, number: signal.Signals) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):  # it ended between the two lines
            process.send_signal(number)
        try:
            await asyncio.wait_for(process.wait(), timeout=GRACE.total_seconds())
        except TimeoutError:
            process.kill()
            await process.wait()

    def said(self, words: str) -> bool:
        """Whether the log has these words yet."""
        return self.log_path.exists() and words in self.log_path.read_text(encoding="utf-8", errors="replace")

    def failure(self, what: str) -> str:
        """Return a message for a person: the process, what is wrong with it, and the end of its log."""
        lines = (
            self.log_path.read_text(encoding="utf-8", errors="replace").splitlines() if self.log_path.exists() else []
        )
        return "\n".join([f"{self.name} {what}; the end of {self.log_path}:", *lines[-_LOG_TAIL_LINES:]])
