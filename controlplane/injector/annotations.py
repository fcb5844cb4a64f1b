"""What of a pod's annotations injection cannot use: each with the value and the reason.

Not looked at are free texts (levels of logs, images) and words that are compared (``true``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import ip_network

import re2

from controlplane.injector.errors import InjectionError
from controlplane.injector.quantity import is_negative, is_quantity

Reason = Callable[[str], str]
"""Returns why a value is refused, an empty text where it is good."""

INTERCEPTION_MODE = "sidecar.istio.io/interceptionMode"
STATUS_PORT = "status.sidecar.istio.io/port"
_TRAFFIC = "traffic.sidecar.istio.io/"
_READINESS = "readiness.status.sidecar.istio.io/"
_MODES = ("REDIRECT", "TPROXY", "NONE")
_MAX_PORT = 65535
_MAX_INT32 = 2**31 - 1  # of numbers in a pod
_LONGEST_INTERFACE = 15  # what Linux allows
_INTERFACE = re2.compile(r"[a-zA-Z][a-zA-Z0-9_.-]*")
TRUE_WORDS = frozenset({"1", "t", "T", "TRUE", "true", "True"})
FALSE_WORDS = frozenset({"0", "f", "F", "FALSE", "false", "False"})
_SHOWN = 200


def check_annotations(annotations: Mapping[str, str]) -> None:
    """Raise ``InjectionError`` with every annotation that cannot be used."""
    found = []
    for name, reason_of in CHECKS.items():
        value = annotations.get(name)
        if value is not None and (reason := reason_of(value)):
            shown = value if len(value) <= _SHOWN else f"{value[:_SHOWN]}..."
            found.append(f"\t* invalid value '{shown}' for annotation '{name}': {reason}\n")
    if found:
        count = "1 error" if len(found) == 1 else f"{len(found)} errors"
        raise InjectionError(f"{count} occurred:\n{''.join(found)}\n")


def boolean(text: str) -> bool | None:
    """Read the words that Go takes for a boolean, ``None`` for others."""
    if text in TRUE_WORDS:
        return True
    return False if text in FALSE_WORDS else None


def _mode(value: str) -> str:
    return "" if value in _MODES else f"interceptionMode invalid, use {','.join(_MODES)}: {value}"


def _unsigned(value: str) -> str:
    good = value.isascii() and value.isdigit() and len(value) <= len(str(_MAX_INT32)) and int(value) <= _MAX_INT32
    return "" if good else f"is not a whole number from 0 to {_MAX_INT32}"


def _port_problem(port: str) -> str:
    good = port.isascii() and port.isdigit() and len(port) <= len(str(_MAX_PORT)) and int(port) <= _MAX_PORT
    return "" if good else f"failed parsing port '{port[:_SHOWN]}': it is not a number from 0 to {_MAX_PORT}"


def _ports(name: str, *, wildcard: bool = False) -> Reason:
    def reason(value: str) -> str:
        if not value.strip() or (wildcard and value.strip() == "*"):
            return ""
        problems = (_port_problem(port.strip()) for port in value.split(","))
        return next((f"{name} invalid: {problem}" for problem in problems if problem), "")

    return reason


def _port(value: str) -> str:
    problem = _port_problem(value.strip())
    return f"the port of the agent is invalid: {problem}" if problem else ""


def _ranges(name: str, *, wildcard: bool = False) -> Reason:
    def reason(value: str) -> str:
        if not value or (wildcard and value == "*"):
            return ""
        problems = (_range_problem(each) for each in value.split(","))
        return next((f"{name} invalid: {problem}" for problem in problems if problem), "")

    return reason


def _range_problem(value: str) -> str:
    length = value.rpartition("/")[2]
    if "/" not in value:
        reason = "a length of the prefix is missing"
    elif not (length.isascii() and length.isdigit()) or str(int(length[:4])) != length:
        reason = "the length of the prefix is not a number"
    else:
        try:
            ip_network(value, strict=False)
        except ValueError as error:
            reason = str(error)[:_SHOWN]
        else:
            return ""
    return f"failed parsing cidr '{value[:_SHOWN]}': {reason}"


def _interfaces(value: str) -> str:
    if not value:
        return ""
    for name in map(str.strip, value.split(",")):
        if not name:
            return "empty interface name"
        if len(name) > _LONGEST_INTERFACE:
            return f'interface name "{name[:_SHOWN]}" too long (max {_LONGEST_INTERFACE} chars)'
        if _INTERFACE.fullmatch(name) is None:
            return f'interface name "{name}" contains invalid characters'
    return ""


def _bool(value: str) -> str:
    return "" if boolean(value) is not None else "is neither true nor false"


def _quantity(value: str) -> str:
    if any(ord(char) < ord(" ") or ord(char) == 0x7F for char in value):  # noqa: PLR2004 - DEL
        return "value contains control characters"
    if not is_quantity(value):
        return "is not a quantity such as 100m or 128Mi"
    return "must not be negative" if is_negative(value) else ""


def _filled(value: str) -> str:
    return "" if value else "must not be empty"


CHECKS: Mapping[str, Reason] = {
    INTERCEPTION_MODE: _mode,
    STATUS_PORT: _port,
    f"{_READINESS}initialDelaySeconds": _unsigned,
    f"{_READINESS}periodSeconds": _unsigned,
    f"{_READINESS}failureThreshold": _unsigned,
    f"{_TRAFFIC}includeOutboundIPRanges": _ranges("includeIPRanges", wildcard=True),
    f"{_TRAFFIC}excludeOutboundIPRanges": _ranges("excludeIPRanges"),
    f"{_TRAFFIC}includeInboundPorts": _ports("includeInboundPorts", wildcard=True),
    f"{_TRAFFIC}excludeInboundPorts": _ports("excludeInboundPorts"),
    f"{_TRAFFIC}excludeOutboundPorts": _ports("excludeOutboundPorts"),
    f"{_TRAFFIC}excludeInterfaces": _interfaces,
    f"{_TRAFFIC}kubevirtInterfaces": _interfaces,
    "istio.io/reroute-virtual-interfaces": _interfaces,
    "prometheus.istio.io/merge-metrics": _bool,
    "sidecar.istio.io/bootstrapOverride": _filled,
    "sidecar.istio.io/proxyCPU": _quantity,
    "sidecar.istio.io/proxyMemory": _quantity,
    "sidecar.istio.io/proxyCPULimit": _quantity,
    "sidecar.istio.io/proxyMemoryLimit": _quantity,
}
"""The check of each annotation that has one; ``proxy.istio.io/config`` is checked where it is read."""
