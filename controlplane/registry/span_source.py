"""What the spans of a proxy say of the workload they come from, as far as somebody wants to know it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import structlog

from controlplane.apis.mesh_providers import OpenTelemetryTracingProvider
from controlplane.engine.recording import query
from controlplane.model.proxy import Proxy
from controlplane.model.proxy_class import NO_SPANS, SpanSource
from controlplane.model.service import Resolution, Service
from controlplane.registry.endpoints import known_endpoints
from controlplane.registry.proxy_settings import stated_annotations
from controlplane.registry.scopes import EgressKey, default_merged, egress_scope, router_merged, sidecar_for
from controlplane.registry.store import View
from controlplane.registry.tracing import TracingKey, tracing

log = structlog.get_logger(__name__)

SERVICE_NAME = "resource.opentelemetry.io/service.name"
"""The annotation by which a pod says what its spans call it."""
CANONICAL_NAME = "service.istio.io/canonical-name"
CANONICAL_REVISION = "service.istio.io/canonical-revision"

FIRST_RELEASE, LAST_RELEASE = 27, 30
"""The releases of Istio (1.27, 1.30) before and after which nothing in the configuration of tracers is different."""
_ENVOY_AHEAD = 8
"""How much higher the minor version of Envoy is than that of the release of Istio that has it."""
_MOST_DIGITS = 4


def span_source(
    view: View, proxy: Proxy, labels: Mapping[str, str], annotations: Mapping[str, str], key: TracingKey
) -> SpanSource:
    """Return what spans of one side say of a proxy; ``labels`` are its workload's, ``annotations`` its pod's.

    Only what is wanted is there, since proxies whose spans say something else share no listener.
    """
    found = tracing(view, key)
    if found is None:
        return NO_SPANS
    collector = (found.provider.zipkin or found.provider.datadog) if found.provider is not None else None
    if collector is not None:
        router = proxy.type == "router"
        scope = EgressKey(proxy.namespace, None if router else sidecar_for(view, proxy.namespace, labels))
        if not has_cluster(view, CollectorKey(scope, collector.service, collector.port, router)):
            return SpanSource(lost=True)
    service = ""
    if found.provider is not None and found.names_service:
        conventional = follows_conventions(found.provider.opentelemetry)
        service = "" if conventional else proxy.service_cluster
        if conventional or (not service and found.provider.datadog is not None):  # whose tracer must have a name
            service = _workload_name(proxy, labels, annotations)
    tags = _istio_tags(proxy, labels) if found.istio_tags else ()
    return SpanSource(service, tags, _release(proxy) if found.provider is not None else 0)


class CollectorKey(NamedTuple):
    """A collector that proxies of a scope send spans to: the host name of its service, and the port."""

    scope: EgressKey
    host: str
    port: int
    router: bool


@query
def has_cluster(view: View, key: CollectorKey) -> bool:
    """Whether the proxies have a cluster of a collector.

    Envoy's tracers for Zipkin and Datadog must have one: without it the listener is refused. Others look for theirs per
    request.
    """
    service = _collector(view, key)
    has = (
        service is not None
        and service.resolution is not Resolution.ALIAS
        and any(port.number == key.port and service.handles(port) for port in service.ports)
    )
    if has and service is not None and service.resolution.is_dns:
        stated = known_endpoints(view, key.host, service.namespace)
        has = any(each.service_port == key.port for each in stated)
    if not has:
        log.warning("registry.collector_not_reached", namespace=key.scope.namespace, service=key.host, port=key.port)
    return has


@query
def _collector(view: View, key: CollectorKey) -> Service | None:
    """Return the service of a collector, ``None`` where it is not in scope; a change of others stops here."""
    if key.router:
        return router_merged(view, key.scope.namespace).by_host.get(key.host)
    if key.scope.sidecar is None:
        return default_merged(view, key.scope.namespace).by_host.get(key.host)
    return egress_scope(view, key.scope).by_host.get(key.host)


def follows_conventions(provider: OpenTelemetryTracingProvider | None) -> bool:
    """Whether a provider wants services called, and described, as OpenTelemetry's semantic conventions have it."""
    return provider is not None and provider.service_attribute_enrichment == "OTEL_SEMANTIC_CONVENTIONS"


def _istio_tags(proxy: Proxy, labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    metadata = proxy.metadata
    return (
        ("istio.canonical_revision", labels.get(CANONICAL_REVISION) or "latest"),
        ("istio.canonical_service", labels.get(CANONICAL_NAME) or "unknown"),
        ("istio.cluster_id", str(metadata.get("CLUSTER_ID") or "unknown")),
        ("istio.mesh_id", str(metadata.get("MESH_ID") or "unknown")),
        ("istio.namespace", proxy.namespace or "default"),
    )


def _release(proxy: Proxy) -> int:
    """Return the release of Istio whose Envoy a proxy has, the newest for one that says nothing of it."""
    release = LAST_RELEASE
    if proxy.istio_version:
        major, _, rest = proxy.istio_version.partition(".")
        minor = rest.partition(".")[0]
        known = major == "1" and minor.isascii() and minor.isdigit() and len(minor) <= _MOST_DIGITS
        release = int(minor) if known else LAST_RELEASE
    elif proxy.envoy_minor is not None:
        release = proxy.envoy_minor - _ENVOY_AHEAD
    return min(max(release, FIRST_RELEASE), LAST_RELEASE)


def _workload_name(proxy: Proxy, labels: Mapping[str, str], annotations: Mapping[str, str]) -> str:
    """Return what OpenTelemetry calls the service. Reference: its semantic conventions, Kubernetes attributes."""
    containers = str(proxy.metadata.get("APP_CONTAINERS") or "")
    names = (
        annotations.get(SERVICE_NAME) or stated_annotations(proxy).get(SERVICE_NAME),
        labels.get("app.kubernetes.io/instance"),
        labels.get("app.kubernetes.io/name"),
        proxy.metadata.get("WORKLOAD_NAME"),
        proxy.id.partition(".")[0],
        containers if "," not in containers else "",
    )
    return next((str(name) for name in names if name), "unknown_service")
