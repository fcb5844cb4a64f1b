"""Virtual hosts, each encoded once and shared by every route configuration that holds it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from envoy.config.route.v3.route_components_pb2 import VirtualHost

from controlplane.model.objects import ObjectKey
from controlplane.model.service import Service
from controlplane.registry.memo import query
from controlplane.registry.services import services_of
from controlplane.registry.store import View
from controlplane.snapshots import content_version
from controlplane.translate.routes.defaults import default_route, route_defaults
from controlplane.translate.routes.domains import Alias, Domains, Sight, bracketed, service_domains
from controlplane.translate.routes.http_routes import EncodedRoute, RoutesKey, http_routes
from controlplane.translate.routes.wire import delimited

#: field numbers of envoy.config.route.v3
VIRTUAL_HOSTS_FIELD = 2
ROUTES_FIELD = 3


class VirtualHostKey(NamedTuple):
    """All that one virtual host's bytes depend on, besides the objects it reads.

    ``service`` is the object that states the service, ``None`` for a host that only a VirtualService names.
    ``shortening`` and ``aliases`` are as in ``domains``. ``routes`` is ``None`` for the default route, which
    ``hash_policy`` (encoded) belongs to. ``dropped`` short names are real hosts elsewhere. ``only`` replaces the
    domains where others have taken some, or where the listener has a single host (``("*",)``).
    """

    host: str
    port: int
    service: ObjectKey | None
    sight: Sight
    shortening: str = ""
    aliases: tuple[Alias, ...] = ()
    routes: RoutesKey | None = None
    hash_policy: bytes = b""
    dropped: frozenset[str] = frozenset()
    only: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class EncodedVirtualHost:
    """A virtual host as a field of a route configuration: tag, length and message.

    ``domains`` are in order, each once, ``alternates`` the generated short names among them.
    ``version`` stands for ``body``, so that who joins many of them need not hash them again.
    """

    name: str
    domains: tuple[str, ...]
    alternates: frozenset[str]
    clusters: frozenset[str]
    body: bytes
    version: str


@query
def virtual_host(view: View, key: VirtualHostKey) -> EncodedVirtualHost:
    """Return one virtual host of a sidecar."""
    defaults = route_defaults(view, key.sight.settings)
    domains = _domains(view, key)
    if key.routes is None:
        route = default_route(view, key.host, key.port, key.sight.settings, key.hash_policy)
        routes: Iterable[EncodedRoute] = (
            EncodedRoute(
                route.SerializeToString(deterministic=True), catch_all=True, clusters=frozenset({route.route.cluster})
            ),
        )
    else:
        routes = http_routes(view, key.routes._replace(settings=key.sight.settings))
    head = VirtualHost(
        name=f"{bracketed(key.host)}:{key.port}",
        domains=domains.names,
        include_request_attempt_count=defaults.attempt_count,
    )
    return encoded(head, routes, domains.alternates)


def _domains(view: View, key: VirtualHostKey) -> Domains:
    if key.only is not None:
        return Domains(key.only, frozenset())
    service = service_stated(view, key.service, key.host) if key.service is not None else None
    if service is None:
        names = () if key.sight.only_with_port else (bracketed(key.host),)
        return Domains(names, frozenset())
    found = service_domains(service, key.port, key.shortening, key.sight, key.aliases)
    if not key.dropped:
        return found
    wild = {f"*.{name}" for name in key.dropped} if service.headless else set()
    return Domains(
        tuple(name for name in found.names if name not in key.dropped and name not in wild),
        found.alternates - key.dropped,
    )


def service_stated(view: View, stated_by: ObjectKey, hostname: str) -> Service | None:
    """Return the service of this host name that an object states, or ``None``."""
    return next((service for service in services_of(view, stated_by) if service.hostname == hostname), None)


def encoded(
    head: VirtualHost, routes: Iterable[EncodedRoute], alternates: frozenset[str] = frozenset()
) -> EncodedVirtualHost:
    """Join a virtual host without routes and its encoded routes; protobuf merges concatenated parts."""
    clusters: set[str] = set()
    parts = [head.SerializeToString(deterministic=True)]
    for route in routes:
        parts.append(delimited(ROUTES_FIELD, route.body))
        clusters |= route.clusters
    body = delimited(VIRTUAL_HOSTS_FIELD, b"".join(parts))
    return EncodedVirtualHost(
        name=head.name,
        domains=tuple(head.domains),
        alternates=alternates,
        clusters=frozenset(clusters),
        body=body,
        version=content_version(body),
    )
