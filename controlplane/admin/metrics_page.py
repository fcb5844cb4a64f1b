"""The Prometheus page: what the program counted, and what is asked of it now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from controlplane import metrics
from controlplane.admin.sources import AdminSources


class SourcesCollector(Collector):
    """Gauges that are true at the moment somebody asks: proxies by version, services."""

    def __init__(self, sources: AdminSources) -> None:
        self._sources = sources

    def collect(self) -> Iterator[Metric]:
        """Give the gauges."""
        yield GaugeMetricFamily("pilot_services", "Services known.", value=sum(1 for _ in self._sources.services()))
        proxies = GaugeMetricFamily("pilot_xds", "Proxies connected.", labels=["version"])
        versions = Counter(status.proxy.istio_version or "unknown" for status in self._sources.connections())
        for version, count in sorted(versions.items()):
            proxies.add_metric([version], count)
        yield proxies


class MetricsPage:
    """Writes the page for one set of sources."""

    def __init__(self, sources: AdminSources) -> None:
        self._asked = CollectorRegistry(auto_describe=False)
        self._asked.register(SourcesCollector(sources))

    def render(self) -> bytes:
        """Return the page, in ``metrics.CONTENT_TYPE``."""
        return metrics.exposition() + generate_latest(self._asked)
