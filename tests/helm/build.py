"""Helm, built once from its Go module into the user's cache, beside Kubernetes: ``python -m tests.helm.build``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.build import Program, build_alone, locked_version

MODULE = "helm.sh/helm/v4"
_SOURCE = Path(__file__).parent / "module"
VERSION = f"v{locked_version(_SOURCE, MODULE)}"
HELM = Program(
    "helm",
    _SOURCE,
    asked=("helm", "version"),
    version=VERSION,
    linker_flags=f"-s -w -X {MODULE}/internal/version.version={VERSION}",
)


def helm(*arguments: str) -> str:
    """Run Helm and return what it says; the test is skipped without it, and fails in CI, which promises it.

    Raises ``RuntimeError`` with its complaint.
    """
    if not HELM.path.exists():
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("Helm is not there: `make helm` builds it")
    result = subprocess.run([HELM.path, *arguments], capture_output=True, text=True, check=False, timeout=600)
    if result.returncode:
        raise RuntimeError(result.stderr)
    return result.stdout


if __name__ == "__main__":
    try:
        print(build_alone(HELM))
    except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
        print(f"Helm cannot be built, and the tests of the charts will be skipped: {error}", file=sys.stderr)
