"""Which kubeconfig is meant where none is named."""

from __future__ import annotations

import os
from pathlib import Path


def usual_kubeconfig(context: str) -> str:
    """Return kubectl's file where nothing else names a cluster, else an empty text."""
    elsewhere = os.environ.get("KUBECONFIG") or (os.environ.get("KUBERNETES_SERVICE_HOST") and not context)
    usual = Path.home() / ".kube" / "config"
    return str(usual) if not elsewhere and usual.is_file() else ""
