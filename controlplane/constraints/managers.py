"""What Envoy checks of an HTTP connection manager: where routes come from, its protocols, its tracer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from controlplane.constraints.last_filters import manager_faults

Wrong = Iterator[tuple[str, str]]

_BY_NAME = "is required: {} is not found by its name alone"


def http_manager_faults(manager: Any) -> Wrong:  # noqa: ANN401 - a generated message, here and below
    """Check a manager and the filters of requests that become something else."""
    yield from manager_faults(manager)
    if manager.common_http_protocol_options.HasField("max_response_headers_kb"):
        yield "common_http_protocol_options.max_response_headers_kb", "is for clusters alone"
    for index, upgrade in enumerate(manager.upgrade_configs):
        for position, each in enumerate(upgrade.filters):
            if not each.HasField("typed_config") and not each.HasField("config_discovery"):
                yield f"upgrade_configs[{index}].filters[{position}].typed_config", _BY_NAME.format(each.name)


def route_source_faults(rds: Any) -> Wrong:  # noqa: ANN401 - an Rds
    """Check where a manager gets its routes."""
    if not rds.HasField("config_source") and not rds.route_config_name.startswith("xdstp:"):
        yield "config_source", "is required"
    elif rds.config_source.HasField("self"):
        yield "config_source.self", "is no source of routes"


def zipkin_faults(stated: Any) -> Wrong:  # noqa: ANN401 - a ZipkinConfig
    """Check where spans are sent, and how: Envoy crashes of a version that it does not write."""
    if stated.collector_endpoint_version not in {stated.HTTP_JSON, stated.HTTP_PROTO}:
        yield "collector_endpoint_version", "must be HTTP_JSON or HTTP_PROTO: Envoy crashes of others"
    if not stated.HasField("collector_service") and not (stated.collector_cluster and stated.collector_endpoint):
        yield "collector_cluster", "and collector_endpoint are required where there is no collector_service"


def router_faults(router: Any) -> Wrong:  # noqa: ANN401 - a Router
    """Check the filters between a router and a cluster."""
    for index, each in enumerate(router.upstream_http_filters):
        if not each.HasField("typed_config") and not each.HasField("config_discovery"):
            yield f"upstream_http_filters[{index}].typed_config", _BY_NAME.format(each.name)
