"""istioctl, built once from its Go module into the user's cache: ``python -m tests.istioctl.build``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.cluster.build import Program, build_alone, locked_version

_SOURCE = Path(__file__).parent / "module"
VERSION = f"v{locked_version(_SOURCE, 'istio.io/istio')}"
ISTIOCTL = Program(
    "istioctl",
    _SOURCE,
    asked=("istioctl", "version", "--remote=false"),
    version=VERSION,
    package="istio.io/istio/istioctl/cmd/istioctl",
    linker_flags=f"-s -w -X istio.io/istio/pkg/version.buildVersion={VERSION}",
)

if __name__ == "__main__":
    try:
        print(build_alone(ISTIOCTL))
    except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
        sys.exit(f"istioctl cannot be built: {error}")
