"""Rules of AuthorizationPolicy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from controlplane.apis.authorization_policy import Action, AuthorizationPolicy, Condition, Operation, Rule, Source
from controlplane.apis.common import MAX_PORT
from controlplane.apis.validation import primitives
from controlplane.apis.validation.report import Findings, Report, Subject

if TYPE_CHECKING:
    from collections.abc import Sequence

    from controlplane.apis.common import ApiModel

_KEYS = frozenset(
    [
        "source.ip",
        "remote.ip",
        "source.namespace",
        "source.principal",
        "source.serviceAccount",
        "source.trustDomain",
        "request.auth.principal",
        "request.auth.audiences",
        "request.auth.presenter",
        "destination.ip",
        "destination.port",
        "connection.sni",
    ]
)
_MAPS = ("request.headers", "request.auth.claims")
_OF_FILTERS = "experimental.envoy.filters."
_IDENTITY_KEYS = (
    "request.auth.",
    "source.namespace",
    "source.serviceAccount",
    "source.principal",
    "source.trustDomain",
)
_IDENTITY_FIELDS = (
    "namespaces",
    "not_namespaces",
    "service_accounts",
    "not_service_accounts",
    "trust_domains",
    "not_trust_domains",
    "principals",
    "not_principals",
    "request_principals",
    "not_request_principals",
)
_BLOCKS = ("ip_blocks", "not_ip_blocks", "remote_ip_blocks", "not_remote_ip_blocks")
_OF_REQUESTS = ("request_principals", "not_request_principals")
_OF_CONNECTIONS = tuple(name for name in Source.model_fields if name not in _OF_REQUESTS)
_DIGITS = 5
_ANY, _ANY_NUMBER = "{*}", "{**}"
_LITERAL = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~%!$&'()+,;:@=")


def problems(spec: AuthorizationPolicy, _subject: Subject) -> Findings:
    """Check an AuthorizationPolicy."""
    report = Report()
    primitives.check_selector(report, "spec.selector", spec.selector)
    primitives.check_targets(report, spec.target_ref, spec.target_refs)
    if spec.action is Action.CUSTOM:
        if not spec.rules:
            report.error("spec.rules", "is required with CUSTOM")
        if spec.provider is None or not spec.provider.name:
            report.error("spec.provider", "is required with CUSTOM")
    elif spec.provider is not None:
        report.error("spec.provider", "is for CUSTOM only")
    if spec.action is Action.DENY and not spec.rules:
        report.error("spec.rules", "is required with DENY")
    for index, each in enumerate(spec.rules):
        _check_rule(report, f"spec.rules[{index}]", each, spec.action)
    return report.findings


def _check_rule(report: Report, path: str, rule: Rule, action: Action) -> None:
    report.spend()
    for index, origin in enumerate(rule.from_):
        where = f"{path}.from[{index}].source"
        if origin.source is None or _says_nothing(origin.source):
            report.error(where, "must say something")
            continue
        _check_texts(report, where, origin.source)
        _check_source(report, where, origin.source, action)
    for index, target in enumerate(rule.to):
        where = f"{path}.to[{index}].operation"
        if target.operation is None or _says_nothing(target.operation):
            report.error(where, "must say something")
            continue
        _check_texts(report, where, target.operation)
        _check_operation(report, where, target.operation)
    if action is Action.DENY and _means_requests_only(rule):
        report.warn(path, "with DENY, a rule of HTTP attributes alone denies all TCP traffic too")
    for index, condition in enumerate(rule.when):
        _check_condition(report, f"{path}.when[{index}]", condition, action)


def _says_nothing(part: Source | Operation) -> bool:
    """Whether a part is of empty lists alone, which are as good as absent."""
    return not any(getattr(part, name) for name in part.model_fields_set)


def _means_requests_only(rule: Rule) -> bool:
    """Whether a rule has conditions, and none of those that connections without requests can meet."""
    if rule.to:
        return not any(each.operation.ports or each.operation.not_ports for each in rule.to if each.operation)
    sources = [each.source for each in rule.from_ if each.source]
    return bool(sources) and not any(getattr(source, name) for source in sources for name in _OF_CONNECTIONS)


def _check_texts(report: Report, path: str, part: ApiModel) -> None:
    """No entry of a list is empty; an empty list beside others is doubtful, since it says nothing."""
    for name in sorted(part.model_fields_set):
        where = f"{path}.{type(part).model_fields[name].alias}"
        values = getattr(part, name)
        if not values:
            report.warn(where, "is empty and has no effect")
        for index, value in enumerate(values):
            if not value:
                report.error(f"{where}[{index}]", "must not be empty")


def _check_source(report: Report, path: str, source: Source, action: Action) -> None:
    fields = type(source).model_fields
    for name in _BLOCKS:
        primitives.check_subnets(report, f"{path}.{fields[name].alias}", getattr(source, name))
    for name in ("service_accounts", "not_service_accounts"):
        for index, account in enumerate(getattr(source, name)):
            if "*" in account or account.count("/") > 1 or not all(account.split("/")):
                where = f"{path}.{fields[name].alias}[{index}]"
                report.error(where, f"{account!r} must be account or namespace/account, without wildcards")
    for name in ("trust_domains", "not_trust_domains"):
        for index, domain in enumerate(getattr(source, name)):
            if "/" in domain or not _is_simple_wildcard(domain):
                where = f"{path}.{fields[name].alias}[{index}]"
                report.error(where, f"{domain!r} must have no / and at most one leading or trailing *")
    if action is Action.CUSTOM:
        for name in _IDENTITY_FIELDS:
            if getattr(source, name):
                report.error(f"{path}.{fields[name].alias}", "cannot be used with CUSTOM")


def _check_operation(report: Report, path: str, operation: Operation) -> None:
    for name, ports in (("ports", operation.ports), ("notPorts", operation.not_ports)):
        _check_ports(report, f"{path}.{name}", ports)
    for name, paths in (("paths", operation.paths), ("notPaths", operation.not_paths)):
        for index, text in enumerate(paths):
            _check_path_template(report, f"{path}.{name}[{index}]", text)


def _is_simple_wildcard(text: str) -> bool:
    """Whether there is at most one ``*``, at an end."""
    return "*" not in text[1:-1] and text.count("*") <= 1


def _check_ports(report: Report, path: str, ports: Sequence[str]) -> None:
    for index, port in enumerate(ports):
        if not (port.isascii() and port.isdigit()):
            report.error(f"{path}[{index}]", f"{port!r} is not a port number")
        elif len(port) > _DIGITS or int(port) > MAX_PORT:
            report.error(f"{path}[{index}]", f"port {port} must be in the range 0-{MAX_PORT}")


def _check_path_template(report: Report, path: str, text: str) -> None:
    """``{*}`` is one segment and ``{**}`` any number, each alone between slashes; the other segments are literal.

    Istio takes those without a slash at the start and with empty segments at an end too; Envoy crashes of them.
    """
    if "{" not in text and "}" not in text:
        return
    if not text.startswith("/"):
        report.error(path, f"{text!r} must begin with /")
        return
    ended = False
    for segment in text[1:].removesuffix("/").split("/"):
        if segment in {_ANY, _ANY_NUMBER}:
            if ended:
                report.error(path, f"{text!r}: after {_ANY_NUMBER} there may be no {segment}")
                return
            ended = segment == _ANY_NUMBER
        elif not segment or not _LITERAL.issuperset(segment):
            report.error(path, f"{text!r}: {segment!r} must be {_ANY}, {_ANY_NUMBER} or plain text")
            return


def _is_attribute(key: str) -> bool:
    name, bracket, rest = key.partition("[")
    if not bracket:
        return key in _KEYS
    named = name in _MAPS or (name.startswith(_OF_FILTERS) and name != _OF_FILTERS)
    return named and len(rest) > 1 and rest.endswith("]")


def _check_condition(report: Report, path: str, condition: Condition, action: Action) -> None:
    key = condition.key
    if not key:
        report.error(f"{path}.key", "must not be empty")
    elif not _is_attribute(key):
        report.error(f"{path}.key", f"{key!r} is not an attribute")
    if not condition.values and not condition.not_values:
        report.error(path, "values or notValues is required")
    for name, values in (("values", condition.values), ("notValues", condition.not_values)):
        if key in {"source.ip", "remote.ip", "destination.ip"}:
            primitives.check_subnets(report, f"{path}.{name}", values)
        elif key == "destination.port":
            _check_ports(report, f"{path}.{name}", values)
        for index, value in enumerate(values):
            if not value:
                report.error(f"{path}.{name}[{index}]", "must not be empty")
            elif key == "source.trustDomain" and not _is_simple_wildcard(value):
                report.error(f"{path}.{name}[{index}]", f"{value!r} may have one leading or trailing * only")
    if action is Action.CUSTOM and key.startswith(_IDENTITY_KEYS):
        report.error(f"{path}.key", f"{key!r} cannot be used with CUSTOM")
