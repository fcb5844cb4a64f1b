"""A plan as JSON.

| name | value |
|---|---|
| ``revision``, ``proxyCount`` | of the registry before, and how many proxies were compared |
| ``objects`` | of each: ``change`` (``added``, ``changed``, ``removed``), its name, ``source``, ``patch``, ``effect`` |
| ``effect`` | of one object: ``proxyCount``, ``sidecars``, ``gateways``, ``resources``; ``null``: not looked at |
| ``classes`` | a list: ``proxies`` (a hundred at most), ``proxyCount`` and ``resources``, each with ``versions`` and \
``sizeBytes``, and ``patch`` where that is asked for |
| ``totals`` | ``proxies``, ``resources`` and ``bytes`` by discovery service, ``drained`` |
| ``problems`` | a list: ``level``, ``code``, the object, ``path``, ``reason``, ``winner``, and perhaps how many \
``proxies`` have it; ``solved`` likewise |
| ``requests`` | one for each that was asked: ``null`` where its answer is the same, else ``before`` and ``after``; \
also where it cannot be asked |
| ``errors``, ``warnings`` | how many of the problems, and refused objects, there are |
| ``refused``, ``unused`` | objects that cannot be used, with every reason; kinds that nothing here reads |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from controlplane.analysis import codes
from controlplane.analysis.findings import Finding
from controlplane.apis.problems import UNKNOWN
from controlplane.model.left_out import LeftOut
from controlplane.model.objects import ObjectKey, Rejected
from controlplane.plan.answers import differ
from controlplane.plan.drains import Drains
from controlplane.plan.patches import Patches
from controlplane.plan.planning import Broken, Effect, Group, Plan
from controlplane.plan.pushed import ResourceChange
from controlplane.plan.question import Doubt
from controlplane.plan.written import Change
from controlplane.snapshots import SHORT

_MOST_NAMED = 100
_MOST_USERS = 3
_LEVELS = {code.id: code.level for code in vars(codes).values() if isinstance(code, codes.Code)}

Json = dict[str, Any]


def plan_words(plan: Plan, patches: Patches | None, doubts: Sequence[Doubt] = ()) -> Json:
    """Return what JSON says of a plan; with ``patches`` the difference of each resource too."""
    left_out = (left_out_words(each) for each in plan.left_out)
    begun = (finding_words(each) for each in plan.begun)
    problems = [*_doubtful(plan, doubts), *_broken(plan), *_unbuilt(plan), *left_out, *begun]
    return {
        "revision": plan.revision,
        "proxyCount": len(plan.proxies),
        "objects": [_object(plan, effect) for effect in plan.effects],
        "classes": [class_words(group, patches) for group in plan.groups],
        "totals": _totals(plan.groups),
        "problems": problems,
        "solved": [finding_words(each) for each in plan.ended],
        "refused": [_refused(each) for each in plan.refused],
        "errors": sum(each["level"] == codes.Level.ERROR for each in problems) + len(plan.refused),
        "warnings": sum(each["level"] != codes.Level.ERROR for each in problems),
    }


def request_words(before: Sequence[Json], after: Sequence[Json]) -> list[Json | None]:
    """Return what JSON says of requests that were asked before and after."""
    pairs = zip(before, after, strict=True)
    return [{"before": old, "after": new} if "error" in new or differ(old, new) else None for old, new in pairs]


def _object(plan: Plan, effect: Effect) -> Json:
    change = effect.change
    return {
        "change": str(change.change),
        **change.key.words(),
        "source": change.after.meta.source if change.after is not None else "",
        "patch": [edit.words() for edit in change.edits()],
        "effect": effect_words(plan, effect.groups) if effect.groups is not None else None,
    }


def effect_words(plan: Plan, groups: Sequence[Group]) -> Json:
    """Return what JSON says of whom something reaches, and of how many resources."""
    ids = [id_ for group in groups for id_ in group.proxies]
    gateways = sorted(id_ for id_ in ids if plan.proxies[id_].type == "router")
    return {
        "proxyCount": len(ids),
        "sidecars": len(ids) - len(gateways),
        "gateways": gateways[:_MOST_NAMED],
        "resources": _counted(groups),
    }


def _counted(groups: Iterable[Group]) -> dict[str, dict[str, int]]:
    """Count different resources, by discovery service and what becomes of them."""
    distinct = {
        (SHORT[each.resource.type], each.resource.name, str(each.change)) for group in groups for each in group.changes
    }
    counts = Counter((service, change) for service, _, change in distinct)
    found: dict[str, dict[str, int]] = {}
    for service in SHORT.values():
        of = {str(change): counts[service, str(change)] for change in Change if counts[service, str(change)]}
        if of:
            found[service] = of
    return found


def _totals(groups: Sequence[Group]) -> Json:
    sizes: Counter[str] = Counter()
    drained = Drains()
    for group in groups:
        for each in group.changes:
            sizes[SHORT[each.resource.type]] += each.size_bytes * len(group.proxies)
            own = each.drains()
            drained = drained.plus(Drains(*(number * len(group.proxies) for number in own)))
    return {
        "proxies": sum(len(group.proxies) for group in groups),
        "resources": _counted(groups),
        "bytes": {service: sizes[service] for service in SHORT.values() if sizes[service]},
        "drained": {"listeners": drained.listeners, "filterChains": drained.filter_chains},
    }


def class_words(group: Group, patches: Patches | None) -> Json:
    """Return what JSON says of proxies that are sent the same."""
    return {
        "proxies": list(group.proxies[:_MOST_NAMED]),
        "proxyCount": len(group.proxies),
        "resources": [_resource(each, patches) for each in group.changes],
    }


def _resource(change: ResourceChange, patches: Patches | None) -> Json:
    before, after = change.before, change.after
    words: Json = {
        "type": SHORT[change.resource.type],
        "name": change.resource.name,
        "change": str(change.change),
        "versions": [held.version if held is not None else None for held in (before, after)],
        "sizeBytes": change.size_bytes,
    }
    if patches is not None and before is not None and after is not None:
        words |= patches.of(before, after)
    return words


def finding_words(finding: Finding) -> Json:
    """Return what JSON says of a finding."""
    return {
        "level": str(_LEVELS.get(finding.code, codes.Level.WARNING)),
        "code": finding.code,
        "object": finding.key.words(),
        "path": finding.path,
        "reason": finding.reason,
        "winner": finding.winner.words() if finding.winner is not None else None,
    }


def _doubtful(plan: Plan, doubts: Iterable[Doubt]) -> Iterator[Json]:
    """Yield what is unknown in objects that are given, and what else is doubtful in those of them that change."""
    changed = {effect.change.key for effect in plan.effects}
    for each in doubts:
        if each.is_unknown_field or each.key in changed:
            yield {
                "level": str(codes.Level.ERROR if each.is_unknown_field else codes.Level.WARNING),
                "code": "",
                "object": each.key.words(),
                "path": each.path,
                "reason": UNKNOWN if each.is_unknown_field else each.reason,
                "winner": None,
            }


def _broken(plan: Plan) -> Iterator[Json]:
    """Yield a problem for each cluster that is not there, with those who lead to it."""
    by_cluster: dict[str, list[Broken]] = {}
    for each in plan.broken:
        by_cluster.setdefault(each.dangling.cluster, []).append(each)
    for cluster, held in by_cluster.items():
        users = sorted({f"{SHORT[each.dangling.type]} {each.dangling.user}" for each in held})
        named = ", ".join(users[:_MOST_USERS]) + (
            f" and {len(users) - _MOST_USERS} more" if users[_MOST_USERS:] else ""
        )
        proxies = sorted({id_ for each in held for id_ in each.proxies})
        yield {
            "level": str(codes.Level.ERROR),
            "code": codes.NOT_FOUND.id,
            "object": _culprit(plan, held),
            "path": "",
            "reason": f"the cluster {cluster} is not there, and {named} lead{'s' * (len(users) == 1)} to it: 503 NC",
            "proxies": len(proxies),
            "winner": None,
        }


def _culprit(plan: Plan, broken: Sequence[Broken]) -> Json | None:
    """Return the object whose change takes a cluster away, else the last whose change leads to it."""
    users = {(each.dangling.type, each.dangling.user) for each in broken}
    leading: Json | None = None
    for effect in plan.effects:
        for change in (change for group in effect.groups or () for change in group.changes):
            if change.after is None and change.resource.name == broken[0].dangling.cluster:
                return effect.change.key.words()
            if (change.resource.type, change.resource.name) in users:
                leading = effect.change.key.words()
    return leading


def _unbuilt(plan: Plan) -> Iterator[Json]:
    for (type_, name), reason in plan.unbuilt.items():
        yield {
            "level": str(codes.Level.ERROR),
            "code": codes.INTERNAL_ERROR.id,
            "object": None,
            "path": "",
            "reason": f"{SHORT[type_]} {name} cannot be built, and stays as it is: {reason}",
            "winner": None,
        }


def left_out_words(part: LeftOut, of: ObjectKey | None = None) -> Json:
    """Return what JSON says of a part that is left out, and of one of the objects that it is made from."""
    key = of or next(iter(part.objects), None)
    return {
        "level": str(codes.Level.ERROR),
        "code": "",
        "object": key.words() if key is not None else None,
        "path": "",
        "reason": f"{part.element} is left out, {part.verdict}: {part.reason}",
        "winner": None,
    }


def _refused(rejected: Rejected) -> Json:
    key: ObjectKey = rejected.key
    return {**key.words(), "source": rejected.source, "problems": list(rejected.problems)}
