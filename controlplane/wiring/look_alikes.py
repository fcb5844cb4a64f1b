"""What dashboards made for a program in Go ask of one in Python, as near as there is something like it.

Source: Istio's dashboard of the control plane, whose panels of memory and goroutines stay empty otherwise.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from controlplane.metrics import REGISTRY

_STATUS = Path("/proc/self/status")
_KIB = 1024


class LookAlikes(Collector):
    """Tasks for goroutines, memory that belongs to the process alone for the heap, its new pages for allocations."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        REGISTRY.register(self)

    def collect(self) -> Iterator[Metric]:
        """Give the metrics."""
        held = _memory()
        pages = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        gauges = {
            "go_goroutines": (
                "Tasks of the event loop.",
                len(asyncio.all_tasks(self.loop)) if self.loop is not None else 0,
            ),
            "go_memstats_heap_alloc_bytes": ("Memory of the process alone.", held["RssAnon"]),
            "go_memstats_heap_inuse_bytes": ("The same.", held["RssAnon"]),
            "go_memstats_stack_inuse_bytes": ("The stack of the first thread.", held["VmStk"]),
        }
        for name, (text, value) in gauges.items():
            yield GaugeMetricFamily(name, text, value)
        yield CounterMetricFamily("go_memstats_alloc_bytes", "Bytes of pages that were new.", pages * _PAGE)
        yield CounterMetricFamily("go_memstats_mallocs", "Pages that were new.", pages)


LOOK_ALIKES = LookAlikes()
_PAGE = resource.getpagesize()


def _memory() -> dict[str, int]:
    """Return what the kernel says of the process's memory, in bytes; 0 for what it does not say."""
    found = {"RssAnon": 0, "VmStk": 0}
    for line in _STATUS.read_text(encoding="ascii").splitlines():
        name, _, rest = line.partition(":")
        if name in found:
            found[name] = int(rest.split()[0]) * _KIB
    return found
