"""Envoy's rate limit service, built from its Go module into the user's cache: ``python -m tests.ratelimit.build``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.cluster.build import Program, cache, locked, locked_version, make

MODULE = "github.com/envoyproxy/ratelimit"
_SOURCE = Path(__file__).parent / "module"
RATE_LIMIT = Program(
    "ratelimit", _SOURCE, asked=("ratelimit", "version"), version=f"v{locked_version(_SOURCE, MODULE)}"
)


def binary() -> Path:
    """Return where the service is, or would be."""
    return RATE_LIMIT.folder / RATE_LIMIT.name


def build() -> Path:
    """Build what is missing; return where it is. Raises as ``tests.cluster.build.build`` does."""
    cache().mkdir(parents=True, exist_ok=True)
    with locked(cache() / "ratelimit.lock"):
        if not RATE_LIMIT.folder.exists():
            partial = cache() / "ratelimit.partial"
            partial.mkdir(exist_ok=True)
            make(RATE_LIMIT, partial)
            partial.rename(RATE_LIMIT.folder)
    return binary()


if __name__ == "__main__":
    try:
        print(build())
    except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
        print(f"the rate limit service cannot be built, and its test will be skipped: {error}", file=sys.stderr)
