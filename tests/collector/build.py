"""An OpenTelemetry collector, built from its Go modules into the user's cache: ``python -m tests.collector.build``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.cluster.build import Program, build_alone, locked_version

_SOURCE = Path(__file__).parent / "module"
COLLECTOR = Program(
    "collector",
    _SOURCE,
    asked=("collector", "version"),
    version=f"v{locked_version(_SOURCE, 'go.opentelemetry.io/collector/otelcol')}",
)


if __name__ == "__main__":
    try:
        print(build_alone(COLLECTOR))
    except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
        print(f"the collector cannot be built, and its test will be skipped: {error}", file=sys.stderr)
