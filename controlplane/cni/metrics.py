"""Counters of the agent, in the text format of Prometheus. Usable by several threads."""

from __future__ import annotations

import threading
from collections import Counter

_HELP = {
    "istio_cni_pods_total": "Pods that the plugin asked about, by what became of them.",
    "istio_cni_install_total": "Times that the plugin or its configuration was put in place.",
    "istio_cni_repair_pods_repaired_total": "Pods that began while the plugin was not in place, by what was done.",
}


class Metrics:
    """Named counters with labels."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, tuple[tuple[str, str], ...]]] = Counter()

    def count(self, name: str, **labels: str) -> None:
        """Add one to a counter."""
        with self._lock:
            self._counts[name, tuple(sorted(labels.items()))] += 1

    def text(self) -> str:
        """Return all counters, sorted."""
        with self._lock:
            counts = sorted(self._counts.items())
        lines: list[str] = []
        for name, words in _HELP.items():
            lines += [f"# HELP {name} {words}", f"# TYPE {name} counter"]
            for (found, labels), number in counts:
                if found == name:
                    stated = ",".join(f'{key}="{value}"' for key, value in labels)
                    lines.append(f"{name}{{{stated}}} {number}" if stated else f"{name} {number}")
        return "\n".join(lines) + "\n"
