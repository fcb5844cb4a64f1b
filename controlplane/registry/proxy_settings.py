"""The ProxyConfig of one proxy: its own where it brings one, else the mesh's ``defaultConfig``.

An agent puts the effective ProxyConfig into its node metadata (``PROXY_CONFIG``): that is the proxy's, whole. A proxy
without an agent has the annotation ``proxy.istio.io/config`` of its pod, which overrides the mesh's field by field.
The custom resource ProxyConfig is no part of this: what it can state is for the injector alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import structlog
import yaml
from pydantic import ValidationError

from controlplane.apis.mesh import MeshConfig, ProxyConfig
from controlplane.apis.mesh_providers import OpenTelemetryTracingProvider
from controlplane.apis.problems import problems_of
from controlplane.model.proxy import Proxy
from controlplane.registry.memo import query
from controlplane.registry.mesh import mesh_config
from controlplane.registry.store import View

log = structlog.get_logger(__name__)

ANNOTATION = "proxy.istio.io/config"
METADATA_KEY = "PROXY_CONFIG"
SERVICE_NAME = "resource.opentelemetry.io/service.name"
"""The annotation by which a pod says what its spans call it."""

SETTINGS = ("connection_settings", "gateway_topology", "proxy_headers", "tracing")
"""The fields of a ProxyConfig that change what is served; the others are for the injector and the agent."""

_NAME = "serviceCluster"
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def own_settings(view: View, proxy: Proxy, labels: Mapping[str, str], annotations: Mapping[str, str]) -> str:
    """Return what of a proxy's ProxyConfig is served and differs from the mesh's, as canonical JSON; else empty.

    ``labels`` are its workload's, ``annotations`` its pod's. A ProxyConfig that cannot be read is logged, and the
    mesh's holds. Where a tracer has to be told what the proxy's service is called, that is among the settings, as
    ``serviceCluster``.
    """
    stated = proxy.metadata.get(METADATA_KEY)
    mesh = mesh_config(view)
    default = mesh.default_config
    if stated is not None:
        found = _read(json.dumps(stated, sort_keys=True), METADATA_KEY)
        if found is not None and found.connection_settings is None:  # the one field that is not replaced as a whole
            found = found.model_copy(update={"connection_settings": default.connection_settings})
    else:
        text = annotations.get(ANNOTATION) or _annotations(proxy).get(ANNOTATION)
        found = _read(text, ANNOTATION) if text else None
        if found is not None:
            given = {name: getattr(found, name) for name in found.model_fields_set}
            found = default.model_copy(update=given)
    tracer = mesh.tracing_provider
    if tracer is not None and tracer.names_services:
        conventional = follows_conventions(tracer.opentelemetry)
        name = _workload_name(proxy, labels, annotations) if conventional else proxy.service_cluster
        if name:
            return _json(_held(found or default) | {_NAME: name})
    own = _held(found or default)
    return "" if own == _held(default) else _json(own)


def follows_conventions(provider: OpenTelemetryTracingProvider | None) -> bool:
    """Whether a provider wants services called, and described, as OpenTelemetry's semantic conventions have it."""
    return provider is not None and provider.service_attribute_enrichment == "OTEL_SEMANTIC_CONVENTIONS"


def _workload_name(proxy: Proxy, labels: Mapping[str, str], annotations: Mapping[str, str]) -> str:
    """Return what OpenTelemetry calls the service. Reference: its semantic conventions, Kubernetes attributes."""
    containers = str(proxy.metadata.get("APP_CONTAINERS") or "")
    names = (
        annotations.get(SERVICE_NAME) or _annotations(proxy).get(SERVICE_NAME),
        labels.get("app.kubernetes.io/instance"),
        labels.get("app.kubernetes.io/name"),
        proxy.metadata.get("WORKLOAD_NAME"),
        proxy.id.partition(".")[0],
        containers if "," not in containers else "",
    )
    return next((str(name) for name in names if name), "unknown_service")


def _annotations(proxy: Proxy) -> Mapping[str, Any]:
    stated = proxy.metadata.get("ANNOTATIONS")
    return stated if isinstance(stated, Mapping) else {}


@lru_cache(maxsize=1024)
def _read(text: str, source: str) -> ProxyConfig | None:
    """Read a ProxyConfig in JSON or YAML; each text is complained of once."""
    try:
        value = yaml.load(text, Loader=_Loader)  # noqa: S506 - one of the two safe loaders
        return ProxyConfig.model_validate({} if value is None else value, extra="ignore")
    except ValidationError as error:
        reason = "; ".join(str(each) for each in problems_of(error))
    except (yaml.YAMLError, TypeError) as error:
        reason = f"not YAML: {error}"
    log.warning("registry.proxy_config_rejected", source=source, reason=reason[:500])
    return None


def _held(config: ProxyConfig) -> dict[str, Any]:
    return config.model_dump(mode="json", by_alias=True, include=set(SETTINGS), exclude_none=True)


def _json(held: Mapping[str, Any]) -> str:
    return json.dumps(held, sort_keys=True, separators=(",", ":"))


def preserves_header_case(mesh: MeshConfig) -> bool:
    """Whether HTTP/1.1 header names keep the case they came in; nothing else of a ProxyConfig shows in clusters."""
    headers = mesh.default_config.proxy_headers
    return headers is not None and bool(headers.preserve_http1_header_case)


@query
def mesh_for(view: View, settings: str) -> MeshConfig:
    """Return the mesh configuration with the settings of ``own_settings`` in the place of its ``defaultConfig``'s."""
    mesh = mesh_config(view)
    if not settings:
        return mesh
    own = ProxyConfig.model_validate_json(settings)
    given = {name: getattr(own, name) for name in (*SETTINGS, "service_cluster")}
    return mesh.model_copy(update={"default_config": mesh.default_config.model_copy(update=given)})


@query
def route_settings(view: View, settings: str) -> str:
    """Return what of a proxy's own settings shows in routes, empty for nothing; proxies alike in it share routes."""
    own, default = mesh_for(view, settings).default_config, mesh_config(view).default_config
    if own.proxy_headers == default.proxy_headers:
        return ""
    return _json(own.model_dump(mode="json", by_alias=True, include={"proxy_headers"}, exclude_none=True))
