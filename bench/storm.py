"""A storm: ``make bench ARGS=--storm``.

All proxies lose the server (SIGKILL) and come back while the configuration changes; the server is killed once more in
the middle of that, with half of them in. Its settings are the defaults, but for how many may come from one address.
"""

from __future__ import annotations

import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from rich.box import MARKDOWN
from rich.table import Table

from bench.client import Client
from bench.mesh import Mesh
from bench.subject import LOOPBACK, Process, free_port

PROXIES = 2_000
SERVICES = 100
ALL_IN_TIMEOUT = timedelta(minutes=2)
LATEST_CHANGE = timedelta(seconds=1)
MOST_BYTES = 600_000_000
_CHANGES = 10
_DURING_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Storm:
    """What came of it: ``all_in``, from the last start until every proxy had a change made then, or ``None``.

    ``changes`` are those after the storm, until the last proxy had each; ``None`` for one that some never had.
    ``lost`` is how often a stream broke, ``cpu`` and ``peak_bytes`` are of the last server.
    """

    proxies: int
    all_in: timedelta | None
    cpu: timedelta
    changes: tuple[timedelta | None, ...]
    lost: int
    peak_bytes: int


class Plane(Process):
    """The server on ports of which it can be had again."""

    def __init__(self, mesh: Mesh, log: Path, port: int, monitoring: int) -> None:
        self._monitoring = monitoring
        command = [sys.executable, "-m", "controlplane", "serve", "--config-dir", str(mesh.directory)]
        command += ["--xds-port", str(port), "--monitoring-port", str(monitoring)]
        command += ["--max-pending-connections", "10000", "--max-pending-connections-per-address", "10000"]
        super().__init__(command, port, log)

    def kill(self) -> None:
        """End it without a word."""
        self._process.kill()
        self._process.wait()

    def connected(self) -> int:
        """Return how many connections it has."""
        with urllib.request.urlopen(f"http://{LOOPBACK}:{self._monitoring}/metrics", timeout=10) as page:
            lines = page.read().decode().splitlines()
        found = next(line for line in lines if line.startswith("controlplane_connections "))
        return int(float(found.split()[1]))


def storm(mesh: Mesh, client: Client, proxies: int, log: Path) -> Storm:
    """Run it; the client has that many proxies."""
    port, monitoring = free_port(), free_port()
    numbers = iter(range(1, 1 << 20))
    with _plane(mesh, log, port, monitoring):
        client.connect(f"{LOOPBACK}:{port}")
        if _change(mesh, client, next(numbers), ALL_IN_TIMEOUT) is None:
            raise RuntimeError("the proxies do not come in")
    with _plane(mesh, log, port, monitoring) as second:  # they come back at once, and again when this one ends
        end = time.monotonic() + ALL_IN_TIMEOUT.total_seconds()
        while second.connected() < proxies / 2 and time.monotonic() < end:
            mesh.change("endpoint", next(numbers))
            time.sleep(_DURING_SECONDS)
    began = time.monotonic()
    with _plane(mesh, log, port, monitoring) as last:
        came = _change(mesh, client, next(numbers), ALL_IN_TIMEOUT, meanwhile=numbers)
        all_in = timedelta(seconds=time.monotonic() - began) if came is not None else None
        cpu = last.usage().cpu
        changes = [_change(mesh, client, next(numbers), 10 * LATEST_CHANGE) for _ in range(_CHANGES)]
        return Storm(proxies, all_in, cpu, tuple(changes), client.totals().lost, last.usage().peak_bytes)


@contextmanager
def _plane(mesh: Mesh, log: Path, port: int, monitoring: int) -> Iterator[Plane]:
    plane = Plane(mesh, log, port, monitoring)
    try:
        yield plane
    finally:
        plane.kill()


def _change(
    mesh: Mesh, client: Client, number: int, timeout: timedelta, meanwhile: Iterator[int] | None = None
) -> timedelta | None:
    """Make a change of an endpoint, and return how long the last proxy waited; ``meanwhile``: others go on."""
    client.expect(mesh.mark("endpoint", number))
    began = time.time_ns()
    mesh.change("endpoint", number)
    end = time.monotonic() + timeout.total_seconds()
    at = None
    while at is None and time.monotonic() < end:
        at = client.marked(timedelta(seconds=_DURING_SECONDS) if meanwhile is not None else timeout)
        if at is None and meanwhile is not None:
            _elsewhere(mesh, number, meanwhile)
    return None if at is None else timedelta(microseconds=(at - began) // 1000)


def _elsewhere(mesh: Mesh, number: int, numbers: Iterator[int]) -> None:
    """Change another service than that change did."""
    other = next(each for each in numbers if (each - number) % mesh.services)
    mesh.change("endpoint", other)


def storm_table(found: Storm) -> Table:
    """Return the table; it prints as Markdown."""
    table = Table("figure", "unit", box=MARKDOWN)
    for column in ("measured", "aim"):
        table.add_column(column, justify="right")
    slowest = max((each for each in found.changes if each is not None), default=None)
    seconds = timedelta(seconds=1)
    rows = (
        (f"{found.proxies:,} proxies, last start until all are in", "s", found.all_in and found.all_in / seconds, None),
        ("CPU until then", "s", found.cpu / seconds, None),
        ("slowest change after the storm", "s", slowest and slowest / seconds, LATEST_CHANGE / seconds),
        ("streams that broke", "-", found.lost, None),
        ("memory, peak", "MB", found.peak_bytes / 1e6, MOST_BYTES / 1e6),
    )
    for name, unit, got, aim in rows:
        table.add_row(name, unit, *("-" if value is None else f"{value:,.3g}" for value in (got, aim)))
    return table


def storm_problems(found: Storm) -> Iterator[str]:
    """Say what should not be."""
    if found.all_in is None:
        yield "not all proxies came in"
    if any(each is None or each > LATEST_CHANGE for each in found.changes):
        yield f"a change after the storm took longer than {LATEST_CHANGE / timedelta(seconds=1):g} s"
    if found.peak_bytes > MOST_BYTES:
        yield f"the memory came to {found.peak_bytes / 1e6:.0f} MB"
