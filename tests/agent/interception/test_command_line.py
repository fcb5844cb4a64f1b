"""Options of the command line and of the environment, as istio-iptables takes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.agent.interception import host
from controlplane.agent.interception.command_line import parsed
from controlplane.agent.interception.options import OptionError


@pytest.mark.parametrize(
    ("arguments", "environment", "field", "value"),
    [
        pytest.param(["-p", "16001"], {}, "proxy_port", "16001", id="short"),
        pytest.param(["-p16001"], {}, "proxy_port", "16001", id="joined"),
        pytest.param(["-z=16006"], {}, "inbound_port", "16006", id="short-with-equals"),
        pytest.param(["--envoy-port=16001"], {}, "proxy_port", "16001", id="long"),
        pytest.param([], {"ENVOY_PORT": "1"}, "proxy_port", "15001", id="no-variable"),
        pytest.param([], {"INBOUND_CAPTURE_PORT": "16006"}, "inbound_port", "16006", id="variable"),
        pytest.param(["-z", "1"], {"INBOUND_CAPTURE_PORT": "2"}, "inbound_port", "1", id="flag-before-variable"),
        pytest.param(["-u", "1337,,1338,"], {}, "users", ("1337", "1338"), id="list"),
        pytest.param(["-u", "1", "-g", ""], {}, "groups", ("1",), id="groups-as-users"),
        pytest.param(["--redirect-dns"], {}, "dns", True, id="truth"),
        pytest.param(["--redirect-dns=F"], {"REDIRECT_DNS": "true"}, "dns", False, id="truth-denied"),
        pytest.param([], {"REDIRECT_DNS": "true", "ISTIO_META_DNS_CAPTURE": "false"}, "dns", False, id="last-variable"),
        pytest.param(["-m", "TPROXY"], {}, "tproxy", True, id="mode"),
        pytest.param(["-b", "*"], {}, "inbound_ports", ("*",), id="all-ports"),
    ],
)
def test_what_is_read(arguments: list[str], environment: dict[str, str], field: str, value: object) -> None:
    assert getattr(parsed(arguments, environment).options, field) == value


@pytest.mark.parametrize(
    ("arguments", "environment", "word"),
    [
        pytest.param(["-i", "10.0.0.0/08"], {}, "10.0.0.0/08", id="zero"),
        pytest.param(["-i", "*,10.0.0.0/8"], {}, "'*'", id="star-and-more"),
        pytest.param(["-i", "10.0.0.0/33"], {}, "10.0.0.0/33", id="too-long"),
        pytest.param(["-i", "10.0.0.1"], {}, "10.0.0.1", id="no-length"),
        pytest.param(["-x", "*"], {}, "exclude", id="exclude-everything"),
        pytest.param([], {"ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR": "10.0.0.0/8"}, "10.0.0.0/8", id="loopback"),
        pytest.param([], {"ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR": "127.0.0.0/7"}, "127.0.0.0/7", id="loopback-wide"),
        pytest.param([], {"ISTIO_OUTBOUND_OWNER_GROUPS": ",".join(map(str, range(65)))}, "65", id="groups"),
        pytest.param([], {"FORCE_IPTABLES_BINARY": "iptables-legacy"}, "iptables-legacy", id="binary"),
        pytest.param(["--probe-timeout", "5"], {}, "probe-timeout", id="timeout"),
        pytest.param(["--iptables-probe-port", "99999"], {}, "99999", id="port"),
        pytest.param(["--iptables-probe-port", "9" * 5000], {}, "--iptables-probe-port: '999", id="port-without-end"),
        pytest.param(["--redirect-dns=maybe"], {}, "maybe", id="truth"),
        pytest.param(["--no-such-option"], {}, "--no-such-option", id="unknown"),
        pytest.param(["--run-validation", "-p", "many"], {}, "many", id="checked-port"),
    ],
)
def test_what_makes_no_sense_is_said(arguments: list[str], environment: dict[str, str], word: str) -> None:
    with pytest.raises(OptionError) as refused:
        parsed(arguments, environment)
    assert word in str(refused.value)


@pytest.mark.parametrize(
    ("named", "value"),
    [
        ("--istio-exclude-interfaces", "eth9 -j RETURN"),
        ("--istio-exclude-interfaces", "eth9\nCOMMIT\n*filter\n-F"),
        ("--istio-exclude-interfaces", "eth9\0"),
        ("--istio-exclude-interfaces", "sixteen-letters."),
        ("--kube-virt-interfaces", "\u00e9th0"),
        ("--kube-virt-interfaces", "-1"),
        ("--istio-inbound-ports", "80 -j ACCEPT"),
        ("--istio-inbound-ports", "123456"),
        ("--istio-inbound-ports", "*,**"),
        ("--istio-local-exclude-ports", "-http"),
        ("--istio-outbound-ports", "*"),
        ("--istio-outbound-ports", "80:"),
        ("--istio-local-outbound-ports-exclude", "\u00b2"),
        ("--proxy-uid", "0 -j ACCEPT"),
        ("--proxy-gid", "!"),
        ("--envoy-port", "1:2"),
        ("--inbound-capture-port", ""),
        ("--inbound-tunnel-port", "15008 "),
        ("--istio-inbound-tproxy-mark", "1/1"),
        ("--istio-inbound-tproxy-route-table", "133 x"),
        ("--istio-service-cidr", "10.0.0.0/8 -j ACCEPT"),
        ("--istio-service-cidr", "fe80::%x\n-F/64"),
        ("--istio-service-exclude-cidr", "fe80::%x -j ACCEPT/64"),
        ("ISTIO_OUTBOUND_OWNER_GROUPS", "1 -j ACCEPT"),
        ("ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE", "ftp\n-F"),
    ],
)
def test_what_would_be_more_than_a_part_of_a_rule_is_refused_with_the_option(named: str, value: str) -> None:
    arguments, environment = ([f"{named}={value}"], {}) if named.startswith("-") else ([], {named: value})
    with pytest.raises(OptionError) as refused:
        parsed(arguments, environment)
    assert str(refused.value).startswith(f"{named}: ")
    assert repr(value.rpartition(",")[2]) in str(refused.value)


@pytest.mark.parametrize("named", ["--istio-exclude-interfaces", "--istio-inbound-ports", "--istio-service-cidr"])
def test_a_value_without_end_is_shown_by_its_beginning(named: str) -> None:
    with pytest.raises(OptionError, match=rf"^{named}: '1{{64}}\.\.\.' is no ") as refused:
        parsed([named, "1" * 200_000], {})
    assert len(str(refused.value)) < 200


def test_what_rules_may_have_in_them_is_taken() -> None:
    """Ranges of ports and services, interfaces of all kinds, names of users and groups, marks in base 16."""
    options = parsed(
        ["-b", "8000:8080,1,http,*", "-c", "eth+,br-1.2,a@b:0", "-u", "istio-proxy", "-t", "0x539", "-r", "main"],
        {"ISTIO_OUTBOUND_OWNER_GROUPS": "java,systemd-x.y"},
    ).options
    assert options.inbound_ports == ("8000:8080", "1", "http", "*")
    assert options.excluded_interfaces == ("eth+", "br-1.2", "a@b:0")
    assert (options.users, options.owner_groups) == (("istio-proxy",), ("java", "systemd-x.y"))


def test_name_servers_by_family() -> None:
    text = "search x\nnameserver 10.96.0.10\nnameserver fd00::a\n# nameserver 1.1.1.1\nnameserver nowhere\nnameserver\n"
    assert host.name_servers(text) == (("10.96.0.10",), ("fd00::a",))


def test_a_host_without_a_resolver_s_file_has_no_name_servers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(host, "RESOLVER", tmp_path / "none")
    assert host.this_host(dual_stack=False).name_servers == ()
