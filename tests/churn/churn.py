"""Random churn of a control plane: what happens, what is measured, and what must hold at the end.

The same seed makes the same choices; how they meet in the control plane is up to the machine.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import grpc.aio

from tests.churn.files import Files
from tests.churn.held import Holding, holding
from tests.churn.sessions import Session, differences, random_session
from tests.feature.client import CDS, EDS, LDS, RDS, Variant
from tests.feature.server import Event, Server, serving
from tests.patience import PATIENCE_SECONDS

MOST_SESSIONS = 40
BURST = 30
EVENTUALLY_SECONDS = PATIENCE_SECONDS
PAUSE_SECONDS = 0.1
OPTIONS = ("--holdoff", "10ms", "--max-holdoff", "100ms", "--log-level", "info")
PAGES = ("/debug/syncz", "/debug/registryz", "/debug/rejectedz", "/metrics", "/debug/adsz")
STATES = {"SYNCED"}
RESTS = 5
"""How often all proxies leave and all objects go, to see what is held without them; once more at the end."""
FIRST_REST_SECONDS = 60.0
"""Shorter runs have no rests: a class is kept for a minute after its last proxy."""
RESTED_SECONDS = 300.0
#: what the resident memory of the last quarter may be above that of the second: a rest tells a leak more exactly
GROWTH = 1.10
SLACK_BYTES = 2_000_000


@dataclass(frozen=True, slots=True)
class Sample:
    """The control plane at a time: seconds since the start, resident bytes, connected proxies, files."""

    seconds: float
    resident: int
    sessions: int
    files: int


@dataclass(slots=True)
class Report:
    """What was done, measured and found. ``faults`` are sentences; without any, everything held.

    ``repeated`` counts resources that were sent again as they were, in ``responses``: waste, and no fault.
    """

    done: Counter[str] = field(default_factory=Counter)
    responses: int = 0
    repeated: int = 0
    samples: list[Sample] = field(default_factory=list)
    rests: list[Holding] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def quarter(self, number: int) -> float:
        """Return the median of the resident bytes in a quarter of the time, 1 to 4."""
        end = self.samples[-1].seconds
        return median(s.resident for s in self.samples if (number - 1) * end <= 4 * s.seconds <= number * end)

    def growth(self) -> str:
        """Say what grows, empty where nothing does; the first quarter, and the first rest, fill what is kept."""
        if len(self.rests) > 2 and (growth := self.rests[-1].growth(self.rests[1])):
            return growth
        if self.quarter(4) > GROWTH * self.quarter(2) + SLACK_BYTES:
            return "the resident memory grows"
        return ""


class Churn:
    """One run against a control plane on loopback."""

    def __init__(self, server: Server, rng: random.Random, held: Path) -> None:
        """Prepare it; ``run`` begins. ``held`` is where the control plane writes what it holds."""
        self.report = Report()
        self._held = held
        self._server = server
        self._rng = rng
        self._files = Files(server.folder)
        self._sessions: list[Session] = []

    async def run(self, seconds: float, each_second: float) -> Report:
        """Do something at random ``each_second`` times a second, then let it settle and compare.

        Where the machine is too busy for that, it takes longer until half as much is done.
        """
        start = time.monotonic()
        for _ in range(BURST):
            self._files.change(self._rng)
        next_sample = 0.0
        next_rest = pause = max(seconds / RESTS, FIRST_REST_SECONDS)
        least = seconds * each_second / 2
        while ((now := time.monotonic() - start) < seconds or self.report.done.total() < least) and self._alive():
            if now >= next_sample:
                self._sample(now)
                next_sample = now + min(1.0, seconds / 40)
            if now >= next_rest:
                await self._rest()
                next_rest += pause
            await self._one()
            await asyncio.sleep(self._rng.expovariate(each_second))
        self._sample(time.monotonic() - start)
        if self._alive():
            await self._settle()
            await self._compare()
            if self.report.rests:
                await self._rest()
        return self.report

    async def _rest(self) -> None:
        """Have all proxies leave and all objects go, and note what the control plane still holds."""
        await self.close()
        self._files.drop_all()
        async with asyncio.timeout(RESTED_SECONDS):
            while "controlplane_proxy_classes 0.0" not in (await self._server.get("/metrics"))[1]:
                await asyncio.sleep(1.0)
        self.report.rests.append(await holding(self._server.process.pid, self._held))

    async def _one(self) -> None:
        actions = [action for action, _ in ACTIONS]
        action = self._rng.choices(actions, [weight for _, weight in ACTIONS])[0]
        self.report.done[action.__name__.strip("_")] += 1
        await action(self)

    async def _change(self) -> None:
        self._files.change(self._rng)

    async def _drop(self) -> None:
        self._files.drop(self._rng)

    async def _burst(self) -> None:
        for _ in range(self._rng.randint(2, BURST)):
            self._rng.choice((self._files.change, self._files.drop))(self._rng)

    async def _spoil(self) -> None:
        self._files.spoil(self._rng)

    async def _mend(self) -> None:
        self._files.mend(self._rng)

    async def _open(self) -> None:
        """Let one come, or many at once, as after a break of the network."""
        for _ in range(self._rng.choice((1, 1, 1, 10))):
            if len(self._sessions) < MOST_SESSIONS:
                self._sessions.append(session := random_session(self._rng))
                await session.open(self._server.xds)

    async def _close(self) -> None:
        for _ in range(self._rng.choice((1, 1, 1, 10))):
            if self._sessions:
                await self._closed(self._sessions.pop(self._rng.randrange(len(self._sessions))))

    async def _reopen(self) -> None:
        if self._sessions:
            await self._reopened(self._rng.choice(self._sessions))

    async def _refuse(self) -> None:
        if self._sessions:
            self._rng.choice(self._sessions).client.refuses.add(self._rng.choice((CDS, EDS, LDS, RDS)))

    async def _stop_reading(self) -> None:
        if self._sessions:
            self._rng.choice(self._sessions).client.reads.clear()

    async def _read_on(self) -> None:
        for session in self._sessions:
            session.client.reads.set()

    async def _look(self) -> None:
        """Ask the monitoring port."""
        status, _ = await self._server.get(page := self._rng.choice(PAGES))
        if status != 200:
            self.report.faults.append(f"{page} answered with {status}")

    async def close(self) -> None:
        """Have all proxies leave."""
        while self._sessions:
            await self._closed(self._sessions.pop())

    async def _closed(self, session: Session) -> None:
        self.report.responses += len(session.client.responses)
        self.report.repeated += session.client.repeated
        try:
            await session.close()
        except (AssertionError, grpc.aio.AioRpcError) as error:
            lines = [f"{session.proxy.id}, {session.variant.value}: {error!r}; it was sent", *session.client.recent]
            self.report.faults.append("\n  ".join(lines))

    async def _reopened(self, session: Session) -> None:
        """Break off and connect again; a delta proxy that lacks nothing says what it has."""
        await self._closed(session)
        keeps = session.variant is Variant.DELTA and not session.client.lacks
        await session.open(self._server.xds, session.client.copy() if keeps else None)

    def _alive(self) -> bool:
        if (code := self._server.process.poll()) is not None:
            self.report.faults.append(f"the control plane ended with {code}: {self._server.events[-3:]}")
        return code is None

    def _sample(self, seconds: float) -> None:
        status = Path(f"/proc/{self._server.process.pid}/status").read_text(encoding="utf-8")
        resident = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS"))
        self.report.samples.append(Sample(seconds, resident, len(self._sessions), len(self._files.held)))

    async def _settle(self) -> None:
        """Mend what is spoiled, and let proxies that lack something, or whose stream was ended, come back."""
        self._files.mend_all()
        for session in self._sessions:
            session.client.reads.set()
            session.client.refuses.clear()
        for session in self._sessions:
            if session.client.lacks or session.client.ended.is_set():
                await self._reopened(session)

    async def _compare(self) -> None:
        """Each proxy has what a new control plane gives it, of the same versions, and all show as synced."""
        with serving(self._server.folder, keeps=_keeps) as fresh:
            async with AsyncExitStack() as stack:
                pairs = [(session, Session(session.proxy, session.variant)) for session in self._sessions]
                for _, scratch in pairs:
                    await scratch.open(fresh.xds)
                    stack.push_async_callback(self._closed, scratch)
                end = time.monotonic() + EVENTUALLY_SECONDS
                while (different := _different(pairs) or await self._unsynced()) and time.monotonic() < end:
                    await asyncio.sleep(PAUSE_SECONDS)
                self.report.faults += different
        self.report.faults += [f"logged: {event}" for event in self._server.events if event["event"] != SERVING]

    async def _unsynced(self) -> list[str]:
        _, rows = await self._server.get("/debug/syncz")
        if len(rows) != len(self._sessions):
            return [f"{len(rows)} proxies are shown as connected, not {len(self._sessions)}"]
        return [
            f"{row['proxy']} shows {entry['status']} for {url}"
            for row in rows
            for url, entry in row["resources"].items()
            if entry["status"] not in STATES
        ]


Action = Callable[[Churn], Awaitable[None]]
ACTIONS: tuple[tuple[Action, float], ...] = (
    (Churn._change, 30),  # noqa: SLF001 - ours
    (Churn._drop, 10),  # noqa: SLF001
    (Churn._burst, 1),  # noqa: SLF001
    (Churn._spoil, 3),  # noqa: SLF001
    (Churn._mend, 4),  # noqa: SLF001
    (Churn._open, 8),  # noqa: SLF001
    (Churn._close, 4),  # noqa: SLF001
    (Churn._reopen, 5),  # noqa: SLF001
    (Churn._refuse, 5),  # noqa: SLF001
    (Churn._stop_reading, 2),  # noqa: SLF001
    (Churn._read_on, 3),  # noqa: SLF001
    (Churn._look, 2),  # noqa: SLF001
)
"""What may happen, and how often next to the others."""

SERVING = "app.serving"


def _keeps(event: Event) -> bool:
    """Whether an event is kept: an hour has too many of the usual ones."""
    return event["event"] == SERVING or event.get("level") in {"error", "critical"}


def _different(pairs: list[tuple[Session, Session]]) -> list[str]:
    found = []
    for kept, fresh in pairs:
        if kept.client.ended.is_set():
            found.append(f"{kept.proxy.id}, {kept.variant.value}: its stream was ended")
        if not (kept.client.settled and fresh.client.settled):
            found.append(f"{kept.proxy.id}, {kept.variant.value}: it lacks what it asked for")
        each = differences(kept.client, fresh.client, versions=kept.variant is Variant.DELTA)
        found += [f"{kept.proxy.id}, {kept.variant.value}: {what}" for what in each]
    return found


async def churn(folder: Path, *, seconds: float, seed: int, each_second: float) -> Report:
    """Run a control plane on an empty folder and churn it."""
    held = folder / "held.json"
    config = folder / "mesh"
    config.mkdir()
    with serving(config, options=OPTIONS, keeps=_keeps, program=("tests.churn.held", str(held))) as server:
        run = Churn(server, random.Random(seed), held)
        try:
            return await run.run(seconds, each_second)
        finally:
            await run.close()
