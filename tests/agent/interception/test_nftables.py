"""The rules for nftables: one transaction, both families side by side, taken away whole."""

from __future__ import annotations

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
