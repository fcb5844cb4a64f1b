"""The bootstrap that an Envoy needs to be a proxy of this control plane.

Listeners, clusters, routes and endpoints come over one ADS stream; the bootstrap holds the rest: who the proxy is,
where the control plane and the local secret server are, and the two listeners that never come over LDS (metrics and
health). No setting of istio-proxy's own build is used, so a stock Envoy takes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controlplane.agent.addresses import TcpAddress, is_ip
from controlplane.model.proxy import Locality, Proxy

XDS_CLUSTER = "xds-grpc"
SDS_CLUSTER = "sds-grpc"
ADMIN_CLUSTER = "prometheus_stats"
HTTP_PROTOCOL_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
HTTP_CONNECTION_MANAGER = (
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
)
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"

UNLIMITED_CONNECTIONS = {  # what Envoy does anyway, said so that it does not warn at every start
    "name": "envoy.resource_monitors.global_downstream_max_connections",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3"
        ".DownstreamConnectionsConfig",
        "max_active_downstream_connections": 2147483647,
    },
}

# Between attempts to reach the control plane Envoy waits a random part of an interval that doubles up to this; its own
# limit of 30 s leaves a proxy without changes for long after a restart.
RECONNECT = {"retry_back_off": {"base_interval": "0.5s", "max_interval": "5s"}}

Json = dict[str, Any]


Address = TcpAddress | Path
"""Where something listens: TCP, or the path of a unix socket."""

ADMIN = TcpAddress("127.0.0.1", 15000)
METRICS = TcpAddress("0.0.0.0", 15090)  # noqa: S104 - scraped from outside the pod
HEALTH = TcpAddress("0.0.0.0", 15021)  # noqa: S104 - probed by the kubelet


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """What a bootstrap is made of, besides the proxy itself.

    ``control_plane`` is the plaintext xDS port. ``secrets`` is the local SDS server. ``admin`` may be a unix socket,
    so that several proxies share a host, or are reached from outside their network namespace. ``metrics`` and
    ``health`` are the listeners istio-proxy has on 15090 and 15021; ``None`` leaves one out. ``delta`` asks for
    incremental xDS. ``extra_clusters`` are static clusters as JSON (a tracing collector, say).
    """

    control_plane: TcpAddress
    secrets: Address
    admin: Address = ADMIN
    metrics: TcpAddress | None = METRICS
    health: TcpAddress | None = HEALTH
    delta: bool = True
    extra_clusters: tuple[Mapping[str, Any], ...] = ()


def workload(  # noqa: PLR0913 - one keyword per part of a node
    kind: str,
    name: str,
    namespace: str,
    ip: str,
    *,
    labels: Mapping[str, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    domain: str = "cluster.local",
) -> Proxy:
    """Return the proxy of one workload: ``kind`` is ``sidecar`` or ``router``, ``name`` that of its pod.

    ``metadata`` holds further node metadata by its wire name (``HTTP_PROXY_PORT``, ``INTERCEPTION_MODE``, ...).
    """
    return Proxy(
        type=kind,
        id=f"{name}.{namespace}",
        ips=(ip,),
        namespace=namespace,
        domain=f"{namespace}.svc.{domain}",
        labels=dict(labels or {}),
        metadata=dict(metadata or {}),
    )


def node(proxy: Proxy) -> Json:
    """Return ``envoy.config.core.v3.Node``: the id ``type~ip~name.ns~domain``, metadata in its wire form.

    Raises ``ValueError`` for a proxy without an address, which no control plane would accept.
    """
    if not proxy.ips:
        message = f"proxy {proxy.id} has no address"
        raise ValueError(message)
    metadata: Json = {
        "NAMESPACE": proxy.namespace,
        "NAME": proxy.name,
        "LABELS": dict(proxy.labels),
        "CLUSTER_ID": proxy.cluster_id,
        "INSTANCE_IPS": ",".join(proxy.ips),
    }
    if proxy.static_labels:
        metadata["STATIC_LABELS"] = dict(proxy.static_labels)
    if proxy.network:
        metadata["NETWORK"] = proxy.network
    if proxy.istio_version:
        metadata["ISTIO_VERSION"] = proxy.istio_version
    message_ = {
        "id": f"{proxy.type}~{proxy.ips[0]}~{proxy.id}~{proxy.domain}",
        "cluster": f"{proxy.labels.get('app') or 'istio-proxy'}.{proxy.namespace}",
        "metadata": {**metadata, **proxy.metadata},
    }
    if proxy.locality != Locality():
        message_["locality"] = {
            "region": proxy.locality.region,
            "zone": proxy.locality.zone,
            "sub_zone": proxy.locality.subzone,
        }
    return message_


def bootstrap(proxy: Proxy, settings: Bootstrap) -> Json:
    """Return the whole bootstrap as JSON values, ready to be written to a ``.json`` or ``.yaml`` file."""
    api_type = "DELTA_GRPC" if settings.delta else "GRPC"
    from_ads = {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"}
    clusters = [
        _xds_cluster(settings.control_plane),
        _grpc_cluster(SDS_CLUSTER, settings.secrets, connect_timeout="1s"),
        *settings.extra_clusters,
    ]
    listeners = []
    if settings.metrics or settings.health:
        clusters.append(_cluster(ADMIN_CLUSTER, settings.admin, connect_timeout="0.25s"))
    if settings.metrics:
        listeners.append(_admin_listener(settings.metrics, "/stats/prometheus", "/stats/prometheus"))
    if settings.health:
        listeners.append(_admin_listener(settings.health, "/healthz/ready", "/ready"))
    return {
        "node": node(proxy),
        "admin": {"address": address(settings.admin)},
        "dynamic_resources": {
            "lds_config": from_ads,
            "cds_config": from_ads,
            "ads_config": {
                "api_type": api_type,
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [{"envoy_grpc": {"cluster_name": XDS_CLUSTER, "retry_policy": RECONNECT}}],
            },
        },
        "static_resources": {"clusters": clusters, "listeners": listeners},
        "layered_runtime": {
            "layers": [
                {
                    "name": "bootstrap",
                    "static_layer": {
                        "re2.max_program_size.error_level": 32768,
                        "envoy.reloadable_features.http_reject_path_with_fragment": False,
                    },
                },
                {"name": "admin", "admin_layer": {}},
            ]
        },
        "overload_manager": {"resource_monitors": [UNLIMITED_CONNECTIONS]},
    }


def address(where: Address) -> Json:
    """Return ``envoy.config.core.v3.Address``."""
    if isinstance(where, TcpAddress):
        return {"socket_address": {"address": where.host, "port_value": where.port}}
    return {"pipe": {"path": str(where)}}


def _cluster(name: str, where: Address, *, connect_timeout: str) -> Json:
    """Return a cluster of one endpoint; a host that is no IP literal is resolved by DNS."""
    return {
        "name": name,
        "alt_stat_name": f"{name};",
        "type": "STRICT_DNS" if isinstance(where, TcpAddress) and not is_ip(where.host) else "STATIC",
        "connect_timeout": connect_timeout,
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(where)}}]}],
        },
    }


def _grpc_cluster(name: str, where: Address, *, connect_timeout: str) -> Json:
    """Return a plaintext HTTP/2 cluster; pings notice a peer that vanished without closing its connection."""
    return {
        **_cluster(name, where, connect_timeout=connect_timeout),
        "typed_extension_protocol_options": {
            HTTP_PROTOCOL_OPTIONS: {
                "@type": f"type.googleapis.com/{HTTP_PROTOCOL_OPTIONS}",
                "explicit_http_config": {
                    "http2_protocol_options": {"connection_keepalive": {"interval": "30s", "timeout": "10s"}}
                },
            }
        },
    }


def _xds_cluster(where: TcpAddress) -> Json:
    """Return the cluster of the control plane: no limit may ever stop its one stream from being reopened."""
    unlimited = {"max_connections": 100000, "max_pending_requests": 100000, "max_requests": 100000}
    return {
        **_grpc_cluster(XDS_CLUSTER, where, connect_timeout="1s"),
        "circuit_breakers": {"thresholds": [{"priority": "DEFAULT", **unlimited}, {"priority": "HIGH", **unlimited}]},
        "upstream_connection_options": {"tcp_keepalive": {"keepalive_time": 300}},
    }


def _admin_listener(where: TcpAddress, path: str, admin_path: str) -> Json:
    """Return a listener that serves one path of the admin interface, and nothing else of it."""
    route = {
        "match": {"path": path},
        "route": {"cluster": ADMIN_CLUSTER, "prefix_rewrite": admin_path},
    }
    return {
        "name": f"{where.host}_{where.port}",
        "address": address(where),
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": {
                            "@type": HTTP_CONNECTION_MANAGER,
                            "codec_type": "AUTO",
                            "stat_prefix": "agent",
                            "route_config": {
                                "virtual_hosts": [{"name": "backend", "domains": ["*"], "routes": [route]}]
                            },
                            "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER}}],
                        },
                    }
                ]
            }
        ],
    }
