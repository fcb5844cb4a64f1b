"""Checks that several kinds share. Each notes what it finds in the report, at the path it is given."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING

from controlplane.apis.claims import claim_path
from controlplane.apis.common import MAX_PORT, StringMatch
from controlplane.apis.validation.formats import header_format_problem
from controlplane.apis.validation.regex import check_regex

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from controlplane.apis.common import PolicyTargetReference, WorkloadSelector
    from controlplane.apis.validation.report import Report

MAX_LABEL = 63
MAX_HOST = 255
MESH_GATEWAY = "mesh"
MAX_HEADER_BYTES = 16384
NO_PARTIAL_NAME = "a server name is matched as a whole or by its first parts (*.example.com)"

_ALNUM = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_IN_DNS_LABEL = _ALNUM | {"-"}
_IN_LABEL = _ALNUM | frozenset("-_.")
_IN_HEADER = _ALNUM | frozenset("!#$%&'*+.^_`|~-")
_PSEUDO_HEADERS = {":method", ":scheme", ":authority", ":path", ":status"}
_TARGET_KINDS = {
    ("", "Service"),
    ("core", "Service"),
    ("networking.istio.io", "ServiceEntry"),
    ("gateway.networking.k8s.io", "Gateway"),
    ("gateway.networking.k8s.io", "GatewayClass"),
}


def is_dns_label(text: str) -> bool:
    """Whether this is one part of a DNS name; upper case is allowed."""
    return len(text) <= MAX_LABEL and _is_word(text, _IN_DNS_LABEL)


def _is_word(text: str, within: frozenset[str]) -> bool:
    """Whether a text is made of these, and begins and ends with a letter or digit."""
    return bool(text) and text[0] in _ALNUM and text[-1] in _ALNUM and within.issuperset(text)


def is_fqdn(text: str) -> bool:
    """Whether this is a DNS name: parts of labels, the last one not a number; a trailing dot is allowed."""
    parts = text.removesuffix(".").split(".")
    return 0 < len(text) <= MAX_HOST and all(map(is_dns_label, parts)) and not parts[-1].isdigit()


def is_wildcard_domain(text: str) -> bool:
    """As ``is_fqdn``, but the first part may be ``*`` or start with it; a name of one part may be a number."""
    first, dot, rest = text.partition(".")
    label = first.removeprefix("*")
    if not 0 < len(text) <= MAX_HOST or len(first) > MAX_LABEL:
        return False
    if not (first == "*" or is_dns_label(label) or (label != first and is_dns_label(label.removeprefix("-")))):
        return False
    return not dot or not rest or is_fqdn(rest)


def is_subnet(text: str) -> bool:
    """Whether this is an IP address or a block of them (``10.0.0.0/8``; host bits are allowed).

    Istio takes an address of one interface (``fe80::1%eth0``); Envoy refuses what has it.
    """
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    if "%" in text:
        return False
    _, slash, length = text.partition("/")
    return not slash or (length.isascii() and length.isdigit() and str(int(length)) == length)


def is_partial_wildcard(host: str) -> bool:
    """Whether a ``*`` stands elsewhere than as the whole first part."""
    return "*" in host and host != "*" and (not host.startswith("*.") or "*" in host[1:])


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
        good_name = len(name) <= MAX_LABEL and _is_word(name, _IN_LABEL)
        if not good_name or (slash and not is_fqdn(prefix)):
            report.error(path, f"{key!r} is not a label name")
        if len(value) > MAX_LABEL or (value and not _is_word(value, _IN_LABEL)):
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
    elif name not in _PSEUDO_HEADERS and not claim_path(name) and not _IN_HEADER.issuperset(name):
        report.error(path, f"{name!r} is not a header name")


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
    elif not _IN_HEADER.issuperset(name):
        report.error(path, f"{name!r} is not a header name")


def check_header_value(report: Report, path: str, value: str) -> None:
    """No control characters but tabs; a percent sign is doubled or starts a command that Envoy knows."""
    if any((ord(char) < ord(" ") and char != "\t") or ord(char) == 127 for char in value):  # noqa: PLR2004 - DEL
        report.error(path, "must not have control characters")
    report.spend()
    if problem := header_format_problem(value):
        report.error(path, problem)
    check_size(report, path, value)


def check_size(report: Report, path: str, value: str) -> None:
    """What Envoy holds of one header."""
    if len(value.encode()) > MAX_HEADER_BYTES:
        report.error(path, f"must be at most {MAX_HEADER_BYTES} bytes")


def check_line(report: Report, path: str, text: str) -> None:
    """A text that becomes part of a request or of a header: in one line."""
    if any(char in text for char in "\0\n\r"):
        report.error(path, "must not have line breaks or NUL characters")


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
