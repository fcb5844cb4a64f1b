"""Builds h2spec, the conformance suite of HTTP/2, into the user's cache: ``python -m tests.http2.h2spec``."""

from __future__ import annotations

import subprocess
import sys

from tests.http2.h2spec.build import build

try:
    print(build())
except (OSError, subprocess.CalledProcessError) as error:
    print(f"h2spec cannot be built, and its tests will be skipped: {error}", file=sys.stderr)
