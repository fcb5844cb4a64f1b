"""Extension providers that are services of the mesh: which host their name means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import structlog

from controlplane.apis.mesh import MeshConfig
from controlplane.apis.mesh_providers import (
    TRACERS,
    ExtensionProvider,
    GrpcService,
    HttpHeader,
    HttpService,
    OpenTelemetryTracingProvider,
    ServiceProvider,
    ZipkinTracingProvider,
)
from controlplane.registry.memo import query
from controlplane.registry.proxy_settings import mesh_for
from controlplane.registry.services import service_table
from controlplane.registry.store import View

log = structlog.get_logger(__name__)

LOG_SERVICES = ("envoy_http_als", "envoy_tcp_als", "envoy_otel_als")
"""The kinds of provider that take access logs and are services."""


@query
def provider_host(view: View, service: str) -> str | None:
    """Return the host of ``[namespace/]host``; ``None`` where there is none, or several and no namespace says which."""
    namespace, _, host = service.rpartition("/")
    table = service_table(view, ())
    held = (*table.public, *(each for services in table.private.values() for each in services))
    namespaces = {each.namespace for each in held if each.hostname == host}
    if namespace:
        namespaces &= {namespace}
    return host if len(namespaces) == 1 else None


@query
def listener_mesh(view: View, settings: str) -> MeshConfig:
    """Return the mesh configuration as listeners need it: ``mesh_for``, without providers whose service is unknown.

    In the others ``service`` is the bare host, and headers have values. Only the default providers of access logs and
    of tracing are looked at. Without the tracing provider's service nothing is traced.
    """
    mesh = mesh_for(view, settings)
    spans = mesh.tracing_provider
    wanted: dict[str, tuple[str, ...]] = dict.fromkeys(mesh.default_providers.access_logging, LOG_SERVICES)
    if spans is not None:
        wanted[spans.name] = (*wanted.get(spans.name, ()), *TRACERS)
    found: list[ExtensionProvider] = []
    lost: set[str] = set()
    for provider in mesh.extension_providers:
        kind = _service(provider, wanted.get(provider.name, ()))
        if kind is None:
            found.append(provider)
            continue
        stated = getattr(provider, kind)
        host = provider_host(view, stated.service)
        if host is None:
            log.warning("registry.provider_unknown_service", provider=provider.name, service=stated.service)
            lost.add(provider.name)
        else:
            named = _with_values(stated, view.environment)
            found.append(provider.model_copy(update={kind: named.model_copy(update={"service": host})}))
    traced = mesh.enable_tracing and (spans is None or spans.name not in lost)
    if tuple(found) == mesh.extension_providers and traced == mesh.enable_tracing:
        return mesh
    return mesh.model_copy(update={"extension_providers": tuple(found), "enable_tracing": traced})


def _with_values(stated: ServiceProvider, environment: Mapping[str, str]) -> ServiceProvider:
    """Return a provider with the values of headers that are named by an environment variable of the control plane."""

    def valued(headers: Iterable[HttpHeader]) -> tuple[HttpHeader, ...]:
        return tuple(
            header if header.env_name is None else HttpHeader(name=header.name, value=environment.get(header.env_name))
            for header in headers
        )

    match stated:
        case ZipkinTracingProvider():
            return stated.model_copy(update={"headers": valued(stated.headers)})
        case OpenTelemetryTracingProvider(http=HttpService() as http):
            return stated.model_copy(update={"http": http.model_copy(update={"headers": valued(http.headers)})})
        case OpenTelemetryTracingProvider(grpc=GrpcService() as grpc):
            metadata = {"initial_metadata": valued(grpc.initial_metadata)}
            return stated.model_copy(update={"grpc": grpc.model_copy(update=metadata)})
        case _:
            return stated


def _service(provider: ExtensionProvider, kinds: Iterable[str]) -> str | None:
    return next((kind for kind in kinds if getattr(provider, kind) is not None), None)
