"""Which paths below a directory changed, as the operating system reports it."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import structlog

from controlplane.watchers.files.tree import leads_out

if TYPE_CHECKING:
    import threading

    from watchfiles._rust_notify import RustNotify

log = structlog.get_logger()

_BUSY_STEP_MS = 2
_IDLE_STEP_MS = 10
"""How often reports are collected, which costs CPU: while something happens, and otherwise."""
_BUSY_SECONDS = 1.0
"""How long a report makes the next one likely."""
_GATHER_MS = 5
"""Longest time that the reports of a burst are gathered; it ends earlier with a step without any."""
_AGAIN_SECONDS = 0.1
"""The pause after reports that could not be read."""
_RETRY_SECONDS = 0.5
"""How often a directory that cannot be watched is tried again."""


class DirectoryWatch:
    """Waits for changes below ``root`` (an absolute path), also when the directory is not there yet or is replaced."""

    def __init__(self, root: str, stop: threading.Event) -> None:
        self._root = root
        self._stop = stop
        self._watcher: RustNotify | None = None
        self._identity: tuple[int, int] | None = None
        self._one_by_one = False  # without following links, of which some lead out of the directory
        self._complained = ""
        self._busy_until = 0.0

    def wait(self, seconds: float) -> set[str]:
        """Return the paths that changed, at the latest after ``seconds``, or some milliseconds; blocks.

        ``root`` is among them when anything may have: the watch began just now. Empty when nothing was reported or
        ``stop`` was set, and with 0 seconds also where there is nothing to watch: the next call sees to that.
        """
        if self._watcher is None or self._identity != _identity(self._root):
            return self._open() if seconds else set()
        busy = self._busy_until - time.monotonic()
        step_ms = _BUSY_STEP_MS if busy > 0 or not seconds else _IDLE_STEP_MS
        timeout_ms = int(1000 * (min(seconds, busy) if busy > 0 else seconds))
        try:
            reports = self._watcher.watch(_GATHER_MS, step_ms, max(1, timeout_ms), self._stop)
        except (OSError, RuntimeError) as error:  # a changed path whose name is no text, for example
            self._complain(str(error))
            self._stop.wait(_AGAIN_SECONDS)
            return {self._root}
        if isinstance(reports, str):
            return set()
        self._busy_until = time.monotonic() + _BUSY_SECONDS
        paths = {path for _, path in reports}
        if self._one_by_one and any(os.path.isdir(path) for path in paths):  # noqa: PTH112 - paths are text here
            self._identity = None  # there may be directories that are not watched yet
        return paths

    def close(self) -> None:
        """Release the operating system's watches."""
        if self._watcher is not None:
            self._watcher.close()
            self._watcher = None

    def _open(self) -> set[str]:
        from watchfiles._rust_notify import RustNotify  # noqa: PLC0415  - documented; costs start-up time

        self.close()
        self._identity = _identity(self._root)
        try:
            directories = leads_out(self._root)
            self._one_by_one = bool(directories)
            self._watcher = RustNotify(directories or [self._root], False, False, 300, not directories, True)
        except (OSError, RuntimeError) as error:
            self._complain(str(error))
            self._stop.wait(_RETRY_SECONDS)
        else:
            self._complained = ""
        return {self._root}

    def _complain(self, reason: str) -> None:
        """Log what is wrong, once in a row."""
        if reason != self._complained:
            log.warning("watchers.watch_failed", directory=self._root, reason=reason)
            self._complained = reason


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - paths are text here
    except OSError:
        return None
    return found.st_dev, found.st_ino
