"""Churn for as long as one likes: ``make churn ARGS=--minutes=60``."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests import inherited
from tests.churn.churn import Report, churn

ROWS = 20
JUDGED_MINUTES = 5.0
"""Memory of a shorter run still grows: it fills what is kept for the next."""


def main() -> None:
    """Run, print a table, and exit with 1 where something did not hold."""
    parser = argparse.ArgumentParser(prog="make churn", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--each-second", type=float, default=20.0, help="how much happens in a second")
    options = parser.parse_args()
    inherited.settle()
    with TemporaryDirectory() as folder:
        seconds = options.minutes * 60
        report = asyncio.run(churn(Path(folder), seconds=seconds, seed=options.seed, each_second=options.each_second))
    _print(report)
    if options.minutes >= JUDGED_MINUTES and (growth := report.growth()):
        report.faults.append(growth)
    for fault in report.faults:
        print(f"FAULT {fault}", file=sys.stderr)
    sys.exit(1 if report.faults else 0)


def _print(report: Report) -> None:
    print(" ".join(f"{name}={count}" for name, count in sorted(report.done.items())))
    print(f"{report.responses} responses, {report.repeated} resources sent again as they were")
    print(f"{'minute':>8} {'resident MB':>12} {'proxies':>8} {'files':>6}")
    step = max(1, len(report.samples) // ROWS)
    for sample in report.samples[::step]:
        row = f"{sample.seconds / 60:8.2f} {sample.resident / 1e6:12.1f} {sample.sessions:8} {sample.files:6}"
        print(row)
    for number, rest in enumerate(report.rests, start=1):
        print(f"rest {number}: {rest.blocks} blocks, {rest.native_bytes} native bytes, {rest.objects.total()} objects")
    print("median MB by quarter: " + ", ".join(f"{report.quarter(number) / 1e6:.1f}" for number in (1, 2, 3, 4)))


if __name__ == "__main__":
    main()
