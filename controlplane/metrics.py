"""The metrics that the program counts, by istiod's names where they mean the same, else with our prefix.

Counters and histograms are module-level objects whose labels are resolved once, so counting is one call on the hot
path: ``PUSHES[type_url].inc()``. What can be asked when somebody looks (connected proxies, services) is not counted
but collected: see ``admin/metrics_page.py``. Everything lives in a registry of our own; ``exposition`` writes it.

The client library puts ``_total`` behind every counter's name. istiod's counters have none, so ``exposition`` takes
it away again for exactly those that are declared here as istiod's.
"""

from __future__ import annotations

import re
import sys
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import accumulate

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

SHORT_TYPE_NAMES: Mapping[str, str] = {
    "type.googleapis.com/envoy.config.cluster.v3.Cluster": "cds",
    "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment": "eds",
    "type.googleapis.com/envoy.config.listener.v3.Listener": "lds",
    "type.googleapis.com/envoy.config.route.v3.RouteConfiguration": "rds",
    "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret": "sds",
    "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig": "ecds",
    "type.googleapis.com/istio.networking.nds.v1.NameTable": "nds",
}
"""The ``type`` label by type URL."""

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SLOW = (0.01, 0.1, 0.5, 1, 3, 5, 10, 20, 30)  # seconds; istiod's buckets, so that its dashboards fit
_FAST = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5)
_SIZES = (1, 10_000, 1_000_000, 4_000_000, 10_000_000, 40_000_000)

_RESOURCE = ("group", "version", "resource")

disable_created_metrics()  # type: ignore[no-untyped-call]
REGISTRY = CollectorRegistry(auto_describe=False)
_WITHOUT_SUFFIX: set[str] = set()


def _counter(name: str, text: str, labels: Iterable[str] = ()) -> Counter:
    _WITHOUT_SUFFIX.add(name)
    return Counter(name, text, labels, registry=REGISTRY)


_rejects = _counter("pilot_total_xds_rejects", "Responses that a proxy refused.", ["type"])
_expired = _counter("pilot_xds_expired_nonce", "Requests that answered a replaced response.", ["type"])


class _Pushes(Collector):
    """Responses sent, by type URL: how many, and of what size. Plain numbers, for there may be thousands a second."""

    def __init__(self) -> None:
        self._sizes = {url: [0] * (len(_SIZES) + 1) for url in SHORT_TYPE_NAMES}
        self._bytes = dict.fromkeys(SHORT_TYPE_NAMES, 0)
        REGISTRY.register(self)

    def count(self, type_url: str, size_bytes: int) -> None:
        """Count one response; types that are not ours do not count."""
        sizes = self._sizes.get(type_url)
        if sizes is not None:
            sizes[bisect_left(_SIZES, size_bytes)] += 1
            self._bytes[type_url] += size_bytes

    def collect(self) -> Iterator[Metric]:
        """Give both metrics."""
        pushes = CounterMetricFamily("pilot_xds_pushes", "xDS responses sent.", labels=["type"])
        sizes = HistogramMetricFamily("pilot_xds_config_size_bytes", "Size of one response.", labels=["type"])
        for url, short in SHORT_TYPE_NAMES.items():
            up_to = tuple(accumulate(self._sizes[url]))
            pushes.add_metric([short], up_to[-1])
            names = (*(floatToGoString(size) for size in _SIZES), "+Inf")  # type: ignore[no-untyped-call]
            sizes.add_metric([url], tuple(zip(names, up_to, strict=True)), self._bytes[url])
        yield pushes
        yield sizes


PUSHES = _Pushes()
_WITHOUT_SUFFIX.add("pilot_xds_pushes")
REJECTS: Mapping[str, Counter] = {url: _rejects.labels(short) for url, short in SHORT_TYPE_NAMES.items()}
"""Refused responses, by type URL."""
EXPIRED_NONCES: Mapping[str, Counter] = {url: _expired.labels(short) for url, short in SHORT_TYPE_NAMES.items()}
"""Requests that answered a replaced response, by type URL."""


class _Seconds(Collector):
    """A histogram of plain numbers, for what is observed with each response; see ``_Pushes``."""

    def __init__(self, name: str, text: str, buckets: Sequence[float]) -> None:
        self._name, self._text, self._limits = name, text, tuple(buckets)
        self._counts = [0] * (len(self._limits) + 1)
        self._sum = 0.0
        REGISTRY.register(self)

    def observe(self, seconds: float) -> None:
        """Count one observation."""
        self._counts[bisect_left(self._limits, seconds)] += 1
        self._sum += seconds

    def collect(self) -> Iterator[Metric]:
        """Give the metric."""
        names = (*(floatToGoString(limit) for limit in self._limits), "+Inf")  # type: ignore[no-untyped-call]
        up_to = tuple(accumulate(self._counts))
        histogram = HistogramMetricFamily(self._name, self._text)
        histogram.add_metric([], tuple(zip(names, up_to, strict=True)), self._sum)
        yield histogram


CONVERGENCE_TIME = _Seconds(
    "pilot_proxy_convergence_time",
    "Seconds from a change of configuration to its last response sent to a proxy.",
    _SLOW,
)
DEBOUNCE_TIME = Histogram(
    "pilot_debounce_time", "Seconds from the first change of a batch to its compilation.", registry=REGISTRY,
    buckets=_SLOW,
)  # fmt: skip
PUSH_TRIGGERS = _counter("pilot_push_triggers", "Pushes by what caused them.", ["type"])
INBOUND_UPDATES = _counter("pilot_inbound_updates", "Changed objects received.", ["type"])
REJECTED_CONFIGS = _counter("pilot_total_rejected_configs", "Objects refused.", ["type", "name"])
CSRS = _counter("citadel_server_csr_count", "Requests for certificates.")
CSR_UNAUTHENTICATED = _counter(
    "citadel_server_authentication_failure_count", "Requests for certificates of callers that were not identified."
)
CSR_SIGN_ERRORS = _counter("citadel_server_csr_sign_err_count", "Requests for certificates refused.", ["error"])
CSR_SIGNED = _counter("citadel_server_success_cert_issuance_count", "Certificates signed.")
VALIDATION_PASSED = _counter("galley_validation_passed", "Objects that the webhook allowed.", _RESOURCE)
VALIDATION_FAILED = _counter(
    "galley_validation_failed", "Objects that the webhook refused, dry runs not counted.", [*_RESOURCE, "reason"]
)
VALIDATION_HTTP_ERRORS = _counter("galley_validation_http_error", "Requests that were no reviews.", ["status"])
WEBHOOK_CONFIG_UPDATES = _counter("galley_validation_config_updates", "Changes of the webhook's configuration.")
WEBHOOK_CONFIG_ERRORS = _counter(
    "galley_validation_config_update_error", "Changes of the webhook's configuration that were refused.", ["reason"]
)
CONDITIONS_WRITTEN = Counter(
    "controlplane_conditions_written", "Status conditions written to objects.", registry=REGISTRY
)
CONDITIONS_FAILED = Counter(
    "controlplane_conditions_failed", "Status conditions that could not be written.", ["reason"], registry=REGISTRY
)
INTERNAL_ERRORS = _counter("pilot_total_xds_internal_errors", "Errors of our own while serving xDS.")

VIRTUAL_SERVICES = Gauge("pilot_virt_services", "VirtualServices known.", registry=REGISTRY)
"""Give it a function when the program starts: ``VIRTUAL_SERVICES.set_function(...)``."""

EVENT_LOOP_LAG = Histogram(
    "controlplane_event_loop_lag_seconds",
    "How late a timer of the event loop fired.",
    registry=REGISTRY,
    buckets=_FAST,
)
COMPILE_TIME = Histogram(
    "controlplane_compile_seconds", "Seconds to recompile after one batch of changes.", registry=REGISTRY,
    buckets=_FAST,
)  # fmt: skip
CLASSES = Gauge("controlplane_proxy_classes", "Proxy classes that have a snapshot.", registry=REGISTRY)
"""Give it a function when the program starts, as ``VIRTUAL_SERVICES``."""

_info = Gauge("pilot_info", "Version of the control plane; the value is 1.", ["version"], registry=REGISTRY)
_build = Gauge("istio_build", "Version by component; the value is 1.", ["component", "tag"], registry=REGISTRY)
_started = time.monotonic()
Gauge("istiod_uptime_seconds", "Seconds since the start.", registry=REGISTRY).set_function(
    lambda: time.monotonic() - _started
)


def count_condition(outcome: str) -> None:
    """Count one attempt to write a condition, by what ``controllers.status_writer.Outcome`` calls it."""
    if outcome == "written":
        CONDITIONS_WRITTEN.inc()
    else:
        CONDITIONS_FAILED.labels(outcome).inc()


def set_version(version: str) -> None:
    """State the version of the program, once."""
    _info.labels(version).set(1)
    _build.labels("pilot", version).set(1)


@cache
def _collectors_of_the_process() -> tuple[Collector, ...]:
    return ProcessCollector(registry=REGISTRY), PlatformCollector(registry=REGISTRY), GCCollector(registry=REGISTRY)


@cache
def _suffix() -> re.Pattern[str]:
    names = "|".join(sorted(_WITHOUT_SUFFIX))
    return re.compile(rf"^((?:# (?:HELP|TYPE) )?(?:{names}))_total(?=[ {{])", re.MULTILINE)


def exposition() -> bytes:
    """Return every metric in Prometheus' text format, ``CONTENT_TYPE``."""
    if sys.platform == "linux":
        _collectors_of_the_process()
    return _suffix().sub(r"\1", generate_latest(REGISTRY).decode()).encode()
