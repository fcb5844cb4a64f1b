"""Bounds of TLS that a policy for cryptography sets, over whatever the mesh and its objects say.

Source: istiod's variable ``COMPLIANCE_POLICY``. Reference: envoy.extensions.transport_sockets.tls.v3.TlsParameters.
"""

from __future__ import annotations

from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import TlsParameters
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import CommonTlsContext, DownstreamTlsContext, UpstreamTlsContext

from controlplane.model.compliance import FIPS_140_2, FIPS_140_3, FIPS_CIPHERS, POST_QUANTUM
from controlplane.translate.tls_context import tls_socket

_POST_QUANTUM_CURVE = "X25519MLKEM768"
"""How TLS 1.3 agrees on keys that no quantum computer finds out."""


def bound(common: CommonTlsContext, policy: str) -> None:
    """Keep a context within a policy, empty for none."""
    if policy == FIPS_140_2:
        parameters = common.tls_params
        parameters.tls_minimum_protocol_version = TlsParameters.TLSv1_2
        parameters.tls_maximum_protocol_version = TlsParameters.TLSv1_2
        left = [each for each in parameters.cipher_suites if each in FIPS_CIPHERS]
        del parameters.cipher_suites[:], parameters.ecdh_curves[:]  # without any, an Envoy built for FIPS takes its own
        parameters.cipher_suites.extend(left)
    elif policy == FIPS_140_3:
        del common.tls_params.compliance_policies[:]
        common.tls_params.compliance_policies.append(TlsParameters.FIPS_202205)
    elif policy == POST_QUANTUM:
        parameters = common.tls_params
        parameters.tls_minimum_protocol_version = TlsParameters.TLSv1_3
        parameters.tls_maximum_protocol_version = TlsParameters.TLSv1_3
        del parameters.cipher_suites[:], parameters.ecdh_curves[:]
        parameters.cipher_suites.extend(FIPS_CIPHERS)
        parameters.ecdh_curves.append(_POST_QUANTUM_CURVE)


def bound_server(context: DownstreamTlsContext, policy: str) -> DownstreamTlsContext:
    """Return the context of a server, kept within a policy."""
    bound(context.common_tls_context, policy)
    return context


def bound_client(socket: TransportSocket, policy: str) -> TransportSocket:
    """Return the socket of a client, kept within a policy."""
    if not policy or not socket.typed_config.Is(UpstreamTlsContext.DESCRIPTOR):
        return socket
    context = UpstreamTlsContext()
    socket.typed_config.Unpack(context)
    bound(context.common_tls_context, policy)
    return tls_socket(context)
