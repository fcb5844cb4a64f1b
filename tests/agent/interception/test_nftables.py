"""The rules for nftables: one transaction, both families side by side, taken away whole."""

from __future__ import annotations

import pytest

from controlplane.agent.interception import nftables
from controlplane.agent.interception.options import Host, Options
from controlplane.agent.interception.rules import families, rules

HOST = Host(name_servers=("10.96.0.10",), name_servers_v6=("fd00::a",), ipv6=True)
OPTIONS = Options(inbound_ports=("*",), outbound_ranges=("*",), dns=True, drop_invalid=True)
MADE = {family: rules(OPTIONS, HOST, family) for family in families(OPTIONS, HOST)}


def test_a_rule_without_address_is_there_once_and_others_stand_side_by_side() -> None:
    lines = nftables.transaction(MADE).splitlines()
    assert len(lines) == len(set(lines))
    first = "add rule inet istio-proxy-nat istio-output oifname lo ip saddr 127.0.0.6/32 counter return"
    assert lines[lines.index(first) + 1] == first.replace("ip saddr 127.0.0.6/32", "ip6 saddr ::6/128")
    assert "add rule inet istio-proxy-mangle istio-drop counter drop" in lines


def test_each_table_is_made_anew_before_its_rules() -> None:
    lines = nftables.transaction(MADE).splitlines()
    for table in ("nat", "mangle", "raw"):
        of_table = [line for line in lines if f"istio-proxy-{table}" in line]
        assert of_table[:2] == [f"add table inet istio-proxy-{table}", f"flush table inet istio-proxy-{table}"]


def test_taking_away_needs_no_table_to_be_there() -> None:
    lines = nftables.removal(MADE).splitlines()
    assert lines[:2] == ["add table inet istio-proxy-nat", "delete table inet istio-proxy-nat"]


def lines_of(options: Options) -> list[str]:
    return nftables.transaction({each: rules(options, HOST, each) for each in families(options, HOST)}).splitlines()


def test_what_comes_first_is_inserted_before_rules_and_added_where_there_are_none() -> None:
    """An index that no rule has is an error of nft's, and the whole transaction is for nothing."""
    alone = lines_of(Options(inbound_ports=("*",), virtual_interfaces=("net1", "net2")))
    assert [line for line in alone if " iifname net" in line and line.endswith("return")] == [
        "add rule inet istio-proxy-nat prerouting iifname net1 counter return",
        "insert rule inet istio-proxy-nat prerouting index 0 iifname net2 counter return",
    ]
    inbound = [line for line in lines_of(Options(tproxy=True)) if "rule inet istio-proxy-mangle istio-inbound" in line]
    assert inbound[0] == "add rule inet istio-proxy-mangle istio-inbound meta l4proto tcp mark 1337 counter return"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("eth0", "eth0"),
        ("k6t-eth0", "k6t-eth0"),
        ("br-1.2", "br-1.2"),
        ("eth+", '"eth*"'),
        ("tproxy", '"tproxy"'),
        ("vlan", '"vlan"'),
        ("8e1", '"8e1"'),
        ("a@b:0", '"a@b:0"'),
    ],
)
def test_an_interface_is_quoted_where_nft_would_read_something_else(name: str, said: str) -> None:
    lines = lines_of(Options(inbound_ports=("*",), excluded_interfaces=(name,)))
    assert f"add rule inet istio-proxy-nat prerouting iifname {said} counter return" in lines
