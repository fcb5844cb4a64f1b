"""istio-proxy's own metrics: which providers take them, and what is changed of them.

Source: Telemetry ``metrics``, MeshConfig ``defaultProviders.metrics``. Only Prometheus is a provider of metrics.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from controlplane.apis.telemetry import IstioMetric, Metrics, MetricSelector, MetricsOverrides, TagOperation
from controlplane.model.side import Side
from controlplane.registry.mesh import mesh_config
from controlplane.registry.providers import usable_provider
from controlplane.registry.store import View
from controlplane.registry.telemetry import Chain, is_for, telemetry_specs

METRIC_NAMES = {
    IstioMetric.GRPC_REQUEST_MESSAGES: "request_messages_total",
    IstioMetric.GRPC_RESPONSE_MESSAGES: "response_messages_total",
    IstioMetric.REQUEST_COUNT: "requests_total",
    IstioMetric.REQUEST_DURATION: "request_duration_milliseconds",
    IstioMetric.REQUEST_SIZE: "request_bytes",
    IstioMetric.RESPONSE_SIZE: "response_bytes",
    IstioMetric.TCP_CLOSED_CONNECTIONS: "tcp_connections_closed_total",
    IstioMetric.TCP_OPENED_CONNECTIONS: "tcp_connections_opened_total",
    IstioMetric.TCP_RECEIVED_BYTES: "tcp_received_bytes_total",
    IstioMetric.TCP_SENT_BYTES: "tcp_sent_bytes_total",
}
"""What istio-proxy calls each metric; Prometheus sees ``istio_`` before it."""


@dataclass(frozen=True, slots=True)
class MetricChange:
    """What is changed of one metric: whether it is dropped, tags set to the value of an expression, tags removed."""

    name: str
    drop: bool = False
    tags: tuple[tuple[str, str], ...] = ()
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Stats:
    """One filter that makes metrics. ``reporting`` is how often those of long connections are, ``None``: the default.

    ``trusts_host`` says that the name of a service may be taken from a request's host header.
    """

    trusts_host: bool = False
    reporting: timedelta | None = None
    changes: tuple[MetricChange, ...] = ()


@dataclass
class _Held:
    """What was said of one provider so far: each metric's ``(disabled, tags)`` by its name in a Telemetry."""

    all_disabled: bool = False
    reporting: timedelta | None = None
    disabled: dict[str, bool] = field(default_factory=dict)
    tags: dict[str, dict[str, str | None]] = field(default_factory=dict)

    def take(self, override: MetricsOverrides) -> None:
        """Apply one override. One that disables all metrics holds until another says anything else."""
        if _means_all(override.match) and override.disabled:
            self.all_disabled = True
            return
        self.all_disabled = False
        for name in _names(override.match):
            tags = self.tags.setdefault(name, {})
            if override.disabled is not None:
                self.disabled[name] = override.disabled
            for tag, stated in override.tag_overrides.items():
                tags[tag] = stated.value if stated.operation is TagOperation.UPSERT else None

    def stats(self, side: Side) -> Stats:
        """Return the filter, its changes by the metric's name in a Telemetry."""
        return Stats(side is Side.OUTBOUND, self.reporting, tuple(self._change(name) for name in sorted(self.tags)))

    def _change(self, name: str) -> MetricChange:
        tags = sorted(self.tags[name].items())
        return MetricChange(
            METRIC_NAMES[IstioMetric(name)] if name in METRIC_NAMES else name,
            self.disabled.get(name, False),
            tuple((tag, value) for tag, value in tags if value is not None),
            tuple(tag for tag, value in tags if value is None),
        )


def stats(view: View, chain: Chain, side: Side) -> tuple[Stats, ...]:
    """Return a filter for each provider that is asked for, by the provider's name."""
    entries = [entry for spec in telemetry_specs(view, chain) for entry in spec.metrics]
    held = _held(entries, mesh_config(view).default_providers.metrics, side)
    found = {name: provider for name in held if (provider := usable_provider(view, name)) is not None}
    return tuple(
        held[name].stats(side)
        for name, provider in sorted(found.items(), key=lambda each: each[1].name)
        if provider.prometheus is not None and not held[name].all_disabled
    )


def _held(entries: list[Metrics], default: Iterable[str], side: Side) -> dict[str, _Held]:
    """Return what is said of each provider of the last entry that names any; an entry without is about those before."""
    names = tuple(default)
    if not entries:
        return {name: _Held() for name in names}
    stated = [tuple(provider.name for provider in entry.providers) for entry in entries]
    wanted = next((each for each in reversed(stated) if each), names)
    held: dict[str, _Held] = {}
    for entry, named in zip(entries, stated, strict=True):
        names = named or names
        for name in names:
            if name in wanted:
                provider = held.setdefault(name, _Held())
                provider.reporting = entry.reporting_interval or provider.reporting
                for override in entry.overrides:
                    if is_for(override.match, side):
                        provider.take(override)
    return held


def _means_all(match: MetricSelector | None) -> bool:
    return match is None or (match.custom_metric is None and match.metric in {None, IstioMetric.ALL_METRICS})


def _names(match: MetricSelector | None) -> Iterator[str]:
    """Yield the metrics that an override is about, by their names in a Telemetry."""
    if _means_all(match) or match is None:
        yield from METRIC_NAMES
    else:
        yield match.custom_metric or str(match.metric)
