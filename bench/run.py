"""Measures the control plane under load, beside the least that a gRPC server could do: ``make bench``.

A synthetic mesh in files, the real server, simulated proxies (delta ADS). Then the floor: a bare gRPC server that sends
the same bytes to the same proxies. Both on this machine in turn, so that their ratio means something on any machine;
the aims and istiod's figures are of one machine with 1,000 services, 10 endpoints each, and 500 proxies.
``bench/README.md`` says how to read the table.

    python -m bench.run --runs 3         # the table: medians over three runs of each
    python -m bench.run --scaling        # what one change costs by the size of the mesh, in time and counted
    python -m bench.run --crowd          # what thousands of proxies cost that come back, or hear of a headless endpoint
    python -m bench.run --storm          # the server is killed twice, and all come back while the configuration changes
    python -m bench.run --admin          # how long pages of the monitoring port hold up the proxies
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path

from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table

from bench.admin import LISTENER, PROXIES, SERVICES, PageFigures, admin_table, missed_pages, page_figures
from bench.client import Client, build
from bench.crowd import CHANGING, RECONNECTING, crowd_table
from bench.crowd import SERVICES as CROWD_SERVICES
from bench.mesh import Mesh
from bench.phases import Figures, Phases, Plan
from bench.storm import PROXIES as STORMING
from bench.storm import Storm, storm, storm_problems, storm_table
from bench.subject import ControlPlane, Floor, WatchedControlPlane
from bench.work import work_by_size, work_table

TOP = Path(__file__).resolve().parents[1]
SIZES = (100, 1_000, 5_000)

Results = Mapping[str, Figures]
"""One run of one server: figures by phase."""
Runs = Sequence[Results]
"""The same server and mesh, measured anew each time."""
Figure = Callable[[Results], float | None]
CONTROL_PLANE, FLOOR = "control plane", "floor"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: what ``figure`` reads from the results, and what it should be at most."""

    name: str
    unit: str
    figure: Figure
    aim: float | None
    istiod: float | None

    def of(self, runs: Runs) -> float | None:
        """Return the median over the runs that have the figure."""
        return over_runs(self.figure, runs)

    def misses(self, got: float | None) -> bool:
        """Whether a figure is above the aim, both as they are printed."""
        return got is not None and self.aim is not None and float(f"{got:.3g}") > self.aim


def over_runs(figure: Figure, runs: Runs) -> float | None:
    """Return the median of a figure over the runs that have it; ``None`` where none has."""
    found = [got for got in map(figure, runs) if got is not None]
    return statistics.median(found) if found else None


def cpu(phase: str, unit: timedelta) -> Figure:
    """Return the reader of a phase's processor time per change."""
    return lambda results: results[phase].cpu_each / unit if phase in results else None


def median(phase: str, unit: timedelta) -> Figure:
    """Return the reader of a phase's median time to the last proxy."""

    def figure(results: Results) -> float | None:
        middle = results[phase].median if phase in results else None
        return None if middle is None else middle / unit

    return figure


def bytes_of(phase: str) -> Figure:
    """Return the reader of a phase's received bytes, in GB."""
    return lambda results: results[phase].bytes / 1e9 if phase in results else None


def reconnect_share(results: Results) -> float | None:
    """Return what a reconnect sends again, in per cent of the first connect."""
    if "reconnect" not in results or not results["connect"].bytes:
        return None
    return 100 * results["reconnect"].bytes / results["connect"].bytes


def peak_memory(results: Results) -> float:
    """Return the most memory the server ever held, in MB."""
    return max(figures.peak_bytes for figures in results.values()) / 1e6


MS, S = timedelta(milliseconds=1), timedelta(seconds=1)
ROWS = (
    Row("first connect, CPU", "s", cpu("connect", S), 3.0, 54.9),
    Row("first connect, to the last response", "s", lambda r: r["connect"].elapsed / S, None, 52.7),
    Row("first connect, sent", "GB", bytes_of("connect"), 1.27, 1.27),
    Row("idle for 5 s, CPU", "ms", cpu("idle", MS), None, None),
    Row("endpoint change, CPU", "ms", cpu("endpoint", MS), 90, 143),
    Row("endpoint change, to the last proxy", "ms", median("endpoint", MS), 60, 199),
    Row("burst of 200 endpoint changes, CPU", "s", cpu("burst", S), 0.5, 1.04),
    Row("burst of 200 endpoint changes, to the last proxy", "s", median("burst", S), 0.6, 1.9),
    Row("VirtualService change, CPU", "s", cpu("virtual-service", S), 0.5, 6.1),
    Row("VirtualService change, to the last proxy", "s", median("virtual-service", S), 0.6, 5.7),
    Row("new service, CPU", "s", cpu("new-service", S), 0.5, 5.4),
    Row("new service, to the last proxy", "s", median("new-service", S), 0.6, 4.0),
    Row("reconnect, CPU", "s", cpu("reconnect", S), 1.0, 57.0),
    Row("reconnect, sent again", "%", reconnect_share, 1.0, 100.0),
    Row("memory, peak", "MB", peak_memory, 400, 960),
)


def number(value: float | None) -> str:
    """Return three significant digits, or a dash."""
    return "-" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def comparison(measured: Runs, floor: Runs) -> Table:
    """Return the table of every figure beside its aim, the floor's, and istiod's; it prints as Markdown."""
    table = Table("figure", "unit", box=MARKDOWN)
    for column in ("measured", "aim", "floor", "times floor", "istiod"):
        table.add_column(column, justify="right")
    for row in ROWS:
        got, least = row.of(measured), row.of(floor)
        ratio = got / least if got is not None and least else None
        shown = f"[red]{number(got)}[/red]" if row.misses(got) else number(got)
        table.add_row(row.name, row.unit, shown, number(row.aim), number(least), number(ratio), number(row.istiod))
    return table


def scaling_table(by_size: Mapping[int, Runs]) -> Table:
    """Return the table of one endpoint change by the number of services."""
    columns = ("services", "CPU of an endpoint change, ms", "to the last proxy, ms", "first connect, CPU s")
    table = Table(*columns, box=MARKDOWN)
    figures = (cpu("endpoint", MS), median("endpoint", MS), cpu("connect", S))
    for size, runs in by_size.items():
        table.add_row(f"{size:,}", *(number(over_runs(figure, runs)) for figure in figures))
    return table


def missed_aims(measured: Runs) -> Iterable[str]:
    """Name each figure that is above its aim."""
    for row in ROWS:
        if row.misses(got := row.of(measured)):
            yield f"{row.name}: {number(got)} {row.unit}, and the aim is {number(row.aim)}"


def problems(server: str, results: Results) -> Iterable[str]:
    """Say what makes a run's figures doubtful."""
    for phase, figures in results.items():
        if figures.missed:
            yield f"{server}, {phase}: {figures.missed} not seen by every proxy in time"
        if figures.lost:
            yield f"{server}, {phase}: streams were lost {figures.lost} times"
        if phase in {"connect", "endpoint"} and not figures.messages:
            yield f"{server}, {phase}: nothing was sent"


class Bench:
    """One run: the fleet, and the folder for everything that is written, which is made."""

    def __init__(self, options: argparse.Namespace, work: Path, binary: Path) -> None:
        self._options, self._work, self._binary = options, work, binary
        work.mkdir()

    def _tell(self, what: str, proxies: int) -> None:
        """Say what is measured now: it takes minutes, and nothing else is printed before the end."""
        print(
            f"{time.strftime('%H:%M:%S')} {self._work.name}: {what}, {proxies} proxies ...", file=sys.stderr, flush=True
        )

    def beside_floor(self, plan: Plan) -> tuple[Results, Results]:
        """Measure the control plane, and then the floor with what it sent."""
        services, recordings = self._options.services, self._work / "recordings"
        recordings.mkdir()
        return self.control_plane(services, plan, recordings), self.floor(services, plan, recordings)

    def control_plane(self, services: int, plan: Plan, recordings: Path | None = None) -> Results:
        """Measure the real server on a fresh mesh of this many services."""
        self._tell(f"the control plane with {services} services", self._options.proxies)
        mesh = self._mesh(services)
        mesh.directory.mkdir()
        mesh.write()
        log = self._work / f"server-{services}.log"
        with ControlPlane(mesh, log) as subject, self._client() as client:
            return Phases(subject, client, mesh, recordings).run(plan)

    def crowd(self, changes: int) -> Results:
        """Measure many proxies on a small mesh: those that come back, and those for whom an endpoint changes little."""
        come = self._crowded(RECONNECTING, Plan(changes, kinds=()))
        changed = self._crowded(CHANGING, Plan(changes, kinds=("headless",), reconnect=False))
        return {"connect": come["connect"], "reconnect": come["reconnect"], "headless": changed["headless"]}

    def _crowded(self, proxies: int, plan: Plan) -> Results:
        self._tell(f"a crowd on {CROWD_SERVICES} services", proxies)
        mesh = replace(self._mesh(CROWD_SERVICES), directory=self._work / f"mesh-of-{proxies}", headless=True)
        mesh.directory.mkdir()
        mesh.write()
        fleet = Client(self._binary, proxies, self._options.namespaces)
        with ControlPlane(mesh, self._work / f"server-of-{proxies}.log") as subject, fleet as client:
            return Phases(subject, client, mesh).run(plan)

    def storm(self) -> Storm:
        """Measure many proxies that lose the server twice, while the configuration changes."""
        self._tell(f"a storm on {CROWD_SERVICES} services", STORMING)
        mesh = replace(self._mesh(CROWD_SERVICES), directory=self._work / "mesh-of-a-storm")
        mesh.directory.mkdir()
        mesh.write()
        with Client(self._binary, STORMING, self._options.namespaces) as client:
            return storm(mesh, client, STORMING, self._work / "server-storm.log")

    def admin(self) -> list[PageFigures]:
        """Measure the pages of the monitoring port, while every proxy refuses a listener."""
        self._tell(f"pages beside {self._options.services} services", self._options.proxies)
        mesh = self._mesh(self._options.services)
        mesh.directory.mkdir()
        mesh.write()
        refusing = Client(self._binary, self._options.proxies, self._options.namespaces, refuse=LISTENER)
        with WatchedControlPlane(mesh, self._work / "server-admin.log") as subject, refusing as client:
            Phases(subject, client, mesh).connect(Plan(1))
            return list(page_figures(subject))

    def floor(self, services: int, plan: Plan, recordings: Path) -> Results:
        """Measure the bare server with what the real one sent."""
        self._tell("the bare server, with what the control plane sent", self._options.proxies)
        with Floor(recordings, self._work / "floor.log") as subject, self._client() as client:
            return Phases(subject, client, self._mesh(services)).run(plan)

    def _mesh(self, services: int) -> Mesh:
        directory = self._work / f"mesh-{services}"
        return Mesh(directory, services, self._options.endpoints, self._options.namespaces)

    def _client(self) -> Client:
        split = self._options.virtual_hosts
        return Client(self._binary, self._options.proxies, self._options.namespaces, virtual_hosts=split)


def positive(text: str) -> int:
    """Read a number of at least 1.

    Raises:
        ValueError: it is none.
    """
    if (value := int(text)) < 1:
        raise ValueError(text)
    return value


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--services", type=positive, help="1,000 where nothing else is said")
    parser.add_argument("--endpoints", type=int, default=10, help="endpoints of each service")
    parser.add_argument("--namespaces", type=int, default=20)
    parser.add_argument("--proxies", type=positive, help="500, likewise")
    parser.add_argument("--changes", type=int, default=10, help="changes of each kind")
    parser.add_argument("--runs", type=positive, default=1, help="medians of so many; control plane and floor in turn")
    parser.add_argument("--scaling", action="store_true", help="what one change costs by the number of services")
    parser.add_argument(
        "--admin",
        action="store_true",
        help=f"pages of the monitoring port, at {SERVICES:,} services and {PROXIES:,} proxies",
    )
    parser.add_argument(
        "--crowd", action="store_true", help=f"{RECONNECTING:,} and {CHANGING:,} proxies on {CROWD_SERVICES} services"
    )
    parser.add_argument(
        "--storm", action="store_true", help=f"{STORMING:,} proxies that lose the server twice and come back"
    )
    parser.add_argument("--virtual-hosts", action="store_true", help="proxies take virtual hosts one by one (VHDS)")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    options = parser.parse_args(argv)
    services, proxies = (SERVICES, PROXIES) if options.admin else (1_000, 500)
    options.services = options.services or services
    options.proxies = options.proxies or proxies
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run and print; 1 when an aim is missed, or something was lost on the way, so that the figures are doubtful."""
    options = arguments(argv)
    console = Console(width=None if sys.stdout.isatty() else 130)
    (TOP / "build").mkdir(exist_ok=True)
    binary = build(TOP / "build" / "xdsload")
    missed: list[str] = []
    servers: dict[str, Runs]
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        benches = (Bench(options, Path(name, f"run-{run}"), binary) for run in range(options.runs))
        if options.admin:
            pages = next(benches).admin()
            console.print(admin_table(pages))
            missed.extend(missed_pages(pages))
            servers = {}
        elif options.storm:
            came = next(benches).storm()
            console.print(storm_table(came))
            missed.extend(storm_problems(came))
            servers = {}
        elif options.crowd:
            crowd = next(benches).crowd(options.changes)
            console.print(crowd_table(crowd))
            servers = {CONTROL_PLANE: (crowd,)}
        elif options.scaling:
            plan = Plan(options.changes, kinds=("endpoint",), reconnect=False)
            sizes = [{size: bench.control_plane(size, plan) for size in SIZES} for bench in benches]
            by_size = {size: [run[size] for run in sizes] for size in SIZES}
            console.print(scaling_table(by_size))
            counted = Mesh(Path(name, "mesh"), 0, options.endpoints, options.namespaces)
            console.print(work_table(work_by_size(counted)))
            servers = {f"{size} services": runs for size, runs in by_size.items()}
        else:
            measured, floor = zip(*(bench.beside_floor(Plan(options.changes)) for bench in benches), strict=True)
            console.print(comparison(measured, floor))
            missed.extend(missed_aims(measured))
            servers = {CONTROL_PLANE: measured, FLOOR: floor}
    if options.json:
        options.json.write_text(as_json(servers))
    doubts = [doubt for server, runs in servers.items() for results in runs for doubt in problems(server, results)]
    for line in (*doubts, *missed):
        console.print(f"[red]{line}[/red]")
    return int(bool(doubts or missed))


def as_json(servers: Mapping[str, Runs]) -> str:
    """Return every figure by server, run and phase; times in seconds."""
    figures = {
        server: [{phase: asdict(each) for phase, each in results.items()} for results in runs]
        for server, runs in servers.items()
    }
    return json.dumps(figures, indent=1, default=lambda value: value.total_seconds())


if __name__ == "__main__":
    sys.exit(main())
