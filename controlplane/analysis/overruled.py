"""DestinationRules of one host that are merged: what the later ones state and an earlier one has already."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

from controlplane.engine.recording import query
from controlplane.model import kinds
from controlplane.model.objects import ObjectKey
from controlplane.registry.destination_rules import Rule, destination_rules
from controlplane.registry.store import View


class Overruled(NamedTuple):
    """A field at ``path`` that the DestinationRule ``key`` states in vain: ``winner`` is merged before it."""

    key: ObjectKey
    path: str
    winner: ObjectKey


@query
def overruled(view: View, _key: tuple[()]) -> tuple[Overruled, ...]:
    """Return the policies and subsets that DestinationRules state in vain, sorted.

    A rule may be merged with others for clients of its own namespace than for those elsewhere; one is stated in vain
    where it is so for all.
    """
    claims: defaultdict[tuple[ObjectKey, str], list[ObjectKey | None]] = defaultdict(list)
    for namespace in sorted({key.namespace for key in view.keys(kinds.DESTINATION_RULE)}):
        rules = destination_rules(view, namespace)
        every = [rule for level in (rules.local, rules.exported, rules.private) for rule in chain(*level.values())]
        merged = {source for rule in every if len(rule.sources) > 1 for source in rule.sources}
        for rule in every:
            if not merged.isdisjoint(rule.sources):
                for key, path, winner in _claims(view, rule):
                    claims[key, path].append(winner)
    return tuple(
        sorted(
            Overruled(*claim, first)
            for claim, winners in claims.items()
            if (first := winners[0]) is not None and None not in winners
        )
    )


def _claims(view: View, rule: Rule) -> Iterator[tuple[ObjectKey, str, ObjectKey | None]]:
    """Yield what each source states, by path, with the one that has stated it before, ``None`` for nobody."""
    policy: ObjectKey | None = None
    subsets: dict[str, ObjectKey] = {}
    for key in rule.sources:
        obj = view.get(key)
        if obj is None:
            continue
        if obj.spec.traffic_policy is not None:
            yield key, "spec.trafficPolicy", policy
            policy = policy or key
        for index, subset in enumerate(obj.spec.subsets):
            winner = subsets.setdefault(subset.name, key)
            yield key, f"spec.subsets[{index}]", winner if winner != key else None
