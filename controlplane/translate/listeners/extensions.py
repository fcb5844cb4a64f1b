"""Filters that only istio-proxy knows, and filters without settings; a stock Envoy refuses the former outright.

istio-proxy's messages are not among Envoy's own, so they travel as ``TypedStruct``.
"""

from __future__ import annotations

from typing import Any as Json

from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from google.protobuf import struct_pb2
from google.protobuf.any_pb2 import Any
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message
from udpa.type.v1.typed_struct_pb2 import TypedStruct

from controlplane.apis.common import duration_text
from controlplane.registry.metrics import MetricChange, Stats
from controlplane.translate.istio_proxy import METADATA_EXCHANGE, metadata_exchange
from controlplane.translate.tls_context import typed

_PEER_METADATA = "type.googleapis.com/io.istio.http.peer_metadata.Config"
_ALPN = "type.googleapis.com/istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig"
_STATS = "type.googleapis.com/stats.PluginConfig"
_DISCOVERY: list[dict[str, Json]] = [{"istio_headers": {}}, {"workload_discovery": {}}]


def typed_struct(type_url: str, value: dict[str, Json]) -> Any:
    """Pack a message of a type that is not known here, from its JSON form."""
    return typed(TypedStruct(type_url=type_url, value=ParseDict(value, struct_pb2.Struct())))


def http_filter(name: str, config: Message | Any) -> HttpFilter:
    """Return an HTTP filter with its settings."""
    return HttpFilter(name=name, typed_config=config if isinstance(config, Any) else typed(config))


def network_filter(name: str, config: Message | Any) -> Filter:
    """Return a network filter with its settings."""
    return Filter(name=name, typed_config=config if isinstance(config, Any) else typed(config))


METADATA_EXCHANGE_INBOUND = http_filter(
    METADATA_EXCHANGE,
    typed_struct(
        _PEER_METADATA, {"downstream_discovery": _DISCOVERY, "downstream_propagation": [{"istio_headers": {}}]}
    ),
)
METADATA_EXCHANGE_OUTBOUND = http_filter(
    METADATA_EXCHANGE,
    typed_struct(_PEER_METADATA, {"upstream_discovery": _DISCOVERY, "upstream_propagation": [{"istio_headers": {}}]}),
)
METADATA_EXCHANGE_IN_MESH = http_filter(
    METADATA_EXCHANGE,
    typed_struct(
        _PEER_METADATA,
        {
            "upstream_discovery": _DISCOVERY,
            "upstream_propagation": [{"istio_headers": {"skip_external_clusters": True}}],
        },
    ),
)
TCP_METADATA_EXCHANGE = network_filter(METADATA_EXCHANGE, metadata_exchange())
ALPN_OVERRIDE = http_filter(
    "istio.alpn",
    typed_struct(
        _ALPN,
        {
            "alpn_override": [
                {"upstream_protocol": "HTTP10", "alpn_override": ["istio-http/1.0", "istio", "http/1.0"]},
                {"upstream_protocol": "HTTP11", "alpn_override": ["istio-http/1.1", "istio", "http/1.1"]},
                {"upstream_protocol": "HTTP2", "alpn_override": ["istio-h2", "istio", "h2"]},
            ]
        },
    ),
)
STATS = "istio.stats"


def stats_config(stats: Stats) -> Any:
    """Return the settings of istio-proxy's own metrics."""
    config: dict[str, Json] = {} if stats.trusts_host else {"disable_host_header_fallback": True}
    if stats.reporting is not None:
        config["tcp_reporting_duration"] = duration_text(stats.reporting)
    if stats.changes:
        config["metrics"] = [_metric(each) for each in stats.changes]
    return typed_struct(_STATS, config)


def _metric(change: MetricChange) -> dict[str, Json]:
    metric: dict[str, Json] = {"name": change.name}
    if change.tags:
        metric["dimensions"] = dict(change.tags)
    if change.removed:
        metric["tags_to_remove"] = list(change.removed)
    if change.drop:
        metric["drop"] = True
    return metric
