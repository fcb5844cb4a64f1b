"""Random EnvoyFilters, one after another into running meshes that are random too: none may do harm.

``FUZZ_OBJECTS`` says how many; they are the same each time, and others with another ``FUZZ_SEED``. Every resource that
a patch makes is judged by a real Envoy in the end.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from typing import Any

import pytest
from envoy.config.listener.v3.listener_pb2 import Listener
from structlog.testing import capture_logs

from controlplane.compiler.patching import behind_patches
from controlplane.model.objects import ChangeSet, ObjectKey
from controlplane.model.parse import Parsed
from controlplane.snapshots import Resource, ResourceType, Snapshot
from controlplane.translate.patched.listeners import places_of
from controlplane.watchers.kinds import parse
from tests.envoy.judge import refused
from tests.envoy.validate import validate
from tests.fuzz.meshes import mesh as random_mesh
from tests.fuzz.patches import envoy_filter
from tests.fuzz.test_objects import Mesh, contents

OBJECTS = int(os.environ.get("FUZZ_OBJECTS", "600"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))
EACH = 40
"""Filters for one mesh."""
WHOLE_EVERY = 40
_FAILURES = ("compiler.build_failed", "compiler.inventory_failed", "compiler.classify_failed", "compiler.update_failed")


class Tally:
    """What was done to all meshes: filters that were accepted, resources that they changed, what these became."""

    def __init__(self) -> None:
        self.accepted = self.changed = 0
        self.made: dict[tuple[ResourceType, str], tuple[Resource, dict[str, Any]]] = {}


@pytest.fixture(scope="module")
def tally() -> Tally:
    return Tally()


def drawn(seed: int) -> Iterator[tuple[Mesh, list[dict[str, Any]]]]:
    """Yield meshes and the filters for each, the same for the same seed; the first is that of ``test_objects``."""
    for number in range(max(OBJECTS // EACH, 1)):
        chance = random.Random(f"{seed}.{number}")
        with capture_logs() as logs:
            mesh = Mesh(*random_mesh(chance)) if number else Mesh()
        try:
            assert not [event for event in logs if event["event"] in _FAILURES], (number, logs)
            yield mesh, [envoy_filter(chance) for _ in range(EACH)]
        finally:
            mesh.loop.close()


def apply(mesh: Mesh, changes: ChangeSet) -> None:
    """Apply a change; what Envoy would refuse is left out, but nothing of ours may fail."""
    with capture_logs() as logs:
        mesh.loop.run_until_complete(mesh.compiler.apply(changes))
    failures = [event for event in logs if event["event"] in _FAILURES]
    assert not failures, failures


def touched(mesh: Mesh, key: ObjectKey) -> set[tuple[int, ResourceType, str]]:
    """Return what says that it is made from the EnvoyFilter: by the position of the proxy."""
    found = set()
    for index, session in enumerate(mesh.sessions):
        assert session.held is not None
        for part in session.held.parts:
            for name, target in part.targets.items():
                _, filters = behind_patches(target)
                if key in filters or key in set(mesh.compiler.behind(mesh.proxies[index], part.part.type, name)):
                    found.add((index, part.part.type, name))
    return found


def assert_one_listener_at_each_place(snapshot: Snapshot) -> None:
    """Envoy takes no second one; those of one name count once."""
    held = [place for each in snapshot.of(ResourceType.LISTENER).values() for place in places_of(each)]
    assert len(held) == len(set(held)), sorted(held)


def check(mesh: Mesh, raw: dict[str, Any], tally: Tally) -> None:
    result = parse(raw, "fuzz")
    if not isinstance(result, Parsed):
        assert not any("cannot be read" in problem for problem in result.problems), result.problems  # type: ignore[union-attr]
        return
    tally.accepted += 1
    apply(mesh, ChangeSet(upserts=(result.object,)))
    try:
        look(mesh, result.object.key, raw, tally)
    finally:
        apply(mesh, ChangeSet(deletes=(result.object.key,)))
    for before, after in zip(mesh.base, mesh.snapshots(), strict=True):
        assert contents(before) == contents(after)


def look(mesh: Mesh, key: ObjectKey, raw: dict[str, Any], tally: Tally) -> None:
    """Compare what is served with the filter to what was before."""
    named = touched(mesh, key)
    for index, (before, after) in enumerate(zip(mesh.base, mesh.snapshots(), strict=True)):
        held = contents(before)
        for (type_, name), resource in contents(after).items():
            if held.get((type_, name)) == resource:
                continue
            tally.changed += 1
            assert (index, type_, name) in named, f"{type_} {name} is another, and no patch is for it"
            tally.made.setdefault((type_, resource.version), (resource, raw))
            assert resource.name == name
        assert_one_listener_at_each_place(after)
        if tally.accepted % WHOLE_EVERY == 0:
            assert validate(after) is None


def test_no_patch_does_harm(tally: Tally) -> None:
    """Nothing of ours fails; what no patch is for stays byte for byte; when the filter goes all is as before."""
    for number, (mesh, filters) in enumerate(drawn(SEED)):
        for raw in filters:
            try:
                check(mesh, raw, tally)
            except Exception as error:
                error.add_note(f"FUZZ_SEED={SEED}, mesh {number}: {json.dumps(raw)}")
                raise


def test_enough_of_them_have_an_effect(tally: Tally) -> None:
    assert tally.accepted > OBJECTS / 2
    assert tally.changed > OBJECTS / 2


def test_a_real_envoy_takes_everything_that_was_made(tally: Tally) -> None:
    """Runs last."""
    made = list(tally.made.values())
    found = refused([resource for resource, _ in made])
    assert [(reason, json.dumps(made[position][1])) for position, reason in found.items()] == []


def test_listeners_are_read_with_all_their_addresses() -> None:
    """What the test above goes by."""
    mesh = Mesh()
    for each in mesh.base[0].of(ResourceType.LISTENER).values():
        assert len(places_of(each)) == 1 + len(Listener.FromString(each.body).additional_addresses)
    mesh.loop.close()
