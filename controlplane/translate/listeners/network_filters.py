"""Network filters: what a connection passes before and at its end, as opposed to HTTP filters."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.extensions.filters.network.mongo_proxy.v3.mongo_proxy_pb2 import MongoProxy
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy

from controlplane.apis.common import duration
from controlplane.model.cluster_names import BLACK_HOLE
from controlplane.model.service import Protocol
from controlplane.registry.listener_settings import ListenerSettings
from controlplane.translate.listeners.access_log import access_logs
from controlplane.translate.listeners.chains import TcpTarget
from controlplane.translate.listeners.extensions import STATS, network_filter, stats_config
from controlplane.translate.listeners.phases import Phase, Placed, in_order

TCP_PROXY = "envoy.filters.network.tcp_proxy"


def tcp_filters(
    settings: ListenerSettings,
    target: TcpTarget,
    *,
    istio: bool,
    idle_timeout: str = "",
    others: Iterable[Placed[Filter]] = (),
) -> list[Filter]:
    """Return the filters of a chain that carries bytes: metrics, a protocol's own filter, the TCP proxy.

    ``idle_timeout`` is the proxy's (node metadata ``IDLE_TIMEOUT``); a DestinationRule's goes before it. ``others`` are
    what else the chain has: policies, the exchange of metadata.
    """
    filters = [*others]
    if istio:
        filters += ((Phase.STATS, network_filter(STATS, stats_config(stats))) for stats in settings.metrics)
    if target.protocol is Protocol.MONGO:
        mongo = MongoProxy(stat_prefix=target.stat_prefix)
        filters.append((Phase.PROTOCOL, network_filter("envoy.filters.network.mongo_proxy", mongo)))
    filters.append((Phase.TERMINAL, network_filter(TCP_PROXY, tcp_proxy(settings, target, idle_timeout))))
    return in_order(filters)


def tcp_proxy(settings: ListenerSettings, target: TcpTarget, idle_timeout: str = "") -> TcpProxy:
    """Return the TCP proxy to a target. Traffic that is thrown away is not logged."""
    proxy = TcpProxy(stat_prefix=target.stat_prefix)
    if len(target.clusters) == 1:
        proxy.cluster = target.clusters[0][0]
    else:
        for name, weight in target.clusters:
            proxy.weighted_clusters.clusters.add(name=name, weight=weight)
    if target.clusters[0][0] != BLACK_HOLE:
        proxy.access_log.extend(access_logs(settings.logs, http=False))
    stated = target.settings
    idle = stated.idle_timeout
    if idle is not None:
        proxy.idle_timeout.FromTimedelta(idle)
    elif (own := proxy_idle_timeout(idle_timeout)) is not None:
        proxy.idle_timeout.FromTimedelta(own)
    if stated.max_duration is not None:
        proxy.max_downstream_connection_duration.FromTimedelta(stated.max_duration)
    if stated.hash_source_ip:
        proxy.hash_policy.add().source_ip.SetInParent()
    if stated.tunnel is not None:
        proxy.tunneling_config.hostname, proxy.tunneling_config.use_post = stated.tunnel
    return proxy


def proxy_idle_timeout(text: str) -> timedelta | None:
    """Return the idle timeout that a proxy states in its metadata; ``None`` for none or one that cannot be read."""
    try:
        return duration(text) if text else None
    except ValueError:
        return None
