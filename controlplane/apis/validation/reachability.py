"""Warnings about HTTP, TCP and TLS rules of a VirtualService that no request can reach.

Source: Istio's messages IST0130 (rule not used) and IST0131 (match not used).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from controlplane.apis.common import ApiModel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from controlplane.apis.validation.report import Report
    from controlplane.apis.virtual_service import HTTPMatchRequest, VirtualService


UNREACHABLE_RULE = "IST0130"
INEFFECTIVE_MATCH = "IST0131"


def check_reachability(report: Report, spec: VirtualService) -> None:
    """Warn about rules after one that takes everything, and about matches an earlier rule has taken."""
    for name, rules in (("http", spec.http), ("tls", spec.tls), ("tcp", spec.tcp)):
        _check_rules(report, f"spec.{name}", rules)
    _check_covered_prefixes(report, spec)


def _check_rules(report: Report, path: str, rules: Sequence[Any]) -> None:
    catch_all: int | None = None
    seen: set[Hashable] = set()
    for index, each in enumerate(rules):
        if catch_all is not None:
            what = "only the last rule can have no matches" if not each.match else "is never reached"
            report.warn(f"{path}[{index}]", f"{what}: rule {catch_all} takes everything", UNREACHABLE_RULE)
        if not each.match:
            catch_all = index if catch_all is None else catch_all
            continue
        keys = [_key(match) for match in each.match]
        repeated = [position for position, key in enumerate(keys) if key in seen]
        if len(repeated) == len(keys):
            reason = "is never reached: all its matches duplicate those of earlier rules"
            report.warn(f"{path}[{index}]", reason, UNREACHABLE_RULE)
        for position in repeated:
            reason = "duplicates a match of an earlier rule"
            report.warn(f"{path}[{index}].match[{position}]", reason, INEFFECTIVE_MATCH)
        seen.update(keys)


def _key(value: object) -> Hashable:
    """What two equal values have in common, and others not."""
    if isinstance(value, ApiModel):
        return tuple(_key(getattr(value, name)) for name in type(value).model_fields)
    if isinstance(value, dict):
        return frozenset((name, _key(each)) for name, each in value.items())
    if isinstance(value, tuple):
        return tuple(map(_key, value))
    return value  # a scalar


class _Taken(NamedTuple):
    """A match by path: ``order`` counts all of them, ``route`` the rules."""

    path: str
    order: int
    route: int
    where: str
    key: Hashable
    is_prefix: bool


def _check_covered_prefixes(report: Report, spec: VirtualService) -> None:
    groups: defaultdict[Hashable, list[_Taken]] = defaultdict(list)
    asked: list[tuple[_Taken, Hashable, int]] = []
    for index, route in enumerate(spec.http):
        for position, match in enumerate(route.match):
            text = None if match.uri is None else match.uri.prefix if match.uri.prefix is not None else match.uri.exact
            if match.uri is None or text is None:
                continue
            where = f"spec.http[{index}].match[{position}]"
            taken = _Taken(text, len(asked), index, where, _key(match), match.uri.prefix is not None)
            alike = _conditions(match)
            groups[alike, match.port].append(taken)
            asked.append((taken, alike, match.port))
    for taken, alike, port in asked:
        if port and (alike, 0) in groups:
            groups[alike, 0].append(taken._replace(is_prefix=False))  # whether one of any port takes it
    covering: dict[int, _Taken] = {}
    for group in groups.values():
        _find_covering(group, covering)
    for taken, _, _ in asked:
        if (wide := covering.get(taken.order)) is not None:
            report.warn(taken.where, f"is never reached: the prefix of {wide.where} covers it", INEFFECTIVE_MATCH)


def _find_covering(group: list[_Taken], covering: dict[int, _Taken]) -> None:
    """Note the first match by prefix of an earlier rule that takes what a match would."""
    around: list[tuple[str, tuple[_Taken, ...]]] = []  # prefixes of what comes next, each with the first two up to it
    for path, same in groupby(sorted(group), key=lambda each: each.path):
        while around and not path.startswith(around[-1][0]):
            around.pop()
        here = list(same)
        first = _first_two((*(around[-1][1] if around else ()), *(each for each in here if each.is_prefix)))
        if any(each.is_prefix for each in here):
            around.append((path, first))
        for each in here:
            wide = next((other for other in first if other.key != each.key), None)
            if wide is not None and wide.route < each.route:
                known = covering.get(each.order)
                covering[each.order] = wide if known is None or wide.order < known.order else known


def _first_two(found: tuple[_Taken, ...]) -> tuple[_Taken, ...]:
    """The first in order, and the first that is another match."""
    first = min(found, key=lambda each: each.order, default=None)
    if first is None:
        return ()
    other = min((each for each in found if each.key != first.key), key=lambda each: each.order, default=None)
    return (first,) if other is None else (first, other)


def _conditions(match: HTTPMatchRequest) -> Hashable:
    """All but path and port: only matches that are alike in it are compared."""
    method = (match.method.exact, match.method.prefix, match.method.regex) if match.method else ("GET", None, None)
    others = (
        match.scheme,
        match.authority,
        match.headers,
        match.query_params,
        match.without_headers,
        match.source_labels,
        match.source_namespace,
        match.gateways,
        match.ignore_uri_case,
    )
    return method, tuple(map(_key, others))
