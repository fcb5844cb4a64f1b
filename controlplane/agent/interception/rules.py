"""The rules of interception, in the order in which they are tried: values, which only ``apply`` gives to a kernel.

Reference: the rules of Istio's ``istio-iptables``. A rule is made once for each family; only addresses differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from controlplane.agent.interception.options import IPV4, IPV6, Host, Options, Ranges

DNS_PORT = "15053"
_ESTABLISHED = "-m conntrack --ctstate RELATED,ESTABLISHED"
#: what is sent to the proxy's own address from within carries this mark, where the caller's address is kept
_OWN_MARK = "1338"


class Rule(NamedTuple):
    """One rule of a table, ``body`` as iptables takes it; ``position`` 0 appends it, another one is its place."""

    table: str
    chain: str
    body: str
    position: int = 0

    def __str__(self) -> str:
        where = f"-I {self.chain} {self.position}" if self.position else f"-A {self.chain}"
        return f"{where} {self.body}"

    @property
    def target(self) -> str:
        """Where the rule leads: a chain of ours, or one of iptables' own targets."""
        return self.body.partition("-j ")[2].partition(" ")[0]


@dataclass(frozen=True, slots=True)
class Family:
    """One IP family: its loopback range, the address that the proxy sends to the application from, its name servers."""

    version: int
    loopback: str
    proxy_source: str
    name_servers: tuple[str, ...]
    bits: int

    def of(self, ranges: Ranges) -> tuple[str, ...]:
        """Return the ranges of this family."""
        return ranges.v4 if self.version == IPV4 else ranges.v6


def families(options: Options, host: Host) -> tuple[Family, ...]:
    """Return the families that get rules: IPv4 always, IPv6 where the host has it."""
    v4 = Family(IPV4, options.loopback, "127.0.0.6/32", host.name_servers, 32)
    v6 = Family(IPV6, "::1/128", "::6/128", host.name_servers_v6, 128)
    return (v4, v6) if host.ipv6 else (v4,)


def rules(options: Options, host: Host, family: Family) -> tuple[Rule, ...]:
    """Return the rules of one family, in order."""
    dns = options.dns and bool(options.all_dns or host.name_servers or host.name_servers_v6)
    return (
        *_interfaces(options),
        *_invalid(options),
        *_targets(options),
        *_inbound(options, family),
        *_outbound(options, family, dns=dns),
        *_transparent(options, family),
    )


def _interfaces(options: Options) -> Iterator[Rule]:
    """Leave interfaces alone that are excluded; what virtual machines send is looked at by their own rules."""
    for table in ("nat", "mangle") if options.tproxy else ("nat",):
        for name in options.excluded_interfaces:
            yield Rule(table, "PREROUTING", f"-i {name} -j RETURN")
            yield Rule(table, "OUTPUT", f"-o {name} -j RETURN")
    for name in options.virtual_interfaces:
        yield Rule("nat", "PREROUTING", f"-i {name} -j RETURN", 1)


def _invalid(options: Options) -> Iterator[Rule]:
    if options.drop_invalid:
        yield Rule("mangle", "PREROUTING", "-m conntrack --ctstate INVALID -j ISTIO_DROP")
        yield Rule("mangle", "ISTIO_DROP", "-j DROP")


def _targets(options: Options) -> Iterator[Rule]:
    yield Rule("nat", "ISTIO_INBOUND", f"-p tcp --dport {options.tunnel_port} -j RETURN")
    yield Rule("nat", "ISTIO_REDIRECT", f"-p tcp -j REDIRECT --to-ports {options.proxy_port}")
    yield Rule("nat", "ISTIO_IN_REDIRECT", f"-p tcp -j REDIRECT --to-ports {options.inbound_port}")


def _inbound(options: Options, family: Family) -> Iterator[Rule]:
    if not options.inbound_ports:
        return
    table, mark = ("mangle", options.tproxy_mark) if options.tproxy else ("nat", "")
    if options.tproxy:
        yield Rule(table, "ISTIO_DIVERT", f"-j MARK --set-mark {mark}")
        yield Rule(table, "ISTIO_DIVERT", "-j ACCEPT")
        kept = f"-j TPROXY --tproxy-mark {mark}/0xffffffff --on-port {options.inbound_port}"
        yield Rule(table, "ISTIO_TPROXY", f"! -d {family.loopback} -p tcp {kept}")
    yield Rule(table, "PREROUTING", "-p tcp -j ISTIO_INBOUND")
    if options.inbound_ports == ("*",):
        for port in options.inbound_excluded:
            yield Rule(table, "ISTIO_INBOUND", f"-p tcp --dport {port} -j RETURN")
        matches = ["-p tcp"]
    else:
        matches = [f"-p tcp --dport {port}" for port in options.inbound_ports]
    for match in matches:
        if options.tproxy:
            yield Rule(table, "ISTIO_INBOUND", f"{match} {_ESTABLISHED} -j ISTIO_DIVERT")
            yield Rule(table, "ISTIO_INBOUND", f"{match} -j ISTIO_TPROXY")
        else:
            yield Rule(table, "ISTIO_INBOUND", f"{match} -j ISTIO_IN_REDIRECT")


def _outbound(options: Options, family: Family, *, dns: bool) -> Iterator[Rule]:
    ranges = options.outbound
    yield Rule("nat", "OUTPUT", "-j ISTIO_OUTPUT")
    for port in options.outbound_excluded_ports:
        for protocol in ("tcp", "udp"):
            yield Rule("nat", "ISTIO_OUTPUT", f"-p {protocol} --dport {port} -j RETURN")
    yield Rule("nat", "ISTIO_OUTPUT", f"-o lo -s {family.proxy_source} -j RETURN")
    for owner in (*(f"uid-owner {each}" for each in options.users), *(f"gid-owner {each}" for each in options.groups)):
        yield from _proxy_itself(options, family, owner, dns=dns, loops=not ranges.loopback)
    yield from _owner_groups(options)
    if dns:
        yield from _dns(options, family)
    yield Rule("nat", "ISTIO_OUTPUT", f"-d {family.loopback} -j RETURN")
    for text in family.of(options.excluded):
        yield Rule("nat", "ISTIO_OUTPUT", f"-d {text} -j RETURN")
    for port in options.outbound_ports:
        yield Rule("nat", "ISTIO_OUTPUT", f"-p tcp --dport {port} -j ISTIO_REDIRECT")
    if ranges.everything:
        yield Rule("nat", "ISTIO_OUTPUT", "-j ISTIO_REDIRECT")
        for name in options.virtual_interfaces:
            yield Rule("nat", "PREROUTING", f"-i {name} -j ISTIO_REDIRECT", 1)
    for text in family.of(ranges):
        for name in options.virtual_interfaces:
            yield Rule("nat", "PREROUTING", f"-i {name} -d {text} -j ISTIO_REDIRECT", 1)
        yield Rule("nat", "ISTIO_OUTPUT", f"-d {text} -j ISTIO_REDIRECT")


def _proxy_itself(options: Options, family: Family, owner: str, *, dns: bool, loops: bool) -> Iterator[Rule]:
    """Let go what the proxy sends; what it sends to its own pod comes in again, and goes through it as what comes in.

    ``loops`` says that the application reaches itself by loopback without the proxy.
    """
    tunnel = f"! --dport {options.tunnel_port}"
    if dns and owner.startswith("uid"):
        tunnel = f"-m multiport ! --dports 53,{options.tunnel_port}"
    back = f"-o lo ! -d {family.loopback} -p tcp {tunnel} -m owner --{owner}"
    yield Rule("nat", "ISTIO_OUTPUT", f"{back} -j ISTIO_IN_REDIRECT")
    if loops:
        but_dns = "-p tcp ! --dport 53 " if dns else ""
        yield Rule("nat", "ISTIO_OUTPUT", f"-o lo {but_dns}-m owner ! --{owner} -j RETURN")
    yield Rule("nat", "ISTIO_OUTPUT", f"-m owner --{owner} -j RETURN")


def _owner_groups(options: Options) -> Iterator[Rule]:
    if options.owner_groups != ("*",):
        others = " ".join(f"-m owner ! --gid-owner {group}" for group in options.owner_groups)
        yield Rule("nat", "ISTIO_OUTPUT", f"{others} -j RETURN")
        return
    for group in options.excluded_owner_groups:
        yield Rule("nat", "ISTIO_OUTPUT", f"-m owner --gid-owner {group} -j RETURN")


def _dns(options: Options, family: Family) -> Iterator[Rule]:
    """Lead questions for names to the proxy, and keep the two ways of UDP apart: the application's and the proxy's."""
    chain = "ISTIO_OUTPUT_DNS"
    servers = [""] if options.all_dns else [f"{each}/{family.bits}" for each in family.name_servers]
    to = [f" -d {server}" if server else "" for server in servers]
    yield Rule("raw", "OUTPUT", f"-j {chain}")
    if servers:
        yield Rule("nat", "ISTIO_OUTPUT", f"-j {chain}")
    for each in to:
        yield Rule("nat", chain, f"-p tcp --dport 53{each} -j REDIRECT --to-ports {DNS_PORT}")
    for each in to:
        yield Rule("nat", chain, f"-p udp --dport 53{each} -j REDIRECT --to-port {DNS_PORT}")
    for owner in (*(f"uid-owner {each}" for each in options.users), *(f"gid-owner {each}" for each in options.groups)):
        yield Rule("raw", chain, f"-p udp --dport 53 -m owner --{owner} -j CT --zone 1")
        yield Rule("raw", chain, f"-p udp --sport {DNS_PORT} -m owner --{owner} -j CT --zone 2")
    if servers:
        yield Rule("raw", "PREROUTING", "-j ISTIO_INBOUND")
    for server, each in zip(servers, to, strict=True):
        back = f" -s {server}" if server else ""
        yield Rule("raw", chain, f"-p udp --dport 53{each} -j CT --zone 2")
        yield Rule("raw", "ISTIO_INBOUND", f"-p udp --sport 53{back} -j CT --zone 1")


def _transparent(options: Options, family: Family) -> Iterator[Rule]:
    """Keep the connections apart that the proxy makes under the caller's address."""
    if not options.tproxy:
        return
    mark = options.tproxy_mark
    yield Rule("mangle", "PREROUTING", f"-p tcp -m mark --mark {mark} -j CONNMARK --save-mark")
    yield Rule("mangle", "OUTPUT", f"-p tcp -o lo -m mark --mark {mark} -j RETURN")
    for owner in (*(f"uid-owner {each}" for each in options.users), *(f"gid-owner {each}" for each in options.groups)):
        own = f"! -d {family.loopback} -p tcp -o lo -m owner --{owner} -j MARK --set-mark {_OWN_MARK}"
        yield Rule("mangle", "OUTPUT", own)
    yield Rule("mangle", "OUTPUT", f"-p tcp -m connmark --mark {mark} -j CONNMARK --restore-mark")
    yield Rule("mangle", "ISTIO_INBOUND", f"-p tcp -m mark --mark {mark} -j RETURN", 1)
    yield Rule("mangle", "ISTIO_INBOUND", f"-p tcp -s {family.proxy_source} -i lo -j RETURN", 2)
    yield Rule("mangle", "ISTIO_INBOUND", f"-p tcp -i lo -m mark ! --mark {_OWN_MARK} -j RETURN", 3)
