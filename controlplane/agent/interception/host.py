"""What a pod's host is like: its addresses and its name servers, as the kernel and the resolver's file tell."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from controlplane.agent.addresses import interface_addresses
from controlplane.agent.interception.options import IPV4, IPV6, Host

RESOLVER = Path("/etc/resolv.conf")


def this_host(*, dual_stack: bool) -> Host:
    """Return what this host is like. IPv6 rules are wanted where its first address is one, with two families any."""
    addresses = [each for each in interface_addresses() if _counts(each.text)]
    versions = [each.version for each in addresses]
    ipv6 = IPV6 in versions if dual_stack else versions[:1] == [IPV6]
    servers = name_servers(RESOLVER.read_text(encoding="utf-8", errors="replace") if RESOLVER.exists() else "")
    return Host(*servers, ipv6=ipv6)


def name_servers(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the name servers of a resolver's file, IPv4 and IPv6 apart; what is no address is left out."""
    found: dict[int, list[str]] = {IPV4: [], IPV6: []}
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            try:
                found[ipaddress.ip_address(words[1]).version].append(words[1])
            except ValueError:
                continue
    return tuple(found[IPV4]), tuple(found[IPV6])


def _counts(text: str) -> bool:
    address = ipaddress.ip_address(text)
    return not (address.is_loopback or address.is_link_local)
