"""The options that choose what is shown. A value that nothing can have is wrong usage and no empty table."""

from __future__ import annotations

import re  # noqa: TID251 - an option of who runs it
from enum import Enum
from typing import Annotated

import typer

from controlplane.documents.words import is_ip

_ELSEWHERE = "unix://", "envoy://", "/"
_HOST_NAME = re.compile(r"(?=.*[a-z])[a-z0-9_.-]+", re.IGNORECASE)


class ListenerType(Enum):
    """What the filter chains of a listener end in."""

    HTTP = "HTTP"
    TCP = "TCP"
    BOTH = "HTTP+TCP"
    UNKNOWN = "UNKNOWN"


class Direction(Enum):
    """The first part of a cluster's name; waypoints have ``inbound-vip``."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"
    INBOUND_VIP = "inbound-vip"


class Health(Enum):
    """What EDS says of an endpoint. Source: ``envoy.config.core.v3.HealthStatus``."""

    HEALTHY = "HEALTHY"
    UNHEALTHY = "UNHEALTHY"
    DRAINING = "DRAINING"
    TIMEOUT = "TIMEOUT"
    DEGRADED = "DEGRADED"
    UNKNOWN = "UNKNOWN"


def listener_address(text: str) -> str:
    """Read the address of a listener.

    Raises:
        ValueError: it is neither an IP address nor the path of a socket.
    """
    if text and not text.startswith(_ELSEWHERE) and not is_ip(text):
        raise ValueError(f"{text!r} is no IP address; the control plane is named with --control-plane")
    return text


def endpoint_address(text: str) -> str:
    """Read the address of an endpoint, which may be a host name that Envoy resolves.

    Raises:
        ValueError: it is no such address.
    """
    return text if _HOST_NAME.fullmatch(text) else listener_address(text)


def word(text: str) -> str:
    """Read a name or a part of one.

    Raises:
        ValueError: no name has blanks.
    """
    if re.search(r"\s", text):
        raise ValueError(f"{text!r} has blanks, and no name has any")
    return text


def part(text: str) -> str:
    """Read a part of a cluster's name.

    Raises:
        ValueError: it has blanks, or the bars that join the parts.
    """
    if "|" in text:
        raise ValueError(f"{text!r} is more than one part of a cluster's name")
    return word(text)


PortOption = Annotated[int, typer.Option(min=0, max=65535, help="Only this port.", show_default=False)]
ListenerAddressOption = Annotated[
    str, typer.Option("--address", parser=listener_address, metavar="IP", help="Only this address.")
]
EndpointAddressOption = Annotated[
    str, typer.Option("--address", parser=endpoint_address, metavar="IP", help="Only this address.")
]
TypeOption = Annotated[ListenerType | None, typer.Option("--type", help="Only listeners of this type.")]
DirectionOption = Annotated[Direction | None, typer.Option(help="Only this direction.")]
StatusOption = Annotated[Health | None, typer.Option(help="Only endpoints in this state.")]
NameOption = Annotated[
    str, typer.Option(parser=word, metavar="NAME", help="Only the route configuration of this name.")
]
FqdnOption = Annotated[str, typer.Option(parser=part, metavar="NAME", help="Only services whose name contains this.")]
SubsetOption = Annotated[str, typer.Option(parser=part, metavar="NAME", help="Only this subset.")]
ClusterOption = Annotated[
    str, typer.Option("--cluster", parser=word, metavar="NAME", help="Only endpoints of this cluster.")
]
