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
from collections.abc import Iterable, Mapping
from functools import cache

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
from prometheus_client.registry import Collector

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

disable_created_metrics()  # type: ignore[no-untyped-call]
REGISTRY = CollectorRegistry(auto_describe=False)
_WITHOUT_SUFFIX: set[str] = set()


def _counter(name: str, text: str, labels: Iterable[str] = ()) -> Counter:
    _WITHOUT_SUFFIX.add(name)
    return Counter(name, text, labels, registry=REGISTRY)


_pushes = _counter("pilot_xds_pushes", "xDS responses sent, and those that could not be.", ["type"])
_push_time = Histogram(
    "pilot_xds_push_time", "Seconds to build and send one response.", ["type"], registry=REGISTRY, buckets=_SLOW
)
_config_size = Histogram(
    "pilot_xds_config_size_bytes", "Size of one response.", ["type"], registry=REGISTRY, buckets=_SIZES
)
_rejects = _counter("pilot_total_xds_rejects", "Responses that a proxy refused.", ["type"])
_expired = _counter("pilot_xds_expired_nonce", "Requests that answered a replaced response.", ["type"])
_built = Counter("controlplane_targets_built", "Resources translated.", ["type"], registry=REGISTRY)

PUSHES: Mapping[str, Counter] = {url: _pushes.labels(short) for url, short in SHORT_TYPE_NAMES.items()}
"""Responses sent, by type URL."""
SEND_ERRORS: Mapping[str, Counter] = {url: _pushes.labels(f"{s}_senderr") for url, s in SHORT_TYPE_NAMES.items()}
"""Responses that could not be sent, by type URL."""
PUSH_TIME: Mapping[str, Histogram] = {url: _push_time.labels(short) for url, short in SHORT_TYPE_NAMES.items()}
"""Seconds to build and send one response, by type URL."""
CONFIG_SIZE: Mapping[str, Histogram] = {url: _config_size.labels(url) for url in SHORT_TYPE_NAMES}
"""Bytes of one response, by type URL."""
REJECTS: Mapping[str, Counter] = {url: _rejects.labels(short) for url, short in SHORT_TYPE_NAMES.items()}
"""Refused responses, by type URL."""
EXPIRED_NONCES: Mapping[str, Counter] = {url: _expired.labels(short) for url, short in SHORT_TYPE_NAMES.items()}
"""Requests that answered a replaced response, by type URL."""
TARGETS_BUILT: Mapping[str, Counter] = {url: _built.labels(short) for url, short in SHORT_TYPE_NAMES.items()}
"""Resources translated, by type URL."""

SEND_TIME = Histogram("pilot_xds_send_time", "Seconds to write a response.", registry=REGISTRY, buckets=_SLOW)
CONVERGENCE_TIME = Histogram(
    "pilot_proxy_convergence_time",
    "Seconds from a change of configuration to its last response sent to a proxy.",
    registry=REGISTRY,
    buckets=_SLOW,
)
QUEUE_TIME = Histogram(
    "pilot_proxy_queue_time", "Seconds that a push waited for its proxy.", registry=REGISTRY, buckets=_SLOW
)
DEBOUNCE_TIME = Histogram(
    "pilot_debounce_time", "Seconds from the first change of a batch to its compilation.", registry=REGISTRY,
    buckets=_SLOW,
)  # fmt: skip
PUSH_TRIGGERS = _counter("pilot_push_triggers", "Pushes by what caused them.", ["type"])
INBOUND_UPDATES = _counter("pilot_inbound_updates", "Changes received.", ["type"])
REJECTED_CONFIGS = _counter("pilot_total_rejected_configs", "Objects refused.", ["type", "name"])
K8S_CONFIG_EVENTS = _counter("pilot_k8s_cfg_events", "Changes of mesh configuration objects.", ["type", "event"])
K8S_REGISTRY_EVENTS = _counter("pilot_k8s_reg_events", "Changes of Kubernetes' own objects.", ["type", "event"])
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
