"""Addresses of the machine that asks and of its surroundings, which users of the mesh must not have it ask."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

METADATA: tuple[Network, ...] = (
    ipaddress.ip_network("100.100.100.200/32"),  # Alibaba Cloud
    ipaddress.ip_network("168.63.129.16/32"),  # Azure
    ipaddress.ip_network("fd00:ec2::/32"),  # AWS
    ipaddress.ip_network("fd20:ce::254/128"),  # Google Cloud
)
"""Where clouds tell an instance its secrets, beside the link-local addresses."""

_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052, section 2.1


def reached(text: str) -> Address:
    """Return the address that is reached by one: IPv4 where an IPv6 address only wraps that.

    Raises:
        ValueError: it is none.
    """
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return ipaddress.IPv4Address(address.packed[-4:])
    return address


def is_own(address: Address) -> bool:
    """Whether it is the machine that asks."""
    return address.is_loopback or address.is_unspecified


def is_among(address: Address, networks: Iterable[Network]) -> bool:
    """Whether an address is in one of these networks, of either version."""
    return any(address in each for each in networks if each.version == address.version)
