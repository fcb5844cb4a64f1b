"""The static listeners: metrics for Prometheus, with and without TLS, and readiness for the kubelet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from controlplane.agent.envoy_configuration.clusters import ADMIN, AGENT, SDS, secrets_over
from controlplane.agent.envoy_configuration.places import Places, socket_address

Json = dict[str, Any]
_FILTERS = "type.googleapis.com/envoy.extensions.filters"
_COMPRESSED = [
    "text/plain",
    "application/vnd.google.protobuf",
    "application/openmetrics-text",
    "application/openmetrics-protobuf",
]
_METRICS, _MERGED, _READY = ("/stats/prometheus",), ("/stats/prometheus", "/metrics"), ("/healthz/ready",)


def listeners(places: Places, *, compressed: bool, proxy_protocol: bool) -> list[Json]:
    """Return the listeners. ``compressed`` is for metrics; ``proxy_protocol`` lets the prober of 15021 speak it."""
    hosts = places.here if places.metrics_on_loopback else places.everywhere
    metrics = _manager("stats", _METRICS, ADMIN, compressed=compressed)
    found = [_listener(hosts, places.prometheus_port, [{"filters": [metrics]}])]
    if places.secure_port:
        manager = _manager("secure_stats", _METRICS, ADMIN, compressed=compressed)
        found.append(_secured(places.everywhere, places.secure_port, manager))
    if places.secure_merged_port:
        manager = _manager("secure_merged_stats", _MERGED, AGENT, compressed=compressed)
        found.append(_secured(places.everywhere, places.secure_merged_port, manager))
    ready = _listener(
        places.everywhere, places.status_port, [{"filters": [_manager("agent", _READY, AGENT, compressed=False)]}]
    )
    if proxy_protocol:
        ready["listener_filters"] = [_proxy_protocol()]
    return [*found, ready]


def _listener(hosts: Sequence[str], port: int, chains: Sequence[Json]) -> Json:
    """Return a listener at all these addresses, named after the first."""
    first, *more = hosts
    further = {"additional_addresses": [{"address": socket_address(host, port)} for host in more]} if more else {}
    return {
        "name": f"{first}_{port}",
        "address": socket_address(first, port),
        **further,
        "filter_chains": list(chains),
        "ignore_global_conn_limit": True,
        "bypass_overload_manager": True,
    }


def _secured(hosts: Sequence[str], port: int, manager: Json) -> Json:
    """Return a listener that asks for a certificate of the mesh."""
    context = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": True,
        "common_tls_context": {
            "tls_certificate_sds_secret_configs": [secrets_over(SDS, "default")],
            "combined_validation_context": {
                "default_validation_context": {},
                "validation_context_sds_secret_config": secrets_over(SDS, "ROOTCA"),
            },
        },
    }
    chain = {
        "filter_chain_match": {"transport_protocol": "tls"},
        "filters": [manager],
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": context},
    }
    inspector = f"{_FILTERS}.listener.tls_inspector.v3.TlsInspector"
    return {
        **_listener(hosts, port, [chain]),
        "listener_filters": [{"name": "envoy.filters.listener.tls_inspector", "typed_config": {"@type": inspector}}],
    }


def _manager(prefix: str, paths: Sequence[str], cluster: str, *, compressed: bool) -> Json:
    routes = [{"match": {"prefix": path}, "route": {"cluster": cluster}} for path in paths]
    router = {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{_FILTERS}.http.router.v3.Router"}}
    return {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": f"{_FILTERS}.network.http_connection_manager.v3.HttpConnectionManager",
            "codec_type": "AUTO",
            "stat_prefix": prefix,
            "route_config": {"virtual_hosts": [{"name": "backend", "domains": ["*"], "routes": routes}]},
            "http_filters": [
                *([_compressor(name) for name in ("brotli", "zstd", "gzip")] if compressed else []),
                router,
            ],
        },
    }


def _compressor(name: str) -> Json:
    library = f"type.googleapis.com/envoy.extensions.compression.{name}.compressor.v3.{name.capitalize()}"
    return {
        "name": f"envoy.filters.http.compressor.{name}",
        "typed_config": {
            "@type": f"{_FILTERS}.http.compressor.v3.Compressor",
            "response_direction_config": {"common_config": {"content_type": _COMPRESSED}},
            "compressor_library": {"name": f"stats_{name}", "typed_config": {"@type": library}},
        },
    }


def _proxy_protocol() -> Json:
    return {
        "name": "envoy.listener.proxy_protocol",
        "typed_config": {
            "@type": f"{_FILTERS}.listener.proxy_protocol.v3.ProxyProtocol",
            "allow_requests_without_proxy_protocol": True,
        },
    }
