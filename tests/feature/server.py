"""The control plane as a process: a directory of files in, logs, an xDS port and a monitoring port out."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from tests.cli.command import ROOT
from tests.patience import PATIENCE_SECONDS, patience

Event = dict[str, Any]
EVENTUALLY_SECONDS = PATIENCE_SECONDS
PAUSE_SECONDS = 0.01


class Server:
    """A running ``serve``. ``xds`` and ``monitoring`` are its addresses; ``events`` are those that it ``keeps``."""

    def __init__(self, folder: Path, process: subprocess.Popen[str], keeps: Callable[[Event], bool] = bool) -> None:
        self.folder = folder
        self._keeps = keeps
        self.process = process
        self.events: list[Event] = []
        self.xds = self.secure = self.monitoring = ""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            event = json.loads(line)
            if event["event"] == "app.serving":
                self.secure, self.monitoring = event.get("secure", ""), event["monitoring"]
                self.xds = event.get("xds", self.secure)
            if self._keeps(event):
                self.events.append(event)

    def write(self, name: str, *documents: Any) -> None:
        """Put a file in place in one moment: bytes and text as they are, other values as YAML documents."""
        parts = [
            document
            if isinstance(document, bytes)
            else (document if isinstance(document, str) else yaml.safe_dump(document)).encode()
            for document in documents
        ]
        hidden = self.folder / f".{name}"
        hidden.write_bytes(b"\n---\n".join(parts))
        hidden.rename(self.folder / name)

    def remove(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)

    def logged(self, name: str, since: int = 0, **values: Any) -> list[dict[str, Any]]:
        """Return the events of a name with these values, from the ``since``-th event on."""
        return [
            event
            for event in self.events[since:]
            if event["event"] == name and all(event.get(key) == value for key, value in values.items())
        ]

    async def event(self, name: str, since: int = 0, **values: Any) -> dict[str, Any]:
        """Wait for an event: the log is written some lines at a time, a moment after they were said."""
        return (await self.events_of(name, 1, since, **values))[0]

    async def events_of(self, name: str, count: int, since: int = 0, **values: Any) -> list[dict[str, Any]]:
        """Wait for so many events of a name with these values."""
        try:
            async with patience():
                while len(found := self.logged(name, since, **values)) < count:
                    await asyncio.sleep(PAUSE_SECONDS)
        except TimeoutError:
            raise AssertionError(f"{name} {values} was not logged {count}x; events: {self.events[since:]}") from None
        return found

    async def get(self, path: str) -> tuple[int, Any]:
        """Return status and body (JSON where it is) of a page of the monitoring port."""
        async with (
            aiohttp.ClientSession(f"http://{self.monitoring}") as session,
            session.get(path, headers={"Accept": "application/json"}) as response,
        ):
            text = await response.text()
        try:
            return response.status, json.loads(text)
        except ValueError:
            return response.status, text

    async def problems(self) -> dict[tuple[str, str], list[str]]:
        """Return (kind, name) -> problems of what the status page lists; unreadable files are ("", "")."""
        status, body = await self.get("/debug/rejectedz")
        assert status == 200
        found: dict[tuple[str, str], list[str]] = {}
        for each in body:  # an object that is refused may be listed for its last good version, too
            found.setdefault((each["kind"], each["name"]), []).extend(each["problems"])
        return found

    async def exit_code(self) -> int:
        """Wait until the process has ended."""
        async with patience():
            while (code := self.process.poll()) is None:
                await asyncio.sleep(PAUSE_SECONDS)
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)


@contextmanager
def serving(
    folder: Path,
    *documents: Any,
    drain: str = "1s",
    options: Sequence[str] = (),
    program: Sequence[str] = ("controlplane",),
    keeps: Callable[[Event], bool] = bool,
) -> Iterator[Server]:
    """Run the control plane on free loopback ports over a folder with these objects in ``mesh.yaml``.

    ``program`` is the module that is run and its first arguments. ``keeps`` says of an event whether it goes to
    ``events``.
    """
    (folder / "mesh.yaml").write_text(yaml.safe_dump_all(documents))
    command = [sys.executable, "-m", *program, "serve", "--config-dir", str(folder)]
    command += [
        "--xds-port",
        "0",
        "--monitoring-port",
        "0",
        "--drain-period",
        drain,
        "--new-streams-per-second",
        "100",
        *options,
    ]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    server = Server(folder, process, keeps)
    try:
        for _ in range(int(EVENTUALLY_SECONDS / PAUSE_SECONDS)):
            if server.xds or process.poll() is not None:
                break
            threading.Event().wait(PAUSE_SECONDS)
        assert server.xds, f"did not start: {server.events}"
        yield server
    finally:
        server.close()
