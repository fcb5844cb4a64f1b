"""Random EnvoyFilters, one after another into a running mesh: none may do harm.

``FUZZ_OBJECTS`` says how many. Every resource that a patch makes is judged by a real Envoy in the end.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from typing import Any

import pytest
from envoy.config.listener.v3.listener_pb2 import Listener
from hypothesis import HealthCheck, Phase, given, note, settings, strategies
from structlog.testing import capture_logs

from controlplane.compiler.patching import behind_patches
from controlplane.model.objects import ChangeSet, ObjectKey
from controlplane.model.parse import Parsed
from controlplane.snapshots import ResourceType, Snapshot
from controlplane.translate.patched.listeners import places_of
from controlplane.watchers.kinds import parse
from tests.envoy.judge import refused
from tests.envoy.validate import validate
from tests.fuzz.patches import envoy_filter
from tests.fuzz.test_objects import PROXIES, Mesh, contents

OBJECTS = int(os.environ.get("FUZZ_OBJECTS", "600"))
WHOLE_EVERY = 40
_FAILURES = ("compiler.build_failed", "compiler.inventory_failed", "compiler.classify_failed", "compiler.update_failed")


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    held = Mesh()
    yield held
    held.loop.close()


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
                if key in filters or key in set(mesh.compiler.behind(PROXIES[index], part.part.type, name)):
                    found.add((index, part.part.type, name))
    return found


def assert_one_listener_at_each_place(snapshot: Snapshot) -> None:
    """Envoy takes no second one; those of one name count once."""
    held = [place for each in snapshot.of(ResourceType.LISTENER).values() for place in places_of(each)]
    assert len(held) == len(set(held)), sorted(held)


def check(mesh: Mesh, raw: dict[str, Any]) -> None:
    note(json.dumps(raw))
    result = parse(raw, "fuzz")
    if not isinstance(result, Parsed):
        assert not any("cannot be read" in problem for problem in result.problems), result.problems  # type: ignore[union-attr]
        return
    mesh.accepted += 1
    apply(mesh, ChangeSet(upserts=(result.object,)))
    try:
        look(mesh, result.object.key, raw)
    finally:
        apply(mesh, ChangeSet(deletes=(result.object.key,)))
    for before, after in zip(mesh.base, mesh.snapshots(), strict=True):
        assert contents(before) == contents(after)


def look(mesh: Mesh, key: ObjectKey, raw: dict[str, Any]) -> None:
    """Compare what is served with the filter to what was before."""
    named = touched(mesh, key)
    for index, (before, after) in enumerate(zip(mesh.base, mesh.snapshots(), strict=True)):
        held = contents(before)
        for (type_, name), resource in contents(after).items():
            if held.get((type_, name)) == resource:
                continue
            mesh.changed += 1
            assert (index, type_, name) in named, f"{type_} {name} is another, and no patch is for it"
            mesh.made.setdefault((type_, resource.version), (resource, raw))
            assert resource.name == name
        assert_one_listener_at_each_place(after)
        if mesh.accepted % WHOLE_EVERY == 0:
            assert validate(after) is None


def test_no_patch_does_harm(mesh: Mesh) -> None:
    """Nothing of ours fails; what no patch is for stays byte for byte; when the filter goes all is as before."""

    @settings(
        max_examples=OBJECTS,
        deadline=None,
        database=None,
        derandomize=os.environ.get("CI") == "true",
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(chance=strategies.randoms(use_true_random=True))
    def examples(chance: random.Random) -> None:
        check(mesh, envoy_filter(chance))

    examples()


def test_enough_of_them_have_an_effect(mesh: Mesh) -> None:
    assert mesh.accepted > OBJECTS / 2
    assert mesh.changed > OBJECTS / 2


def test_a_real_envoy_takes_everything_that_was_made(mesh: Mesh) -> None:
    """Runs last."""
    made = list(mesh.made.values())
    found = refused([resource for resource, _ in made])
    assert [(reason, json.dumps(made[position][1])) for position, reason in found.items()] == []


def test_listeners_are_read_with_all_their_addresses(mesh: Mesh) -> None:
    """What the test above goes by."""
    for each in mesh.base[0].of(ResourceType.LISTENER).values():
        assert len(places_of(each)) == 1 + len(Listener.FromString(each.body).additional_addresses)
