"""The filter chains of one inbound port: by protocol, and by what its PeerAuthentication accepts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from envoy.config.route.v3.route_pb2 import RouteConfiguration

from controlplane.model.proxy_class import InboundScope
from controlplane.model.service import Protocol
from controlplane.model.side import Side
from controlplane.registry.listener_settings import InboundSettings
from controlplane.registry.peer_authentication import MtlsMode
from controlplane.translate.compliance import bound_server
from controlplane.translate.listeners.chains import (
    ALL_ISTIO_ALPN,
    MTLS_HTTP_ALPN,
    MTLS_TCP_ALPN,
    PLAIN_HTTP_ALPN,
    RAW_BUFFER,
    TLS,
    TcpTarget,
    origin_metadata,
    plain_http_alpn,
)
from controlplane.translate.listeners.extensions import TCP_METADATA_EXCHANGE
from controlplane.translate.listeners.gateway_tls import ServerDefaults, server_tls_context
from controlplane.translate.listeners.hcm import Manager, http_connection_manager
from controlplane.translate.listeners.inbound_ports import InboundPort
from controlplane.translate.listeners.network_filters import tcp_filters
from controlplane.translate.listeners.phases import in_order
from controlplane.translate.policies.filters import NO_POLICIES, PolicyFilters
from controlplane.translate.tls_context import PEER_EXCHANGE, mesh_downstream_context, tls_socket

_HTTP_ALPN = ("h2", "http/1.1")
_DEFAULT_RETRIES = 2
#: a request is repeated only while the application cannot have seen it
_RETRY_ON = "reset-before-request"


@dataclass(frozen=True, slots=True)
class InboundMatch:
    """Which connections to a port a chain takes, and whether it speaks HTTP and ends mutual TLS, or the port's own."""

    transport: str
    alpn: tuple[str, ...] = ()
    http: bool = False
    mtls: bool = False
    own_tls: bool = False


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


def matches(protocol: Protocol, mode: MtlsMode, *, http10: bool = False) -> tuple[InboundMatch, ...]:
    """Return the matches of a port's chains, in Istio's order; Envoy takes the most specific whatever the order."""
    if protocol is Protocol.AUTO:
        plain = plain_http_alpn(http10=http10)
        return tuple(replace(each, alpn=plain) if each.alpn == PLAIN_HTTP_ALPN else each for each in _AUTO_CHAINS[mode])
    return _HTTP_CHAINS[mode] if protocol.is_http else _TCP_CHAINS[mode]


def inbound_chains(
    settings: InboundSettings, scope: InboundScope, port: InboundPort, policies: PolicyFilters = NO_POLICIES
) -> Iterator[FilterChain]:
    """Yield the chains of one port. A port with a listener of its own needs no match of the port."""
    stated = (InboundMatch(TLS, http=port.protocol.is_http, own_tls=True),) if port.tls is not None else ()
    for match in stated or matches(port.protocol, port.mode, http10=scope.detects_http10):
        chain = FilterChain(name=port.http_name if match.http else port.name)
        if port.number and not port.bind:
            chain.filter_chain_match.destination_port.value = port.number
        chain.filter_chain_match.transport_protocol = match.transport
        chain.filter_chain_match.application_protocols.extend(match.alpn)
        if match.mtls:
            chain.transport_socket.CopyFrom(_mtls_socket(settings, scope, http=match.http))
        elif match.own_tls and port.tls is not None:
            defaults = ServerDefaults(settings.own_tls, files=scope.files)
            context = server_tls_context(defaults, port.tls, http=match.http, istio=scope.istio)
            chain.transport_socket.CopyFrom(tls_socket(bound_server(context, settings.compliance)))
        if port.origin:
            chain.metadata.CopyFrom(origin_metadata(port.origin))
        chain.filters.extend(_filters(settings, scope, port, policies, http=match.http))
        yield chain


def _mtls_socket(settings: InboundSettings, scope: InboundScope, *, http: bool) -> TransportSocket:
    """End mutual TLS. Only istio-proxy may offer metadata exchange: a client that negotiates it sends a preamble."""
    alpn = _HTTP_ALPN if http or not scope.istio else (PEER_EXCHANGE, *_HTTP_ALPN)
    return tls_socket(bound_server(mesh_downstream_context(settings.tls, alpn, scope.files), settings.compliance))


def _filters(
    settings: InboundSettings, scope: InboundScope, port: InboundPort, policies: PolicyFilters, *, http: bool
) -> list[Filter]:
    filters = [TCP_METADATA_EXCHANGE] if scope.istio else []
    if not http:
        target = TcpTarget(port.tcp_stat_prefix, ((port.cluster, 1),), protocol=port.protocol)
        idle = scope.idle_timeout
        others = tcp_filters(settings.listener, target, istio=scope.istio, idle_timeout=idle, others=policies.tcp)
        return filters + others
    manager = Manager(
        side=Side.INBOUND,
        stat_prefix=port.http_stat_prefix,
        routes=inbound_routes(settings, port),
        istio=scope.istio,
        http2=port.protocol.is_http2,
        grpc_web=port.protocol is Protocol.GRPC_WEB,
        http10=scope.http10,
        idle_timeout=scope.idle_timeout,
        policies=policies.http,
    )
    return [*filters, *in_order(policies.before_http), http_connection_manager(settings.listener, manager)]


def inbound_routes(settings: InboundSettings, port: InboundPort) -> RouteConfiguration:
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
    stated = settings.retry
    attempts = _DEFAULT_RETRIES if stated is None else stated.attempts
    if attempts > 0:
        policy = route.route.retry_policy
        policy.num_retries.value = attempts
        policy.retry_on = stated.retry_on if stated is not None and stated.retry_on else _RETRY_ON
        if stated is not None and stated.backoff is not None:
            policy.retry_back_off.base_interval.FromTimedelta(stated.backoff)
    return configuration
