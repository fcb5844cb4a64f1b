"""PROXY protocol towards upstreams. Source: ``trafficPolicy.proxyProtocol`` of a DestinationRule."""

from __future__ import annotations

from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3 import base_pb2, proxy_protocol_pb2
from envoy.extensions.transport_sockets.proxy_protocol.v3 import upstream_proxy_protocol_pb2

from controlplane.translate.clusters.upstream_tls import raw_buffer

NAME = "envoy.transport_sockets.upstream_proxy_protocol"


def wrap_proxy_protocol(cluster: Cluster, settings: Any) -> None:  # noqa: ANN401 - an apis model or None
    """Wrap every transport socket of a cluster, or plaintext, where the policy asks for a PROXY header."""
    if settings is None:
        return
    version = proxy_protocol_pb2.ProxyProtocolConfig.V2 if str(settings.version or "V1") == "V2" else 0
    for match in cluster.transport_socket_matches:
        match.transport_socket.CopyFrom(_wrapped(match.transport_socket, version))
    if cluster.HasField("transport_socket"):
        cluster.transport_socket.CopyFrom(_wrapped(cluster.transport_socket, version))
    elif not cluster.transport_socket_matches:
        cluster.transport_socket.CopyFrom(_wrapped(raw_buffer(), version))


def _wrapped(inner: base_pb2.TransportSocket, version: int) -> base_pb2.TransportSocket:
    config = upstream_proxy_protocol_pb2.ProxyProtocolUpstreamTransport()
    config.config.version = version
    config.transport_socket.CopyFrom(inner)
    socket = base_pb2.TransportSocket(name=NAME)
    socket.typed_config.Pack(config, deterministic=True)
    return socket
