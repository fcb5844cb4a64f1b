"""Tracing: which requests are traced, where spans go, and what tags they get.

Source: Telemetry ``tracing``, MeshConfig ``enableTracing``, ``defaultProviders.tracing`` and ``extensionProviders``,
ProxyConfig ``tracing``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from controlplane.apis.mesh_providers import ExtensionProvider, OpenTelemetryTracingProvider
from controlplane.apis.mesh_proxy import ProxyConfig, TracingCustomTag
from controlplane.apis.telemetry import CustomTag
from controlplane.apis.telemetry import Tracing as Entry
from controlplane.engine.recording import query
from controlplane.model.proxy_class import NO_SPANS, SpanSource
from controlplane.model.side import Side
from controlplane.registry.environment import TRACE_SAMPLING, percentage
from controlplane.registry.mesh import mesh_config
from controlplane.registry.providers import usable_provider
from controlplane.registry.proxy_settings import proxy_config
from controlplane.registry.store import View
from controlplane.registry.telemetry import Chain, is_for, telemetry_specs

DEFAULT_SAMPLING = 1.0
"""The percentage of requests that are traced where nobody says it."""
_ALL = 100


@dataclass(frozen=True, slots=True)
class LiteralTag:
    """A fixed text."""

    value: str


@dataclass(frozen=True, slots=True)
class EnvironmentTag:
    """A variable of the proxy's environment; without one, ``default``."""

    name: str
    default: str = ""


@dataclass(frozen=True, slots=True)
class HeaderTag:
    """A header of the request; without one, ``default``."""

    name: str
    default: str = ""


@dataclass(frozen=True, slots=True)
class FormatTag:
    """A text with Envoy's command operators. Older proxies do not know it."""

    text: str


Tag = LiteralTag | EnvironmentTag | HeaderTag | FormatTag
"""Where the value of a span's tag comes from."""


@dataclass(frozen=True, slots=True)
class Tracing:
    """How one side of a proxy traces.

    ``provider`` takes the spans, its service is a host; ``None`` means the tracer of the bootstrap. ``source`` is what
    spans say of the proxy. ``sampling`` is in percent. ``path_length`` is the most characters of a path in a span, 0
    for Envoy's default. ``tags`` are sorted by name; ``istio_tags`` says that Istio's own are wanted too.
    ``by_request_id`` says that a request's id shows whether it is traced, ``propagates`` that requests carry
    the trace on.
    """

    provider: ExtensionProvider | None = None
    sampling: float = DEFAULT_SAMPLING
    path_length: int = 0
    tags: tuple[tuple[str, Tag], ...] = ()
    istio_tags: bool = False
    by_request_id: bool = True
    propagates: bool = True
    source: SpanSource = NO_SPANS

    @property
    def names_service(self) -> bool:
        """Whether the tracer has to be told what the service is called; others take the bootstrap's name."""
        return self.provider is not None and self.provider.names_services


class TracingKey(NamedTuple):
    """Whose tracing: a proxy's own settings (see ``proxy_settings``), its Telemetry objects, and the side."""

    own: str
    telemetry: Chain
    side: Side


@query
def tracing(view: View, key: TracingKey) -> Tracing | None:
    """Return how a side of a proxy traces, without ``source``; ``None`` where it does not.

    Nothing is traced where the provider in force is not there, its service unknown, or it takes no spans. Without a
    provider in the mesh configuration and without any entry in a Telemetry, the tracer of the bootstrap takes spans.
    """
    entries = [entry for spec in telemetry_specs(view, key.telemetry) for entry in spec.tracing]
    config = proxy_config(view, key.own)
    if entries or mesh_config(view).default_providers.tracing:
        return _by_telemetry(view, [entry for entry in entries if is_for(entry.match, key.side)], config)
    if not mesh_config(view).enable_tracing:
        return None
    stated = config.tracing
    return Tracing(
        sampling=_sampling(view, config),
        path_length=_path_length(config),
        tags=_sorted(_config_tags(config)),
        istio_tags=stated is not None and stated.enable_istio_tags is not False,
    )


def _by_telemetry(view: View, entries: list[Entry], config: ProxyConfig) -> Tracing | None:
    """Return what entries say, each over those before it and all over the mesh's default provider."""
    name = next(iter(mesh_config(view).default_providers.tracing), "")
    held, off, sampling = Tracing(istio_tags=True), False, _sampling(view, config)
    tags: Mapping[str, CustomTag] = {}
    for entry in entries:
        name = entry.providers[0].name if entry.providers else name
        off = entry.disable_span_reporting if entry.disable_span_reporting is not None else off
        if entry.random_sampling_percentage is not None:
            sampling = entry.random_sampling_percentage
        if entry.has("custom_tags"):
            tags = entry.custom_tags
        if entry.enable_istio_tags is not None:
            held = replace(held, istio_tags=entry.enable_istio_tags)
        if entry.use_request_id_for_trace_sampling is not None:
            held = replace(held, by_request_id=entry.use_request_id_for_trace_sampling)
        if entry.disable_context_propagation is not None:
            held = replace(held, propagates=not entry.disable_context_propagation)
    provider = usable_provider(view, name) if name and not off else None
    if provider is None or not provider.is_tracer:
        return None
    return replace(
        held,
        provider=provider,
        sampling=_ALL if _samples(provider.opentelemetry) else sampling,
        path_length=_longest(provider) or _path_length(config),
        tags=_sorted({tag: found for tag, each in tags.items() if (found := _tag(each)) is not None})
        or _sorted(_config_tags(config)),
    )


def _samples(provider: OpenTelemetryTracingProvider | None) -> bool:
    """Whether a tracer has a sampler of its own, which is then asked about every request."""
    return provider is not None and provider.dynatrace_sampler is not None


def _sampling(view: View, config: ProxyConfig) -> float:
    """Return the percentage that is stated, where 0 counts as not stated, else the environment's, else the default."""
    stated = config.tracing.sampling if config.tracing is not None else None
    if stated:
        return stated if stated <= _ALL else DEFAULT_SAMPLING
    sampling = percentage(view, TRACE_SAMPLING)
    return DEFAULT_SAMPLING if sampling is None else sampling


def _longest(provider: ExtensionProvider) -> int:
    """Return the most characters of a path that a provider wants in spans, 0 for no wish."""
    tracer = provider.zipkin or provider.opentelemetry or provider.datadog
    return tracer.max_tag_length if tracer is not None else 0


def _path_length(config: ProxyConfig) -> int:
    return config.tracing.max_path_tag_length if config.tracing is not None else 0


def _sorted(tags: Mapping[str, Tag]) -> tuple[tuple[str, Tag], ...]:
    return tuple(sorted(tags.items(), key=lambda each: each[0]))


def _config_tags(config: ProxyConfig) -> dict[str, Tag]:
    stated = config.tracing.custom_tags if config.tracing is not None else {}
    return {name: tag for name, each in stated.items() if (tag := _config_tag(each)) is not None}


def _config_tag(stated: TracingCustomTag) -> Tag | None:
    """Return where a tag's value comes from; ``None`` where nothing says it, since Envoy refuses such a tag."""
    if stated.literal is not None:
        return LiteralTag(stated.literal.get("value", ""))
    if stated.environment is not None:
        return EnvironmentTag(stated.environment.get("name", ""), stated.environment.get("defaultValue", ""))
    if stated.header is not None:
        return HeaderTag(stated.header.get("name", ""), stated.header.get("defaultValue", ""))
    return None


def _tag(stated: CustomTag) -> Tag | None:
    if stated.literal is not None:
        return LiteralTag(stated.literal.value)
    if stated.environment is not None:
        return EnvironmentTag(stated.environment.name, stated.environment.default_value)
    if stated.header is not None:
        return HeaderTag(stated.header.name, stated.header.default_value)
    if stated.formatter is not None:
        return FormatTag(stated.formatter.value)
    return None
