"""Virtual hosts, each encoded once and shared by every route configuration that holds it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from envoy.config.route.v3.route_components_pb2 import Route, VirtualHost

from controlplane.engine.recording import query
from controlplane.model.cluster_names import outbound_name
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
_NAME_FIELD, _DOMAINS_FIELD = 1, 2
_ATTEMPT_COUNT = VirtualHost(include_request_attempt_count=True).SerializeToString()  # comes after all of these

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
    routes = _routes(view, key)
    name = f"{bracketed(key.host)}:{key.port}"
    sessions = _sessions(view, key)
    if not sessions and _are_plain(name, domains.names):
        head = _head(name, domains.names, attempt_count=defaults.attempt_count)
        return _joined(name, domains, head, routes)
    message = VirtualHost(name=name, domains=domains.names, include_request_attempt_count=defaults.attempt_count)
    if sessions:
        message.typed_per_filter_config[SESSION_FILTER].CopyFrom(session_settings(sessions))
    return encoded(view, message, routes, domains.alternates)


def _routes(view: View, key: VirtualHostKey) -> Iterable[EncodedRoute]:
    settings = key.options.settings
    if key.routes is not None:
        return http_routes(view, key.routes._replace(settings=settings))
    body = default_route(view, key.host, key.port, settings, key.hash_policy)
    element = f"hash policy of route to {key.host}:{key.port}"
    if key.hash_policy and not is_sound(view, Route.FromString(body), element):
        body = default_route(view, key.host, key.port, settings)
    return (EncodedRoute(body, catch_all=True, clusters=frozenset((outbound_name(key.port, "", key.host),))),)


def _sessions(view: View, key: VirtualHostKey) -> bytes:
    """Return how the sessions of a service are kept, where its routes say nothing else; empty if they are not."""
    if key.service is None or not enabled(view, SESSIONS):
        return b""
    service = service_stated(view, key.service, key.host)
    return session(view, service) if service is not None else b""


def _are_plain(name: str, domains: tuple[str, ...]) -> bool:
    """Whether no rule of Envoy's could refuse these: it wants some domains, and no control characters."""
    text = name + "".join(domains)
    return all(domains) and bool(domains) and text.isascii() and text.isprintable()


def _head(name: str, domains: tuple[str, ...], *, attempt_count: bool) -> bytes:
    """Return a virtual host without routes, encoded."""
    parts = [delimited(_NAME_FIELD, name.encode()), *[delimited(_DOMAINS_FIELD, each.encode()) for each in domains]]
    return b"".join((*parts, _ATTEMPT_COUNT)) if attempt_count else b"".join(parts)


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
    domains = Domains(tuple(head.domains), alternates)
    return _joined(head.name, domains, head.SerializeToString(deterministic=True), routes)


def _joined(name: str, domains: Domains, head: bytes, routes: Iterable[EncodedRoute]) -> EncodedVirtualHost:
    clusters: frozenset[str] = frozenset()
    parts = [head]
    for route in routes:
        parts.append(delimited(ROUTES_FIELD, route.body))
        clusters |= route.clusters
    body = delimited(VIRTUAL_HOSTS_FIELD, b"".join(parts))
    return EncodedVirtualHost(
        name=name,
        domains=domains.names,
        alternates=domains.alternates,
        clusters=clusters,
        body=body,
        digest=int.from_bytes(hashlib.blake2b(body, digest_size=_DIGEST_BYTES).digest()),
    )
