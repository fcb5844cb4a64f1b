"""What Envoy checks of the settings of network filters that people insert."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from controlplane.apis.validation.formats import format_problem

Wrong = Iterator[tuple[str, str]]


def tcp_faults(stated: Any) -> Wrong:  # noqa: ANN401 - a generated message, here and below
    """Check a ``TcpProxy``: what it says to the upstream, and when it connects."""
    if problem := format_problem(stated.tunneling_config.hostname):
        yield "tunneling_config.hostname", problem
    for index, each in enumerate(stated.proxy_protocol_tlvs):
        if bool(each.value) == each.HasField("format_string"):
            yield f"proxy_protocol_tlvs[{index}]", "must have a value or a format_string, and not both"
    if stated.upstream_connect_mode and not stated.HasField("max_early_data_bytes"):
        yield "max_early_data_bytes", "is required where upstream_connect_mode is not IMMEDIATE"
    if stated.on_demand.odcds_config.HasField("self"):
        yield "on_demand.odcds_config.self", "is no source of clusters"


def limit_faults(stated: Any) -> Wrong:  # noqa: ANN401
    """Check a ``ConnectionLimit``."""
    if not stated.HasField("max_connections"):
        yield "max_connections", "is required"


def rate_limit_faults(stated: Any) -> Wrong:  # noqa: ANN401
    """Check a ``RateLimit`` of connections: what it sends may have commands."""
    for index, each in enumerate(stated.descriptors):
        for position, entry in enumerate(each.entries):
            if problem := format_problem(entry.value):
                yield f"descriptors[{index}].entries[{position}].value", problem


def redis_faults(stated: Any) -> Wrong:  # noqa: ANN401
    """Check a ``RedisProxy``."""
    if not stated.prefix_routes.routes and not stated.prefix_routes.HasField("catch_all_route"):
        yield "prefix_routes", "must lead somewhere: routes or catch_all_route"


_PACKAGE = "envoy.extensions.filters.network"
NETWORK_FILTERS: dict[str, Callable[[Any], Wrong]] = {
    f"{_PACKAGE}.tcp_proxy.v3.TcpProxy": tcp_faults,
    f"{_PACKAGE}.connection_limit.v3.ConnectionLimit": limit_faults,
    f"{_PACKAGE}.ratelimit.v3.RateLimit": rate_limit_faults,
    f"{_PACKAGE}.redis_proxy.v3.RedisProxy": redis_faults,
}
