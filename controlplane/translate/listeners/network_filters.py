"""Network filters: what a connection passes before and at its end, as opposed to HTTP filters."""

from __future__ import annotations

from datetime import timedelta

from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.extensions.filters.network.mongo_proxy.v3.mongo_proxy_pb2 import MongoProxy
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy

from controlplane.apis.common import duration
from controlplane.apis.mesh import MeshConfig
from controlplane.model.service import Protocol
from controlplane.translate.clusters.names import BLACK_HOLE
from controlplane.translate.listeners.access_log import access_logs
from controlplane.translate.listeners.chains import TcpTarget
from controlplane.translate.listeners.extensions import network_filter, stats_config

TCP_PROXY = "envoy.filters.network.tcp_proxy"


def has_istio_stats(mesh: MeshConfig, *, istio: bool) -> bool:
    """Whether istio-proxy's own metrics are wanted: a default metrics provider is Prometheus."""
    providers = (mesh.provider(name) for name in mesh.default_providers.metrics) if istio else ()
    return any(provider is not None and provider.prometheus is not None for provider in providers)


def tcp_filters(
    mesh: MeshConfig, target: TcpTarget, *, istio: bool, inbound: bool = False, idle_timeout: str = ""
) -> list[Filter]:
    """Return the filters of a chain that carries bytes: metrics, a protocol's own filter, the TCP proxy.

    ``idle_timeout`` is the proxy's (node metadata ``IDLE_TIMEOUT``); a DestinationRule's goes before it.
    """
    filters: list[Filter] = []
    if has_istio_stats(mesh, istio=istio):
        filters.append(network_filter("istio.stats", stats_config(inbound=inbound)))
    if target.protocol is Protocol.MONGO:
        filters.append(network_filter("envoy.filters.network.mongo_proxy", MongoProxy(stat_prefix=target.stat_prefix)))
    filters.append(network_filter(TCP_PROXY, tcp_proxy(mesh, target, idle_timeout)))
    return filters


def tcp_proxy(mesh: MeshConfig, target: TcpTarget, idle_timeout: str = "") -> TcpProxy:
    """Return the TCP proxy to a target. Traffic that is thrown away is not logged."""
    proxy = TcpProxy(stat_prefix=target.stat_prefix)
    if len(target.clusters) == 1:
        proxy.cluster = target.clusters[0][0]
    else:
        for name, weight in target.clusters:
            proxy.weighted_clusters.clusters.add(name=name, weight=weight)
    if target.clusters[0][0] != BLACK_HOLE:
        proxy.access_log.extend(access_logs(mesh, http=False))
    settings = target.settings
    idle = settings.idle_timeout
    if idle is not None:
        proxy.idle_timeout.FromTimedelta(idle)
    elif (stated := proxy_idle_timeout(idle_timeout)) is not None:
        proxy.idle_timeout.FromTimedelta(stated)
    if settings.max_duration is not None:
        proxy.max_downstream_connection_duration.FromTimedelta(settings.max_duration)
    if settings.hash_source_ip:
        proxy.hash_policy.add().source_ip.SetInParent()
    if settings.tunnel is not None:
        proxy.tunneling_config.hostname, proxy.tunneling_config.use_post = settings.tunnel
    return proxy


def proxy_idle_timeout(text: str) -> timedelta | None:
    """Return the idle timeout that a proxy states in its metadata; ``None`` for none or one that cannot be read."""
    try:
        return duration(text) if text else None
    except ValueError:
        return None
