"""The rules of interception: each option changes those that it is about."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from controlplane.agent.interception.options import Host, Options
from controlplane.agent.interception.restore import chains, restore_text
from controlplane.agent.interception.rules import Rule, families, rules

HOST = Host(name_servers=("10.96.0.10",))
EVERYTHING = Options(
    inbound_ports=("*",), inbound_excluded=("15090", "15021", "15020"), outbound_ranges=("*",), outbound_ports=()
)
OWN = [
    "-A ISTIO_OUTPUT -o lo -s 127.0.0.6/32 -j RETURN",
    "-A ISTIO_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp ! --dport 15008 -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT",
    "-A ISTIO_OUTPUT -o lo -m owner ! --uid-owner 1337 -j RETURN",
    "-A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN",
    "-A ISTIO_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp ! --dport 15008 -m owner --gid-owner 1337 -j ISTIO_IN_REDIRECT",
    "-A ISTIO_OUTPUT -o lo -m owner ! --gid-owner 1337 -j RETURN",
    "-A ISTIO_OUTPUT -m owner --gid-owner 1337 -j RETURN",
]
LOOPBACK = "-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN"
ALL = "-A ISTIO_OUTPUT -j ISTIO_REDIRECT"


def made(host: Host = HOST, table: str = "nat", **changes: Any) -> list[Rule]:
    options = replace(EVERYTHING, **changes)
    options.check()
    return [rule for rule in rules(options, host, families(options, host)[0]) if rule.table == table]


def chain(name: str, **changes: Any) -> list[str]:
    table = changes.pop("table", "nat")
    return [str(rule) for rule in made(table=table, **changes) if rule.chain == name]


def test_everything_is_captured_but_the_proxy_and_the_ports_that_are_named() -> None:
    assert [str(rule) for rule in made()] == [
        "-A ISTIO_INBOUND -p tcp --dport 15008 -j RETURN",
        "-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001",
        "-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006",
        "-A PREROUTING -p tcp -j ISTIO_INBOUND",
        "-A ISTIO_INBOUND -p tcp --dport 15090 -j RETURN",
        "-A ISTIO_INBOUND -p tcp --dport 15021 -j RETURN",
        "-A ISTIO_INBOUND -p tcp --dport 15020 -j RETURN",
        "-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT",
        "-A OUTPUT -j ISTIO_OUTPUT",
        *OWN,
        LOOPBACK,
        ALL,
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param(
            {"outbound_ranges": ("10.96.0.0/12", "10.1.0.0/16")},
            [
                *OWN,
                LOOPBACK,
                "-A ISTIO_OUTPUT -d 10.96.0.0/12 -j ISTIO_REDIRECT",
                "-A ISTIO_OUTPUT -d 10.1.0.0/16 -j ISTIO_REDIRECT",
            ],
            id="ranges",
        ),
        pytest.param(
            {"outbound_ranges": ("127.1.2.3/32",)},
            [
                *(line for line in OWN if "! --uid" not in line and "! --gid" not in line),
                LOOPBACK,
                "-A ISTIO_OUTPUT -d 127.1.2.3/32 -j ISTIO_REDIRECT",
            ],
            id="loopback-captured",
        ),
        pytest.param(
            {
                "outbound_excluded_ranges": ("192.0.2.0/24", "2001:db8::/32"),
                "outbound_excluded_ports": ("3306",),
                "outbound_ports": ("9000",),
            },
            [
                "-A ISTIO_OUTPUT -p tcp --dport 3306 -j RETURN",
                "-A ISTIO_OUTPUT -p udp --dport 3306 -j RETURN",
                *OWN,
                LOOPBACK,
                "-A ISTIO_OUTPUT -d 192.0.2.0/24 -j RETURN",
                "-A ISTIO_OUTPUT -p tcp --dport 9000 -j ISTIO_REDIRECT",
                ALL,
            ],
            id="excluded",
        ),
        pytest.param(
            {"owner_groups": ("java", "202"), "excluded_owner_groups": ("888",)},
            [*OWN, "-A ISTIO_OUTPUT -m owner ! --gid-owner java -m owner ! --gid-owner 202 -j RETURN", LOOPBACK, ALL],
            id="groups",
        ),
        pytest.param(
            {"excluded_owner_groups": ("888", "ftp")},
            [
                *OWN,
                "-A ISTIO_OUTPUT -m owner --gid-owner 888 -j RETURN",
                "-A ISTIO_OUTPUT -m owner --gid-owner ftp -j RETURN",
                LOOPBACK,
                ALL,
            ],
            id="groups-excluded",
        ),
        pytest.param({"outbound_ranges": ()}, [*OWN, LOOPBACK], id="nothing"),
    ],
)
def test_what_goes_out(changes: dict[str, Any], expected: list[str]) -> None:
    assert chain("ISTIO_OUTPUT", **changes) == expected


def test_ports_that_come_in_may_be_named() -> None:
    assert chain("ISTIO_INBOUND", inbound_ports=("8080", "9090")) == [
        "-A ISTIO_INBOUND -p tcp --dport 15008 -j RETURN",
        "-A ISTIO_INBOUND -p tcp --dport 8080 -j ISTIO_IN_REDIRECT",
        "-A ISTIO_INBOUND -p tcp --dport 9090 -j ISTIO_IN_REDIRECT",
    ]


def test_interfaces() -> None:
    assert chain("PREROUTING", excluded_interfaces=("eth1",), virtual_interfaces=("net1", "net2")) == [
        "-A PREROUTING -i eth1 -j RETURN",
        "-I PREROUTING 1 -i net1 -j RETURN",
        "-I PREROUTING 1 -i net2 -j RETURN",
        "-A PREROUTING -p tcp -j ISTIO_INBOUND",
        "-I PREROUTING 1 -i net1 -j ISTIO_REDIRECT",
        "-I PREROUTING 1 -i net2 -j ISTIO_REDIRECT",
    ]


def test_the_caller_s_address_is_kept_where_that_is_asked() -> None:
    mangle = [str(rule) for rule in made(table="mangle", tproxy=True)]
    assert "-A ISTIO_TPROXY ! -d 127.0.0.1/32 -p tcp -j TPROXY --tproxy-mark 1337/0xffffffff --on-port 15006" in mangle
    assert mangle[-3:] == [
        "-I ISTIO_INBOUND 1 -p tcp -m mark --mark 1337 -j RETURN",
        "-I ISTIO_INBOUND 2 -p tcp -s 127.0.0.6/32 -i lo -j RETURN",
        "-I ISTIO_INBOUND 3 -p tcp -i lo -m mark ! --mark 1338 -j RETURN",
    ]
    assert chain("PREROUTING", tproxy=True) == [], "nothing is redirected on its way in"


def test_questions_for_names_go_to_the_proxy() -> None:
    assert chain("ISTIO_OUTPUT_DNS", dns=True) == [
        "-A ISTIO_OUTPUT_DNS -p tcp --dport 53 -d 10.96.0.10/32 -j REDIRECT --to-ports 15053",
        "-A ISTIO_OUTPUT_DNS -p udp --dport 53 -d 10.96.0.10/32 -j REDIRECT --to-port 15053",
    ]
    assert chain("ISTIO_INBOUND", dns=True, table="raw") == [
        "-A ISTIO_INBOUND -p udp --sport 53 -s 10.96.0.10/32 -j CT --zone 1"
    ]
    assert "-A ISTIO_OUTPUT -o lo -p tcp ! --dport 53 -m owner ! --uid-owner 1337 -j RETURN" in chain(
        "ISTIO_OUTPUT", dns=True
    )
    assert chain("ISTIO_OUTPUT_DNS", dns=True, all_dns=True)[0].endswith("--dport 53 -j REDIRECT --to-ports 15053")
    assert chain("ISTIO_OUTPUT_DNS", dns=True, host=Host()) == [], "nobody to ask is nothing to capture"


def test_ipv6_has_the_same_rules_at_its_own_addresses() -> None:
    host = Host(ipv6=True)
    options = replace(EVERYTHING, outbound_excluded_ranges=("192.0.2.0/24", "2001:db8::/32"))
    v4, v6 = (rules(options, host, family) for family in families(options, host))
    assert [str(rule) for rule in v6] == [
        str(rule)
        .replace("127.0.0.6/32", "::6/128")
        .replace("127.0.0.1/32", "::1/128")
        .replace("192.0.2.0/24", "2001:db8::/32")
        for rule in v4
    ]


def test_the_text_makes_chains_before_rules_table_by_table() -> None:
    held = made(drop_invalid=True) + made(table="mangle", drop_invalid=True)
    text = restore_text(held)
    assert text.startswith("* mangle\n-N ISTIO_DROP\n-A PREROUTING")
    assert text.count("COMMIT\n") == 2
    assert chains(held, "nat") == ("ISTIO_INBOUND", "ISTIO_REDIRECT", "ISTIO_IN_REDIRECT", "ISTIO_OUTPUT")
