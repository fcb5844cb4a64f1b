"""Which filters end a chain: Envoy wants one of them at its end, and nowhere else."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

_PACKAGE = "envoy.extensions.filters"
#: the types of settings of network filters that end a chain
NETWORK = frozenset(
    f"{_PACKAGE}.network.{name}"
    for name in (
        "direct_response.v3.Config",
        "dubbo_proxy.v3.DubboProxy",
        "echo.v3.Echo",
        "generic_proxy.v3.GenericProxy",
        "http_connection_manager.v3.HttpConnectionManager",
        "http_connection_manager.v3.EnvoyMobileHttpConnectionManager",
        "kafka_mesh.v3alpha.KafkaMesh",
        "redis_proxy.v3.RedisProxy",
        "reverse_tunnel.v3.ReverseTunnel",
        "rocketmq_proxy.v3.RocketmqProxy",
        "sip_proxy.v3alpha.SipProxy",
        "tcp_proxy.v3.TcpProxy",
        "thrift_proxy.v3.ThriftProxy",
    )
)
HTTP = frozenset({f"{_PACKAGE}.http.router.v3.Router"})
UPSTREAM = frozenset({f"{_PACKAGE}.http.upstream_codec.v3.UpstreamCodec"})


def chain_faults(chain: Any) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - envoy.config.listener.v3.FilterChain
    """Check the filters of a chain of bytes; one without filters only closes connections."""
    return _faults("filters", chain.filters, NETWORK)


def manager_faults(manager: Any) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - an HttpConnectionManager
    """Check the filters of a chain of requests."""
    return _faults("http_filters", manager.http_filters, HTTP)


def protocol_faults(options: Any) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - an HttpProtocolOptions
    """Check the filters of a chain of requests to a cluster."""
    return _faults("http_filters", options.http_filters, UPSTREAM)


def _faults(field: str, filters: Sequence[Any], last: Collection[str]) -> Iterator[tuple[str, str]]:
    end = len(filters) - 1
    for index, each in enumerate(filters):
        kind = _type_of(each)
        if not kind and not each.HasField("config_discovery"):
            yield f"{field}[{index}].typed_config", f"is required: {each.name} is not found by its name alone"
        elif kind in last and index != end:
            yield f"{field}[{index}]", f"{each.name} ends the chain, and filters follow it"
        elif kind.startswith(_PACKAGE) and kind not in last and index == end:
            yield f"{field}[{index}]", f"{each.name} does not end the chain, and nothing follows it"
    if filters and getattr(filters[end], "disabled", False):  # which filters of bytes cannot be
        yield f"{field}[{end}].disabled", "may not be true of the last one"


def _type_of(each: Any) -> str:  # noqa: ANN401 - any kind of filter
    """Return the type of a filter's settings; of those that come by themselves the first that is possible."""
    if each.HasField("config_discovery"):
        types = each.config_discovery.type_urls
        return str(types[0]).rpartition("/")[2] if types else ""
    return str(each.typed_config.type_url).rpartition("/")[2]
