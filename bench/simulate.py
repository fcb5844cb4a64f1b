"""Thousands of random calls, simulated and made through real Envoys: whether anything differs.

Run it with ``python -m bench.simulate [MESHES [CALLS]]``: so many random meshes, so many calls to each of the three
proxies of one. It prints each difference with its seed, and fails if there is one.
"""

from __future__ import annotations

import asyncio
import sys

from tests.envoy.contest import FATES, contest


def main(meshes: int = 20, calls: int = 100) -> int:
    """Hold the contests and return how many calls differ."""
    differing = 0
    for seed in range(meshes):
        for each in asyncio.run(contest(seed, calls)):
            differing += 1
            print(f"seed {each.seed}, {each.side}: {each.text}\n  {each.call}\n  {each.outcome.fate}, {each.happened}")
    print(f"{3 * meshes * calls} calls, {differing} differ")
    print("\n".join(f"  {fate}: {count}" for fate, count in sorted(FATES.items())))
    return differing


if __name__ == "__main__":
    sys.exit(1 if main(*map(int, sys.argv[1:])) else 0)
