"""What one object makes, for whom, and what of it is without effect: found out by taking it away.

A question has ``explain``: ``KIND/NAMESPACE/NAME``; and ``patches`` as in ``question``. The answer:

| name | value |
|---|---|
| ``object``, ``source``, ``revision``, ``proxyCount`` | which, from where, of which state, among how many |
| ``effect``, ``classes`` | as in ``words``: what is there because of it (``added``), or is another without it |
| ``rules`` | of a VirtualService: each HTTP rule, and whether a proxy has a route of it |
| ``problems``, ``overrides`` | findings about it; fields of others that it is used in place of |
| ``reasons`` | why it makes nothing, where ``problems`` do not say it: sentences |
| ``untranslated`` | fields that are read and have no effect |
| ``refused`` | why its newest version is refused: then it is the last good one that is in force, or none |
| ``delivery`` | of the proxies concerned, ``states`` by discovery service, and ``refusals`` in Envoy's words |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from controlplane.analysis.of_registry import is_serious
from controlplane.analysis.untranslated import untranslated
from controlplane.compiler.compiler import Compiler
from controlplane.compiler.provenance import rules_in_use
from controlplane.model import kinds
from controlplane.model.objects import ChangeSet, Object, Rejected
from controlplane.model.proxy import Proxy
from controlplane.plan.patches import Patches
from controlplane.plan.planning import Group, Planning
from controlplane.plan.pushed import ResourceChange
from controlplane.plan.question import near, object_key
from controlplane.plan.reasons import reasons
from controlplane.plan.words import class_words, effect_words, finding_words, left_out_words
from controlplane.registry.store import Registry
from controlplane.simulate.questions import WrongQuestionError
from controlplane.snapshots import SHORT, ResourceType

_MOST_REFUSALS = 20

Json = dict[str, Any]


class Delivered(NamedTuple):
    """How one type stands at one proxy: a word of CSDS, and Envoy's message where it refuses."""

    state: str
    refusal: str = ""


Delivery = Callable[[str], Mapping[ResourceType, Delivered]]
"""How all types stand at a proxy, by its id."""


async def object_answer(
    compiler: Compiler,
    proxies: Mapping[str, Proxy],
    question: Mapping[str, Any],
    rejected: Iterable[Rejected] = (),
    delivery: Delivery | None = None,
) -> Json:
    """Return the answer as JSON. The compiler is used up by it. With ``delivery`` the proxies are really there.

    Raises:
        WrongQuestionError: there is no such object.
    """
    registry = compiler.registry
    key = object_key(str(question.get("explain", "")))
    refused = [problem for each in rejected if each.key == key for problem in each.problems]
    obj = registry.objects.get(key)
    if obj is None and not refused:
        raise WrongQuestionError(f"there is no {key}{near(key, registry.keys(key.kind))}")
    planning = Planning(compiler, proxies, connected=delivery is not None)
    await planning.open()
    known = [each for each in planning.findings() if is_serious(each)]
    words: Json = {
        "object": key.words(),
        "source": obj.meta.source if obj is not None else "",
        "revision": registry.revision,
        "proxyCount": len(proxies),
        "rules": _rules(registry, obj) if obj is not None else [],
        "problems": [finding_words(each) for each in known if each.key == key],
        "overrides": [finding_words(each) for each in known if each.winner == key],
        "untranslated": list(untranslated(obj)) if obj is not None else [],
        "refused": refused,
    }
    plan = await planning.planned(ChangeSet((), (key,)))
    groups = [_turned(group) for group in plan.groups]
    patches = Patches() if question.get("patches") else None
    words["problems"] += [left_out_words(each, key) for each in plan.taken_in if key in each.objects]
    found = bool(groups or words["problems"] or words["untranslated"])
    words["reasons"] = [] if found or obj is None else await reasons(planning, registry, obj)
    words["effect"] = effect_words(plan, groups)
    words["classes"] = [class_words(group, patches) for group in groups]
    words["delivery"] = _delivery(groups, delivery) if delivery is not None else None
    return words


def _turned(group: Group) -> Group:
    """Return what a proxy has because of the object: what it would lose without it, the other way round."""
    return Group(group.proxies, tuple(ResourceChange(each.after, each.before) for each in group.changes))


def _rules(registry: Registry, obj: Object) -> list[Json]:
    if obj.kind != kinds.VIRTUAL_SERVICE:
        return []
    used = rules_in_use(registry, obj.key)
    return [
        {"path": f"spec.http[{place}]", "name": rule.name, "inUse": place in used}
        for place, rule in enumerate(obj.spec.http)
    ]


def _delivery(groups: Sequence[Group], delivery: Delivery) -> Json:
    states: dict[str, Counter[str]] = {}
    refusals: list[Json] = []
    for group in groups:
        types = {each.resource.type for each in group.changes}
        for id_ in group.proxies:
            stands = delivery(id_)
            for type_ in (type_ for type_ in ResourceType if type_ in types and type_ in stands):
                states.setdefault(SHORT[type_], Counter())[stands[type_].state] += 1
                if stands[type_].refusal:
                    refusals.append({"proxy": id_, "type": SHORT[type_], "reason": stands[type_].refusal})
    ordered = {service: dict(sorted(states[service].items())) for service in SHORT.values() if service in states}
    return {"states": ordered, "refusals": refusals[:_MOST_REFUSALS], "refusalCount": len(refusals)}
