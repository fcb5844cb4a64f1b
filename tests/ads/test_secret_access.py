"""How much of the secrets a stream is told, and that nothing keeps what it was told."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import replace

import pytest

from controlplane.ads.contents import NO_NAMES, ServedSnapshot, SnapshotCache
from controlplane.ads.credential import SecretAccess
from controlplane.ads.lockstep import Lockstep
from controlplane.ads.watch import SDS, StreamState, Variant
from controlplane.ads.wire import Response
from controlplane.model.wanted_secrets import Wanted
from controlplane.snapshots import Resource, ResourceType, Snapshot
from tests.ads.test_lockstep import missing, request

S, X = ResourceType.SECRET, ResourceType.EXTENSION
KEY = b"very private"
PAIR, ROOTS, PUBLISHED = "kubernetes://web", "kubernetes://web-cacert", "configmap://shop/roots"
EVERYTHING = frozenset({PAIR, ROOTS, PUBLISHED})
SECRETS = {name: Resource.of(S, name, KEY + name.encode()) for name in EVERYTHING}
SNAPSHOT = Snapshot(1, {S: SECRETS})


@pytest.mark.parametrize(
    ("access", "readable"),
    [
        (SecretAccess.ALL, EVERYTHING),
        (SecretAccess.ROOTS, {ROOTS, PUBLISHED}),
        (SecretAccess.UNKNOWN, {ROOTS, PUBLISHED}),
        (SecretAccess.NOBODY, NO_NAMES),
    ],
)
def test_an_edition_has_what_may_be_read(access: SecretAccess, readable: frozenset[str]) -> None:
    """Of the rest it is not known whether it exists, and the status says why."""
    cache = SnapshotCache()
    served = cache.served(SNAPSHOT, access)
    contents = served.of(S)
    assert contents.names == readable
    assert all(contents.is_unbuilt(name) for name in EVERYTHING - readable)
    assert contents.is_unbuilt("kubernetes://another") is (access is not SecretAccess.ALL)
    assert set(contents.failures.reasons.values()) == ({access.value} if access.value else set())
    assert cache.served(SNAPSHOT, access) is served
    assert cache.served(Snapshot(2, {S: SECRETS}), access).of(S) is contents


@pytest.mark.parametrize("name", ["kubernetes://shop/web/x-cacert", "kubernetes-gateway://shop/web/-cacert"])
def test_what_is_behind_a_name_makes_no_roots_of_a_key_pair(name: str) -> None:
    """A third part is passed over when the Secret is looked for, so it may not decide what kind it is of."""
    wanted = Wanted(name, authority=False)
    assert wanted.name is not None
    assert not wanted.name.authority
    assert [access for access in SecretAccess if access.allows(name)] == [SecretAccess.ALL]


def test_who_may_not_read_anything_shares_one_state_whatever_there_is() -> None:
    cache = SnapshotCache()
    first = cache.served(SNAPSHOT, SecretAccess.NOBODY)
    second = cache.served(Snapshot(2, {S: {}}), SecretAccess.NOBODY)
    assert first.of(S) is second.of(S)


@pytest.mark.parametrize("access", list(SecretAccess))
def test_what_is_for_proved_identities_is_in_the_place_of_what_all_get(access: SecretAccess) -> None:
    """Whether they may list Secrets does not matter. Where only that part changes, nothing changes for the others."""
    whole = [Resource.of(X, "a", KEY + each) for each in (b"1", b"2")]
    shown, other = Resource.of(X, "a", b"shown"), Resource.of(X, "b", b"b")
    first, second = ({"a": replace(shown, confidential=each), "b": other} for each in whole)
    cache = SnapshotCache()
    before, after = (cache.served(Snapshot(1, {X: each}), access).of(X) for each in (first, second))
    proved = access is not SecretAccess.NOBODY
    assert before.resources == {"a": whole[0] if proved else first["a"], "b": other}
    assert after.since(before).changed == ({"a"} if proved else set())
    assert cache.served(Snapshot(2, {X: first}), access).of(X) is before
    assert first != second
    assert Response(X.value, "", "", b"", 1, 0).is_private


@pytest.mark.slow
@pytest.mark.parametrize("variant", list(Variant))
async def test_responses_with_keys_are_kept_by_nobody(variant: Variant) -> None:
    """Two streams are sent the same, each in bytes of its own, and are in one state all the same."""
    lockstep, served = Lockstep(), SnapshotCache().served(SNAPSHOT, SecretAccess.ALL)
    states, responses = zip(*(first_answer(lockstep, variant, served) for _ in range(2)), strict=True)
    assert states[0] is states[1]
    assert responses[0].body == responses[1].body
    assert responses[0].body is not responses[1].body
    assert KEY in responses[0].body
    known = {id(KEY), *(id(resource.body) for resource in SECRETS.values())}
    del responses
    held = (each for each in reachable(lockstep) if isinstance(each, bytes) and KEY in each)
    assert not [each for each in held if id(each) not in known]


def first_answer(lockstep: Lockstep, variant: Variant, served: ServedSnapshot) -> tuple[StreamState, Response]:
    """Return where a stream is once it was sent the secrets it asks for, and what it was sent."""
    state = lockstep.begin(variant, served, missing)
    state = lockstep.receive(state, request(variant, SDS, EVERYTHING)).state or state
    move = lockstep.move(state, served, NO_NAMES)
    assert move.response is not None
    assert move.state is not None
    return move.state, move.response


def reachable(start: object) -> Iterator[object]:
    """Yield all objects that something holds, however indirectly; no modules or types."""
    seen, unvisited = {id(start)}, [start]
    while unvisited:
        for held in gc.get_referents(unvisited.pop()):
            if id(held) not in seen and not isinstance(held, type) and type(held).__name__ != "module":
                seen.add(id(held))
                unvisited.append(held)
                yield held
