"""Options of interception: what the command line and the environment ask for."""

from __future__ import annotations

import ipaddress
import string
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

IPV4, IPV6 = 4, 6
MOST_OWNER_GROUPS = 64
LOOPBACK = "127.0.0.1/32"
_SHORTEST_LOOPBACK = 8
_LONGEST_SHOWN = 64


class OptionError(ValueError):
    """An option that makes no sense; the message names it and its value."""


class _Form(NamedTuple):
    """Whether a text is what a value has to be, for it becomes part of a rule's text, and how one is called if not."""

    fits: Callable[[str], bool]
    words: str


_WORD = frozenset(string.ascii_letters + string.digits + "_.-")
_INTERFACE_LETTERS = _WORD | frozenset(":+@")
_LONGEST_PORT, _LONGEST_INTERFACE, _LONGEST_OWNER, _LONGEST_MARK = 5, 15, 32, 10


def _is_port(text: str) -> bool:
    return 0 < len(text) <= _LONGEST_PORT and set(text) <= set(string.digits)


def _is_port_or_range(text: str) -> bool:
    """Whether it is a port, the name of a service (``http``), or a range of these: iptables takes them all."""
    return all(_is_port(each) or (_is_owner(each) and not each.isdigit()) for each in text.split(":", 1))


def _is_interface(text: str) -> bool:
    return 0 < len(text) <= _LONGEST_INTERFACE and text[0] != "-" and set(text) <= _INTERFACE_LETTERS


def _is_owner(text: str) -> bool:
    return 0 < len(text) <= _LONGEST_OWNER and text[0] not in "-." and set(text) <= _WORD


def _is_mark(text: str) -> bool:
    digits = text.removeprefix("0x")
    held = string.digits if digits == text else string.hexdigits
    return bool(digits) and len(text) <= _LONGEST_MARK and set(digits) <= set(held)


_PORT = _Form(_is_port, "no port")
_PORTS = _Form(_is_port_or_range, "no port, no service such as http and no range such as 8000:8080")
_INTERFACE = _Form(_is_interface, "no name of a network interface")
_OWNER = _Form(_is_owner, "no number and no name of a user or group")
_MARK = _Form(_is_mark, "no number")
_TABLE = _Form(_is_owner, "no number and no name of a routing table")


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
        return Ranges.of("--istio-service-cidr", self.outbound_ranges)

    @property
    def excluded(self) -> Ranges:
        """The ranges of addresses that are not, by family."""
        return Ranges.of("--istio-service-exclude-cidr", self.outbound_excluded_ranges)

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
        for option, texts, form in self._forms():
            for text in texts:
                if not form.fits(text):
                    raise OptionError(f"{option}: {shown(text)} is {form.words}")
        if self.owner_groups != ("*",) and len(self.owner_groups) > MOST_OWNER_GROUPS:
            raise OptionError(
                f"ISTIO_OUTBOUND_OWNER_GROUPS: at most {MOST_OWNER_GROUPS} groups can be named, "
                f"these are {len(self.owner_groups)}"
            )

    def _forms(self) -> Iterator[tuple[str, tuple[str, ...], _Form]]:
        """Yield the options whose values go into rules as they are, with what these have to look like."""
        yield "--envoy-port", (self.proxy_port,), _PORT
        yield "--inbound-capture-port", (self.inbound_port,), _PORT
        yield "--inbound-tunnel-port", (self.tunnel_port,), _PORT
        yield "--proxy-uid", self.users, _OWNER
        yield "--proxy-gid", self.groups, _OWNER
        yield "--istio-inbound-tproxy-mark", (self.tproxy_mark,), _MARK
        yield "--istio-inbound-tproxy-route-table", (self.tproxy_table,), _TABLE
        yield "--istio-inbound-ports", tuple(each for each in self.inbound_ports if each != "*"), _PORTS
        yield "--istio-local-exclude-ports", self.inbound_excluded, _PORTS
        yield "--istio-outbound-ports", self.outbound_ports, _PORTS
        yield "--istio-local-outbound-ports-exclude", self.outbound_excluded_ports, _PORTS
        yield "--kube-virt-interfaces", self.virtual_interfaces, _INTERFACE
        yield "--istio-exclude-interfaces", self.excluded_interfaces, _INTERFACE
        yield "ISTIO_OUTBOUND_OWNER_GROUPS", () if self.owner_groups == ("*",) else self.owner_groups, _OWNER
        yield "ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE", self.excluded_owner_groups, _OWNER


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
    try:  # the zone of an address may be any text
        if not slash or "%" in address or not (length.isascii() and length.isdigit()) or length != str(int(length)):
            raise ValueError  # noqa: TRY301 - as whatever else is wrong with it
        ipaddress.ip_address(address)
        return ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise OptionError(f"{option}: {shown(text)} is no range of addresses such as 10.0.0.0/8") from error


def _check_loopback(text: str) -> None:
    network = _network("ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR", text)
    if network.version != IPV4 or not network.is_loopback or network.prefixlen < _SHORTEST_LOOPBACK:
        raise OptionError(f"ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR: {shown(text)} is no range of IPv4 loopback addresses")


def shown(text: str) -> str:
    """Return a value as messages have it: quoted, and not longer than a line."""
    return repr(text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}...")


@dataclass(frozen=True, slots=True)
class Host:
    """What the pod's host is like: its name servers by family, and whether IPv6 rules are wanted."""

    name_servers: tuple[str, ...] = ()
    name_servers_v6: tuple[str, ...] = ()
    ipv6: bool = False
