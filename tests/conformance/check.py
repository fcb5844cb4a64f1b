"""Runs the conformance cases and holds what already passes: ``passing.txt`` only grows.

    python tests/conformance/check.py                 # fails when a case of the list no longer passes
    python tests/conformance/check.py --update        # also adds the cases that pass now
    python tests/conformance/check.py --only '^doc-'  # some of them

The cases and their runner are a directory beside the checkout (``--cases``). Where there is none, this says so and ends
well, but not in CI (``CI=true``). A case that fails is run up to twice more, alone and with more patience: it may have
met a busy machine.

Cases tagged ``envoy-refuses`` were recorded where istiod serves what Envoy refuses; here the patch that makes it so is
left out, so those that differ by it are not in the list.

Of every case, also of those not required, the snapshot is fetched again by a node that does not say ``ISTIO_VERSION``
and given to a stock Envoy to validate: none may be refused. Envoy opens the files that logs are written to, so for an
ordinary user who may not write some of them, it says nothing of those snapshots.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parents[2]
PASSING = Path(__file__).with_name("passing.txt")
RESULTS = TOP / "build" / "conformance.json"
LOG = TOP / "build" / "conformance.log"
ENVOY = Path(sys.executable).with_name("envoy")
SETS = ("cases", "cases-random", "cases-security", "cases-extensions")
WAITS = ("--start-timeout", "120", "--timeout", "60")
"""Seconds in which a server is to listen, and to have sent everything: for what hangs."""
FURTHER_TRIES = 2
PATIENTLY = ("--settle", "2", "--grace", "30")
"""Seconds after which what was sent counts as all, and in which what comes later still counts."""
_MAY_NOT_OPEN = re.compile("unable to open file '[^']*': Permission denied")
NOT_SERVED = "gateway-api"  # a tag: the Gateway API is not served yet


@dataclass(frozen=True, slots=True)
class Results:
    """The required cases by outcome: ``exact``, right behaviour under other ``names``, or ``failed``.

    ``accepted`` and ``refused`` are the cases, required or not, whose snapshot a stock Envoy took or refused; a case
    without a snapshot is in neither, nor is one of ``unjudged``, with log files that this user may not open.
    """

    exact: frozenset[str]
    names: frozenset[str] = frozenset()
    failed: frozenset[str] = frozenset()
    accepted: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()
    unjudged: frozenset[str] = frozenset()

    @classmethod
    def of(cls, found: Sequence[Mapping[str, Any]]) -> Results:
        """Sort the runner's JSON; the outcome of cases that are shown but not required is left out."""
        unjudged = frozenset(str(case["case"]) for case in found if any(map(_may_not_open, case["items"])))
        cases = [_without_judgement(case) if case["case"] in unjudged else case for case in found]
        validated = {
            str(case["case"]): not item["reasons"]
            for case in cases
            for item in case["items"]
            if item["kind"] == "envoy"
        }
        required = [case for case in cases if not case["optional"]]
        exact = frozenset(str(case["case"]) for case in required if case["exact"])
        behaviour = frozenset(str(case["case"]) for case in required if case["behaviour"])
        return cls(
            exact,
            behaviour - exact,
            frozenset(str(case["case"]) for case in required) - behaviour - exact,
            frozenset(name for name, accepted in validated.items() if accepted),
            frozenset(name for name, accepted in validated.items() if not accepted),
            unjudged,
        )

    def __str__(self) -> str:
        """Give the totals."""
        total = len(self.exact) + len(self.names) + len(self.failed)
        validated = len(self.accepted) + len(self.refused)
        return (
            f"{len(self.exact)} of {total} required cases pass, {len(self.names)} more behave right under other names, "
            f"{len(self.failed)} fail; a stock Envoy takes {len(self.accepted)} of {validated} snapshots"
        )


def _may_not_open(item: Mapping[str, Any]) -> bool:
    """Whether Envoy refused a snapshot because an ordinary user may not open a file that it writes to."""
    refused = item["kind"] == "envoy" and os.geteuid() != 0
    return refused and any(_MAY_NOT_OPEN.search(reason) for reason in item["reasons"])


def _without_judgement(case: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a case's results as they would be had Envoy not been asked."""
    items = [item for item in case["items"] if item["kind"] != "envoy"]
    required = [item for item in items if not item["optional"]]
    exact = case["error"] is None and not any(item["reasons"] for item in required)
    behaviour = case["error"] is None and not any(item["behaviour_reasons"] for item in required)
    return {**case, "items": items, "exact": exact, "behaviour": behaviour}


def run(cases: Path, only: str, jobs: int, *further: str) -> Results:
    """Run the cases whose file name matches ``only``.

    Raises:
        RuntimeError: the runner ended without results.
    """
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.unlink(missing_ok=True)
    command = [sys.executable, str(cases / "run.py"), "--cwd", str(TOP), "--python", sys.executable, "--only", only]
    for name in SETS:
        command += ["--cases", str(cases / name)]
    command += ["--jobs", str(jobs), "--skip-tag", NOT_SERVED, "--json", str(RESULTS), "--envoy", str(ENVOY)]
    command += [*WAITS, *further]
    with LOG.open("a") as log:
        status = subprocess.run(command, stdout=log, stderr=log, check=False).returncode
    if not RESULTS.exists():
        message = f"the runner ended with {status} and no results; the end of {LOG}:\n{LOG.read_text()[-2000:]}"
        raise RuntimeError(message)
    return Results.of(json.loads(RESULTS.read_text()))


def read_passing(path: Path = PASSING) -> frozenset[str]:
    """Return the names in the list, one a line."""
    return frozenset(path.read_text(encoding="utf-8").split())


def write_passing(names: Iterable[str], path: Path = PASSING) -> None:
    """Write the list in order."""
    path.write_text("".join(f"{name}\n" for name in sorted(names)), encoding="utf-8")


def alone(names: Iterable[str]) -> str:
    """Return the expression that selects exactly these cases."""
    return rf"^({'|'.join(re.escape(name) for name in sorted(names))})\.yaml$"


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--cases", type=Path, default=TOP.parent / "shared" / "conformance", help="the runner's directory"
    )
    parser.add_argument("--only", default="", help="expression on a case's file name")
    parser.add_argument("--jobs", type=int, default=3, help="cases at a time")
    parser.add_argument("--update", action="store_true", help="add what passes now to the list")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run, compare with the list and say what changed; 1 when a listed case does not pass."""
    options = arguments(argv)
    if not (options.cases / "run.py").is_file():
        print(
            f"\n!!! CONFORMANCE TESTS SKIPPED: no {options.cases / 'run.py'}; CONFORMANCE=DIR names another place !!!\n"
        )
        return int(os.environ.get("CI") == "true")
    LOG.unlink(missing_ok=True)
    print(f"conformance: running the cases, some minutes; one line a case goes to {LOG.relative_to(TOP)}", flush=True)
    begin = time.monotonic()
    results = run(options.cases.resolve(), options.only, options.jobs)
    listed = frozenset(name for name in read_passing() if re.search(options.only, f"{name}.yaml"))
    print(f"conformance: {results}; {time.monotonic() - begin:.0f} s")
    if results.unjudged:
        names = ", ".join(sorted(results.unjudged))
        print(f"conformance: !!! ENVOY NOT ASKED, since only root may write to the files of their logs: {names} !!!")
    lost, passing, refused = listed - results.exact, results.exact, results.refused
    for _ in range(FURTHER_TRIES):
        if doubtful := lost | refused:
            print(f"conformance: once more, alone: {', '.join(sorted(doubtful))}", flush=True)
            again = run(options.cases.resolve(), alone(doubtful), 1, *PATIENTLY)
            lost, passing, refused = lost - again.exact, passing | again.exact, refused - again.accepted
    fresh = passing - listed
    if options.update:
        write_passing(read_passing() | fresh)
        print(f"conformance: {len(fresh)} cases added to {PASSING.relative_to(TOP)}")
    elif fresh:
        print(f"conformance: {len(fresh)} cases pass and are not in the list yet (--update adds them)")
    for name in sorted(lost):
        print(f"conformance: {name} passed before and does not now; see {LOG.relative_to(TOP)}")
    for name in sorted(refused):
        print(f"conformance: a stock Envoy refuses the snapshot of {name}; see {LOG.relative_to(TOP)}")
    return int(bool(lost or refused))


if __name__ == "__main__":
    sys.exit(main())
