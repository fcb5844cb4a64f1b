"""Helm, built once from its Go module into the user's cache, beside Kubernetes: ``python -m tests.helm.build``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.build import Program, cache, locked, locked_version, make

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


def binary() -> Path:
    """Return where Helm is, or would be."""
    return HELM.folder / HELM.name


def helm(*arguments: str) -> str:
    """Run Helm and return what it says; the test is skipped without it, and fails in CI, which promises it.

    Raises ``RuntimeError`` with its complaint.
    """
    if not binary().exists():
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("Helm is not there: `make helm` builds it")
    result = subprocess.run([binary(), *arguments], capture_output=True, text=True, check=False, timeout=600)
    if result.returncode:
        raise RuntimeError(result.stderr)
    return result.stdout


def build() -> Path:
    """Build what is missing; return where it is. Raises as ``tests.cluster.build.build`` does."""
    cache().mkdir(parents=True, exist_ok=True)
    with locked(cache() / "helm.lock"):
        if not HELM.folder.exists():
            partial = cache() / "helm.partial"
            partial.mkdir(exist_ok=True)
            make(HELM, partial)
            partial.rename(HELM.folder)
    return binary()


if __name__ == "__main__":
    try:
        print(build())
    except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
        print(f"Helm cannot be built, and the tests of the charts will be skipped: {error}", file=sys.stderr)
