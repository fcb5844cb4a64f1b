"""Warnings about HTTP, TCP and TLS rules of a VirtualService that no request can reach.

Source: Istio's messages IST0130 (rule not used) and IST0131 (match not used).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from controlplane.apis.common import StringMatch
    from controlplane.apis.validation.report import Report
    from controlplane.apis.virtual_service import HTTPMatchRequest, VirtualService


def check_reachability(report: Report, spec: VirtualService) -> None:
    """Warn about rules after one that takes everything, and about matches an earlier rule has taken."""
    for name, rules in (("http", spec.http), ("tls", spec.tls), ("tcp", spec.tcp)):
        _check_rules(report, f"spec.{name}", rules)
    _check_covered_prefixes(report, spec)


def _check_rules(report: Report, path: str, rules: Sequence[Any]) -> None:
    catch_all: int | None = None
    seen: list[Any] = []
    for index, each in enumerate(rules):
        if catch_all is not None:
            what = "only the last rule can have no matches" if not each.match else "is never reached"
            report.warn(f"{path}[{index}]", f"{what}: rule {catch_all} takes everything")
        if not each.match:
            catch_all = index if catch_all is None else catch_all
            continue
        repeated = [position for position, match in enumerate(each.match) if match in seen]
        if len(repeated) == len(each.match):
            report.warn(f"{path}[{index}]", "is never reached: all its matches duplicate those of earlier rules")
        else:
            for position in repeated:
                report.warn(f"{path}[{index}].match[{position}]", "duplicates a match of an earlier rule")
        seen.extend(each.match)


def _check_covered_prefixes(report: Report, spec: VirtualService) -> None:
    earlier: list[tuple[str, HTTPMatchRequest]] = []
    for index, route in enumerate(spec.http):
        for position, match in enumerate(route.match):
            path = f"spec.http[{index}].match[{position}]"
            for where, other in earlier:
                if other != match and _covers(other, match):
                    report.warn(path, f"is never reached: the prefix of {where} covers it")
                    break
        earlier += [
            (f"spec.http[{index}].match[{position}]", match)
            for position, match in enumerate(route.match)
            if match.uri is not None and match.uri.prefix is not None
        ]


def _covers(wide: HTTPMatchRequest, narrow: HTTPMatchRequest) -> bool:
    """Whether a match by prefix takes all that the other would; only like conditions are compared."""
    prefix = wide.uri.prefix if wide.uri is not None else None
    path = _path(narrow.uri)
    if prefix is None or path is None or not path.startswith(prefix) or wide.ignore_uri_case != narrow.ignore_uri_case:
        return False
    if wide.port not in {0, narrow.port}:
        return False
    return _conditions(wide) == _conditions(narrow)


def _path(uri: StringMatch | None) -> str | None:
    if uri is None:
        return None
    return uri.prefix if uri.prefix is not None else uri.exact


def _conditions(match: HTTPMatchRequest) -> tuple[object, ...]:
    method = (match.method.exact, match.method.prefix, match.method.regex) if match.method else ("GET", None, None)
    return (
        method,
        match.scheme,
        match.authority,
        match.headers,
        match.query_params,
        match.without_headers,
        match.source_labels,
        match.source_namespace,
        match.gateways,
    )
