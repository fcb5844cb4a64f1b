"""Objects by key, and their indexes."""

from __future__ import annotations

import random
import time

import pytest

from controlplane.apis.peer_authentication import PeerAuthentication
from controlplane.model import kinds
from controlplane.model.objects import ChangeSet, Meta, Object, ObjectKey
from controlplane.registry.store import INDEXES, Fact, Registry
from tests.compiler.histories import MAKERS, NAMES, NAMESPACES, manifest, parsed


def test_indexes_are_those_of_the_objects_that_are_there() -> None:
    """After any history each index holds, in order, what the objects say."""
    rng, registry = random.Random(7), Registry()
    for _ in range(400):
        made = parsed(rng.choice(MAKERS)(rng, rng.choice(NAMESPACES), rng.choice(NAMES)))
        gone = tuple(rng.sample(sorted(registry.objects), 1)) if registry.objects and rng.random() < 0.4 else ()
        registry.apply(ChangeSet(upserts=(made,), deletes=gone))
    kinds_there = {key.kind for key in registry.objects}
    for kind in kinds_there:
        assert list(registry.keys(kind)) == sorted(key for key in registry.objects if key.kind == kind)
    for name in {name for indexes in INDEXES.values() for name in indexes}:
        held = [
            (under, key)
            for key, obj in registry.objects.items()
            if (keys_of := INDEXES.get(key.kind, {}).get(name)) is not None
            for under in keys_of(obj)
        ]
        for under in {under for under, _ in held}:
            assert list(registry.indexed(name, under)) == sorted(key for each, key in held if each == under)


def _pods(count: int) -> tuple[Object, ...]:
    return tuple(
        parsed(
            manifest(
                "v1", "Pod", "shop", f"p-{number}", spec={"containers": []}, status={"podIP": f"10.{number >> 8}.0.1"}
            )
        )
        for number in range(count)
    )


@pytest.mark.slow
def test_objects_of_one_namespace_come_in_linear_time() -> None:
    """Ten times the objects take some ten times as long, not a hundred."""

    def seconds(pods: tuple[Object, ...]) -> float:
        registry = Registry()
        began = time.process_time()
        for pod in pods:
            registry.apply(ChangeSet(upserts=(pod,)))
        return time.process_time() - began

    few, many = _pods(1_000), _pods(10_000)
    assert min(seconds(many) for _ in range(2)) < 30 * min(seconds(few) for _ in range(3))


def test_an_object_that_cannot_be_indexed_costs_itself_only() -> None:
    """An error of ours: it is as it was before, and the rest of the change holds."""
    registry = Registry()
    (good, other) = _pods(2)
    registry.apply(ChangeSet(upserts=(good,)))
    broken = Object(kinds.POD, Meta("shop", "p-0"), "no pod")
    new = Object(kinds.POD, Meta("shop", "p-9"), "no pod")
    facts = registry.apply(ChangeSet(upserts=(broken, new, other)))
    assert registry.objects == {good.key: good, other.key: other}
    assert registry.keys(kinds.POD) == (good.key, other.key)
    assert Fact("object", other.key) in facts
    assert Fact("object", good.key) not in facts
    assert not registry.apply(ChangeSet(deletes=(ObjectKey(kinds.POD, "shop", "p-9"),)))


def test_an_index_lists_its_keys_in_order_however_many() -> None:
    """Few keys are held otherwise than many: the number goes up, and down again."""
    rng, registry, held = random.Random(1), Registry(), set[ObjectKey]()
    every = [
        Object(kinds.PEER_AUTHENTICATION, Meta("shop", f"p{number:02}"), PeerAuthentication()) for number in range(20)
    ]
    for step in range(400):
        obj = rng.choice(every)
        if rng.random() < (0.7 if step < 200 else 0.3):
            registry.apply(ChangeSet(upserts=(obj,)))
            held.add(obj.key)
        else:
            registry.apply(ChangeSet(deletes=(obj.key,)))
            held.discard(obj.key)
        assert list(registry.indexed("peer_authentications_in", "shop")) == sorted(held)
