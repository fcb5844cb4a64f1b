"""Extension providers that are services of the mesh: which host their name means."""

from __future__ import annotations

import structlog

from controlplane.apis.mesh import MeshConfig
from controlplane.apis.mesh_providers import ExtensionProvider
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

    In the others ``service`` is the bare host. Only the default access log providers are looked at.
    """
    mesh = mesh_for(view, settings)
    wanted = mesh.default_providers.access_logging
    if not any(_service(each) is not None for each in mesh.extension_providers if each.name in wanted):
        return mesh
    found: list[ExtensionProvider] = []
    for provider in mesh.extension_providers:
        kind = _service(provider) if provider.name in wanted else None
        if kind is None:
            found.append(provider)
            continue
        stated = getattr(provider, kind)
        host = provider_host(view, stated.service)
        if host is None:
            log.warning("registry.provider_unknown_service", provider=provider.name, service=stated.service)
        else:
            found.append(provider.model_copy(update={kind: stated.model_copy(update={"service": host})}))
    return mesh.model_copy(update={"extension_providers": tuple(found)})


def _service(provider: ExtensionProvider) -> str | None:
    return next((kind for kind in LOG_SERVICES if getattr(provider, kind) is not None), None)
