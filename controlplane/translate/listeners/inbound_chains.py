"""The filter chains of one inbound port: by protocol, and by what its PeerAuthentication accepts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from envoy.config.route.v3.route_pb2 import RouteConfiguration

from controlplane.apis.mesh import MeshConfig
from controlplane.model.proxy_class import InboundScope
from controlplane.model.service import Protocol
from controlplane.registry.peer_authentication import MtlsMode
from controlplane.translate.listeners.chains import (
    ALL_ISTIO_ALPN,
    MTLS_HTTP_ALPN,
    MTLS_TCP_ALPN,
    PLAIN_HTTP_ALPN,
    RAW_BUFFER,
    TLS,
    TcpTarget,
    origin_metadata,
)
from controlplane.translate.listeners.extensions import TCP_METADATA_EXCHANGE
from controlplane.translate.listeners.hcm import Manager, http_connection_manager
from controlplane.translate.listeners.http_filters import Side
from controlplane.translate.listeners.inbound_ports import InboundPort
from controlplane.translate.listeners.network_filters import tcp_filters
from controlplane.translate.tls_context import PEER_EXCHANGE, mesh_downstream_context, tls_socket

_HTTP_ALPN = ("h2", "http/1.1")
_DEFAULT_RETRIES = 2
#: a request is repeated only while the application cannot have seen it
_RETRY_ON = "reset-before-request"


@dataclass(frozen=True, slots=True)
class InboundMatch:
    """Which connections to a port a chain takes, and whether it speaks HTTP and ends mutual TLS."""

    transport: str
    alpn: tuple[str, ...] = ()
    http: bool = False
    mtls: bool = False


_HTTP_CHAINS = {
    MtlsMode.PERMISSIVE: (
        InboundMatch(TLS, ALL_ISTIO_ALPN, http=True, mtls=True),
        InboundMatch(RAW_BUFFER, http=True),
    ),
    MtlsMode.STRICT: (InboundMatch(TLS, http=True, mtls=True),),
    MtlsMode.DISABLE: (InboundMatch(RAW_BUFFER, http=True),),
}
_TCP_CHAINS = {
    MtlsMode.PERMISSIVE: (InboundMatch(TLS, ALL_ISTIO_ALPN, mtls=True), InboundMatch(TLS), InboundMatch(RAW_BUFFER)),
    MtlsMode.STRICT: (InboundMatch(TLS, mtls=True),),
    MtlsMode.DISABLE: (InboundMatch(RAW_BUFFER),),
}
_AUTO_CHAINS = {
    MtlsMode.PERMISSIVE: (
        InboundMatch(TLS, MTLS_HTTP_ALPN, http=True, mtls=True),
        InboundMatch(RAW_BUFFER, PLAIN_HTTP_ALPN, http=True),
        InboundMatch(TLS, MTLS_TCP_ALPN, mtls=True),
        InboundMatch(RAW_BUFFER),
        InboundMatch(TLS),
    ),
    MtlsMode.STRICT: (InboundMatch(TLS, MTLS_HTTP_ALPN, http=True, mtls=True), InboundMatch(TLS, mtls=True)),
    MtlsMode.DISABLE: (InboundMatch(RAW_BUFFER, PLAIN_HTTP_ALPN, http=True), InboundMatch(RAW_BUFFER)),
}


def matches(protocol: Protocol, mode: MtlsMode) -> tuple[InboundMatch, ...]:
    """Return the matches of a port's chains, in Istio's order; Envoy takes the most specific whatever the order."""
    if protocol is Protocol.AUTO:
        return _AUTO_CHAINS[mode]
    return _HTTP_CHAINS[mode] if protocol.is_http else _TCP_CHAINS[mode]


def inbound_chains(mesh: MeshConfig, scope: InboundScope, port: InboundPort) -> Iterator[FilterChain]:
    """Yield the chains of one port. A port with a listener of its own needs no match of the port."""
    for match in matches(port.protocol, port.mode):
        chain = FilterChain(name=port.http_name if match.http else port.name)
        if port.number and not port.bind:
            chain.filter_chain_match.destination_port.value = port.number
        chain.filter_chain_match.transport_protocol = match.transport
        chain.filter_chain_match.application_protocols.extend(match.alpn)
        if match.mtls:
            chain.transport_socket.CopyFrom(_mtls_socket(mesh, scope, http=match.http))
        if port.origin:
            chain.metadata.CopyFrom(origin_metadata(port.origin))
        chain.filters.extend(_filters(mesh, scope, port, http=match.http))
        yield chain


def _mtls_socket(mesh: MeshConfig, scope: InboundScope, *, http: bool) -> TransportSocket:
    """End mutual TLS. Only istio-proxy may offer metadata exchange: a client that negotiates it sends a preamble."""
    alpn = _HTTP_ALPN if http or not scope.istio else (PEER_EXCHANGE, *_HTTP_ALPN)
    return tls_socket(mesh_downstream_context(mesh, alpn))


def _filters(mesh: MeshConfig, scope: InboundScope, port: InboundPort, *, http: bool) -> list[Filter]:
    filters = [TCP_METADATA_EXCHANGE] if scope.istio else []
    if not http:
        target = TcpTarget(port.tcp_stat_prefix, ((port.cluster, 1),), protocol=port.protocol)
        return filters + tcp_filters(mesh, target, istio=scope.istio, inbound=True, idle_timeout=scope.idle_timeout)
    manager = Manager(
        side=Side.INBOUND,
        stat_prefix=port.http_stat_prefix,
        routes=inbound_routes(mesh, port),
        istio=scope.istio,
        http2=port.protocol.is_http2,
        grpc_web=port.protocol is Protocol.GRPC_WEB,
        http10=scope.http10,
        idle_timeout=scope.idle_timeout,
    )
    return [*filters, http_connection_manager(mesh, manager)]


def inbound_routes(mesh: MeshConfig, port: InboundPort) -> RouteConfiguration:
    """Return the one route of an inbound port, without limits of time: the caller's proxy has set those."""
    configuration = RouteConfiguration(name=port.cluster)
    configuration.validate_clusters.value = False
    host = configuration.virtual_hosts.add(name=f"inbound|http|{port.service_port}", domains=["*"])
    route = host.routes.add(name="default")
    route.match.prefix = "/"
    route.decorator.operation = f"{port.host}:{port.service_port}/*"
    route.route.cluster = port.cluster
    route.route.timeout.SetInParent()
    route.route.max_stream_duration.max_stream_duration.SetInParent()
    route.route.max_stream_duration.grpc_timeout_header_max.SetInParent()
    if port.protocol in {Protocol.GRPC, Protocol.GRPC_WEB}:
        return configuration
    stated = mesh.default_inbound_http_retry_policy
    attempts = _DEFAULT_RETRIES if stated is None else stated.attempts
    if attempts > 0:
        policy = route.route.retry_policy
        policy.num_retries.value = attempts
        policy.retry_on = stated.retry_on if stated is not None and stated.retry_on else _RETRY_ON
        if stated is not None and stated.backoff is not None:
            policy.retry_back_off.base_interval.FromTimedelta(stated.backoff)
    return configuration
