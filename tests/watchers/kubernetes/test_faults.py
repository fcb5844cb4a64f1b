"""What a cluster and the network may do to the watches. In the end, what is in force equals a fresh list."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from controlplane.apis.authorization_policy import RuleTo
from controlplane.model import kinds
from controlplane.model.feeds import Standing
from controlplane.watchers.kubernetes.source import ClusterOptions, KubernetesSource
from tests.patience import in_time, patience
from tests.watchers.kubernetes import recorded_api
from tests.watchers.kubernetes.following import FAST, Followed, compiled, followed, fresh
from tests.watchers.kubernetes.recorded_api import (
    PODS,
    POLICIES,
    SERVICES,
    VIRTUAL_SERVICES,
    RawObject,
    RecordedApi,
    event,
)

pytestmark = pytest.mark.slow


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[RecordedApi]:
    async with RecordedApi(tmp_path) as running:
        yield running


@pytest.fixture
def options(api: RecordedApi) -> ClusterOptions:
    return ClusterOptions(kubeconfig=api.kubeconfig)


def service(name: str, port: int = 80, namespace: str = "shop", **metadata: Any) -> RawObject:
    return {
        "metadata": {"namespace": namespace, "name": name, "uid": name, **metadata},
        "spec": {"clusterIP": "10.96.0.9", "ports": [{"name": "http", "port": port}]},
    }


def virtual_service(name: str, hosts: Any = ("a",), **metadata: Any) -> RawObject:
    route = [{"route": [{"destination": {"host": "a"}}]}]
    return {"metadata": {"namespace": "shop", "name": name, **metadata}, "spec": {"hosts": hosts, "http": route}}


async def same(follower: Followed, options: ClusterOptions) -> bool:
    """Whether what is in force equals a fresh list, generations included, and what is served is built of that."""
    now = await fresh(options)
    assert follower.contents == await compiled(now)
    held = follower.objects
    return held == now and {k: o.meta.generation for k, o in held.items()} == {
        k: o.meta.generation for k, o in now.items()
    }


async def test_a_list_comes_in_pages_and_events_follow(api: RecordedApi, options: ClusterOptions) -> None:
    for number in range(600):
        api.put(SERVICES, service(f"s{number}"))
    async with followed(options) as follower:
        assert len(follower.objects) == 600
        assert [request.query["limit"] for request in api.asked(SERVICES, "list")] == ["250"] * 3
        position = str(api.revision)
        api.put(SERVICES, service("s1", port=81))
        api.delete(SERVICES, service("s2"))
        await follower.until(lambda: not follower.has("Service", "s2"))
        assert api.asked(SERVICES, "watch")[0].query["resourceVersion"] == position
        assert await same(follower, options)


async def test_an_object_nested_too_deep_is_refused_alone(api: RecordedApi, options: ClusterOptions) -> None:
    """In a list as in a watch: a poison object never keeps the others away, and is named."""

    def deep(name: str, levels: int) -> RawObject:
        return virtual_service(name) | {"status": {"conditions": [{"deep": recorded_api.deep(levels)}]}}

    for name, levels in (("deepest", 5000), ("deep", 500)):
        api.put(VIRTUAL_SERVICES, deep(name, levels))
    api.put(VIRTUAL_SERVICES, virtual_service("good"))
    async with followed(options) as follower:
        assert follower.named("VirtualService") == ["good"]
        assert sorted(follower.source.rejected) == ["VirtualService shop/deep", "VirtualService shop/deepest"]
        api.put(VIRTUAL_SERVICES, deep("later", 5000))
        api.put(VIRTUAL_SERVICES, virtual_service("after"))
        await follower.until(lambda: follower.has("VirtualService", "after"))
        (problem,) = follower.source.rejected["VirtualService shop/later"].problems
        assert problem == "nested deeper than 100 levels"
        api.put(VIRTUAL_SERVICES, virtual_service("later"))
        await follower.until(lambda: follower.has("VirtualService", "later"))


async def test_nothing_is_given_before_every_kind_is_complete(api: RecordedApi, options: ClusterOptions) -> None:
    api.put(SERVICES, service("a"))
    release = asyncio.Event()

    async def late(writer: asyncio.StreamWriter) -> None:
        await release.wait()
        await recorded_api.status(503)(writer)

    api.answer_next(PODS, "list", late)
    source = KubernetesSource(options, replace(FAST, answer=30.0))
    loading = asyncio.create_task(source.load())
    await _until(lambda: list(source.waiting) == ["pods"])
    assert not loading.done()
    release.set()
    first = await in_time(loading)
    assert [obj.meta.name for obj in first.upserts] == ["a"]
    assert list(source.waiting) == []
    await source.close()


async def test_a_watch_that_is_cut_within_a_line(api: RecordedApi, options: ClusterOptions) -> None:
    api.put(SERVICES, service("a"))
    whole = event("ADDED", {**service("b"), "metadata": {**service("b")["metadata"], "resourceVersion": "102"}})
    half = event("ADDED", {**service("c"), "metadata": {**service("c")["metadata"], "resourceVersion": "103"}})[:60]
    begin = asyncio.Event()
    api.answer_next(SERVICES, "watch", recorded_api.stream(whole + half, after=begin))
    async with followed(options) as follower:
        api.put(SERVICES, service("b"))
        api.put(SERVICES, service("c"))
        begin.set()
        await follower.until(lambda: follower.has("Service", "c"))
        assert [request.query["resourceVersion"] for request in api.asked(SERVICES, "watch")] == ["101", "102"]
        assert follower.source.feeds[2].lists == 1
        assert await same(follower, options)


@pytest.mark.parametrize("way", ["event", "answer"])
async def test_gone_is_a_list_of_which_only_the_difference_counts(
    way: str, api: RecordedApi, options: ClusterOptions
) -> None:
    for name in "abc":
        api.put(SERVICES, service(name))
    gone = {"kind": "Status", "code": 410, "message": "too old resource version"}
    async with followed(options) as follower:
        await follower.until(lambda: bool(api.watching(SERVICES)))
        api.put(SERVICES, service("b", port=81), told=False)
        api.delete(SERVICES, service("c"), told=False)
        if way == "event":
            api.send(SERVICES, event("ERROR", gone))
        else:
            api.answer_next(SERVICES, "watch", recorded_api.status(410))
            api.end_watches(SERVICES)
        await follower.until(lambda: not follower.has("Service", "c"))
        (batch,) = follower.batches
        assert [obj.meta.name for obj in batch.upserts] == ["b"]
        assert [key.name for key in batch.deletes] == ["c"]
        assert await same(follower, options)


async def test_an_unchanged_list_after_gone_causes_nothing(api: RecordedApi, options: ClusterOptions) -> None:
    for name in "abc":
        api.put(SERVICES, service(name))
    async with followed(options) as follower:
        await follower.until(lambda: bool(api.watching(SERVICES)))
        api.send(SERVICES, event("ERROR", {"code": 410, "message": "too old"}))
        await follower.until(lambda: len(api.asked(SERVICES, "watch")) == 2)
        assert len(api.asked(SERVICES, "list")) == 2
        assert follower.batches == []


async def test_pages_that_come_too_slowly_are_read_at_once(api: RecordedApi, options: ClusterOptions) -> None:
    for number in range(300):
        api.put(SERVICES, service(f"s{number}"))
    page = json.dumps({"metadata": {"resourceVersion": "1", "continue": "x"}, "items": []}).encode()
    api.answer_next(SERVICES, "list", recorded_api.text(page), recorded_api.status(410, "continue token is too old"))
    async with followed(options) as follower:
        assert len(follower.named("Service")) == 300
        assert "limit" not in api.asked(SERVICES, "list")[-1].query


async def test_too_many_requests_are_repeated_when_the_server_says(api: RecordedApi, options: ClusterOptions) -> None:
    api.answer_next(SERVICES, "list", recorded_api.status(429, "slow down", Retry_After="1"))
    async with followed(options):
        first, second = api.asked(SERVICES, "list")
        assert second.at - first.at > 0.9


async def test_a_watch_in_silence_is_opened_again(api: RecordedApi, options: ClusterOptions) -> None:
    api.put(SERVICES, service("a"))
    api.answer_next(SERVICES, "watch", recorded_api.stream(stay=True))
    async with followed(options, replace(FAST, silence=0.4)) as follower:
        api.put(SERVICES, service("b"))
        await follower.until(lambda: follower.has("Service", "b"))
        assert follower.batches[0].deletes == ()
        assert await same(follower, options)


async def test_an_answer_that_never_comes_is_asked_for_again(api: RecordedApi, options: ClusterOptions) -> None:
    api.put(SERVICES, service("a"))
    api.answer_next(SERVICES, "list", recorded_api.hold())
    async with followed(options, replace(FAST, answer=0.4)) as follower:
        assert follower.has("Service", "a")


async def test_an_object_of_a_megabyte(api: RecordedApi, options: ClusterOptions) -> None:
    async with followed(options) as follower:
        await follower.until(lambda: bool(api.watching(SERVICES)))
        api.put(SERVICES, service("big", annotations={"text": "ü" * 700_000}))
        api.put(SERVICES, service("small"))
        await follower.until(lambda: follower.has("Service", "small"))
        assert len(api.asked(SERVICES, "list")) == 1
        assert await same(follower, options)


async def test_the_server_is_away_and_comes_back(api: RecordedApi, options: ClusterOptions) -> None:
    for name in "abc":
        api.put(SERVICES, service(name))
    async with followed(options) as follower:
        before = time.time()
        await api.stop()
        await follower.until(lambda: follower.source.away_since is not None)
        away_since: float | None = follower.source.away_since
        assert away_since is not None
        assert before - 5 < away_since < time.time()
        api.put(SERVICES, service("d"))
        api.delete(SERVICES, service("a"))
        assert follower.named("Service") == ["a", "b", "c"]
        services = follower.source.feeds[2]
        assert services.standing is Standing.BEHIND
        assert services.lag_seconds > 0
        await api.start()
        await follower.until(lambda: follower.named("Service") == ["b", "c", "d"])
        assert follower.source.away_since is None
        assert sum(len(batch.upserts) + len(batch.deletes) for batch in follower.batches) == 2
        await follower.until(lambda: all(feed.standing is Standing.CURRENT for feed in follower.source.feeds))
        assert await same(follower, options)


async def test_the_history_of_the_server_is_another_one(api: RecordedApi, options: ClusterOptions) -> None:
    """The storage was restored: versions run backwards, and an object has its old version with another content."""
    for name in "abc":
        api.put(SERVICES, service(name))
    for _ in range(50):
        api.put(PODS, {"metadata": {"namespace": "shop", "name": "p"}}, told=False)
    async with followed(options) as follower:
        await api.stop()
        api.delete(SERVICES, service("c"))
        api.revision = 101
        api.put(SERVICES, service("b", port=81))
        assert api.revision == 102  # what b had before
        await api.start()
        await follower.until(lambda: not follower.has("Service", "c"))
        assert await same(follower, options)


async def test_a_bookmark_is_where_the_next_watch_begins(api: RecordedApi, options: ClusterOptions) -> None:
    async with followed(options) as follower:
        await follower.until(lambda: bool(api.watching(SERVICES)))
        api.revision = 500
        api.bookmark(SERVICES)
        api.end_watches(SERVICES)
        await follower.until(lambda: len(api.asked(SERVICES, "watch")) == 2)
        assert api.asked(SERVICES, "watch")[1].query["resourceVersion"] == "500"
        assert len(api.asked(SERVICES, "list")) == 1
        assert follower.batches == []


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"<html>log in</html>", id="html"),
        pytest.param(b"[]", id="no-object"),
        pytest.param(b"{}", id="no-list"),
        pytest.param(b'{"metadata": {"resourceVersion": "1"}, "items": [7]}', id="no-items"),
    ],
)
async def test_an_answer_that_no_api_server_gives(body: bytes, api: RecordedApi, options: ClusterOptions) -> None:
    api.put(SERVICES, service("a"))
    api.answer_next(SERVICES, "list", recorded_api.text(body))
    with capture_logs() as logs:
        async with followed(options) as follower:
            assert follower.named("Service") == ["a"]
    assert any("is not an API server" in str(entry.get("reason")) for entry in logs)


@pytest.mark.parametrize(
    "line", [b"not json\n", b"[]\n", b"{}\n", event("ADDED", {}), event("ADDED", {"metadata": "x"})], ids=repr
)
async def test_an_event_that_no_api_server_sends(line: bytes, api: RecordedApi, options: ClusterOptions) -> None:
    async with followed(options) as follower:
        await follower.until(lambda: bool(api.watching(SERVICES)))
        api.send(SERVICES, line)
        await follower.until(lambda: len(api.asked(SERVICES, "watch")) == 2)
        api.put(SERVICES, service("a"))
        await follower.until(lambda: follower.has("Service", "a"))


async def test_a_permission_that_is_missing_is_named_once(api: RecordedApi, options: ClusterOptions) -> None:
    api.put(SERVICES, service("a"))
    api.answer_always(VIRTUAL_SERVICES, "list", recorded_api.status(403, "virtualservices is forbidden"))
    source = KubernetesSource(options, replace(FAST, forbidden=0.1))
    with capture_logs() as logs:
        loading = asyncio.create_task(source.load())
        await _until(lambda: len(api.asked(VIRTUAL_SERVICES, "list")) >= 3)
        assert not loading.done()  # a proxy would get half a mesh
        assert api.watching(SERVICES) == 1  # the others go on
        (missing,) = source.waiting
        api.answer_always(VIRTUAL_SERVICES, "list", None)
        await in_time(loading)
    await source.close()
    (error,) = [entry for entry in logs if entry["event"] == "watchers.forbidden"]
    assert (error["verb"], error["resource"], error["group"]) == ("list", "virtualservices", "networking.istio.io")
    assert "may not list virtualservices in API group 'networking.istio.io'" in missing


async def test_a_permission_that_is_taken_away_keeps_what_was_read(api: RecordedApi, options: ClusterOptions) -> None:
    api.put(SERVICES, service("a"))
    with capture_logs() as logs:
        async with followed(options) as follower:
            await follower.until(lambda: bool(api.watching(SERVICES)))
            api.answer_always(SERVICES, "watch", recorded_api.status(403, "services is forbidden"))
            api.end_watches(SERVICES)
            await follower.until(lambda: follower.source.feeds[2].problem != "")
            assert follower.has("Service", "a")
    (error,) = [entry for entry in logs if entry["event"] == "watchers.forbidden"]
    assert (error["verb"], error["resource"], error["group"]) == ("watch", "services", "")


async def test_a_permission_that_is_missing_for_a_moment(api: RecordedApi, options: ClusterOptions) -> None:
    """As after a restart of the API server, which answers before it knows who may do what: it is asked again soon."""
    async with followed(options, replace(FAST, forbidden=600.0)) as follower:
        await follower.until(lambda: bool(api.watching(SERVICES)))
        api.answer_next(SERVICES, "watch", *[recorded_api.status(403, "services is forbidden")] * 3)
        api.end_watches(SERVICES)
        await follower.until(lambda: len(api.asked(SERVICES, "watch")) == 5)
        api.put(SERVICES, service("a"))
        await follower.until(lambda: follower.has("Service", "a"))


async def test_a_kind_joins_and_leaves_with_its_definition(api: RecordedApi, options: ClusterOptions) -> None:
    where = ("networking.istio.io", "virtualservices")
    del api.served[where]
    async with followed(options) as follower:
        feed = next(each for each in follower.source.feeds if each.resource == "virtualservices.networking.istio.io")
        assert feed.standing is Standing.ABSENT
        api.put("/apis/networking.istio.io/v1beta1/virtualservices", virtual_service("a"))
        api.served[where] = ["v1beta1", "v1alpha3"]
        await follower.until(lambda: follower.has("VirtualService", "a"))
        source = follower.objects[
            next(key for key in follower.objects if key.kind == kinds.VIRTUAL_SERVICE)
        ].meta.source
        assert source == "Kubernetes networking.istio.io/v1beta1"
        del api.served[where]
        api.end_watches("/apis/networking.istio.io/v1beta1/virtualservices")
        await follower.until(lambda: not follower.has("VirtualService", "a"))
        api.served[where] = ["v1beta1", "v1alpha3"]
        await follower.until(lambda: follower.has("VirtualService", "a"))


async def test_discovery_that_does_not_know_all_yet_removes_nothing(api: RecordedApi, options: ClusterOptions) -> None:
    """An API server that has just started tells of fewer resources than it serves."""
    api.put(VIRTUAL_SERVICES, virtual_service("a"))
    empty = recorded_api.text(b'{"kind": "APIGroupDiscoveryList", "items": []}')
    api.answer_always("/apis", "get", empty)
    async with followed(options) as follower:
        assert follower.has("VirtualService", "a")
        asked = len(api.asked("/apis", "get"))
        await follower.until(lambda: len(api.asked("/apis", "get")) > asked + 2)
        assert follower.batches == []


async def test_a_version_that_ends_takes_nothing_along(api: RecordedApi, options: ClusterOptions) -> None:
    """Another version of it is served; discovery tells so only later."""
    where = ("networking.istio.io", "virtualservices")
    api.served[where] = ["v1alpha3"]
    old, new = (VIRTUAL_SERVICES.replace("/v1/", f"/{version}/") for version in ("v1alpha3", "v1"))
    api.put(old, virtual_service("a"))
    async with followed(options) as follower:
        await follower.until(lambda: bool(api.watching(old)))
        api.answer_always("/apis", "get", recorded_api.hold())
        api.put(new, virtual_service("a"))
        api.put(new, virtual_service("b"))
        api.served[where] = ["v1"]
        api.end_watches(old)
        await follower.until(lambda: follower.has("VirtualService", "b"))
        assert not any(batch.deletes for batch in follower.batches)
        assert follower.named("VirtualService") == ["a", "b"]


async def test_discovery_that_is_nonsense_is_asked_again(api: RecordedApi, options: ClusterOptions) -> None:
    api.put(VIRTUAL_SERVICES, virtual_service("a"))
    bodies = (b"<html>", b'{"kind": "APIGroupList"}', b'{"kind": "APIGroupDiscoveryList", "items": 7}')
    api.answer_next("/apis", "get", *map(recorded_api.text, bodies), recorded_api.status(403, "no"))
    with capture_logs() as logs:
        async with followed(options) as follower:
            assert follower.has("VirtualService", "a")
    assert len([entry for entry in logs if entry["event"] == "watchers.discovery_failed"]) == len(bodies) + 1


async def test_a_bad_object_keeps_its_last_good_version(api: RecordedApi, options: ClusterOptions) -> None:
    api.put(VIRTUAL_SERVICES, virtual_service("a", generation=1))
    api.put(VIRTUAL_SERVICES, virtual_service("b", hosts=7))
    async with followed(options) as follower:
        assert follower.named("VirtualService") == ["a"]
        assert list(follower.source.rejected) == ["VirtualService shop/b"]
        api.put(VIRTUAL_SERVICES, virtual_service("a", hosts=7, generation=2))
        await follower.until(lambda: len(follower.source.rejected) == 2)
        assert follower.named("VirtualService") == ["a"]
        (rejected,) = follower.batches[-1].rejections
        assert rejected.problems[0].startswith("spec.hosts")
        api.put(VIRTUAL_SERVICES, virtual_service("a", generation=3))
        await follower.until(lambda: len(follower.source.rejected) == 1)
        (obj,) = follower.batches[-1].upserts  # equal to what is in force, but its refusal is over
        assert obj.meta.generation == 3
        api.delete(VIRTUAL_SERVICES, virtual_service("b"))
        await follower.until(lambda: not follower.source.rejected)


def policy(port: str, **metadata: Any) -> RawObject:
    rules = [{"to": [{"operation": {"ports": [port]}}]}]
    return {"metadata": {"namespace": "shop", "name": "a", **metadata}, "spec": {"action": "DENY", "rules": rules}}


async def test_a_bad_policy_is_not_as_if_it_were_not_there(api: RecordedApi, options: ClusterOptions) -> None:
    """What stands for it goes once there is a good version, which then stays."""

    def denied(follower: Followed) -> list[str]:
        return [
            ",".join(target.operation.ports) if target.operation else ""
            for obj in follower.objects.values()
            if obj.kind == kinds.AUTHORIZATION_POLICY
            for rule in obj.spec.rules
            for target in rule.to or (RuleTo(),)
        ]

    api.put(POLICIES, policy("80-90", generation=1))
    async with followed(options) as follower:
        assert denied(follower) == [""], "everything"
        assert list(follower.source.rejected) == ["AuthorizationPolicy shop/a"]
        api.put(POLICIES, policy("80", generation=2))
        await follower.until(lambda: denied(follower) == ["80"])
        api.put(POLICIES, policy("80-91", generation=3))
        await follower.until(lambda: bool(follower.batches[-1].rejections))
        assert denied(follower) == ["80"]
        api.delete(POLICIES, policy("80-91"))
        await follower.until(lambda: denied(follower) == [])
        assert not follower.source.rejected


async def test_a_new_generation_of_an_equal_object_is_told(api: RecordedApi, options: ClusterOptions) -> None:
    """Its status names the generation, so it has to be known, and nothing is built again for it."""
    api.put(VIRTUAL_SERVICES, virtual_service("a", generation=1))
    async with followed(options) as follower:
        revision = follower.compiler.registry.revision
        api.put(VIRTUAL_SERVICES, virtual_service("a", generation=2))
        await follower.until(lambda: [obj.meta.generation for obj in follower.objects.values()] == [2])
        assert follower.compiler.registry.revision == revision


async def test_an_unknown_field_is_a_warning(api: RecordedApi, options: ClusterOptions) -> None:
    raw = virtual_service("a", creationTimestamp="2026-01-02T03:04:05Z", generation=4)
    raw["spec"]["brandNew"] = 1
    api.put(VIRTUAL_SERVICES, raw)
    with capture_logs() as logs:
        async with followed(options) as follower:
            assert follower.has("VirtualService", "a")
            (warned,) = follower.source.warnings
            meta = next(obj.meta for key, obj in follower.objects.items() if key.kind == kinds.VIRTUAL_SERVICE)
    assert (meta.created, meta.generation) == ("2026-01-02T03:04:05Z", 4)
    assert warned.text.startswith("spec.brandNew")
    assert [entry["object"] for entry in logs if entry["event"] == "watchers.warned"] == ["VirtualService shop/a"]


async def test_only_metadata_is_asked_for_where_nothing_else_is_read(api: RecordedApi, options: ClusterOptions) -> None:
    async with followed(options) as follower:
        await follower.until(lambda: bool(api.watching(recorded_api.NAMESPACES)))
    for verb in ("list", "watch"):
        (request,) = api.asked(recorded_api.NAMESPACES, verb)
        assert "as=PartialObjectMetadata" in request.headers["accept"]


async def _until(condition: Callable[[], bool]) -> None:
    async with patience():
        while not condition():
            await asyncio.sleep(0.01)
