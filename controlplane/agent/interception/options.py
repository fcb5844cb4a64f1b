"""Options of interception: what the command line and the environment ask for."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

IPV4, IPV6 = 4, 6
MOST_OWNER_GROUPS = 64
LOOPBACK = "127.0.0.1/32"
_SHORTEST_LOOPBACK = 8


class OptionError(ValueError):
    """An option that makes no sense; the message names it and its value."""


@dataclass(frozen=True, slots=True)
class Options:
    """What is captured, and what is not.

    Ports are decimal texts, since iptables takes ranges too; ``("*",)`` stands for all of them, as for ranges of
    addresses. Empty ``inbound_ports`` capture nothing that comes in, empty ``outbound_ranges`` nothing that goes out.
    ``tproxy`` keeps the caller's address. ``owner_groups`` are those whose traffic is captured.
    Source: the options of Istio's ``istio-init`` container.
    """

    proxy_port: str = "15001"
    inbound_port: str = "15006"
    tunnel_port: str = "15008"
    users: tuple[str, ...] = ("1337",)
    groups: tuple[str, ...] = ("1337",)
    tproxy: bool = False
    tproxy_mark: str = "1337"
    tproxy_table: str = "133"
    inbound_ports: tuple[str, ...] = ()
    inbound_excluded: tuple[str, ...] = ()
    outbound_ranges: tuple[str, ...] = ()
    outbound_excluded_ranges: tuple[str, ...] = ()
    outbound_ports: tuple[str, ...] = ()
    outbound_excluded_ports: tuple[str, ...] = ()
    virtual_interfaces: tuple[str, ...] = ()
    excluded_interfaces: tuple[str, ...] = ()
    owner_groups: tuple[str, ...] = ("*",)
    excluded_owner_groups: tuple[str, ...] = ()
    loopback: str = LOOPBACK
    dns: bool = False
    all_dns: bool = False
    drop_invalid: bool = False
    dual_stack: bool = False

    @property
    def outbound(self) -> Ranges:
        """The ranges of addresses that are captured, by family."""
        return Ranges.of("istio-service-cidr", self.outbound_ranges)

    @property
    def excluded(self) -> Ranges:
        """The ranges of addresses that are not, by family."""
        return Ranges.of("istio-service-exclude-cidr", self.outbound_excluded_ranges)

    def check(self) -> None:
        """Look at what iptables itself would not refuse, or only when half of the rules stand.

        Raises:
            OptionError: something makes no sense.
        """
        excluded = self.excluded
        if excluded.everything:
            raise OptionError(f"--istio-service-exclude-cidr: {'*'!r} would exclude everything")
        _ = self.outbound
        _check_loopback(self.loopback)
        if self.owner_groups != ("*",) and len(self.owner_groups) > MOST_OWNER_GROUPS:
            raise OptionError(
                f"ISTIO_OUTBOUND_OWNER_GROUPS: at most {MOST_OWNER_GROUPS} groups can be named, "
                f"these are {len(self.owner_groups)}"
            )


@dataclass(frozen=True, slots=True)
class Ranges:
    """Ranges of addresses as they were written, by family; ``loopback`` where one of them is this machine."""

    everything: bool = False
    v4: tuple[str, ...] = ()
    v6: tuple[str, ...] = ()
    loopback: bool = False

    @classmethod
    def of(cls, option: str, texts: tuple[str, ...]) -> Ranges:
        """Read ranges.

        Raises:
            OptionError: one of them is none.
        """
        if texts == ("*",):
            return cls(everything=True)
        found: Mapping[int, list[str]] = {IPV4: [], IPV6: []}
        loopback = False
        for text in texts:
            network = _network(option, text)
            found[network.version].append(text)
            loopback = loopback or network.is_loopback
        return cls(v4=tuple(found[IPV4]), v6=tuple(found[IPV6]), loopback=loopback)


def _network(option: str, text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    address, slash, length = text.partition("/")
    try:
        if not slash or not (length.isascii() and length.isdigit()) or length != str(int(length)):
            raise ValueError  # noqa: TRY301 - as whatever else is wrong with it
        ipaddress.ip_address(address)
        return ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise OptionError(f"--{option}: {text!r} is no range of addresses such as 10.0.0.0/8") from error


def _check_loopback(text: str) -> None:
    network = _network("ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR", text)
    if network.version != IPV4 or not network.is_loopback or network.prefixlen < _SHORTEST_LOOPBACK:
        raise OptionError(f"ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR: {text!r} is no range of IPv4 loopback addresses")


@dataclass(frozen=True, slots=True)
class Host:
    """What the pod's host is like: its name servers by family, and whether IPv6 rules are wanted."""

    name_servers: tuple[str, ...] = ()
    name_servers_v6: tuple[str, ...] = ()
    ipv6: bool = False
