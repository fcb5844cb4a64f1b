"""What the agent counts, by the names of Istio's agent, so that dashboards fit; written in Prometheus' text format.

The usual library would take more of a pod's memory than all that is counted here.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_ALL: list[Value | Histogram] = []


class Value:
    """A counter or a gauge, with a value for each value of its one label; without a label that is empty."""

    def __init__(self, name: str, kind: str, text: str, label: str = "", values: tuple[str, ...] = ("",)) -> None:
        """``values`` are those of the label, each 0 at first."""
        self._name, self._kind, self._text, self._label = name, kind, text, label
        self._values: dict[str, float] = dict.fromkeys(values, 0.0)
        _ALL.append(self)

    def inc(self, value: str = "") -> None:
        """Count one more."""
        self._values[value] += 1

    def set(self, number: float) -> None:
        """Be this from now on."""
        self._values[""] = number

    def lines(self) -> Iterator[str]:
        """Yield the lines of the exposition."""
        yield f"# HELP {self._name} {self._text}"
        yield f"# TYPE {self._name} {self._kind}"
        for value, number in self._values.items():
            label = f'{{{self._label}="{value}"}}' if self._label else ""
            yield f"{self._name}{label} {number:g}" if number < 1e6 else f"{self._name}{label} {number!r}"  # noqa: PLR2004


class Histogram:
    """How long something took, in seconds."""

    def __init__(self, name: str, text: str) -> None:
        self._name, self._text = name, text
        self._counts = [0] * (len(_SECONDS) + 1)
        self._sum = 0.0
        _ALL.append(self)

    def observe(self, seconds: float) -> None:
        """Add one."""
        self._counts[bisect_left(_SECONDS, seconds)] += 1
        self._sum += seconds

    def lines(self) -> Iterator[str]:
        """Yield the lines of the exposition."""
        yield f"# HELP {self._name} {self._text}"
        yield f"# TYPE {self._name} histogram"
        total = 0
        for bound, count in zip((*_SECONDS, "+Inf"), self._counts, strict=True):
            total += count
            yield f'{self._name}_bucket{{le="{bound}"}} {total}'
        yield f"{self._name}_sum {self._sum!r}"
        yield f"{self._name}_count {total}"


def _counter(name: str, text: str) -> Value:
    return Value(f"istio_agent_{name}", "counter", text)


XDS_REQUESTS = _counter("xds_proxy_requests", "Requests of Envoy that were passed on.")
XDS_RESPONSES = _counter("xds_proxy_responses", "Responses that came from the control plane.")
CONTROL_PLANE_UNREACHABLE = _counter("istiod_connection_failures", "Connections to the control plane that failed.")
CANCELLED, ERROR = "cancelled", "error"
"""How a stream ended: as streams do, or because something was wrong."""
CONTROL_PLANE_TERMINATIONS = Value(
    "istio_agent_istiod_connection_terminations",
    "counter",
    "Streams that the control plane ended.",
    "type",
    (CANCELLED, ERROR),
)
ENVOY_TERMINATIONS = Value(
    "istio_agent_envoy_connection_terminations", "counter", "Streams that Envoy ended.", "type", (CANCELLED, ERROR)
)
SCRAPES = _counter("scrapes_total", "Scrapes of the merged metrics.")
SCRAPE_FAILURES = Value(
    "istio_agent_scrape_failures_total",
    "counter",
    "Parts of a scrape that could not be had.",
    "type",
    ("envoy", "application", "agent"),
)
CERTIFICATES = _counter("certificates_received_total", "Certificates that the authority signed.")
CERTIFICATE_FAILURES = _counter("certificate_failures_total", "Certificates that were asked for and not had.")
CERTIFICATE_EXPIRY = Value(
    "istio_agent_certificate_expiry_timestamp_seconds", "gauge", "When the workload's certificate ends, in Unix time."
)
STARTUP_SECONDS = Value(
    "istio_agent_startup_duration_seconds", "gauge", "From the start of the agent until the proxy was ready."
)
DNS_REQUESTS = _counter("dns_requests_total", "Questions for names that came.")
DNS_UPSTREAM_REQUESTS = _counter("dns_upstream_requests_total", "Questions that were passed on.")
DNS_UPSTREAM_FAILURES = _counter("dns_upstream_failures_total", "Questions that nobody answered.")
DNS_UPSTREAM_SECONDS = Histogram(
    "istio_agent_dns_upstream_request_duration_seconds", "Time until an answer to a question came."
)
WASM_ENTRIES = Value("istio_agent_wasm_cache_entries", "gauge", "WebAssembly modules that are held as files.")
WASM_LOOKUPS = Value(
    "istio_agent_wasm_cache_lookup_count",
    "counter",
    "Modules that were asked for, by whether they were there already.",
    "hit",
    ("true", "false"),
)
WASM_FETCHES = Value(
    "istio_agent_wasm_remote_fetch_count",
    "counter",
    "Modules that were fetched, or not.",
    "result",
    ("success", "download_failure"),
)
WASM_CONVERSIONS = Value(
    "istio_agent_wasm_config_conversion_count",
    "counter",
    "Settings of filters that came, by what became of their module.",
    "result",
    ("success", "no_remote_load", "unmarshal_failure", "fetch_failure"),
)
WASM_CONVERSION_SECONDS = Histogram(
    "istio_agent_wasm_config_conversion_duration", "Time until a module that is elsewhere was there, or was not."
)


def exposition() -> str:
    """Return every metric in Prometheus' text format."""
    return "".join(f"{line}\n" for metric in _ALL for line in metric.lines())
