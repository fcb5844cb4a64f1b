"""Listener filters: what is found out about a connection before a chain is chosen."""

from __future__ import annotations

from collections.abc import Iterable

from envoy.config.listener.v3.listener_components_pb2 import ListenerFilter
from envoy.config.listener.v3.listener_components_pb2 import ListenerFilterChainMatchPredicate as Predicate
from envoy.extensions.filters.listener.http_inspector.v3.http_inspector_pb2 import HttpInspector
from envoy.extensions.filters.listener.original_dst.v3.original_dst_pb2 import OriginalDst
from envoy.extensions.filters.listener.original_src.v3.original_src_pb2 import OriginalSrc
from envoy.extensions.filters.listener.proxy_protocol.v3.proxy_protocol_pb2 import ProxyProtocol
from envoy.extensions.filters.listener.tls_inspector.v3.tls_inspector_pb2 import TlsInspector

from controlplane.translate.tls_context import typed

#: bytes of a ClientHello read at first; most fit
_TLS_BUFFER_BYTES = 512
#: mark of packets that must not be captured again under TPROXY
_TPROXY_MARK = 1337


def _tls_inspector() -> ListenerFilter:
    config = TlsInspector()
    config.initial_read_buffer_size.value = _TLS_BUFFER_BYTES
    return ListenerFilter(name="envoy.filters.listener.tls_inspector", typed_config=typed(config))


TLS_INSPECTOR = _tls_inspector()
HTTP_INSPECTOR = ListenerFilter(name="envoy.filters.listener.http_inspector", typed_config=typed(HttpInspector()))
ORIGINAL_DESTINATION = ListenerFilter(name="envoy.filters.listener.original_dst", typed_config=typed(OriginalDst()))
ORIGINAL_SOURCE = ListenerFilter(
    name="envoy.filters.listener.original_src", typed_config=typed(OriginalSrc(mark=_TPROXY_MARK))
)
PROXY_PROTOCOL = ListenerFilter(name="envoy.filters.listener.proxy_protocol", typed_config=typed(ProxyProtocol()))


def on_ports(ports: Iterable[int]) -> Predicate | None:
    """Return the predicate "the original destination port is one of these", ascending; ``None`` for no port."""
    held = [_on_port(port) for port in sorted(set(ports))]
    if len(held) <= 1:
        return held[0] if held else None
    return Predicate(or_match=Predicate.MatchSet(rules=held))


def _on_port(port: int) -> Predicate:
    predicate = Predicate()
    predicate.destination_port_range.start = port
    predicate.destination_port_range.end = port + 1
    return predicate


def disabled_where(inspector: ListenerFilter, predicate: Predicate | None) -> ListenerFilter:
    """Return the filter, switched off for connections that the predicate takes."""
    result = ListenerFilter()
    result.CopyFrom(inspector)
    if predicate is not None:
        result.filter_disabled.CopyFrom(predicate)
    return result
