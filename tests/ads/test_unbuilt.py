"""What could not be built, on the wire: no removal, no empty answer; who has nothing yet is not answered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from controlplane.ads.server import AdsServer
from controlplane.ads.sync_status import Sync
from controlplane.ads.watch import CDS, EDS, LDS, RDS, Variant
from controlplane.snapshots import WHOLE, Failures, Resource, ResourceType, Snapshot
from tests.ads.client import Client, OneSnapshot, serving
from tests.ads.test_server import both, statuses
from tests.patience import until

C, E, L, R = ResourceType.CLUSTER, ResourceType.ENDPOINT, ResourceType.LISTENER, ResourceType.ROUTE
FAILED = Failures({"bad": "ValueError: broken"}, frozenset({"bad"}))
LATER = Failures({"bad": "ValueError: broken"})
UNREAD = Failures({WHOLE: "Service shop/bad: ValueError: broken"})
PARTIAL = Failures({WHOLE: "VirtualService shop/bad: ValueError: broken"}, partial=True)


def snapshot(revision: int, failures: dict[ResourceType, Failures], **contents: str) -> Snapshot:
    """Return a snapshot in which each type has resources of these names and contents."""
    resources = {
        type_: {name: Resource.of(type_, name, text.encode()) for name, text in contents.items()}
        for type_ in (C, E, L, R)
    }
    return Snapshot(revision, resources, failures)


def named(response: Any, variant: Variant) -> list[bytes]:
    values = response.resources
    return sorted((each.resource.value if variant is Variant.DELTA else each.value) for each in values)


class Scene:
    """A server of one snapshot, and a client of it."""

    def __init__(self, variant: Variant, source: OneSnapshot, server: AdsServer, client: Client) -> None:
        self.variant, self.source, self.server, self.client = variant, source, server, client
        self.ask, self.publish = client.ask, source.publish

    async def answer(self, type_url: str = CDS) -> Any:
        """Return the next response, acknowledged."""
        answer = await self.client.read()
        assert answer.type_url == type_url
        await self.acknowledge(answer)
        return answer

    async def acknowledge(self, answer: Any, *names: str) -> None:
        """Acknowledge; state-of-the-world requests name again what they want."""
        again = names if self.variant is Variant.SOTW else ()
        await self.ask(answer.type_url, *again, response_nonce=answer.nonce)

    async def nothing_comes(self) -> None:
        """Assert that nothing is on its way: what is asked for now is the next that comes."""
        extension = ResourceType.EXTENSION.value
        await self.ask(extension, "x")
        assert (await self.client.read()).type_url == extension
        assert self.source.sessions

    def failed(self, type_: ResourceType = C) -> Any:
        """Return what the status says could not be built."""
        return statuses(self.server)[0].types[type_].failed

    def sync(self, type_: ResourceType = C) -> Sync:
        return statuses(self.server)[0].types[type_].sync


@asynccontextmanager
async def scene(variant: Variant, first: Snapshot) -> AsyncIterator[Scene]:
    source = OneSnapshot(first)
    async with serving(source) as (server, port):
        client = Client(port, variant)
        yield Scene(variant, source, server, client)
        await client.close()


@both
async def test_a_first_answer_waits_for_what_was_never_built(variant: Variant) -> None:
    async with scene(variant, snapshot(1, {C: FAILED}, good="1")) as held:
        await held.ask(CDS)
        await held.nothing_comes()
        assert held.sync() is Sync.NOT_SENT
        assert held.failed() == {"bad": "ValueError: broken"}
        held.publish(snapshot(2, {}, good="1", bad="2"))
        assert named(await held.answer(), variant) == [b"1", b"2"]
        assert held.failed() == {}


@both
async def test_listeners_wait_for_clusters_that_are_not_answered(variant: Variant) -> None:
    async with scene(variant, snapshot(1, {C: FAILED}, good="1")) as held:
        await held.ask(CDS)
        await held.ask(LDS)
        await held.nothing_comes()
        held.publish(snapshot(2, {}, good="1", bad="2"))
        await held.answer(CDS)
        await held.answer(LDS)


@pytest.mark.parametrize("failures", [LATER, UNREAD], ids=["built", "read"])
async def test_a_proxy_that_reconnects_keeps_what_could_not_be(failures: Failures) -> None:
    """After a restart of the control plane: it is not told that what it holds is gone, before or after the rest is.

    Of an object that could not be read not even the names are known: nothing that it holds is said to be gone.
    """
    known = {name: Resource.of(C, name, b"1").version for name in ("good", "bad", "gone")}
    async with scene(Variant.DELTA, snapshot(1, {C: failures}, good="1")) as held:
        await held.ask(CDS, "*", initial_resource_versions=known)
        answer = await held.answer()
        assert (list(answer.removed_resources), list(answer.resources)) == ([], [])
        if failures is LATER:
            answer = await held.answer()
            assert (list(answer.removed_resources), list(answer.resources)) == (["gone"], []), "no listener needs it"
        held.publish(snapshot(2, {C: failures}, good="2"))
        answer = await held.answer()
        assert (list(answer.removed_resources), named(answer, Variant.DELTA)) == ([], [b"2"])
        held.publish(snapshot(3, {}, good="2"))  # built at last, it turns out not to be there
        answer = await held.answer()
        gone = {"bad"} if failures is LATER else {"bad", "gone"}
        assert (set(answer.removed_resources), named(answer, Variant.DELTA)) == (gone, [])


@both
@pytest.mark.parametrize("type_url", [CDS, LDS, RDS], ids=["clusters", "listeners", "routes"])
async def test_a_proxy_that_reconnects_is_given_nothing_in_place_of_what_was_whole(
    variant: Variant, type_url: str
) -> None:
    """What is served lacks what an object states that could not be read; the proxy may hold what has it."""
    type_ = ResourceType(type_url)
    before = {"initial_resource_versions": {"good": "whole"}} if variant is Variant.DELTA else {"version_info": "1"}
    names = ["good"] if type_ is R else ["*"]
    async with scene(variant, snapshot(1, {type_: PARTIAL}, good="1")) as held:
        await held.ask(type_url, *names, **before)
        await held.nothing_comes()
        assert held.sync(type_) is Sync.NOT_SENT
        assert held.failed(type_) == PARTIAL.reasons
        held.publish(snapshot(2, {}, good="whole"))
        assert named(await held.answer(type_url), variant) == [b"whole"]


@both
@pytest.mark.parametrize("failures", [PARTIAL, UNREAD], ids=["partial", "names"])
async def test_a_proxy_that_begins_is_given_what_there_is(variant: Variant, failures: Failures) -> None:
    async with scene(variant, snapshot(1, {C: failures}, good="1")) as held:
        await held.ask(CDS)
        assert named(await held.answer(), variant) == [b"1"]
        held.publish(snapshot(2, {C: failures}, good="2"))
        assert named(await held.answer(), variant) == [b"2"]
        assert held.failed() == failures.reasons


async def test_a_whole_state_of_which_not_all_names_are_known_takes_nothing_from_who_reconnects() -> None:
    async with scene(Variant.SOTW, snapshot(1, {C: UNREAD}, good="1")) as held:
        await held.ask(CDS, version_info="1")
        await held.nothing_comes()
        held.publish(snapshot(2, {}, good="1", bad="2"))
        assert named(await held.answer(), Variant.SOTW) == [b"1", b"2"]


@both
@pytest.mark.parametrize("failures", [FAILED, LATER, UNREAD, Failures({WHOLE: "broken"}, frozenset({WHOLE}))])
async def test_no_removal_is_sent_for_it(variant: Variant, failures: Failures) -> None:
    """The proxy came to another class in which it fails: what it has of it stays, and the rest goes on."""
    async with scene(variant, snapshot(1, {}, good="1", bad="1")) as held:
        await held.ask(CDS)
        await held.answer()
        held.publish(snapshot(2, {C: failures}, good="2"))
        answer = await held.answer()
        if variant is Variant.DELTA:
            assert (list(answer.removed_resources), named(answer, variant)) == ([], [b"2"])
        else:
            assert named(answer, variant) == [b"1", b"2"], "the whole state has it as it was"
        held.publish(snapshot(3, {}, good="2"))
        assert named(await held.answer(), variant) == ([] if variant is Variant.DELTA else [b"2"])


@both
@pytest.mark.parametrize(("type_", "type_url"), [(E, EDS), (R, RDS)], ids=["endpoints", "routes"])
@pytest.mark.parametrize("failures", [FAILED, LATER, UNREAD])
async def test_what_is_asked_for_by_name_is_not_answered_as_empty(
    variant: Variant, type_: ResourceType, type_url: str, failures: Failures
) -> None:
    async with scene(variant, snapshot(1, {type_: failures}, good="1")) as held:
        await held.ask(type_url, "bad")
        await held.nothing_comes()
        assert held.failed(type_) == failures.reasons
        held.publish(snapshot(2, {}, good="1", bad="2"))
        assert named(await held.answer(type_url), variant) == [b"2"]


@both
async def test_of_several_names_those_that_are_there_are_answered(variant: Variant) -> None:
    async with scene(variant, snapshot(1, {E: FAILED}, good="1")) as held:
        await held.ask(EDS, "good", "bad")
        answer = await held.client.read()
        assert named(answer, variant) == [b"1"]
        await held.acknowledge(answer, "good", "bad")
        await held.nothing_comes()
        held.publish(snapshot(2, {}, good="1", bad="2"))
        assert named(await held.client.read(), variant) == [b"2"]


@both
async def test_load_assignments_of_new_clusters_are_not_empty_for_it(variant: Variant) -> None:
    """A cluster that is sent anew warms until its load assignment comes; one that fails is no empty one."""
    endpoints = snapshot(1, {E: LATER}, good="1")
    clusters = {name: Resource.of(C, name, b"1") for name in ("good", "bad")}
    async with scene(variant, Snapshot(1, {**endpoints.resources, C: clusters}, {E: LATER})) as held:
        await held.ask(EDS, "good", "bad")
        answer = await held.client.read()
        assert named(answer, variant) == [b"1"]
        await held.acknowledge(answer, "good", "bad")
        await held.ask(CDS)
        assert (await held.client.read()).type_url == CDS
        warmed = await held.client.read()
        assert (warmed.type_url, named(warmed, variant)) == (EDS, [b"1"])


@both
async def test_a_proxy_that_has_nothing_of_it_hears_of_the_rest(variant: Variant) -> None:
    """A new service that fails while proxies are served: their clusters change all the same."""
    async with scene(variant, snapshot(1, {}, good="1")) as held:
        await held.ask(CDS)
        await held.answer()
        held.publish(snapshot(2, {C: LATER}, good="1"))
        held.publish(snapshot(3, {C: LATER}, good="2"))
        assert named(await held.answer(), variant) == [b"2"]
        await until(lambda: held.sync() is Sync.SYNCED)
