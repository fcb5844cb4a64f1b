"""The Prometheus page: what the program counted, and what is asked of it now."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from controlplane import metrics
from controlplane.admin.pace import PAUSE, Pause
from controlplane.admin.sources import AdminSources
from controlplane.model.feeds import Feed


def _proxies(sources: AdminSources) -> Metric:
    """Return how many proxies are connected, by version."""
    proxies = GaugeMetricFamily("pilot_xds", "Proxies connected.", labels=["version"])
    versions = Counter(metrics.label(proxy.istio_version or "unknown") for proxy in sources.proxies().values())
    shown = versions.most_common(metrics.MOST_LABEL_SETS)  # proxies say which they are
    if (rest := versions.total() - sum(count for _, count in shown)) > 0:
        shown.append((metrics.OTHER, rest))
    for version, count in sorted(shown):
        proxies.add_metric([version], count)
    return proxies


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


def metrics_page(sources: AdminSources) -> Iterator[str | Pause]:
    """Yield the page in pieces, in ``metrics.CONTENT_TYPE``."""
    yield from metrics.exposition()
    services = 0
    for _ in sources.services():
        services += 1
        yield PAUSE
    for metric in asked_metrics(sources, services):
        yield from metrics.family(metric)


def asked_metrics(sources: AdminSources, services: int) -> Iterator[Metric]:
    """Yield what nobody counts as it happens, given the number of services."""
    yield GaugeMetricFamily("pilot_services", "Services known.", value=services)
    yield _proxies(sources)
    yield from _kube_cluster(sources)
