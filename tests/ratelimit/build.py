"""Envoy's rate limit service, built from its Go module into the user's cache: ``python -m tests.ratelimit.build``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.cluster.build import Program, build_alone, locked_version

MODULE = "github.com/envoyproxy/ratelimit"
_SOURCE = Path(__file__).parent / "module"
RATE_LIMIT = Program(
    "ratelimit", _SOURCE, asked=("ratelimit", "version"), version=f"v{locked_version(_SOURCE, MODULE)}"
)


if __name__ == "__main__":
    try:
        print(build_alone(RATE_LIMIT))
    except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
        print(f"the rate limit service cannot be built, and its test will be skipped: {error}", file=sys.stderr)
