"""Checks that several kinds share. Each notes what it finds in the report, at the path it is given."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

import re2

from controlplane.apis.common import MAX_PORT, StringMatch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from controlplane.apis.common import PolicyTargetReference, WorkloadSelector
    from controlplane.apis.validation.report import Report

MAX_LABEL = 63
MAX_HOST = 255
MAX_REGEX = 1024
MESH_GATEWAY = "mesh"

_DNS_LABEL = re.compile(r"[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?")
_WILDCARD_LABEL = re.compile(r"\*|\*?[-a-zA-Z0-9]*[a-zA-Z0-9]")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LABEL_NAME = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
_VARIABLE = re.compile(r"%%|%[A-Z0-9_]+(?:\([^)]*\)(?::[0-9]+)?)?%")
_PSEUDO_HEADERS = {":method", ":scheme", ":authority", ":path", ":status"}
_CLAIMS = "@request.auth.claims"
_TARGET_KINDS = {
    ("", "Service"),
    ("core", "Service"),
    ("networking.istio.io", "ServiceEntry"),
    ("gateway.networking.k8s.io", "Gateway"),
    ("gateway.networking.k8s.io", "GatewayClass"),
}
_RE2 = re2.Options()
_RE2.log_errors = False


def is_dns_label(text: str) -> bool:
    """Whether this is one part of a DNS name; upper case is allowed."""
    return len(text) <= MAX_LABEL and _DNS_LABEL.fullmatch(text) is not None


def is_fqdn(text: str) -> bool:
    """Whether this is a DNS name: parts of labels, the last one not a number; a trailing dot is allowed."""
    parts = text.removesuffix(".").split(".")
    return 0 < len(text) <= MAX_HOST and all(map(is_dns_label, parts)) and not parts[-1].isdigit()


def is_wildcard_domain(text: str) -> bool:
    """As ``is_fqdn``, but the first part may be ``*`` or start with it."""
    if text == "*":
        return True
    first, _, rest = text.partition(".")
    if len(first) > MAX_LABEL or _WILDCARD_LABEL.fullmatch(first) is None:
        return False
    return is_fqdn(rest) if first.startswith("*") and rest else is_fqdn(text.replace("*", "", 1)) or first == "*"


def is_ip(text: str) -> bool:
    """Whether this is an IP address."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def is_subnet(text: str) -> bool:
    """Whether this is an IP address or a block of them (``10.0.0.0/8``; host bits are allowed)."""
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return "/" not in text or text.partition("/")[2].isdigit()


def is_partial_wildcard(host: str) -> bool:
    """Whether a ``*`` stands elsewhere than as the whole first part."""
    return "*" in host and host != "*" and (not host.startswith("*.") or "*" in host[1:])


def hosts_overlap(one: str, other: str) -> bool:
    """Whether some name is matched by both, exactly or by wildcard."""
    if one == other:
        return True
    if one.startswith("*") and other.startswith("*"):
        return one[1:].endswith(other[1:]) or other[1:].endswith(one[1:])
    if one.startswith("*"):
        return other.endswith(one[1:]) and len(other) > len(one) - 1
    return other.startswith("*") and one.endswith(other[1:]) and len(one) > len(other) - 1


def covers(wide: str, narrow: str) -> bool:
    """Whether every name that ``narrow`` matches is matched by ``wide``."""
    if wide.startswith("*"):
        return narrow.removeprefix("*").endswith(wide[1:])
    return wide == narrow


@lru_cache(maxsize=4096)
def regex_problem(pattern: str) -> str:
    """Why this is not a usable RE2 expression, or an empty text."""
    if not pattern:
        return "must not be empty"
    if len(pattern) > MAX_REGEX:
        return f"must be at most {MAX_REGEX} characters"
    try:
        re2.compile(pattern, options=_RE2)
    except re2.error as error:
        text = error.args[0] if error.args else error
        return f"is not an RE2 expression: {text.decode() if isinstance(text, bytes) else text}"
    return ""


def check_regex(report: Report, path: str, pattern: str) -> None:
    """An RE2 expression of at most 1,024 characters."""
    if problem := regex_problem(pattern):
        report.error(path, problem)


def check_string_match(report: Report, path: str, match: StringMatch, *, empty_prefix: bool = False) -> None:
    """A prefix is not empty (unless allowed), and a regex compiles."""
    if match.prefix == "" and not empty_prefix:
        report.error(f"{path}.prefix", "must not be empty")
    if match.regex is not None:
        check_regex(report, f"{path}.regex", match.regex)


def check_port(report: Report, path: str, number: int) -> None:
    """1 to 65535."""
    if not 1 <= number <= MAX_PORT:
        report.error(path, f"port {number} must be in the range 1-65535")


def check_subnets(report: Report, path: str, subnets: Iterable[str]) -> None:
    """IP addresses or blocks."""
    for index, subnet in enumerate(subnets):
        if not is_subnet(subnet):
            report.error(f"{path}[{index}]", f"{subnet!r} is not an IP address or CIDR block")


def check_labels(report: Report, path: str, labels: Mapping[str, str]) -> None:
    """Kubernetes' syntax of labels."""
    for key, value in labels.items():
        prefix, slash, name = key.rpartition("/")
        good_name = len(name) <= MAX_LABEL and _LABEL_NAME.fullmatch(name) is not None
        if not good_name or (slash and not is_fqdn(prefix)):
            report.error(path, f"{key!r} is not a label name")
        if len(value) > MAX_LABEL or _LABEL_VALUE.fullmatch(value) is None:
            report.error(f"{path}.{key}", f"{value!r} is not a label value")


def check_selector(report: Report, path: str, selector: WorkloadSelector | None) -> None:
    """A selector that selects by nothing is doubtful."""
    if selector is not None and not selector.match_labels:
        report.warn(path, "has no labels and selects every workload of the namespace")


def check_targets(
    report: Report, single: PolicyTargetReference | None, several: Sequence[PolicyTargetReference]
) -> None:
    """The kinds a policy can be attached to."""
    named = [] if single is None else [("spec.targetRef", single)]
    named += [(f"spec.targetRefs[{index}]", each) for index, each in enumerate(several)]
    for path, target in named:
        if (target.group, target.kind) not in _TARGET_KINDS:
            report.error(path, f"cannot be attached to {target.group}/{target.kind}")


def check_header_match_name(report: Report, path: str, name: str) -> None:
    """A header to compare: a token, a pseudo header, or a claim of a token."""
    if not name:
        report.error(path, "header name must not be empty")
    elif name not in _PSEUDO_HEADERS and not is_claim(name) and _HEADER.fullmatch(name) is None:
        report.error(path, f"{name!r} is not a header name")


def is_claim(name: str) -> bool:
    """Whether this stands for a claim of the request's token (``@request.auth.claims.group``)."""
    return name.startswith(_CLAIMS)


def check_header_name(report: Report, path: str, name: str, *, authority: bool) -> None:
    """A header to change; with ``authority`` the host too may be set."""
    if not name:
        report.error(path, "header name must not be empty")
        return
    if name.lower() in {":authority", "host"}:
        if not authority:
            report.error(path, f"{name!r} cannot be changed here")
    elif name.startswith(":"):
        report.error(path, f"{name!r}: pseudo headers cannot be changed")
    elif _HEADER.fullmatch(name) is None:
        report.error(path, f"{name!r} is not a header name")


def check_header_value(report: Report, path: str, value: str) -> None:
    """No control characters but tabs; a percent sign is doubled or starts a closed ``%VARIABLE%``."""
    if any((ord(char) < ord(" ") and char != "\t") or ord(char) == 127 for char in value):  # noqa: PLR2004 - DEL
        report.error(path, "must not have control characters")
    if "%" in _VARIABLE.sub("", value):
        report.error(path, f"{value!r} has an unclosed %; a plain one is written %%")


def check_export_to(report: Report, export_to: Sequence[str], namespace: str, *, may_be_nobody: bool = False) -> None:
    """Namespaces, each once; ``*`` and (where allowed) ``~`` alone."""
    path = "spec.exportTo"
    seen: set[str] = set()
    for index, target in enumerate(export_to):
        where = f"{path}[{index}]"
        meant = namespace if target == "." else target
        if meant in seen:
            report.error(where, f"{target!r} is a duplicate")
        seen.add(meant)
        if target == "~" and not may_be_nobody:
            report.error(where, "'~' is not allowed here")
        elif target not in {"*", ".", "~"} and not is_dns_label(target):
            report.error(where, f"{target!r} is not a namespace")
    for alone in ("*", "~"):
        if alone in seen and len(seen) > 1:
            report.error(path, f"{alone!r} must stand alone")


def check_gateway_names(report: Report, path: str, names: Sequence[str]) -> None:
    """``namespace/name``, or the old forms, which end the check as they do in Istio."""
    for index, name in enumerate(names):
        where = f"{path}[{index}]"
        namespace, slash, rest = name.partition("/")
        if not slash:
            if not is_fqdn(name):
                report.error(where, f"{name!r} is not a gateway name")
            elif "." in name:
                report.warn(where, f"{name!r}: write namespace/name")
            return
        if not is_dns_label(namespace) or not is_dns_label(rest):
            report.error(where, f"{name!r}: both parts of namespace/name must be DNS labels")
