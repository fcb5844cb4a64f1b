"""The API of the monitoring port, over real HTTP on loopback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest

from controlplane.admin.sources import AdminSources
from controlplane.admin.timeline import Timeline
from controlplane.ads.sync_status import Sync
from controlplane.api import streams
from controlplane.api.openapi import document
from controlplane.api.operations import as_it_happens, operations
from controlplane.apis.envoy_filter import EnvoyFilter
from controlplane.apis.virtual_service import VirtualService
from controlplane.model import kinds
from controlplane.model.certificates import Certificate
from controlplane.model.events import Event, Happened
from controlplane.model.objects import Meta, Object, ObjectKey
from controlplane.model.problems import Problem, Sort
from controlplane.snapshots import ResourceType
from tests.admin import world
from tests.patience import until

PARTS = ("controlplane.api.application", "controlplane.ui.application")
REVIEWS = Object(
    kinds.VIRTUAL_SERVICE,
    Meta("shop", "reviews", created="2026-01-02T03:04:05Z", generation=3, source="shop.yaml:12"),
    VirtualService.model_validate(
        {"hosts": ["reviews"], "gateways": ["edge"], "http": [{"route": [{"destination": {"host": "reviews"}}]}]}
    ),
)
OLD = ObjectKey(kinds.VIRTUAL_SERVICE, "shop", "old")
PROBLEMS = (
    Problem(OLD, Sort.REFUSED, "Error", "spec.http[0]: no destination", source="old.yaml:1"),
    Problem(OLD, Sort.FINDING, "Error", "it loses", "spec.hosts[0]", "IST0109", REVIEWS.key, "old.yaml:1"),
    Problem(REVIEWS.key, Sort.WARNING, "Warning", "it is odd", source="shop.yaml:12"),
)


def sources(**changed: Any) -> AdminSources:
    """Return a small world with objects, problems and a certificate."""
    now = datetime.now(UTC)
    known = {
        "objects": lambda: [REVIEWS],
        "object": {REVIEWS.key: REVIEWS}.get,
        "problems": lambda: iter(PROBLEMS),
        "certificates": lambda: [Certificate("root", "O=mesh", now - timedelta(days=99), now + timedelta(days=1))],
        "revision": lambda: 7,
    }
    return replace(world.sources(), **(known | changed))


@asynccontextmanager
async def serving(asked: AdminSources | None = None) -> AsyncIterator[aiohttp.ClientSession]:
    async with (
        world.serving(sources() if asked is None else asked, parts=PARTS) as address,
        aiohttp.ClientSession(f"http://{address}") as session,
    ):
        yield session


async def get(path: str, asked: AdminSources | None = None) -> tuple[int, Any]:
    async with serving(asked) as session, session.get(f"/api/v1/{path}") as response:
        return response.status, await response.json(content_type=None)


async def good(path: str, asked: AdminSources | None = None) -> Any:
    status, body = await get(path, asked)
    assert status == 200, body
    return body


async def test_overview_counts_proxies_and_problems() -> None:
    body = await good("overview")
    assert body["proxies"] == {"ERROR": 1, "SYNCED": 1}
    assert body["problems"] == {"Error": 2, "Warning": 1}
    assert (body["services"], body["objects"], body["revision"]) == (1, 1, 7)
    assert "ends at" in body["nextExpiry"]["problem"]


async def test_the_worst_proxy_comes_first_with_what_it_refuses() -> None:
    body = await good("proxies")
    assert [(each["id"], each["state"]) for each in body["items"]] == [
        ("api-1.prod", "ERROR"),
        ("web-1.shop", "SYNCED"),
    ]
    listeners = next(each for each in body["items"][0]["types"] if each["type"] == "LDS")
    assert listeners["rejection"] == world.REFUSAL
    assert (body["total"], body["next"]) == (2, None)


@pytest.mark.parametrize(
    ("asked", "ids"),
    [
        ("namespace=shop", ["web-1.shop"]),
        ("name=api", ["api-1.prod"]),
        ("state=SYNCED", ["web-1.shop"]),
        ("troubled=true", ["api-1.prod"]),
        ("namespace=nowhere", []),
    ],
)
async def test_filters_of_proxies(asked: str, ids: list[str]) -> None:
    assert [each["id"] for each in (await good(f"proxies?{asked}"))["items"]] == ids


async def test_pages_lead_on_to_the_end() -> None:
    first = await good("proxies?limit=1")
    assert (len(first["items"]), first["total"]) == (1, 2)
    following = {"limit": "1", "after": first["next"]}
    async with serving() as session, session.get("/api/v1/proxies", params=following) as response:
        second = await response.json()
    assert [each["id"] for each in second["items"]] == ["web-1.shop"]
    assert second["next"] is None


async def test_a_refusal_names_the_resource_and_its_objects() -> None:
    (refusal,) = (await good("proxies/api-1.prod"))["refusals"]
    (resource,) = refusal["resources"]
    assert (refusal["type"], resource["name"], resource["objectCount"]) == ("LDS", "0.0.0.0_9080", 2)
    assert [each["kind"] for each in resource["objects"]] == ["Gateway", "VirtualService"]


async def test_a_proxys_resources_and_one_of_them() -> None:
    listed = await good("proxies/web-1.shop/resources?type=LDS")
    assert [each["name"] for each in listed["items"]] == ["0.0.0.0_9080"]
    one = await good("proxies/web-1.shop/resource?type=LDS&name=0.0.0.0_9080")
    assert one["resource"]["@type"] == ResourceType.LISTENER.value
    assert one["objectCount"] == 2


async def test_objects_are_those_in_force_and_those_that_only_have_problems() -> None:
    items = (await good("objects"))["items"]
    assert [(each["object"]["name"], each["inForce"], each["problems"], each["level"]) for each in items] == [
        ("old", False, 2, "Error"),
        ("reviews", True, 1, "Warning"),
    ]


async def test_an_object_has_its_manifest_problems_and_what_it_won_over() -> None:
    body = await good("objects/VirtualService/shop/reviews")
    assert body == await good("objects/vs/shop/reviews"), "kinds as kubectl takes them"
    assert body["manifest"]["spec"]["hosts"] == ["reviews"]
    assert [each["reason"] for each in body["problems"]] == ["it is odd"]
    assert [(each["object"]["name"], each["code"]) for each in body["overrides"]] == [("old", "IST0109")]


async def test_findings_by_level_and_code() -> None:
    found = (await good("findings?level=Error&code=IST0109"))["items"]
    assert [each["winner"]["name"] for each in found] == ["reviews"]
    assert (await good("findings?namespace=prod"))["total"] == 0


async def test_a_service_and_its_endpoints() -> None:
    body = await good("services/shop/reviews.shop.svc.cluster.local")
    assert (body["service"]["endpoints"], body["service"]["healthy"]) == (1, 1)
    assert [each["address"] for each in body["endpoints"]] == ["10.0.0.7"]


async def test_topology_leads_from_gateways_to_services() -> None:
    body = await good("topology")
    (edge,) = body["edges"]
    assert (edge["source"], edge["target"]) == ("gateway:shop/edge", "service:reviews.shop.svc.cluster.local")
    assert edge["object"]["name"] == "reviews"


async def told(response: aiohttp.ClientResponse) -> Any:
    """Return the next event of a stream, whose number stands before it; what is said when nothing happens is passed."""
    number = b""
    while not (line := await response.content.readline()).startswith(b"data: "):
        assert line, "the stream goes on"
        number = line.strip() if line.startswith(b"id: ") else number
    event = json.loads(line.removeprefix(b"data: "))
    assert number == b"id: %d" % event["number"]
    return event


async def test_events_are_streamed_as_they_happen() -> None:
    held = sources()
    held.timeline.add(Event(Happened.ACCEPTED, 1, changed=("VirtualService shop/reviews",)))
    async with serving(held) as session, session.get("/api/v1/events/stream?after=0") as response:
        assert response.content_type == "text/event-stream"
        first = await told(response)
        held.timeline.add(Event(Happened.REFUSED, 1, refused=("VirtualService shop/old",)))
        second = await told(response)
    assert [(each["number"], each["happened"]) for each in (first, second)] == [(1, "accepted"), (2, "refused")]
    assert second["refused"] == ["VirtualService shop/old"]


async def test_others_have_their_turns_while_a_stream_is_told_all_that_is_remembered() -> None:
    timeline, turns = Timeline(), 0
    for _ in range(200):
        timeline.add(Event(Happened.PUSHED, 1))

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.create_task(count())
    async for text in as_it_happens(timeline, 0):
        if text.startswith("id: 200\n"):
            break
    counting.cancel()
    assert turns > 100


async def test_a_stream_goes_on_after_what_was_seen_and_begins_anew_with_another_process() -> None:
    held = sources()
    for _ in range(3):
        held.timeline.add(Event(Happened.PUSHED, 1))
    for seen, first in (("2", 3), ("999", 1)):
        headers = {"Last-Event-ID": seen}
        async with serving(held) as session, session.get("/api/v1/events/stream", headers=headers) as response:
            assert (await told(response))["number"] == first


async def test_streams_are_bounded_and_one_that_ends_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MOST_STREAMS", 1)
    async with serving() as session:
        async with session.get("/api/v1/events/stream") as first:
            assert first.status == 200
            async with session.get("/api/v1/events/stream") as second:
                assert (second.status, second.content_type) == (503, "application/problem+json")

        async def again() -> bool:
            async with session.get("/api/v1/events/stream") as third:
                return third.status == 200

        await until(again)


async def test_an_address_with_many_streams_keeps_no_other_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MOST_STREAMS", 3)
    path = "/api/v1/events/stream"
    async with world.serving(sources(), parts=PARTS) as address, AsyncExitStack() as stack:
        greedy, other = [
            await stack.enter_async_context(
                aiohttp.ClientSession(f"http://{address}", connector=aiohttp.TCPConnector(local_addr=(source, 0)))
            )
            for source in ("127.0.0.2", "127.0.0.3")
        ]
        first, *_ = [await stack.enter_async_context(greedy.get(path)) for _ in range(3)]
        async with greedy.get(path) as fourth:
            assert fourth.status == 503
        assert (await stack.enter_async_context(other.get(path))).status == 200
        with pytest.raises(aiohttp.ClientError):
            await first.read()  # the oldest has made room
        async with other.get(path) as second:
            assert second.status == 503  # two of theirs and one of ours: nobody has more than that would give


async def test_no_key_of_an_envoy_filter_is_shown() -> None:
    tls = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": {"tls_certificates": [{"private_key": {"inline_string": "the-key"}}]},
    }
    value = {"transport_socket": {"name": "tls", "typed_config": tls}}
    patch = {"applyTo": "CLUSTER", "patch": {"operation": "MERGE", "value": value}}
    spec = EnvoyFilter.model_validate({"configPatches": [patch]})
    secret = Object(kinds.ENVOY_FILTER, Meta("shop", "secret"), spec)
    asked = sources(objects=lambda: [secret], object={secret.key: secret}.get, problems=tuple)
    async with serving(asked) as session:
        for path in ("/api/v1/objects/EnvoyFilter/shop/secret", "/ui/objects/EnvoyFilter/shop/secret"):
            async with session.get(path) as response:
                text = await response.text()
            assert "private_key" in text
            assert "the-key" not in text


@pytest.mark.parametrize("path", ["services", "services/shop/reviews.shop.svc.cluster.local", "topology"])
async def test_what_has_not_changed_is_not_sent_again(path: str) -> None:
    revision = 7
    held = sources(revision=lambda: revision)
    async with serving(held) as session:
        async with session.get(f"/api/v1/{path}") as response:
            tag = response.headers["ETag"]
        async with session.get(f"/api/v1/{path}", headers={"If-None-Match": tag}) as response:
            assert (response.status, await response.read()) == (304, b"")
        revision = 8
        async with session.get(f"/api/v1/{path}", headers={"If-None-Match": tag}) as response:
            assert response.status == 200


@pytest.mark.parametrize(
    ("path", "status", "detail"),
    [
        ("proxies?limit=0", 400, "?limit="),
        ("proxies?limit=1&limit=2", 400, "comes 2 times"),
        ("proxies?nmaespace=shop", 400, "?nmaespace="),
        ("proxies?state=FINE", 400, "?state="),
        ("proxies?after=x", 400, "?after="),
        ("proxies/gone.shop", 404, "not connected"),
        ("proxies/gone.shop/resources?type=LDS", 404, "not connected"),
        ("proxies/web-1.shop/resource?type=LDS&name=no", 404, "no resource no of LDS"),
        ("proxies/web-1.shop/resources?type=XDS", 400, "?type="),
        ("objects/VirtualService/shop/none", 404, "there is no VirtualService shop/none"),
        ("services/shop/none", 404, "there is no service none of namespace shop"),
        ("explain?from=pod/shop/web", 400, "?url="),
        ("nothing", 404, "page not found"),
    ],
)
async def test_errors_have_one_shape(path: str, status: int, detail: str) -> None:
    async with serving() as session, session.get(f"/api/v1/{path}") as response:
        body = await response.json(content_type="application/problem+json")
    assert (response.status, body["status"], body["type"]) == (status, status, "about:blank")
    assert detail in body["detail"]


async def test_what_the_debug_pages_answer_with_text_has_that_shape_too() -> None:
    text, elsewhere = {"Content-Type": "text/plain"}, {"Host": "mesh.example.com"}
    async with serving() as session, session.post("/api/v1/plan", data=b"{}", headers=text) as response:
        assert (response.status, response.content_type) == (415, "application/problem+json")
    async with serving() as session, session.post("/api/v1/overview") as response:
        assert (response.status, response.content_type) == (405, "application/problem+json")
        assert set(response.headers["Allow"].split(", ")) == {"GET", "HEAD"}
    async with serving() as session, session.get("/api/v1/overview", headers=elsewhere) as response:
        assert (response.status, response.content_type) == (403, "application/problem+json")


async def test_an_error_of_ours_tells_nothing_and_has_that_shape() -> None:
    def broken() -> Sequence[Problem]:
        raise RuntimeError("secret")

    status, body = await get("findings", sources(problems=broken))
    assert (status, body["title"]) == (500, "Internal Server Error")
    assert "secret" not in json.dumps(body)


async def test_a_megabyte_of_a_proxys_words_is_cut() -> None:
    troubled = world.status("api-1", {ResourceType.LISTENER: world.refused()}, "prod")
    held = troubled.types[ResourceType.LISTENER]
    assert held.rejection is not None
    long = replace(held, rejection=replace(held.rejection, message="x" * 1_000_000))
    asked = world.sources(replace(troubled, types={ResourceType.LISTENER: long}))
    (row,) = (await good("proxies", asked))["items"]
    assert len(row["types"][0]["rejection"]) < 1_100
    (refusal,) = (await good("proxies/api-1.prod", asked))["refusals"]
    assert 16_000 < len(refusal["message"]) < 17_000
    assert "983616 more characters" in refusal["message"]


def test_the_description_has_every_operation_and_no_reference_to_nothing() -> None:
    described = json.loads(document())
    assert set(described["paths"]) == {each.path for each in operations()}
    named = {part.partition('"')[0] for part in document().split('"$ref": "#/components/schemas/')[1:]}
    assert named
    assert named <= set(described["components"]["schemas"])


def test_every_parameter_of_a_path_is_one_of_its_question() -> None:
    for each in operations():
        in_path = {part.partition("}")[0] for part in each.path.split("{")[1:]}
        assert in_path <= set(each.asks.model_fields), each.path


@pytest.mark.parametrize("sync", list(Sync))
async def test_each_state_of_a_type_is_one_of_a_proxy(sync: Sync) -> None:
    asked = world.sources(world.status("web-1", {ResourceType.CLUSTER: world.sent(sync)}))
    assert [each["state"] for each in (await good("proxies", asked))["items"]] == [sync.value]
