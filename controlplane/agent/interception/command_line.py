"""The options of interception as Istio's ``istio-iptables`` takes them: flags, and variables of the environment."""

from __future__ import annotations

import argparse
import pwd
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

from controlplane.agent.environment import StartError, duration
from controlplane.agent.interception.options import LOOPBACK, OptionError, Options, shown
from controlplane.agent.interception.validation import Validation

PROXY_USER = "istio-proxy"
DEFAULT_ID = "1337"
BINARIES = ("legacy", "nft")
_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})


@dataclass(frozen=True, slots=True)
class Flag:
    """One option: its names on the command line, its help, the variables that stand for it: the last one set counts."""

    names: tuple[str, ...]
    help: str
    variables: tuple[str, ...] = ()
    default: str = ""
    boolean: bool = False

    @property
    def key(self) -> str:
        """The long name without its dashes."""
        return self.names[-1].removeprefix("--")


FLAGS = (
    Flag(("-p", "--envoy-port"), "Port of the proxy for what goes out.", (), "15001"),
    Flag(("-z", "--inbound-capture-port"), "Port of the proxy for what comes in.", ("INBOUND_CAPTURE_PORT",), "15006"),
    Flag(("-e", "--inbound-tunnel-port"), "Port of the proxy for tunnels.", ("INBOUND_TUNNEL_PORT",), "15008"),
    Flag(("-u", "--proxy-uid"), "Users that the proxy runs as.", ("PROXY_UID",)),
    Flag(("-g", "--proxy-gid"), "Groups that the proxy runs as; without them as the users.", ("PROXY_GID",)),
    Flag(
        ("-m", "--istio-inbound-interception-mode"),
        "REDIRECT, or TPROXY to keep the caller's address.",
        ("ISTIO_INBOUND_INTERCEPTION_MODE",),
    ),
    Flag(
        ("-t", "--istio-inbound-tproxy-mark"),
        "Mark of packets with TPROXY.",
        ("ISTIO_INBOUND_TPROXY_MARK",),
        "1337",
    ),
    Flag(
        ("-r", "--istio-inbound-tproxy-route-table"),
        "Routing table with TPROXY.",
        ("ISTIO_INBOUND_TPROXY_ROUTE_TABLE",),
        "133",
    ),
    Flag(("-b", "--istio-inbound-ports"), "Ports to capture, * for all.", ("ISTIO_INBOUND_PORTS",)),
    Flag(("-d", "--istio-local-exclude-ports"), "Ports not to capture, of all.", ("ISTIO_LOCAL_EXCLUDE_PORTS",)),
    Flag(("-i", "--istio-service-cidr"), "Ranges to capture, * for all.", ("ISTIO_SERVICE_CIDR",)),
    Flag(("-x", "--istio-service-exclude-cidr"), "Ranges not to capture.", ("ISTIO_SERVICE_EXCLUDE_CIDR",)),
    Flag(("-q", "--istio-outbound-ports"), "Ports to capture anywhere.", ("ISTIO_OUTBOUND_PORTS",)),
    Flag(
        ("-o", "--istio-local-outbound-ports-exclude"),
        "Ports not to capture anywhere.",
        ("ISTIO_LOCAL_OUTBOUND_PORTS_EXCLUDE",),
    ),
    Flag(("-k", "--kube-virt-interfaces"), "Interfaces of virtual machines.", ("KUBE_VIRT_INTERFACES",)),
    Flag(("-c", "--istio-exclude-interfaces"), "Interfaces to leave alone.", ("ISTIO_EXCLUDE_INTERFACES",)),
    Flag(("-n", "--dry-run"), "Print the rules, change nothing.", ("DRY_RUN",), boolean=True),
    Flag(("--redirect-dns",), "Capture questions for names.", ("REDIRECT_DNS", "ISTIO_META_DNS_CAPTURE"), boolean=True),
    Flag(("--capture-all-dns",), "Capture them whoever is asked.", ("CAPTURE_ALL_DNS",), boolean=True),
    Flag(("--drop-invalid",), "Drop packets of no connection.", ("DROP_INVALID", "INVALID_DROP"), boolean=True),
    Flag(("--dual-stack",), "Both IP families.", ("DUAL_STACK", "ISTIO_DUAL_STACK"), boolean=True),
    Flag(("--skip-rule-apply",), "Make no rules.", ("SKIP_RULE_APPLY",), boolean=True),
    Flag(("--cleanup-only",), "Take the rules away.", ("CLEANUP_ONLY",), boolean=True),
    Flag(("--force-apply",), "Add the rules although they are there.", ("FORCE_APPLY",), boolean=True),
    Flag(("--reconcile",), "Replace rules that are others.", ("RECONCILE",), boolean=True),
    Flag(("--iptables-probe-port",), "Port that a check connects to.", ("IPTABLES_PROBE_PORT",), "15002"),
    Flag(("--probe-timeout",), "How long a check may take.", ("PROBE_TIMEOUT",), "5s"),
    Flag(("--force-iptables-binary",), "legacy or nft, else what is there.", ("FORCE_IPTABLES_BINARY",)),
    Flag(("--network-namespace",), "Network namespace of the pod.", ("NETWORK_NAMESPACE",)),
    Flag(("--cni-mode",), "Called by the CNI plugin.", ("CNI_MODE",), boolean=True),
    Flag(("--run-validation",), "Check that traffic arrives.", ("RUN_VALIDATION",), boolean=True),
    Flag(("--native-nftables",), "Rules of nftables.", ("NATIVE_NFTABLES",), boolean=True),
    Flag(("--log_output_level",), "As the agent has it; there is nothing to log.", default="default:info"),
    Flag(("--log_as_json",), "As the agent has it; there is nothing to log.", boolean=True),
)


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for: ``options`` of the rules, and what becomes of them; ``nftables`` takes no iptables at all.

    ``namespace`` is the file of a network namespace, where it is not this one's; ``validation`` is what to check.
    """

    options: Options
    dry_run: bool = False
    apply: bool = True
    cleanup: bool = False
    force: bool = False
    binary: str = ""
    nftables: bool = False
    namespace: Path | None = None
    validation: Validation | None = None


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise OptionError(message)


def parsed(arguments: Sequence[str], environment: Mapping[str, str]) -> Request:
    """Read the command line, and the environment for what that does not say.

    Raises:
        OptionError: an option is unknown or makes no sense.
    """
    stated = _stated(arguments)
    values = {flag.key: _value(flag, stated, environment) for flag in FLAGS}
    _check(values)
    options = _options(values, environment)
    options.check()
    return Request(
        options=options,
        dry_run=values["dry-run"],
        apply=not values["skip-rule-apply"],
        cleanup=values["cleanup-only"],
        force=values["force-apply"],
        binary=values["force-iptables-binary"],
        nftables=values["native-nftables"],
        namespace=Path(values["network-namespace"]) if values["network-namespace"] else None,
        validation=_validation(values) if values["run-validation"] else None,
    )


def _stated(arguments: Sequence[str]) -> Mapping[str, str]:
    parser = _Parser(add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    booleans = {name for flag in FLAGS if flag.boolean for name in flag.names}
    for flag in FLAGS:
        parser.add_argument(*flag.names, dest=flag.key)
    words = [f"{word}=true" if word in booleans else word for word in arguments]  # a truth value is no word of its own
    return vars(parser.parse_args(words))


def _value(flag: Flag, stated: Mapping[str, str], environment: Mapping[str, str]) -> Any:  # noqa: ANN401 - text or truth
    named, text = f"--{flag.key}", stated.get(flag.key)
    if text is None:
        found = [(name, environment[name]) for name in flag.variables if environment.get(name)]
        named, text = found[-1] if found else (named, flag.default)
    if not flag.boolean:
        return text
    if text in _TRUE:
        return True
    if text in _FALSE or not text:
        return False
    raise OptionError(f"{named}: {shown(text)} is neither true nor false")


def _check(values: Mapping[str, Any]) -> None:
    binary, port, timeout = values["force-iptables-binary"], values["iptables-probe-port"], values["probe-timeout"]
    if binary and binary not in BINARIES:
        raise OptionError(f"FORCE_IPTABLES_BINARY: {shown(binary)} is not one of {', '.join(BINARIES)}")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):  # noqa: PLR2004 - the last port
        raise OptionError(f"--iptables-probe-port: {shown(port)} is no port")
    _duration("--probe-timeout", timeout)


def _duration(named: str, text: str) -> timedelta:
    try:
        return duration(text, named)
    except StartError as error:
        raise OptionError(str(error)) from error


def _validation(values: Mapping[str, Any]) -> Validation:
    ports = (int(values["envoy-port"]), int(values["inbound-capture-port"]))
    seconds = _duration("--probe-timeout", values["probe-timeout"]).total_seconds()
    return Validation(ports, int(values["iptables-probe-port"]), seconds)


def _options(values: Mapping[str, Any], environment: Mapping[str, str]) -> Options:
    users = _list(values["proxy-uid"]) or (_proxy_user(environment),)
    return Options(
        proxy_port=values["envoy-port"],
        inbound_port=values["inbound-capture-port"],
        tunnel_port=values["inbound-tunnel-port"],
        users=users,
        groups=_list(values["proxy-gid"]) or users,
        tproxy=values["istio-inbound-interception-mode"] == "TPROXY",
        tproxy_mark=values["istio-inbound-tproxy-mark"],
        tproxy_table=values["istio-inbound-tproxy-route-table"],
        inbound_ports=_list(values["istio-inbound-ports"]),
        inbound_excluded=_list(values["istio-local-exclude-ports"]),
        outbound_ranges=_list(values["istio-service-cidr"]),
        outbound_excluded_ranges=_list(values["istio-service-exclude-cidr"]),
        outbound_ports=_list(values["istio-outbound-ports"]),
        outbound_excluded_ports=_list(values["istio-local-outbound-ports-exclude"]),
        virtual_interfaces=_list(values["kube-virt-interfaces"]),
        excluded_interfaces=_list(values["istio-exclude-interfaces"]),
        owner_groups=_list(environment.get("ISTIO_OUTBOUND_OWNER_GROUPS") or "*"),
        excluded_owner_groups=_list(environment.get("ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE", "")),
        loopback=environment.get("ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR") or LOOPBACK,
        dns=values["redirect-dns"],
        all_dns=values["capture-all-dns"],
        drop_invalid=values["drop-invalid"],
        dual_stack=values["dual-stack"],
    )


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _proxy_user(environment: Mapping[str, str]) -> str:
    try:
        return str(pwd.getpwnam(environment.get("ENVOY_USER") or PROXY_USER).pw_uid)
    except KeyError:
        return DEFAULT_ID
