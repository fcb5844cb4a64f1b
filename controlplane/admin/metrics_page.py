"""The Prometheus page: what the program counted, and what is asked of it now."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from controlplane import metrics
from controlplane.admin.sources import AdminSources
from controlplane.model.feeds import Feed


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
        yield from _kube_cluster(self._sources)


def _kube_cluster(sources: AdminSources) -> Iterator[Metric]:
    """Give how far what was read of a cluster is behind it; nothing where files are read."""
    feeds = sorted(sources.feeds(), key=lambda feed: (feed.resource, feed.namespace))
    if not feeds:
        return
    away = sources.away_since()
    yield GaugeMetricFamily(
        "controlplane_api_server_away_seconds",
        "Seconds since the API server was last heard of; 0 while it answers.",
        value=0.0 if away is None else max(time.time() - away, 0.0),
    )
    for name, text, value in _FEED_GAUGES:
        gauge = GaugeMetricFamily(f"controlplane_watch_{name}", text, labels=["resource", "namespace"])
        for feed in feeds:
            gauge.add_metric([feed.resource, feed.namespace], value(feed))
        yield gauge
    for name, text, value in _FEED_COUNTERS:
        counter = CounterMetricFamily(f"controlplane_watch_{name}", text, labels=["resource", "namespace"])
        for feed in feeds:
            counter.add_metric([feed.resource, feed.namespace], value(feed))
        yield counter


_Values = tuple[tuple[str, str, Callable[[Feed], float]], ...]
_FEED_GAUGES: _Values = (
    ("lag_seconds", "Seconds for which a kind has not been known to be current.", lambda feed: feed.lag_seconds),
    ("last_event_timestamp_seconds", "When the API server last sent something.", lambda feed: feed.last_event),
    ("objects", "Objects held.", lambda feed: feed.objects),
    ("listed", "1 where the first list is complete or the kind not served.", lambda feed: float(feed.listed)),
)
_FEED_COUNTERS: _Values = (
    ("events", "Changes that came through a watch.", lambda feed: feed.events),
    ("lists", "Complete lists read.", lambda feed: feed.lists),
    ("bytes", "Bytes read, after decompression.", lambda feed: feed.size_bytes),
)


class MetricsPage:
    """Writes the page for one set of sources."""

    def __init__(self, sources: AdminSources) -> None:
        self._asked = CollectorRegistry(auto_describe=False)
        self._asked.register(SourcesCollector(sources))

    def render(self) -> bytes:
        """Return the page, in ``metrics.CONTENT_TYPE``."""
        return metrics.exposition() + generate_latest(self._asked)
