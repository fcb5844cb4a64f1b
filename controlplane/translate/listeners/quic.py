"""HTTP/3: listeners for QUIC, which runs over UDP and has its TLS within it."""

from __future__ import annotations

from envoy.config.core.v3.address_pb2 import SocketAddress
from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.transport_sockets.quic.v3.quic_transport_pb2 import QuicDownstreamTransport
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import DownstreamTlsContext

from controlplane.translate.tls_context import typed

ALPN = "h3"


def over_quic(listener: Listener) -> None:
    """Have a listener take QUIC, at all of its addresses. Reference: envoy.config.listener.v3.UdpListenerConfig."""
    for address in (listener.address, *(each.address for each in listener.additional_addresses)):
        address.socket_address.protocol = SocketAddress.UDP
    listener.udp_listener_config.quic_options.SetInParent()
    listener.udp_listener_config.downstream_socket_config.SetInParent()
    listener.enable_reuse_port.value = True


def quic_socket(context: DownstreamTlsContext) -> TransportSocket:
    """Return the transport socket of QUIC for a server that ends TLS so; it asks no caller for a certificate."""
    transport = QuicDownstreamTransport(downstream_tls_context=context)
    transport.downstream_tls_context.require_client_certificate.value = False
    del transport.downstream_tls_context.common_tls_context.alpn_protocols[:]
    transport.downstream_tls_context.common_tls_context.alpn_protocols.append(ALPN)
    return TransportSocket(name="envoy.transport_sockets.quic", typed_config=typed(transport))
