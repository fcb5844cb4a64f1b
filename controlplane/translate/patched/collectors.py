"""Collectors of spans that patches name: Envoy refuses a listener whose tracer names a cluster that is not there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from envoy.config.trace.v3.datadog_pb2 import DatadogConfig
from envoy.config.trace.v3.zipkin_pb2 import ZipkinConfig
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)

from controlplane.constraints.checker import Fault, Faults
from controlplane.registry.scopes import EgressKey
from controlplane.registry.span_source import CollectorKey, has_cluster
from controlplane.registry.store import View

_PARTS_OF_A_NAME = 4


class Caller(NamedTuple):
    """Proxies that have the same clusters of services."""

    scope: EgressKey
    router: bool


def unreached_collectors(view: View, caller: Caller | None, listener: Any) -> Faults:  # noqa: ANN401 - a Listener
    """Return the tracers whose collector is a service that the proxies have no cluster of.

    A cluster of another name than those of services may stand in the proxy's bootstrap, so it is not looked for. Only
    the tracers for Zipkin and Datadog must have theirs; others look for it when they send something.
    """
    found = []
    for name in _collectors(listener) if caller is not None else ():
        parts = name.split("|")
        if len(parts) != _PARTS_OF_A_NAME or parts[0] != "outbound" or parts[2] or not parts[1].isdecimal():
            continue
        if caller is not None and not has_cluster(
            view, CollectorKey(caller.scope, parts[3], int(parts[1]), caller.router)
        ):
            found.append(Fault("tracing.provider", f"proxies have no cluster {name}"))
    return found


def _collectors(listener: Any) -> Iterator[str]:  # noqa: ANN401
    """Yield the clusters that the tracers of a listener must have."""
    for chain in (*listener.filter_chains, listener.default_filter_chain):
        for each in chain.filters:
            manager = HttpConnectionManager()
            if each.typed_config.Unpack(manager) and manager.tracing.HasField("provider"):
                yield from _named(manager.tracing.provider.typed_config)


def _named(packed: Any) -> Iterator[str]:  # noqa: ANN401 - google.protobuf.Any
    zipkin, datadog = ZipkinConfig(), DatadogConfig()
    if packed.Unpack(zipkin):
        yield (
            zipkin.collector_service.http_uri.cluster
            if zipkin.HasField("collector_service")
            else zipkin.collector_cluster
        )
    elif packed.Unpack(datadog):
        yield datadog.collector_cluster
