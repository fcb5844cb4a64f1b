"""Extension providers that are services of the mesh: which host their name means."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import TypeVar
from urllib.parse import urlsplit

import structlog

from controlplane.apis.common import ApiModel
from controlplane.apis.mesh_providers import (
    TRACERS,
    DynatraceApi,
    DynatraceSampler,
    EnvoyExternalAuthorizationGrpcProvider,
    EnvoyExternalAuthorizationHttpProvider,
    ExtensionProvider,
    GrpcService,
    HttpHeader,
    HttpService,
    OpenTelemetryTracingProvider,
    SdsProvider,
    ServiceProvider,
    ZipkinTracingProvider,
)
from controlplane.engine.recording import query
from controlplane.model.cluster_names import outbound_name
from controlplane.registry.mesh import mesh_config
from controlplane.registry.services import service_table
from controlplane.registry.store import View

log = structlog.get_logger(__name__)

Authoriser = EnvoyExternalAuthorizationHttpProvider | EnvoyExternalAuthorizationGrpcProvider
"""An external authoriser."""

_SERVICES = (*TRACERS, "envoy_http_als", "envoy_tcp_als", "envoy_otel_als", "sds")
"""The kinds of provider that are services; authorisers are found by ``authorisers``."""


SAMPLING_PATH = "/api/v2/samplingConfiguration"
"""Where Dynatrace says how much is to be traced."""

P = TypeVar("P", bound=ServiceProvider)


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
def usable_provider(view: View, name: str) -> ExtensionProvider | None:
    """Return the provider of a name; ``None`` where there is none, or its service is unknown or not to be told apart.

    In what is returned ``service`` is the bare host, and headers have values.
    """
    provider = mesh_config(view).provider(name)
    kind = next((kind for kind in _SERVICES if provider is not None and getattr(provider, kind) is not None), None)
    if provider is None or kind is None:
        return provider
    named = _named(view, provider.name, getattr(provider, kind))
    if isinstance(named, OpenTelemetryTracingProvider) and named.dynatrace_sampler is not None:
        named = _with_sampler(view, provider.name, named, named.dynatrace_sampler)
    return provider.model_copy(update={kind: named}) if named is not None else None


def _named(view: View, name: str, stated: P) -> P | None:
    """Return what is stated of a service with the bare host and values of headers; ``None`` for an unknown service."""
    host = provider_host(view, stated.service)
    if host is None:
        log.warning("registry.provider_unknown_service", provider=name, service=stated.service)
        return None
    return _with_values(stated, view.environment).model_copy(update={"service": host})


def _with_sampler(
    view: View, name: str, provider: OpenTelemetryTracingProvider, sampler: DynatraceSampler
) -> OpenTelemetryTracingProvider | None:
    """Return a provider that says where its sampler asks: at a service of its own, else at the collector by HTTP."""
    if sampler.http_service is not None:
        asked = _named(view, name, sampler.http_service)
    elif provider.http is not None:
        http = provider.http.model_copy(update={"path": SAMPLING_PATH})
        asked = DynatraceApi(service=provider.service, port=provider.port, http=http)
    else:
        log.warning("registry.provider_sampler_unreachable", provider=name)
        asked = None
    if asked is None:
        return None
    return provider.model_copy(update={"dynatrace_sampler": sampler.model_copy(update={"http_service": asked})})


def secret_server(view: View) -> SdsProvider | None:
    """Return the server of the secrets that ``sds://`` names: of several the first that can be used."""
    named = (provider.name for provider in mesh_config(view).extension_providers if provider.sds is not None)
    usable = (usable_provider(view, name) for name in named)
    return next((provider.sds for provider in usable if provider is not None), None)


@query
def authorisers(view: View, _key: tuple[()]) -> Mapping[str, Authoriser]:
    """Return the external authorisers that can be asked, by name, each with the bare host as its ``service``.

    One whose service is unknown or not to be told apart, or whose name another one has, cannot be asked.
    """
    stated = mesh_config(view).extension_providers
    names = Counter(provider.name for provider in stated)
    found: dict[str, Authoriser] = {}
    for provider in stated:
        authoriser = provider.envoy_ext_authz_http or provider.envoy_ext_authz_grpc
        host = provider_host(view, authoriser.service) if authoriser is not None else None
        if authoriser is not None and host is not None and names[provider.name] == 1:
            found[provider.name] = authoriser.model_copy(update={"service": host})
    return found


def provider_clusters(settings: object) -> frozenset[str]:
    """Return the clusters of the services that settings name, however deep in them."""
    return frozenset(outbound_name(each.port, "", each.service) for each in services_in(settings))


def services_in(value: object) -> Iterator[ServiceProvider]:
    """Yield the providers that are services, however deep they stand in a value."""
    if isinstance(value, ServiceProvider):
        yield value
    within: Iterable[object] = ()
    if isinstance(value, ApiModel):
        within = (getattr(value, name) for name in type(value).model_fields)
    elif is_dataclass(value):
        within = (getattr(value, each.name) for each in fields(value))
    elif isinstance(value, tuple):
        within = value
    for each in within:
        yield from services_in(each)


def remote_cluster(view: View, uri: str) -> str | None:
    """Return the cluster by which Envoy itself fetches keys from an address; ``None`` where the control plane does.

    Source: istiod's variable ``PILOT_JWT_ENABLE_REMOTE_JWKS``: ``false`` (the default) or ``istiod``, ``hybrid`` or
    ``true`` for services that the mesh knows, ``envoy``.
    """
    mode = view.environment.get("PILOT_JWT_ENABLE_REMOTE_JWKS", "").lower()
    if mode not in {"hybrid", "true", "envoy"}:
        return None
    parts = urlsplit(uri)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    host = provider_host(view, parts.hostname or "")
    if host is not None:
        return outbound_name(port, "", host)
    return outbound_name(port, "", parts.hostname or "") if mode == "envoy" else None


def _with_values(stated: P, environment: Mapping[str, str]) -> P:
    """Return a provider with the values of headers that are named by an environment variable of the control plane."""

    def valued(headers: Iterable[HttpHeader]) -> tuple[HttpHeader, ...]:
        return tuple(
            header if header.env_name is None else HttpHeader(name=header.name, value=environment.get(header.env_name))
            for header in headers
        )

    match stated:
        case ZipkinTracingProvider():
            return stated.model_copy(update={"headers": valued(stated.headers)})
        case DynatraceApi(http=HttpService() as http):
            return stated.model_copy(update={"http": http.model_copy(update={"headers": valued(http.headers)})})
        case OpenTelemetryTracingProvider(http=HttpService() as http):
            return stated.model_copy(update={"http": http.model_copy(update={"headers": valued(http.headers)})})
        case OpenTelemetryTracingProvider(grpc=GrpcService() as grpc):
            metadata = {"initial_metadata": valued(grpc.initial_metadata)}
            return stated.model_copy(update={"grpc": grpc.model_copy(update=metadata)})
        case _:
            return stated
