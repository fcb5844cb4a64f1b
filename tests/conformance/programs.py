"""Runs the cases recorded from Istio's own programs: interception, sidecars, what validation and analysis say.

    python tests/conformance/programs.py                       # beside the checkout
    python tests/conformance/programs.py --cases DIR

The cases and their runners are a directory. Where there is none, this says so and ends well, but not in CI
(``CI=true``).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
SERVER = Path(__file__).with_name("injector.py")
RUNNERS = {
    "run_iptables.py": (),
    "run_validate.py": (),
    "run_inject.py": (),
    "run_analyze.py": (),
}
"""The runner of each kind of case, and its further arguments. A new command adds one entry."""
WEBHOOK = "check_webhook.py"
"""The runner of the injection webhook, which is asked over HTTPS."""


def main() -> int:
    """Run all of them; 1 where a case fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--cases", type=Path, default=TOP.parent / "shared" / "cli-cases", help="the runners' directory"
    )
    cases: Path = parser.parse_args().cases
    held = []
    for name, arguments in RUNNERS.items():
        if is_there(cases / name):
            held.append(holds(cases / name, "--cwd", str(TOP), "--python", sys.executable, *arguments))
        else:
            held.append(os.environ.get("CI") != "true")
    if is_there(cases / WEBHOOK):
        held += webhook(cases)
    else:
        held.append(os.environ.get("CI") != "true")
    return 0 if all(held) else 1


def is_there(runner: Path) -> bool:
    """Whether there is a runner; says so where there is none."""
    if runner.is_file():
        return True
    print(f"\n!!! CASES OF PROGRAMS SKIPPED: no {runner}; --cases DIR names another place !!!\n", flush=True)
    return False


def holds(runner: Path, *arguments: str) -> bool:
    """Run a runner, and print how it ended: its last line, or all where something fails.

    One that fails is run once more: it may have met a busy machine.
    """
    for _ in range(2):
        ended = subprocess.run([sys.executable, str(runner), *arguments], capture_output=True, text=True, check=False)
        lines = ended.stdout.splitlines()
        shown = lines[-1:] if ended.returncode == 0 else lines
        print(f"{runner.stem}: ", *shown, ended.stderr, sep="\n" if ended.returncode else "", flush=True)
        if ended.returncode == 0:
            return True
    return False


def webhook(cases: Path) -> list[bool]:
    """Hold the webhook's configurations and its answers against the cases."""
    runner = cases / WEBHOOK
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(SERVER), folder, str(cases / "inject-defaults")]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
            if server.stdin is None or server.stdout is None:
                raise RuntimeError("pipes were asked for")
            ports = json.loads(server.stdout.readline())
            urls = {name: f"https://127.0.0.1:{port}/inject" for name, port in ports.items()}
            plain = urls.pop("plain")
            held = [
                holds(runner, "selectors", "--scenario", each.stem, "--config", str(each))
                for each in sorted(Path(folder).glob("*.yaml"))
            ]
            held += [holds(runner, "server", "--policy", policy, "--url", url) for policy, url in urls.items()]
            held += [holds(runner, each, "--url", plain) for each in ("requests", "facts")]
            server.stdin.close()
    return held


if __name__ == "__main__":
    sys.exit(main())
