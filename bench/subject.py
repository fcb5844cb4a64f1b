"""A server that is measured: the control plane itself, or the floor beside it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from bench.mesh import Mesh

START_TIMEOUT = timedelta(minutes=5)
TICKS = os.sysconf("SC_CLK_TCK")
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Usage:
    """A process's processor time so far, user and system, and the most memory it ever held resident."""

    cpu: timedelta
    peak_bytes: int


class Subject(Protocol):
    """What the phases need of a server under test."""

    @property
    def address(self) -> str:
        """Where it serves plaintext ADS."""

    def usage(self) -> Usage:
        """Return what it used so far."""

    def begin(self, phase: str) -> None:
        """Hear that streams will be opened for this phase."""

    def change(self, kind: str, number: int) -> None:
        """Make a change that it must send to the proxies."""


class Process:
    """A server process with its log; a context manager that ends it.

    Raises:
        RuntimeError: it ended, or does not listen in time.
    """

    def __init__(self, command: list[str], port: int, log: Path, *, piped: bool = False) -> None:
        self.address = f"{LOOPBACK}:{port}"
        self._log = log
        with log.open("w", encoding="utf-8") as output:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE if piped else subprocess.DEVNULL, stdout=output, stderr=output, text=True
            )
        try:
            self._listening(port)
        except RuntimeError:
            self._stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def usage(self) -> Usage:
        """Return what the process used so far.

        Raises:
            RuntimeError: it ended; the message has the end of its log.
        """
        try:
            return usage(self._process.pid)
        except (OSError, IndexError) as error:
            raise RuntimeError(self._last_words()) from error

    def say(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self._process.stdin is not None  # noqa: S101 - a pipe, by the constructor
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _listening(self, port: int) -> None:
        end = time.monotonic() + START_TIMEOUT.total_seconds()
        while time.monotonic() < end and self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex((LOOPBACK, port)) == 0:
                    return
            time.sleep(0.05)
        raise RuntimeError(self._last_words())

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()

    def _last_words(self) -> str:
        return f"the server ended or does not listen (status {self._process.poll()}):\n{self._log.read_text()[-2000:]}"


class ControlPlane(Process):
    """The real server, on a mesh in a directory."""

    module = "controlplane"

    def __init__(self, mesh: Mesh, log: Path) -> None:
        port, monitoring = free_port(), free_port()
        self.monitoring = f"{LOOPBACK}:{monitoring}"
        command = [sys.executable, "-m", self.module, "serve", "--config-dir", str(mesh.directory)]
        command += ["--xds-port", str(port), "--monitoring-port", str(monitoring)]
        # all connect at once, from one address: the server is measured, not its limits
        command += ["--new-streams-per-second", "100000"]
        command += ["--max-pending-connections", "10000", "--max-pending-connections-per-address", "10000"]
        super().__init__(command, port, log)
        self._mesh = mesh

    def begin(self, phase: str) -> None:
        """Do nothing: it does the same in every phase."""

    def change(self, kind: str, number: int) -> None:
        """Change the mesh's files."""
        self._mesh.change(kind, number)


class WatchedControlPlane(ControlPlane):
    """The same, with its event loop watched: see ``bench/watched.py``."""

    module = "bench.watched"

    def __init__(self, mesh: Mesh, log: Path) -> None:
        self._result = log.with_suffix(".watch")
        os.environ["BENCH_WATCH"] = str(self._result)
        super().__init__(mesh, log)

    @contextmanager
    def watched(self) -> Iterator[list[timedelta]]:
        """Give a list that has the longest turn of the loop, in processor time, when the context has ended.

        Raises:
            RuntimeError: the server ended, or does not tell.
        """
        longest: list[timedelta] = []
        self._result.unlink(missing_ok=True)
        self._process.send_signal(signal.SIGUSR1)
        yield longest
        self._process.send_signal(signal.SIGUSR2)
        end = time.monotonic() + START_TIMEOUT.total_seconds()
        while not self._result.exists():
            if time.monotonic() > end or self._process.poll() is not None:
                raise RuntimeError(self._last_words())
            time.sleep(0.001)
        longest.append(timedelta(seconds=float(self._result.read_text())))


class Floor(Process):
    """The bare gRPC server of ``bench/floor.py``, which sends what the control plane sent in each phase."""

    def __init__(self, recordings: Path, log: Path) -> None:
        port = free_port()
        super().__init__([sys.executable, "-m", "bench.floor", str(recordings), str(port)], port, log, piped=True)

    def begin(self, phase: str) -> None:
        """Answer first requests from this phase's recording."""
        self.say(f"answer {phase}")

    def change(self, kind: str, number: int) -> None:
        """Send the recording of this change to every stream."""
        self.say(f"push {recording(kind, number)}")


def recording(kind: str, number: int) -> str:
    """Return the file name under which a change's responses are kept."""
    return f"{kind}-{number}"


def usage(pid: int) -> Usage:
    """Read a process's usage.

    Source: proc(5), fields 14 and 15 of ``/proc/pid/stat``, ``VmHWM`` in ``/proc/pid/status``.
    """
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    peak = next(line for line in [*status.splitlines(), "VmHWM: 0 kB"] if line.startswith("VmHWM"))
    cpu = timedelta(seconds=(int(fields[11]) + int(fields[12])) / TICKS)
    return Usage(cpu, int(peak.split()[1]) * 1024)


def free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
