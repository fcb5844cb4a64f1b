"""What Envoy checks of addresses when it loads them; each check yields (path from the message down, reason)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from controlplane.documents.words import is_portable_ip

Wrong = Iterator[tuple[str, str]]
_MAX_PIPE_BYTES = 107


def cidr_faults(message: Any) -> Wrong:  # noqa: ANN401
    """Check the prefix of an envoy.config.core.v3.CidrRange."""
    if not is_portable_ip(message.address_prefix):
        yield "address_prefix", f"{message.address_prefix!r} is not an IP address"


def address_faults(path: str, address: Any) -> Wrong:  # noqa: ANN401
    """Check an address that must be one: an IP address, not a name, or a path that fits."""
    kind = address.WhichOneof("address")
    if kind == "socket_address":
        text = address.socket_address.address
        if not address.socket_address.resolver_name and not is_portable_ip(text):
            yield f"{path}.socket_address.address", f"{text!r} is not an IP address"


def pipe_faults(pipe: Any) -> Wrong:  # noqa: ANN401
    """Check an envoy.config.core.v3.Pipe: the kernel bounds the path of a socket."""
    if len(pipe.path.encode()) > _MAX_PIPE_BYTES:
        yield "path", f"must have at most {_MAX_PIPE_BYTES} bytes"


def bind_faults(config: Any) -> Wrong:  # noqa: ANN401
    """Check the address that an envoy.config.core.v3.BindConfig connects from."""
    if config.HasField("source_address") and not is_portable_ip(config.source_address.address):
        yield "source_address.address", f"{config.source_address.address!r} is not an IP address"


def endpoint_faults(path: str, assignment: Any) -> Wrong:  # noqa: ANN401
    """Check the endpoints of a static cluster; ``path`` is what leads to the ClusterLoadAssignment, with its dot."""
    for index, locality in enumerate(assignment.endpoints):
        for position, each in enumerate(locality.lb_endpoints):
            where = f"{path}endpoints[{index}].lb_endpoints[{position}].endpoint.address"
            if each.endpoint.address.WhichOneof("address") is None:
                yield where, "is required"
            else:
                yield from address_faults(where, each.endpoint.address)
        if locality.HasField("leds_cluster_locality_config"):
            yield f"{path}endpoints[{index}].leds_cluster_locality_config", "is for clusters of the type EDS alone"
