"""What may come while the compiler is at work: sessions that close, classes that retire, builds that nobody wants.

Each scene is played many times, with what comes in between a few turns of the event loop later each time.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from controlplane.compiler.classes import KEEP_SECONDS, Stale
from controlplane.compiler.compiler import Compiler
from controlplane.compiler.parts import HeldPart, Parts
from controlplane.frontends import FRONTENDS
from controlplane.model.objects import ChangeSet, Object
from controlplane.registry.store import Registry
from controlplane.snapshots import ResourceType
from tests.compiler.histories import manifest, parsed
from tests.compiler.scratch import assert_as_from_scratch, assert_nothing_left
from tests.compiler.test_laws import CLIENTS, _mesh, _slice
from tests.compiler.virtual import advance, run, turns

pytestmark = pytest.mark.slow

WEB, OTHER = replace(CLIENTS[0], labels={"app": "web"}), replace(CLIENTS[3], istio_version="1.32.0")
SCOPE = parsed(
    manifest(
        "networking.istio.io/v1", "Sidecar", "ns-0", "own",
        spec={"workloadSelector": {"labels": {"app": "web"}}, "egress": [{"hosts": ["./*"]}]},
    )
)  # fmt: skip
"""Puts the proxy ``WEB`` in another class."""
RULE = parsed(
    manifest(
        "networking.istio.io/v1", "DestinationRule", "istio-system", "all",
        spec={"host": "*.svc.cluster.local", "trafficPolicy": {"connectionPool": {"tcp": {"maxConnections": 7}}}},
    )
)  # fmt: skip
"""Changes every cluster of everybody."""


def nobody() -> None:
    """Hear of a change."""


async def compiler_of(*objects: Object, services: int = 12) -> Compiler:
    compiler = Compiler(Registry(frontends=FRONTENDS), slice_seconds=0)
    await compiler.apply(ChangeSet(upserts=(*_mesh(services), *objects)))
    return compiler


def upserting(*objects: Object) -> ChangeSet:
    return ChangeSet(upserts=objects)


def at_each_turn(scene: Callable[[int], Coroutine[Any, Any, bool]]) -> None:
    """Play a scene until what is to come in between would come after the end; the scene says whether it was before."""
    for count in itertools.count():
        if not run(scene(count * 3)):
            assert count > 2, "something came in between"
            return


def test_a_class_retires_while_a_change_is_compiled() -> None:
    async def scene(count: int) -> bool:
        compiler = await compiler_of()
        stays, leaves = [await compiler.open(client, nobody) for client in (WEB, OTHER)]
        leaves.close()
        change = asyncio.create_task(compiler.apply(upserting(RULE)))
        await turns(count)
        between = not change.done()
        advance(KEEP_SECONDS + 1)
        await change
        await turns(2)
        assert compiler.class_count == 1
        await assert_as_from_scratch(compiler, [stays])
        await assert_nothing_left(compiler, [stays], KEEP_SECONDS)
        return between

    at_each_turn(scene)


def test_a_class_retires_while_another_that_shares_a_part_is_built() -> None:
    async def scene(count: int) -> bool:
        compiler = await compiler_of()
        leaves = await compiler.open(CLIENTS[1], nobody)
        leaves.close()
        opening = asyncio.create_task(compiler.open(CLIENTS[2], nobody))  # its clusters are those of CLIENTS[1]
        await turns(count)
        between = not opening.done()
        advance(KEEP_SECONDS + 1)
        session = await opening
        await compiler.apply(upserting(RULE, _slice("ns-7", "svc-7", ["10.2.9.9"])))
        await assert_as_from_scratch(compiler, [session])
        await assert_nothing_left(compiler, [session], KEEP_SECONDS)
        return between

    at_each_turn(scene)


@pytest.mark.parametrize("one_leaves", [0, 1, 2])
def test_a_proxy_is_there_twice_and_reclassified_while_it_closes(one_leaves: int) -> None:
    """The first, the second or both of its sessions close; what is left is in the new class."""

    async def scene(count: int) -> bool:
        compiler = await compiler_of()
        sessions = [await compiler.open(WEB, nobody), await compiler.open(WEB, nobody)]
        change = asyncio.create_task(compiler.apply(upserting(SCOPE)))
        await turns(count)
        between = not change.done()
        for closing in sessions if one_leaves == 2 else [sessions[one_leaves]]:
            closing.close()
            closing.close()
            sessions = [session for session in sessions if session is not closing]
        await change
        await assert_as_from_scratch(compiler, sessions)
        for session in sessions:
            assert "outbound|80||svc-1.ns-1.svc.cluster.local" not in session.snapshot.of(ResourceType.CLUSTER)
        await assert_nothing_left(compiler, sessions, KEEP_SECONDS)
        return between

    at_each_turn(scene)


@pytest.mark.parametrize("changed", [(*_mesh(20), RULE), (SCOPE,)], ids=["other-targets", "another-class"])
def test_a_proxy_goes_while_its_class_is_changed(changed: tuple[Object, ...]) -> None:
    """Nothing of it stays: not its class, nor the one that it was to be in, nor targets that were taken up for them."""

    async def scene(count: int) -> bool:
        compiler = await compiler_of()
        session = await compiler.open(WEB, nobody)
        change = asyncio.create_task(compiler.apply(upserting(*changed)))
        await turns(count)
        between = not change.done()
        session.close()
        advance(KEEP_SECONDS + 1)
        await change
        await assert_nothing_left(compiler, [], KEEP_SECONDS)
        return between

    at_each_turn(scene)


def test_what_a_peer_that_left_wanted_is_not_built() -> None:
    """A cancelled opening leaves nothing; the others in its class, and those of other classes, get theirs."""

    async def scene(count: int) -> bool:
        compiler = await compiler_of()
        cancelled, same, other = [
            asyncio.create_task(compiler.open(proxy, nobody)) for proxy in (WEB, replace(WEB, id="web-2.ns-0"), OTHER)
        ]
        await turns(count)
        between = not cancelled.done()
        cancelled.cancel()
        if not count:
            same.cancel()
        sessions = [opened for opened in await asyncio.gather(cancelled, same, other, return_exceptions=True)
                    if not isinstance(opened, BaseException)]  # fmt: skip
        assert len(sessions) == (1 if not count else 2 if between else 3)
        await assert_as_from_scratch(compiler, sessions)
        await assert_nothing_left(compiler, sessions, KEEP_SECONDS)
        return between

    at_each_turn(scene)


def test_a_build_that_nobody_wants_any_more_stops() -> None:
    async def cancelled() -> int:
        compiler = await compiler_of(services=40)
        opening = asyncio.create_task(compiler.open(WEB, nobody))
        await turns(5)
        opening.cancel()
        await turns(500)
        return compiler.builds

    assert run(cancelled()) < 10


def test_what_is_behind_a_resource_can_be_asked_while_its_proxy_opens() -> None:
    async def scene(count: int) -> bool:
        compiler = await compiler_of()
        opening = asyncio.create_task(compiler.open(WEB, nobody))
        await turns(count)
        between = not opening.done()
        name = "outbound|80||svc-1.ns-1.svc.cluster.local"
        assert between or any(compiler.behind(WEB, ResourceType.CLUSTER, name))
        list(compiler.behind(WEB, ResourceType.CLUSTER, name))
        await opening
        assert any(compiler.behind(WEB, ResourceType.CLUSTER, name))
        return between

    at_each_turn(scene)


def test_a_change_goes_before_new_classes_and_does_not_keep_them_out() -> None:
    """What is served is changed first; a stream of changes lets a new class be built all the same."""

    async def scene() -> None:
        compiler = await compiler_of(services=40)
        served = await compiler.open(OTHER, nobody)
        opening = asyncio.create_task(compiler.open(WEB, nobody))
        await turns(5)
        await compiler.apply(upserting(_slice("ns-7", "svc-7", ["10.2.9.9"])))
        assert not opening.done()
        await assert_as_from_scratch(compiler, [served])
        for number in range(1, 200):
            await compiler.apply(upserting(_slice("ns-7", "svc-7", [f"10.2.8.{number}"])))
            if opening.done():
                break
        assert opening.done()
        await assert_as_from_scratch(compiler, [served, await opening])

    run(scene())


def test_each_class_is_served_as_soon_as_it_is_ready() -> None:
    async def scene() -> None:
        compiler = await compiler_of(services=40)
        turn, heard = 0, []
        for client in (WEB, OTHER, replace(CLIENTS[2], network="n")):
            await compiler.open(client, lambda: heard.append(turn))
        change = asyncio.create_task(compiler.apply(upserting(RULE)))
        while not change.done():
            await turns(1)
            turn += 1
        assert len(heard) == 3
        assert heard[0] + 20 < heard[1]
        assert heard[1] + 20 < heard[2]

    run(scene())


def test_an_error_of_ours_is_mended_from_scratch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A change on whose way something breaks is logged; all is made anew, and the next changes go on."""

    async def scene() -> None:
        compiler = await compiler_of()
        told: list[int] = []
        session = await compiler.open(WEB, lambda: told.append(1))
        mark = Parts.mark

        def breaking(parts: Parts, stale: Stale) -> list[HeldPart]:
            mark(parts, list(stale)[:1])
            raise KeyError("broken")

        monkeypatch.setattr(Parts, "mark", breaking)
        await compiler.apply(upserting(RULE))
        assert told
        await assert_as_from_scratch(compiler, [session])
        monkeypatch.undo()
        await compiler.apply(upserting(SCOPE))
        await assert_as_from_scratch(compiler, [session])
        await assert_nothing_left(compiler, [session], KEEP_SECONDS)

    run(scene())


def test_a_listener_that_fails_costs_nobody_else() -> None:
    """A session whose ``changed`` raises: the others hear of the change."""

    async def scene() -> None:
        compiler = await compiler_of()
        told: list[int] = []

        def failing() -> None:
            raise RuntimeError("gone")

        await compiler.open(WEB, failing)
        await compiler.open(WEB, lambda: told.append(1))
        await compiler.apply(upserting(RULE))
        assert told == [1]

    run(scene())


def test_proxies_that_come_and_go_leave_nothing() -> None:
    """Without any change, and while their class stays: what only a proxy that left was made of is forgotten."""

    async def scene() -> None:
        compiler = await compiler_of()
        stays = await compiler.open(WEB, nobody)
        sizes = []
        for number in range(60):
            proxy = replace(WEB, id=f"web-{number}.ns-0", ips=(f"10.4.0.{number}",))
            session = await compiler.open(proxy, nobody)
            session.close()
            advance(KEEP_SECONDS / 3)
            await turns(20)
            sizes.append(len(compiler.registry.memo))
            runs = compiler.registry.memo.runs["classify"]
            (await compiler.open(proxy, nobody)).close()
            assert compiler.registry.memo.runs["classify"] == runs, "one that comes back soon is known"
        assert sizes[-1] == sizes[10]
        await assert_nothing_left(compiler, [stays], KEEP_SECONDS)

    run(scene())


def test_a_revision_is_settled_once_every_snapshot_is_of_it() -> None:
    behind = 0

    async def scene(count: int) -> bool:
        nonlocal behind
        compiler = await compiler_of()
        session = await compiler.open(WEB, nobody)
        before, first = session.snapshot, compiler.registry.revision
        change = asyncio.create_task(compiler.apply(upserting(RULE)))
        await turns(count)
        between = not change.done()
        behind += compiler.settled < compiler.registry.revision
        assert session.snapshot is not before or compiler.settled == first
        await change
        assert session.snapshot is not before
        assert compiler.settled == compiler.registry.revision > first
        return between

    at_each_turn(scene)
    assert behind, "it is accepted before it is worked out"
