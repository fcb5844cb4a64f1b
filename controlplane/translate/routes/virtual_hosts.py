"""Virtual hosts, each encoded once and shared by every route configuration that holds it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from envoy.config.route.v3.route_components_pb2 import VirtualHost

from controlplane.engine.recording import query
from controlplane.model.objects import ObjectKey
from controlplane.model.service import Service
from controlplane.registry.environment import SESSIONS, enabled
from controlplane.registry.services import services_of
from controlplane.registry.store import View
from controlplane.rope import Strand
from controlplane.translate.routes.defaults import default_route, route_defaults
from controlplane.translate.routes.domains import Alias, DomainOptions, Domains, bracketed, service_domains
from controlplane.translate.routes.http_routes import EncodedRoute, RoutesKey, http_routes
from controlplane.translate.routes.sessions import SESSION_FILTER, session, session_settings
from controlplane.translate.routes.wire import delimited
from controlplane.translate.sound import is_sound

#: field numbers of envoy.config.route.v3
VIRTUAL_HOSTS_FIELD = 2
ROUTES_FIELD = 3

_DIGEST_BYTES = 16
_DIGEST_MASK = (1 << 8 * _DIGEST_BYTES) - 1


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
    options: DomainOptions
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
    ``digest`` stands for ``body``, so that who joins many of them need not hash them again.
    """

    name: str
    domains: tuple[str, ...]
    alternates: frozenset[str]
    clusters: frozenset[str]
    body: bytes
    digest: int


@dataclass(frozen=True, slots=True)
class Swaps:
    """Virtual hosts in place of others: their bytes by position, ascending, and how these change size and digest."""

    pieces: Mapping[int, bytes]
    grown: int
    digest: int


@dataclass(frozen=True, slots=True)
class EncodedHosts:
    """Virtual hosts one after the other: their bytes, and a digest of these.

    The digest is the sum of theirs. So it says which ones they are and not in what order, which is that of their
    names; and where a few are replaced the new one follows from the old one.
    """

    strand: Strand
    digest: int

    @classmethod
    def of(cls, hosts: Collection[EncodedVirtualHost]) -> EncodedHosts:
        """Join virtual hosts, which are sorted by name."""
        return cls.known(hosts, digest_of(hosts))

    @classmethod
    def known(cls, hosts: Collection[EncodedVirtualHost], digest: int) -> EncodedHosts:
        """Join virtual hosts, which are sorted by name, of which the digest is known."""
        return cls(Strand.of(tuple([host.body for host in hosts])), digest & _DIGEST_MASK)

    def swapping(self, swaps: Swaps) -> EncodedHosts:
        """Return them with some replaced, at the same cost however many these are."""
        return EncodedHosts(
            self.strand.with_swaps(swaps.pieces, swaps.grown), (self.digest + swaps.digest) & _DIGEST_MASK
        )


def digest_of(hosts: Iterable[EncodedVirtualHost]) -> int:
    """Return the sum of digests, as ``EncodedHosts`` has it."""
    return sum([host.digest for host in hosts]) & _DIGEST_MASK


@query
def virtual_host(view: View, key: VirtualHostKey) -> EncodedVirtualHost:
    """Return one virtual host of a sidecar."""
    defaults = route_defaults(view, key.options.settings)
    domains = _domains(view, key)
    if key.routes is None:
        route = default_route(view, key.host, key.port, key.options.settings, key.hash_policy)
        if key.hash_policy and not is_sound(view, route, f"hash policy of route to {key.host}:{key.port}"):
            route = default_route(view, key.host, key.port, key.options.settings)
        routes: Iterable[EncodedRoute] = (
            EncodedRoute(
                route.SerializeToString(deterministic=True), catch_all=True, clusters=frozenset({route.route.cluster})
            ),
        )
    else:
        routes = http_routes(view, key.routes._replace(settings=key.options.settings))
    head = VirtualHost(
        name=f"{bracketed(key.host)}:{key.port}",
        domains=domains.names,
        include_request_attempt_count=defaults.attempt_count,
    )
    if key.service is not None and enabled(view, SESSIONS):
        _keep_sessions(view, head, key.service, key.host)
    return encoded(view, head, routes, domains.alternates)


def _keep_sessions(view: View, head: VirtualHost, stated_by: ObjectKey, host: str) -> None:
    """Have a virtual host keep the sessions of its service, where its routes say nothing else."""
    service = service_stated(view, stated_by, host)
    stated = session(view, service) if service is not None else b""
    if stated:
        head.typed_per_filter_config[SESSION_FILTER].CopyFrom(session_settings(stated))


def _domains(view: View, key: VirtualHostKey) -> Domains:
    if key.only is not None:
        return Domains(key.only, frozenset())
    service = service_stated(view, key.service, key.host) if key.service is not None else None
    if service is None:
        names = () if key.options.only_with_port else (bracketed(key.host),)
        return Domains(names, frozenset())
    found = service_domains(service, key.port, key.shortening, key.options, key.aliases)
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
    view: View, head: VirtualHost, routes: Iterable[EncodedRoute], alternates: frozenset[str] = frozenset()
) -> EncodedVirtualHost:
    """Join a virtual host without routes and its encoded routes; protobuf merges concatenated parts.

    One that Envoy would refuse has no domains and an empty body.
    """
    if not is_sound(view, head, f"virtual host {head.name}"):
        return EncodedVirtualHost(head.name, (), frozenset(), frozenset(), b"", 0)
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
        digest=int.from_bytes(hashlib.blake2b(body, digest_size=_DIGEST_BYTES).digest()),
    )
