"""Route configurations of sidecars, by the names that outbound listeners ask for.

The name is a port (``8080``), a detected service's own listener (``host:8080``), a unix socket of a Sidecar's egress
listener (``unix:///path``) or ``http_proxy``. Whatever is asked for is answered, if need be with no hosts at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from envoy.config.route.v3.route_pb2 import RouteConfiguration

from controlplane.engine.recording import query
from controlplane.model.proxy_class import ClientScope
from controlplane.model.service import Protocol
from controlplane.registry.proxy_settings import route_settings
from controlplane.registry.scopes import EgressKey, OutboundPolicy, outbound_policy, stated_listeners
from controlplane.registry.store import View
from controlplane.rope import Strand, tied
from controlplane.snapshots import Resource, ResourceType, content_version
from controlplane.translate.routes.claims import ListenerKey, routing_labels
from controlplane.translate.routes.defaults import catch_all, route_defaults
from controlplane.translate.routes.domains import DomainOptions
from controlplane.translate.routes.host_sets import host_set, hosts_by_domain
from controlplane.translate.routes.selection import HostsKey
from controlplane.translate.routes.virtual_hosts import (
    VIRTUAL_HOSTS_FIELD,
    EncodedHosts,
    EncodedVirtualHost,
    virtual_host,
)
from controlplane.translate.routes.wire import delimited

HTTP_PROXY = "http_proxy"
UNIX = "unix://"
_NAME_FIELD = 1
_MAX_DIRECT_RESPONSE_BYTES = 1_048_576
_LARGEST_PIECE = 8 << 10
"""Bytes of a route configuration up to which it is held in one piece."""


class RouteKey(NamedTuple):
    """One route configuration for one kind of client."""

    name: str
    client: ClientScope


class EgressPort(NamedTuple):
    """Where an egress listener listens; ``port`` and ``bind`` are ``None`` and empty for a catch-all listener."""

    port: int | None
    bind: str
    proxy: bool


@query
def egress_ports(view: View, key: EgressKey) -> tuple[EgressPort, ...]:
    """Return the ports of a scope's listeners: what the choice of a listener depends on."""
    found = []
    for spec in stated_listeners(view.get(key.sidecar) if key.sidecar is not None else None):
        port = spec.port if spec is not None else None
        if spec is None or port is None:
            found.append(EgressPort(None, "", proxy=False))
        else:
            proxy = Protocol.parse(port.protocol or "") is Protocol.HTTP_PROXY
            found.append(EgressPort(port.number or 0, spec.bind or "", proxy))
    return tuple(found)


@query
def outbound_policy_of(view: View, key: EgressKey) -> OutboundPolicy:
    """Return what becomes of traffic to unknown hosts, apart from everything else in the scope."""
    return outbound_policy(view, view.get(key.sidecar) if key.sidecar is not None else None)


@dataclass(frozen=True, slots=True)
class CatchAll:
    """The last virtual host of a sidecar's route configuration, encoded as a field of it."""

    body: bytes
    version: str
    clusters: frozenset[str]


class CatchAllKey(NamedTuple):
    """What the virtual host for unknown hosts depends on; ``settings`` are the proxy's own."""

    egress: EgressKey
    settings: str


@query
def catch_all_host(view: View, key: CatchAllKey) -> CatchAll:
    """Return the virtual host for unknown hosts."""
    host = catch_all(outbound_policy_of(view, key.egress), route_defaults(view, key.settings))
    body = delimited(VIRTUAL_HOSTS_FIELD, host.SerializeToString(deterministic=True))
    return CatchAll(body, content_version(body), frozenset({host.routes[0].route.cluster} - {""}))


@query
def route_configuration(view: View, key: RouteKey) -> Resource:
    """Return a sidecar's route configuration, whatever its name."""
    client = key.client
    return shared_route_configuration(
        view,
        SharedRouteKey(
            key.name,
            EgressKey(client.namespace, client.sidecar),
            client.domain,
            DomainOptions(
                client.ipv4, client.ipv6, auto=client.dns_capture, settings=route_settings(view, client.settings)
            ),
            client.labels & routing_labels(view, ()),
        ),
    )


class SharedRouteKey(NamedTuple):
    """What of a client's scope its routes depend on; clients alike in this share the bytes."""

    name: str
    egress: EgressKey
    domain: str
    options: DomainOptions
    labels: frozenset[tuple[str, str]]


@query
def shared_route_configuration(view: View, key: SharedRouteKey) -> Resource:
    """Return the route configuration for all clients alike in what routes depend on."""
    port = listening_port(key.name)
    if port is None:
        return empty(key.name)
    detected = ":" in key.name and not key.name.startswith(UNIX)
    rest = None if detected else catch_all_host(view, CatchAllKey(key.egress, key.options.settings))
    listener = _chosen(egress_ports(view, key.egress), port, key.name)
    if listener is None:
        return joined(key.name, EncodedHosts.of(()), frozenset(), rest)
    index, proxy = listener
    port = 0 if proxy else port
    hosts_key = HostsKey(
        ListenerKey(key.egress, index), port, key.domain, key.options._replace(with_port=port == 0), key.labels
    )
    if detected:
        hosts = _detected_hosts(view, hosts_key, key.name)
        return joined(key.name, EncodedHosts.of(hosts), frozenset().union(*[host.clusters for host in hosts]), None)
    held = host_set(view, hosts_key)
    # a VirtualService for every host leaves nothing to the catch-all
    return joined(key.name, held.encoded, held.clusters, rest if not held.catches_all else None)


def listening_port(name: str) -> int | None:
    """Return the port a route configuration's name means, 0 for all ports, ``None`` where it means none."""
    if name == HTTP_PROXY or name.startswith(UNIX):
        return 0
    text = name.partition(":")[2] if ":" in name else name
    return int(text) if text.isascii() and text.isdigit() else None


def _chosen(ports: Iterable[EgressPort], port: int, name: str) -> tuple[int, bool] | None:
    """Return the position of the first egress listener that a route name means, and whether it is an HTTP proxy."""
    for index, listener in enumerate(ports):
        if listener.port is None or (listener.port == port and (port != 0 or listener.bind == name)):
            return index, listener.proxy
    return None


def _detected_hosts(view: View, key: HostsKey, name: str) -> tuple[EncodedVirtualHost, ...]:
    """Return the virtual host of a service that has a listener to itself: it answers to any name."""
    by_domain = hosts_by_domain(view, key)
    found = {by_domain[domain] for domain in (name, name.partition(":")[0]) if domain in by_domain}
    held = host_set(view, key)
    if len(found) != 1:
        return tuple(held.host(index) for index in sorted(found))
    return (virtual_host(view, held.key(found.pop())._replace(only=("*",))),)


def joined(name: str, hosts: EncodedHosts, clusters: frozenset[str], rest: CatchAll | None) -> Resource:
    """Return a route configuration put together from encoded virtual hosts, the one for unknown hosts last.

    Its version is made of those of all its pieces: as good as a hash of all bytes, which would cost more than putting
    them together.
    """
    parts: list[bytes | Strand] = [delimited(_NAME_FIELD, name.encode()), hosts.strand, _SETTINGS]
    versions = [name, content_version(_SETTINGS), f"{hosts.digest:x}"]
    if rest is not None:
        parts.insert(2, rest.body)
        versions.append(rest.version)
        clusters = _union(clusters, rest.clusters)
    version = content_version("\n".join(versions).encode())
    return Resource(ResourceType.ROUTE, name, version, tied(parts, _LARGEST_PIECE), {ResourceType.CLUSTER: clusters})


@lru_cache(maxsize=16)
def _union(many: frozenset[str], few: frozenset[str]) -> frozenset[str]:
    """Return both sets in one, which those share who share the first: it may be as large as the mesh."""
    return many | few


def empty(name: str) -> Resource:
    """Return the answer to a name that means nothing to this proxy."""
    return Resource.of(ResourceType.ROUTE, name, delimited(_NAME_FIELD, name.encode()) + _EMPTY_SETTINGS)


def _encoded_settings(*, known: bool) -> bytes:
    out = RouteConfiguration()
    out.validate_clusters.value = False
    if known:
        out.max_direct_response_body_size_bytes.value = _MAX_DIRECT_RESPONSE_BYTES
        out.ignore_port_in_host_matching = True
    return bytes(out.SerializeToString(deterministic=True))


_SETTINGS = _encoded_settings(known=True)
_EMPTY_SETTINGS = _encoded_settings(known=False)
