"""What a plan says is what is pushed once the change is applied: resources by name and version, for each proxy."""

from __future__ import annotations

import random

from hypothesis import HealthCheck, given, note, settings, strategies

from controlplane.compiler.compiler import Compiler
from controlplane.frontends import FRONTENDS
from controlplane.model.objects import ChangeSet, Object, ObjectKey
from controlplane.plan.planning import Plan, Planning
from controlplane.plan.pushed import ResourceChange
from controlplane.registry.store import Registry
from controlplane.snapshots import ResourceType, Snapshot
from tests.compiler.histories import PROXIES, edit
from tests.compiler.virtual import run

Versions = dict[tuple[ResourceType, str], str | None]
_ALL = {f"{number} {proxy.id}": proxy for number, proxy in enumerate(PROXIES)}


def difference(before: Snapshot, after: Snapshot) -> Versions:
    """Return the version of each resource that is new or another, ``None`` of each that is gone."""
    old, new = (
        {(type_, name): each.version for type_ in ResourceType for name, each in held.of(type_).items()}
        for held in (before, after)
    )
    return {name: new.get(name) for name in old.keys() | new.keys() if old.get(name) != new.get(name)}


def told(changes: tuple[ResourceChange, ...]) -> Versions:
    """Return what a plan says, in the same words."""
    return {
        (each.resource.type, each.resource.name): each.after.version if each.after is not None else None
        for each in changes
    }


async def built(objects: dict[ObjectKey, Object]) -> Compiler:
    compiler = Compiler(Registry(frontends=FRONTENDS), slice_seconds=0)
    await compiler.apply(ChangeSet(tuple(objects.values())))
    return compiler


def joined(rng: random.Random, objects: dict[ObjectKey, Object], edits: int) -> ChangeSet:
    change = ChangeSet()
    for _ in range(edits):
        change = change.then(edit(rng, objects))
    return change


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(rng=strategies.randoms(use_true_random=True), past=strategies.integers(0, 30), edits=strategies.integers(1, 4))
def test_what_is_planned_is_what_is_pushed(rng: random.Random, past: int, edits: int) -> None:
    """Of several objects too, which the plan tries one after the other and a control plane applies together."""

    async def both() -> None:
        objects: dict[ObjectKey, Object] = {}
        joined(rng, objects, past)
        planned, served = await built(objects), await built(objects)
        sessions = {id_: await served.open(proxy, lambda: None) for id_, proxy in _ALL.items()}
        before = {id_: session.snapshot for id_, session in sessions.items()}
        change = joined(rng, objects, edits)
        note(f"{[str(obj.key) for obj in change.upserts]} gone {[str(key) for key in change.deletes]}")
        plan = await Planning(planned, _ALL).planned(change)
        await served.apply(change)
        pushed = {id_: difference(before[id_], session.snapshot) for id_, session in sessions.items()}
        assert said(plan) == {id_: versions for id_, versions in pushed.items() if versions}

    run(both())


def said(plan: Plan) -> dict[str, Versions]:
    return {id_: told(group.changes) for group in plan.groups for id_ in group.proxies}


def test_an_equal_object_is_no_change() -> None:
    async def again() -> None:
        objects: dict[ObjectKey, Object] = {}
        joined(random.Random(1), objects, 20)
        plan = await Planning(await built(objects), _ALL).planned(ChangeSet(tuple(objects.values())))
        assert (plan.effects, plan.groups, plan.begun, plan.broken) == ((), (), (), ())

    run(again())
