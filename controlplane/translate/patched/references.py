"""What a message refers to by name, found in the message: patches may have changed it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy

from controlplane.patches.messages import type_name
from controlplane.snapshots import Refs, ResourceType
from controlplane.translate.secrets import referenced

_HCM = HttpConnectionManager.DESCRIPTOR.full_name
_TCP_PROXY = TcpProxy.DESCRIPTOR.full_name


def listener_references(listener: Any, before: Refs) -> Mapping[ResourceType, Iterable[str]]:  # noqa: ANN401 - a generated message, here and below
    """Return what a listener names: clusters, also those that it named before, and all else as it is now."""
    clusters, routes, extensions = set(before.get(ResourceType.CLUSTER, ())), set[str](), set[str]()
    extensions.update(_discovered(listener.listener_filters))
    sockets = referenced(chain.transport_socket for chain in [*listener.filter_chains, listener.default_filter_chain])
    clusters.update(sockets.get(ResourceType.CLUSTER, ()))
    for chain in [*listener.filter_chains, listener.default_filter_chain]:
        extensions.update(_discovered(chain.filters))
        for each in chain.filters:
            match type_name(each.typed_config.type_url):
                case name if name == _HCM:
                    manager = HttpConnectionManager.FromString(each.typed_config.value)
                    extensions.update(_discovered(manager.http_filters))
                    clusters.update(route_clusters(manager.route_config))
                    routes.update({manager.rds.route_config_name} - {""})
                case name if name == _TCP_PROXY:
                    clusters.update(_tcp_clusters(TcpProxy.FromString(each.typed_config.value)))
    return {
        ResourceType.CLUSTER: clusters,
        ResourceType.ROUTE: routes,
        ResourceType.EXTENSION: extensions,
        ResourceType.SECRET: sockets.get(ResourceType.SECRET, frozenset()),
    }


def cluster_references(cluster: Any) -> Refs:  # noqa: ANN401
    """Return what a cluster names: secrets, and clusters of providers of secrets."""
    matches = (each.transport_socket for each in cluster.transport_socket_matches)
    return referenced([cluster.transport_socket, *matches])


def _discovered(filters: Iterable[Any]) -> Iterator[str]:
    """Yield the names of the filters whose settings are fetched by themselves."""
    return (each.name for each in filters if each.HasField("config_discovery"))


def _tcp_clusters(proxy: Any) -> Iterator[str]:  # noqa: ANN401
    if proxy.cluster:
        yield proxy.cluster
    yield from (each.name for each in proxy.weighted_clusters.clusters)


def route_clusters(configuration: Any) -> Iterator[str]:  # noqa: ANN401
    """Yield the clusters that the routes of a route configuration lead to."""
    for host in configuration.virtual_hosts:
        for route in host.routes:
            action = route.route
            if action.cluster:
                yield action.cluster
            yield from (each.name for each in action.weighted_clusters.clusters)
            yield from (each.cluster for each in action.request_mirror_policies if each.cluster)
