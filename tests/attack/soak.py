"""All attacks at random for as long as one likes, beside honest proxies and changes: ``make soak ARGS=--minutes=60``.

The same seed makes the same choices. With ``--each`` every attack has its turn once, in order, instead; with
``--connects=20000`` so many proxies come and leave while nothing changes, and nobody attacks.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from tests import inherited
from tests.attack.beside import (
    LATEST_ANSWER,
    LATEST_CHANGE,
    SECURE,
    Measured,
    attackable,
    attacked,
    change,
    measured,
    memory,
)
from tests.attack.connects import connects
from tests.attack.floods import FLOODS
from tests.feature.client import Client, Variant, connected
from tests.feature.server import Event, Server

HONEST = 6
"""Proxies beside the attacks, each of which comes back now and then."""
SHORTEST, LONGEST = 1.5, 6.0
"""Seconds of one attack."""
JUDGED_MINUTES = 10.0
"""Memory of a shorter run still grows: it fills what is kept for the next."""
MOST_LATE = 2
"""How many times longer one change or probe may take than beside one attack: two come together, for hours."""
MOST_GROWN = 300 << 20
"""What the limits allow together: unfinished messages 128 MiB, encoded responses 64, states 16; and the rest."""
GROWTH, SLACK_BYTES = 1.05, 8_000_000
"""What the memory of the last quarter may be above that of the second."""

FAILURES = ("http2.broken", "ads.failed", "app.unawaited_failed", "app.task_failed")
"""What may not be logged, whatever peers do."""

Attack = tuple[str, bool]
"""A kind, and whether it is over TLS."""
ATTACKS: Sequence[Attack] = (*((kind, False) for kind in FLOODS), *((kind, True) for kind in SECURE))


def named(attack: Attack) -> str:
    """Write an attack as people read it."""
    return f"{attack[0]}{' (TLS)' if attack[1] else ''}"


@dataclass(slots=True)
class Report:
    """What was measured beside each attack, and resident bytes between them; without faults everything held."""

    beside: dict[str, list[Measured]] = field(default_factory=dict)
    resident: list[int] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def quarter(self, number: int) -> float:
        """Return the median of the resident bytes in a quarter of the run, 1 to 4."""
        count = len(self.resident)
        return median(self.resident[(number - 1) * count // 4 : max(number * count // 4, 1)] or self.resident)

    def grows(self) -> bool:
        """Whether the last quarter needs more memory than the second."""
        return self.quarter(4) > GROWTH * self.quarter(2) + SLACK_BYTES


class Soak:
    """One run against a control plane on loopback."""

    def __init__(self, server: Server, rng: random.Random) -> None:
        self.report = Report()
        self._server, self._rng = server, rng
        self._stacks: list[AsyncExitStack] = []
        self._clients: list[Client] = []

    async def run(self, attacks: Iterable[Sequence[Attack]]) -> Report:
        """Take the attacks one after the other; those of one group at the same time."""
        server = self._server
        for number in range(HONEST):
            await self._come(number)
        await change(server, *self._clients)
        before = memory(server)
        for group in attacks:
            await self._beside(group, before)
            self.report.resident.append(memory(server))
            await self._again(self._rng.randrange(HONEST))
            if server.process.poll() is not None:
                self.report.faults.append(f"the process has ended: {server.process.poll()}")
                return self.report
        await change(server, *self._clients)  # everybody is there still
        for name in FAILURES:
            self.report.faults += [f"{name}: {event}" for event in server.logged(name)]
        for stack in self._stacks:
            await stack.aclose()
        return self.report

    async def _beside(self, group: Sequence[Attack], before: int) -> None:
        seconds = self._rng.uniform(SHORTEST, LONGEST)
        async with AsyncExitStack() as stack:
            for kind, tls in group:
                await stack.enter_async_context(attacked(self._server, kind, tls=tls, seconds=seconds + len(group)))
            found = await measured(self._server, seconds, *self._clients)
        what = " and ".join(map(named, group))
        self.report.beside.setdefault(what, []).append(found)
        for name, got, most in (("change", found.changes, LATEST_CHANGE), ("probe", found.answers, LATEST_ANSWER)):
            if (worst := max((each.work for each in got), default=0.0)) > MOST_LATE * most:
                self.report.faults.append(f"beside {what} a {name} took {worst:.2f} s of work")
        if found.memory - before > MOST_GROWN:
            self.report.faults.append(f"beside {what} the memory grew by {(found.memory - before) >> 20} MB")

    async def _come(self, number: int) -> None:
        stack = AsyncExitStack()
        node = f"sidecar~10.9.3.{number + 1}~honest-{number}.shop~shop.svc.cluster.local"
        variant = Variant.DELTA if number % 2 == 0 else Variant.SOTW
        client = await stack.enter_async_context(connected(self._server.xds, variant, node))
        self._stacks.insert(number, stack)
        self._clients.insert(number, client)

    async def _again(self, number: int) -> None:
        """Have a proxy leave and come back."""
        self._clients.pop(number)
        await self._stacks.pop(number).aclose()
        await self._come(number)


def random_attacks(rng: random.Random, seconds: float) -> Iterator[Sequence[Attack]]:
    """Draw one or two at a time until the time is over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield tuple(dict.fromkeys(rng.choices(ATTACKS, k=rng.choice((1, 1, 2)))))


def _keeps(event: Event) -> bool:
    return event["event"] in {"app.serving", *FAILURES}


async def soak(folder: Path, *, seconds: float, seed: int, each: bool = False) -> Report:
    """Run against a new control plane, whose files are in a folder."""
    rng = random.Random(seed)
    with attackable(folder, keeps=_keeps) as server:
        return await Soak(server, rng).run(((one,) for one in ATTACKS) if each else random_attacks(rng, seconds))


async def come_and_go(folder: Path, total: int) -> Report:
    """Have so many proxies connect to a new control plane, one after the other, more or less."""
    with attackable(folder, keeps=_keeps) as server:
        report = Report(resident=await connects(server, total))
        for name in FAILURES:
            report.faults += [f"{name}: {event}" for event in server.logged(name)]
    return report


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which this share of them lies."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)] if values else 0.0


def table(report: Report) -> Iterator[str]:
    """Write what was measured as lines of Markdown; times in milliseconds."""
    yield "| beside | changes | p50 | p99 | most | probes | p50 | p99 | most | memory at most, MB |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    rows: dict[str, list[Measured]] = {"(all)": [each for found in report.beside.values() for each in found]}
    rows |= {what: found for what, found in sorted(report.beside.items()) if " and " not in what}
    for what, found in rows.items():
        cells = [what]
        for waited in ([v for each in found for v in each.changes], [v for each in found for v in each.answers]):
            values = [each.seconds for each in waited]
            cells.append(str(len(values)))
            cells += [f"{percentile(values, share) * 1e3:.0f}" for share in (0.5, 0.99, 1)]
        yield f"| {' | '.join(cells)} | {max(each.memory for each in found) >> 20} |"


def main() -> None:
    """Run, print a table, and exit with 1 where something did not hold."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--each", action="store_true", help="every attack once, in order")
    parser.add_argument("--connects", type=int, default=0, help="so many proxies that come and leave, and nothing else")
    options = parser.parse_args()
    inherited.settle()
    with TemporaryDirectory() as folder:
        if options.connects:
            report = asyncio.run(come_and_go(Path(folder), options.connects))
        else:
            report = asyncio.run(soak(Path(folder), seconds=options.minutes * 60, seed=options.seed, each=options.each))
            print(*table(report), sep="\n")
    print("median MB by quarter: " + ", ".join(f"{report.quarter(number) / 1e6:.0f}" for number in (1, 2, 3, 4)))
    if (options.connects or options.minutes >= JUDGED_MINUTES) and report.grows():
        report.faults.append("the memory grows")
    for fault in report.faults:
        print(f"FAULT {fault}", file=sys.stderr)
    sys.exit(1 if report.faults else 0)


if __name__ == "__main__":
    main()
