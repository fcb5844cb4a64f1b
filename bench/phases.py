"""The phases, the same for every server: connect, idle, changes one by one, a burst, reconnect."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from bench.client import Client
from bench.mesh import Mesh
from bench.subject import Subject, recording

MARK_TIMEOUT = timedelta(seconds=30)
SETTLE_TIMEOUT = timedelta(minutes=10)
FIRST_RESPONSE_TIMEOUT = timedelta(minutes=1)
IDLE = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Plan:
    """How often and how patiently: ``changes`` of each kind, ``gap`` between them, ``quiet`` that ends a phase."""

    changes: int
    gap: timedelta = timedelta(seconds=1)
    quiet: timedelta = timedelta(seconds=3)
    kinds: tuple[str, ...] = ("endpoint", "burst", "virtual-service", "new-service")
    reconnect: bool = True


@dataclass(frozen=True, slots=True)
class Figures:
    """One phase. ``cpu`` is of the whole phase, ``work`` the changes in it, ``latencies`` until the last proxy.

    ``elapsed`` is from the start to the last response. ``bytes`` and ``messages`` are what all proxies received,
    ``lost`` how often a stream broke. ``missed`` changes did not reach every proxy in time.
    """

    cpu: timedelta
    elapsed: timedelta
    bytes: int
    messages: int
    lost: int
    work: int = 1
    latencies: tuple[timedelta, ...] = ()
    missed: int = 0
    peak_bytes: int = 0

    @property
    def cpu_each(self) -> timedelta:
        """The processor time of one change."""
        return self.cpu / self.work

    @property
    def median(self) -> timedelta | None:
        """The middle latency; ``None`` when no change reached every proxy."""
        return statistics.median_low(self.latencies) if self.latencies else None


class Phases:
    """Runs the phases on one server. ``recordings`` is where the first proxy's responses are kept, if anywhere."""

    def __init__(self, subject: Subject, client: Client, mesh: Mesh, recordings: Path | None = None) -> None:
        self._subject = subject
        self._client = client
        self._mesh = mesh
        self._recordings = recordings

    def run(self, plan: Plan) -> dict[str, Figures]:
        """Run the phases of the plan and return their figures by name."""
        figures = {"connect": self._streams("connect", plan), "idle": self._idle()}
        for kind in plan.kinds:
            figures[kind] = self._burst(plan) if kind == "burst" else self._changes(kind, plan)
        if plan.reconnect:
            self._client.disconnect()
            figures["reconnect"] = self._streams("reconnect", plan)
        return figures

    def _streams(self, name: str, plan: Plan) -> Figures:
        """Open every stream and wait until nothing more comes."""
        self._subject.begin(name)
        self._record(name)
        measurement = Measurement(self._subject, self._client)
        self._client.connect(self._subject.address)
        settled = self._settle(measurement.began_ns, plan.quiet)
        return measurement.end(missed=int(not settled))

    def _idle(self) -> Figures:
        measurement = Measurement(self._subject, self._client)
        time.sleep(IDLE.total_seconds())
        return measurement.end()

    def _changes(self, kind: str, plan: Plan) -> Figures:
        measurement, latencies = Measurement(self._subject, self._client), []
        for number in range(plan.changes):
            latencies.append(self._change(kind, number))
            time.sleep(plan.gap.total_seconds())
        seen = tuple(latency for latency in latencies if latency is not None)
        return measurement.end(work=plan.changes, latencies=seen, missed=plan.changes - len(seen))

    def _burst(self, plan: Plan) -> Figures:
        measurement = Measurement(self._subject, self._client)
        latency = self._change("burst", 0)
        time.sleep(plan.quiet.total_seconds())
        return measurement.end(latencies=() if latency is None else (latency,), missed=int(latency is None))

    def _change(self, kind: str, number: int) -> timedelta | None:
        """Make one change and return how long the last proxy waited for it."""
        self._record(recording(kind, number))
        self._client.expect(self._mesh.mark(kind, number))
        began = time.time_ns()
        self._subject.change(kind, number)
        at = self._client.marked(MARK_TIMEOUT)
        return None if at is None else timedelta(microseconds=(at - began) // 1000)

    def _record(self, name: str) -> None:
        if self._recordings is not None:
            self._client.record(self._recordings / name)

    def connect(self, plan: Plan) -> Figures:
        """Open every stream, and return when all are served."""
        return self._streams("connect", plan)

    def _settle(self, began_ns: int, quiet: timedelta) -> bool:
        """Wait until responses came and then none for ``quiet``; false when none came or they do not end."""
        end = time.monotonic() + SETTLE_TIMEOUT.total_seconds()
        first = time.monotonic() + FIRST_RESPONSE_TIMEOUT.total_seconds()
        while time.monotonic() < end:
            time.sleep(0.1)
            last = self._client.totals().last_ns
            if last > began_ns and time.time_ns() - last > quiet.total_seconds() * 1e9:
                return True
            if last < began_ns and time.monotonic() > first:
                return False
        return False


class Measurement:
    """What a server and its proxies had used and received when it was made, to be subtracted at the end."""

    def __init__(self, subject: Subject, client: Client) -> None:
        self._subject, self._client = subject, client
        self._usage, self._totals = subject.usage(), client.totals()
        self.began_ns = time.time_ns()

    def end(self, *, work: int = 1, latencies: tuple[timedelta, ...] = (), missed: int = 0) -> Figures:
        """Return the figures since then."""
        usage, totals = self._subject.usage(), self._client.totals()
        return Figures(
            cpu=usage.cpu - self._usage.cpu,
            elapsed=timedelta(microseconds=max(0, totals.last_ns - self.began_ns) // 1000),
            bytes=totals.bytes - self._totals.bytes,
            messages=totals.messages - self._totals.messages,
            lost=totals.lost - self._totals.lost,
            work=work,
            latencies=latencies,
            missed=missed,
            peak_bytes=usage.peak_bytes,
        )
