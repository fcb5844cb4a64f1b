"""One background process of a cluster: it ends with its parent, however that ends, and its log is a file."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

POLL_SECONDS = 0.05
_LOG_TAIL_LINES = 15
_TIED = ("setpriv", "--pdeathsig", "KILL", "--")  # execs: the process keeps its id


class DaemonError(RuntimeError):
    """A process ended by itself, or was not ready in time; the message holds the end of its log."""


class Daemon:
    """A process that the kernel kills when the thread that started it is gone, so start it from the main thread.

    With ``wrapper`` (say, ``nsenter`` into a node) the process proper is the wrapper's child, and tied to it likewise.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        folder: Path,
        *,
        wrapper: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Prepare it; its working directory is ``folder``, and its log is ``NAME.log`` there."""
        self.name = name
        self._folder = folder
        self.log_path = folder / f"{name}.log"
        self._command = (*_TIED, *wrapper, *_TIED, *command) if wrapper else (*_TIED, *command)
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Its process id while it runs, else ``None``."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> None:
        """Start it; after it ended, start it anew with its log appended. Raises ``DaemonError``."""
        if shutil.which("setpriv") is None:
            raise DaemonError("setpriv is not on PATH: apt-get install util-linux")
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches only the parent, which then ends its daemons in order
            )

    def wait_until(self, ready: Callable[[], bool], timeout_seconds: float = 180) -> None:
        """Ask ``ready`` until it says yes. Raises ``DaemonError`` when the process ends, or after the timeout."""
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            if self.pid is None:
                raise DaemonError(self.failure("ended before it was ready"))
            if ready():
                return
            time.sleep(POLL_SECONDS)
        raise DaemonError(self.failure(f"was not ready after {timeout_seconds:.0f} s"))

    def stop(self, grace_seconds: float = 0) -> None:
        """End it and wait for that: politely first where it is given time, then by force."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        if grace_seconds:
            process.terminate()
            try:
                process.wait(grace_seconds)
            except subprocess.TimeoutExpired:
                pass
            else:
                return
        process.kill()
        process.wait()

    def failure(self, what: str) -> str:
        """Return a message for a person: the process, what is wrong with it, and the end of its log."""
        lines = self.log_path.read_text(errors="replace").splitlines() if self.log_path.exists() else []
        return "\n".join([f"{self.name} {what}; the end of {self.log_path}:", *lines[-_LOG_TAIL_LINES:]])
