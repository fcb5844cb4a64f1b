"""The metrics that the program counts, by istiod's names where they mean the same, else with our prefix.

Counters and histograms are module-level objects whose labels are resolved once, so counting is one call on the hot
path: ``PUSHES[type_url].inc()``. What can be asked when somebody looks (connected proxies, services) is not counted
but collected: see ``admin/metrics_page.py``. Everything lives in a registry of our own; ``exposition`` writes it.

The client library puts ``_total`` behind every counter's name. istiod's counters have none, so ``exposition`` takes
it away again for exactly those that are declared here as istiod's.
"""

from __future__ import annotations

import re  # noqa: TID251 - over our own metrics
import sys
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
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
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

SHORT_TYPE_NAMES: Mapping[str, str] = {
    "type.googleapis.com/envoy.config.cluster.v3.Cluster": "cds",
    "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment": "eds",
    "type.googleapis.com/envoy.config.listener.v3.Listener": "lds",
    "type.googleapis.com/envoy.config.route.v3.RouteConfiguration": "rds",
    "type.googleapis.com/envoy.config.route.v3.VirtualHost": "vhds",
    "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret": "sds",
    "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig": "ecds",
    "type.googleapis.com/istio.networking.nds.v1.NameTable": "nds",
    "type.googleapis.com/istio.mesh.v1alpha1.ProxyConfig": "pcds",
}
"""The ``type`` label by type URL."""

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SLOW = (0.01, 0.1, 0.5, 1, 3, 5, 10, 20, 30)  # seconds; istiod's buckets, so that its dashboards fit
_FAST = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5)
_SIZES = (1, 10_000, 1_000_000, 4_000_000, 10_000_000, 40_000_000)

_SAMPLES_AT_ONCE = 50
"""Samples that are written in one piece, which takes a fraction of a millisecond."""
_COMMENT = re.compile(r"^#.*\n", re.MULTILINE)

MOST_LABEL_SETS = 200
"""Of one metric whose labels others choose."""
LONGEST_LABEL = 100
OTHER = "other"
"""The label of all beyond that."""

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


class _Bounded:
    """A counter whose labels peers or objects choose; beyond ``MOST_LABEL_SETS`` of them all count as one."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._known: set[tuple[str, ...]] = set()

    def count(self, *values: str) -> None:
        """Count one event."""
        shown = tuple(label(value) for value in values)
        if shown not in self._known:
            if len(self._known) >= MOST_LABEL_SETS:
                shown = (OTHER,) * len(shown)
            else:
                self._known.add(shown)
        self._counter.labels(*shown).inc()


def label(value: str) -> str:
    """Return text as the value of a label: short, and such that it can be written."""
    return value[:LONGEST_LABEL].encode(errors="backslashreplace").decode()


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
PUSH_TIME = Histogram(
    "pilot_xds_push_time", "Seconds from a change of configuration to a response with it, by type.", ["type"],
    buckets=_SLOW, registry=REGISTRY,
)  # fmt: skip
PUSH_TIMES: Mapping[str, Histogram] = {url: PUSH_TIME.labels(short) for url, short in SHORT_TYPE_NAMES.items()}
"""The same by type URL."""
DEBOUNCE_TIME = Histogram(
    "pilot_debounce_time", "Seconds from the first change of a batch to its compilation.", registry=REGISTRY,
    buckets=_SLOW,
)  # fmt: skip
_rejected_configs = _counter("pilot_total_rejected_configs", "Objects refused.", ["type", "name"])
REJECTED_CONFIGS = _Bounded(_rejected_configs)
"""Objects refused, by kind and name."""
CONFIG_EVENTS = _counter("pilot_k8s_cfg_events", "Changes of Istio's objects that came in.", ["type", "event"])
REGISTRY_EVENTS = _counter("pilot_k8s_reg_events", "Changes of Kubernetes' objects that came in.", ["type", "event"])
LEADING = Gauge(
    "controlplane_leading",
    "1 where this replica does work that one of them does at a time.",
    ["work"],
    registry=REGISTRY,
)
PUSH_TRIGGERS = _counter("pilot_push_triggers", "Pushes by what caused them.", ["type"])
INBOUND_UPDATES = _counter("pilot_inbound_updates", "Changed objects received.", ["type"])
CSRS = _counter("citadel_server_csr_count", "Requests for certificates.")
CSR_UNAUTHENTICATED = _counter(
    "citadel_server_authentication_failure_count", "Requests for certificates of callers that were not identified."
)
CSR_SIGN_ERRORS = _counter("citadel_server_csr_sign_err_count", "Requests for certificates refused.", ["error"])
CSR_PARSING_ERRORS = _counter(
    "citadel_server_csr_parsing_err_count", "Requests for certificates that could not be read, or ask for too much."
)
CSR_NAME_ERRORS = _counter(
    "citadel_server_id_extraction_err_count", "Requests for certificates with other names than their sender's."
)
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
INJECTION_REQUESTS = _counter("sidecar_injection_requests_total", "Pods that the webhook was asked to inject.")
INJECTION_SUCCESSES = _counter("sidecar_injection_success_total", "Pods that were injected.")
INJECTION_FAILURES = _counter("sidecar_injection_failure_total", "Pods that could not be injected, and were refused.")
INJECTION_SKIPS = _counter("sidecar_injection_skip_total", "Pods that were left alone.")
INJECTION_TIME = Histogram(
    "sidecar_injection_time_seconds",
    "Time from the review of a pod to its patch.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1),
    registry=REGISTRY,
)
CONDITIONS_WRITTEN = Counter(
    "controlplane_conditions_written", "Status conditions written to objects.", registry=REGISTRY
)
CONDITIONS_FAILED = Counter(
    "controlplane_conditions_failed", "Status conditions that could not be written.", ["reason"], registry=REGISTRY
)
TASK_FAILURES = Counter(
    "controlplane_task_failures", "Failures of tasks that are begun again, by task.", ["task"], registry=REGISTRY
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
LEFT_OUT = Gauge(
    "controlplane_left_out_parts", "Parts that are not served because Envoy would refuse them.", registry=REGISTRY
)
"""Give it a function when the program starts, as ``VIRTUAL_SERVICES``."""

CERTIFICATE_END = Gauge(
    "controlplane_certificate_end_timestamp_seconds",
    "When the first certificate of a kind ends: root, intermediate, serving, secret; 0 where there is none.",
    ["kind"],
    registry=REGISTRY,
)


class _SigningEnds(Collector):
    """When what signs for workloads ends, by istiod's names; without samples where there is no such certificate."""

    def __init__(self) -> None:
        self.earliest: Callable[[str], float] = lambda _: 0.0
        """Returns the first end of a kind of certificates, in Unix time, 0 where there is none."""
        REGISTRY.register(self)

    def collect(self) -> Iterator[Metric]:
        """Give the moment and the seconds until then, of roots and of what signs below them."""
        for name, kind in (("root_cert", "root"), ("cert_chain", "intermediate")):
            end = self.earliest(kind)
            for unit, text, value in (
                ("timestamp", f"When the first {kind} certificate ends, in Unix time.", end),
                ("seconds", f"Seconds until the first {kind} certificate ends.", end - time.time()),
            ):
                family = GaugeMetricFamily(f"citadel_server_{name}_expiry_{unit}", text)
                if end:
                    family.add_metric((), value)
                yield family


SIGNING_ENDS = _SigningEnds()
KEYS_FETCHED = Counter(
    "pilot_jwks_resolver_network_fetch_success", "Fetches of keys of tokens that gave keys.", registry=REGISTRY
)
KEYS_NOT_FETCHED = Counter(
    "pilot_jwks_resolver_network_fetch_fail", "Fetches of keys of tokens that gave none.", registry=REGISTRY
)
UNUSABLE_SECRETS = Counter(
    "pilot_sds_certificate_errors", "Versions of Secrets that proxies could not use.", registry=REGISTRY
)

CONNECTIONS = Gauge("controlplane_connections", "Connections of proxies that are open.", registry=REGISTRY)
PENDING_CONNECTIONS = Gauge(
    "controlplane_pending_connections", "Connections of proxies of which no call was accepted yet.", registry=REGISTRY
)
UNFINISHED = Gauge(
    "controlplane_unfinished_bytes", "Bytes of requests that are not complete, or not read.", registry=REGISTRY
)
LIMITS_REACHED = Counter(
    "controlplane_limits_reached", "How often peers ran into a limit, by the flag's name.", ["limit"], registry=REGISTRY
)
"""The label is a field's name of ``limits.Limits``."""

REPLICAS = Gauge(
    "controlplane_replicas", "Replicas that share the proxies, this one too, as it knows them.", registry=REGISTRY
)
SHARE = Gauge("controlplane_share", "Proxies that this replica is to hold beside the others.", registry=REGISTRY)
SENT_AWAY = Counter(
    "controlplane_proxies_sent_away", "Proxies that were asked to connect anew to another replica.", registry=REGISTRY
)

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


def exposition() -> Iterator[str]:
    """Yield every metric in Prometheus' text format, ``CONTENT_TYPE``, in pieces."""
    if sys.platform == "linux":
        _collectors_of_the_process()
    for metric in REGISTRY.collect():
        for piece in family(metric):
            yield _suffix().sub(r"\1", piece)


def written_name(metric: Metric) -> str:
    """Return the name of a metric as the page has it."""
    return f"{metric.name}_total" if metric.type == "counter" and metric.name not in _WITHOUT_SUFFIX else metric.name


def family(metric: Metric) -> Iterator[str]:
    """Yield one metric with its samples, some at a time: there is one for each combination of labels."""
    samples = metric.samples
    for begin in range(0, max(len(samples), 1), _SAMPLES_AT_ONCE):
        part = copy(metric)
        part.samples = samples[begin : begin + _SAMPLES_AT_ONCE]
        text = generate_latest(_One(part)).decode()
        yield text if not begin else _COMMENT.sub("", text)


class _One(CollectorRegistry):
    """A registry of one metric, for the library's function that writes whole registries."""

    def __init__(self, metric: Metric) -> None:
        super().__init__(auto_describe=False)
        self._metric = metric

    def collect(self) -> Iterator[Metric]:
        """Give the metric."""
        yield self._metric
