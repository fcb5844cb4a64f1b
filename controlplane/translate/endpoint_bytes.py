"""Pieces of load assignments, encoded: what endpoints and localities have in common is made once, and joined.

A message for each endpoint would cost several times as much, and there are ten thousands of them. Fields are in the
order of their numbers. Reference: envoy.config.endpoint.v3.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from envoy.config.endpoint.v3.endpoint_components_pb2 import Endpoint as EndpointMessage
from envoy.config.endpoint.v3.endpoint_components_pb2 import LbEndpoint, LocalityLbEndpoints

from controlplane.apis.common import MAX_PORT
from controlplane.kept import kept
from controlplane.model.service import Endpoint, Health
from controlplane.translate.routes.wire import delimited, varint

_NAME, _LOCALITIES = 1, 2  # of ClusterLoadAssignment
_ENDPOINTS = 2  # of LocalityLbEndpoints
_ENDPOINT = 1  # of LbEndpoint
_PORT = b"\x18"  # of SocketAddress: the tag of port_value
_SHORT = 100  # bytes of an address, up to which each length is one byte


def assignment(name: str, localities: Iterable[bytes]) -> bytes:
    """Return a ``ClusterLoadAssignment`` of encoded localities."""
    return delimited(_NAME, name.encode()) + b"".join([delimited(_LOCALITIES, each) for each in localities])


def locality(place: tuple[str, str, str], weight: int, priority: int, endpoints: Iterable[bytes]) -> bytes:
    """Return a ``LocalityLbEndpoints``; ``place`` is region, zone and subzone, a weight of 0 is not stated."""
    return b"".join([_where(*place), *[delimited(_ENDPOINTS, each) for each in endpoints], _rank(weight, priority)])


@kept(256)
def _where(region: str, zone: str, sub_zone: str) -> bytes:
    part = LocalityLbEndpoints()
    part.locality.region = region
    part.locality.zone = zone
    part.locality.sub_zone = sub_zone
    return bytes(part.SerializeToString(deterministic=True))


@lru_cache(maxsize=1024)
def _rank(weight: int, priority: int) -> bytes:
    part = LocalityLbEndpoints(priority=priority)
    if weight:
        part.load_balancing_weight.value = weight
    return bytes(part.SerializeToString(deterministic=True))


@kept(4096)
def without_address(health: Health, weight: int, workload: str, tls_mode: str) -> bytes:
    """Return what the endpoints of one workload have in common, a ``LbEndpoint``; no ``tls_mode`` is plaintext."""
    target = LbEndpoint()
    target.health_status = int(health)
    target.load_balancing_weight.value = weight
    target.metadata.filter_metadata["istio"].fields["workload"].string_value = workload
    if tls_mode:
        metadata = target.metadata.filter_metadata["envoy.transport_socket_match"]
        metadata.fields["tlsMode"].string_value = tls_mode
    return bytes(target.SerializeToString(deterministic=True))


def address(endpoint: Endpoint, further: Sequence[str] = ()) -> bytes:
    """Return where an endpoint is, as a field of a ``LbEndpoint``; ``further`` are more addresses of its pod."""
    text, port = endpoint.address.encode(), endpoint.port
    if further or not 0 < port <= MAX_PORT or not 0 < len(text) <= _SHORT:
        return delimited(_ENDPOINT, _any_address(endpoint, further))
    number = _port(port)
    size = len(text) + len(number) + 2
    # Endpoint in LbEndpoint, Address in it, SocketAddress in it, address in it: each with a length of one byte
    return b"\x0a%c\x0a%c\x0a%c\x12%c%b%b" % (size + 4, size + 2, size, len(text), text, number)


@lru_cache(maxsize=1024)
def _port(number: int) -> bytes:
    return _PORT + varint(number)


def _any_address(endpoint: Endpoint, further: Sequence[str]) -> bytes:
    target = EndpointMessage()
    if endpoint.port:
        target.address.socket_address.address = endpoint.address
        target.address.socket_address.port_value = endpoint.port
        for each in further:
            more = target.additional_addresses.add().address.socket_address
            more.address, more.port_value = each, endpoint.port
    else:
        target.address.pipe.path = endpoint.address
    return bytes(target.SerializeToString(deterministic=True))
