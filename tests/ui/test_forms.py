"""Forms of the page: a change that is planned, and two proxies that are compared."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest
from envoy.config.route.v3.route_pb2 import RouteConfiguration

from controlplane.admin.sources import AdminSources, Read, Take
from controlplane.apis.envoy_filter import EnvoyFilter
from controlplane.documents.places import pointer_path
from controlplane.documents.yaml_reader import yaml_documents
from controlplane.limits import Limits
from controlplane.model import kinds
from controlplane.model.objects import Meta, Object
from controlplane.simulate.questions import UnansweredError, WrongQuestionError
from controlplane.snapshots import Resource, ResourceType, Snapshot
from controlplane.ui.differences import Difference, differences
from controlplane.ui.forms import LONGEST_FORM
from tests.admin import world
from tests.api.test_api import REVIEWS, good, serving, sources
from tests.ui.test_page import HOSTILE, Document, page

FORM = "application/x-www-form-urlencoded"
NAMED = {"kind": "VirtualService", "group": "networking.istio.io", "namespace": "shop", "name": "reviews"}


def planning(answer: Any, asked: list[Any] | None = None) -> AdminSources:
    """Return a world whose copy answers so, or raises it; what it was asked is put into ``asked``."""

    async def plan(read: Read, take: Take) -> None:
        question = json.loads(await read())
        if asked is not None:
            asked.append(question)
        if isinstance(answer, Exception):
            raise answer
        await take(json.dumps(answer).encode())

    return sources(plan=plan)


async def posted(fields: dict[str, str] | str, known: AdminSources, status: int = 200, **headers: str) -> Document:
    """Post the form; return the page that comes."""
    body = fields if isinstance(fields, str) else urlencode(fields)
    sent = {"Content-Type": FORM} | {name.replace("_", "-"): value for name, value in headers.items()}
    async with serving(known) as session, session.post("/ui/plan", data=body, headers=sent) as response:
        text = await response.text()
        assert response.status == status, text
        if status != 403:
            assert response.headers["Content-Security-Policy"].startswith("default-src 'none';")
    assert "\x1b" not in text
    assert "\u202e" not in text
    return Document(text)


def answered(word: str = "x") -> dict[str, Any]:
    """Return an answer that has something of everything, as ``plan.words`` makes it."""
    named = NAMED | {"name": word}
    problem = {
        "level": "Error", "code": "C110", "object": named, "path": "spec.http[0]", "reason": word,
        "winner": named, "proxies": 1,
    }  # fmt: skip
    reach = {"proxyCount": 2, "sidecars": 1, "gateways": [word], "resources": {"RDS": {"changed": 3, "added": 1}}}
    patch = [
        {"op": "replace", "path": "/spec/http/0/timeout", "was": "1s", "value": word},
        {"op": "add", "path": "/spec/x", "value": {"a": [word]}},
        {"op": "remove", "path": "/spec/y", "place": "/spec/y/0", "was": 7},
    ]
    changed = {"change": "changed", **named, "source": "manifests:1"}
    return {
        "revision": 7,
        "proxyCount": 9,
        "objects": [
            {**changed, "patch": patch, "effect": reach},
            {**changed, "patch": [], "effect": None},
            {**changed, "patch": [], "effect": {**reach, "proxyCount": 0}},
        ],
        "classes": [],
        "totals": {
            "proxies": 2, "resources": reach["resources"], "bytes": {}, "drained": {"listeners": 4, "filterChains": 5},
        },
        "problems": [problem, {**problem, "object": None, "winner": None}],
        "solved": [problem],
        "refused": [{**named, "source": "manifests:9", "problems": [word]}],
        "errors": 3,
        "warnings": 1,
        "requests": [],
        "unused": [word],
        "repeated": [{**named, "first": "manifests:1", "used": "manifests:5"}],
    }  # fmt: skip


async def test_a_change_is_planned_and_its_form_stays_as_it_was_sent() -> None:
    asked: list[Any] = []
    text = "\r\nkind: A  # </textarea>\r\n" + "x" * 3_000
    shown = await posted(
        {"manifests": text, "delete": "vs/shop/a\r\n vs/shop/b", "prune": "true"}, planning(answered(), asked)
    )
    assert asked == [{"manifests": text, "delete": ["vs/shop/a", "vs/shop/b"], "prune": True, "classes": False}]
    for words in (
        "3 errors, 1 warning. Nothing was applied.",
        "2 of 9 proxies would be sent something (RDS 3 changed 1 added), and 4 listeners and 5 filter chains drained",
        "spec.http[0].timeout 1s becomes x",
        'spec.x is new: {"a": ["x"]}',
        "spec.y[0] goes, was 7",
        "2 of 9 proxies: 1 sidecar, gateway x: RDS 3 changed 1 added.",
        "what comes of it alone was not looked at",
        "No proxy is sent anything for it.",
        "(at 1 proxy) Used in its place: VirtualService shop/x",
        "Without meaning here: x",
        "manifests:1, then manifests:5",
        shlex.join(("controlplane", "plan", "-f", "change.yaml", "--delete", "vs/shop/a", "--delete", "vs/shop/b")),
        text.replace("\r\n", "\n").strip(),
    ):
        assert words in shown.text.replace("\r\n", "\n"), words
    assert shown.wrong == []
    assert "checked" in next(each for each in shown.of("input") if each["name"] == "prune")
    assert any("data-asks" in attributes for _, attributes in shown.tags), "no event asks again"


async def test_a_long_list_of_objects_that_go_stays_whole() -> None:
    names = "\r\n".join(f"vs/shop/one-of-many-{number}" for number in range(200))
    shown = await posted({"manifests": "\nkind: A", "delete": names}, planning(answered()))
    assert f"\n{names}".replace("\r\n", "\n") in shown.text.replace("\r\n", "\n")
    assert "\n\nkind: A" in shown.text, "browsers pass over the first line end of a field"


async def test_a_hostile_answer_and_a_hostile_form_are_texts() -> None:
    fields = {"manifests": HOSTILE, "delete": HOSTILE.replace(" ", ""), "prune": HOSTILE}
    for known in (planning(answered(HOSTILE)), planning(WrongQuestionError(HOSTILE))):
        shown = await posted(fields, known)
        assert [each["src"] for each in shown.of("script")] == ["/ui/static/page.js"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (WrongQuestionError("manifests, line 4: not readable: x"), "manifests, line 4: not readable: x"),
        (UnansweredError("took longer than 60 s"), "The answer took longer than 60 s."),
        ({"revision": "x" * 100_001}, "The answer is so long that it is not shown here"),
    ],
)
async def test_why_there_is_no_plan_is_told_beside_the_form(answer: Any, words: str) -> None:
    shown = await posted({"manifests": "kind: A"}, planning(answer))
    assert words in shown.text
    assert any(attributes.get("role") == "alert" for _, attributes in shown.tags)
    assert "kind: A" in shown.text


async def test_a_form_that_asks_for_nothing_or_is_none_is_told_so() -> None:
    asked: list[Any] = []
    known = planning(answered(), asked)
    assert "Paste what is new or changed" in (await posted({"manifests": " \r\n"}, known)).text
    assert "The form takes 65536 bytes" in (await posted("manifests=" + "x" * LONGEST_FORM, known, 413)).text
    assert "The form cannot be read" in (await posted("&".join(f"a{n}=1" for n in range(99)), known, 400)).text
    assert "is posted as a form" in (await posted("{}", known, 415, Content_Type="application/json")).text
    small = replace(known, limits=replace(Limits(), max_question_size=10))
    assert "over the limit of 10 bytes" in (await posted("manifests=" + "x" * 99, small, 413)).text
    assert asked == []


async def test_no_other_site_has_the_page_plan() -> None:
    asked: list[Any] = []
    known = planning(answered(), asked)
    await posted({"manifests": "kind: A"}, known, 403, Sec_Fetch_Site="cross-site")
    await posted({"manifests": "kind: A"}, known, 403, Origin="http://evil.example.com")
    assert asked == []


async def test_an_object_is_put_into_the_form_as_it_is() -> None:
    shown = await page("/ui/objects/VirtualService/shop/reviews")
    links = {each["href"] or "" for each in shown.of("a")}
    (change,) = (each for each in links if each.startswith("/ui/plan?object="))
    (removal,) = (each for each in links if each.startswith("/ui/plan?delete="))
    text = (await page(change)).text.partition("as YAML ")[2].partition("Objects to delete")[0]
    (document,) = yaml_documents(text)
    assert document.value["spec"] == {  # type: ignore[union-attr]
        "hosts": ["reviews"], "gateways": ["edge"], "http": [{"route": [{"destination": {"host": "reviews"}}]}],
    }  # fmt: skip
    assert document.value["metadata"]["name"] == REVIEWS.meta.name  # type: ignore[union-attr]
    assert "VirtualService/shop/reviews" in (await page(removal)).text


def planned_filter(key: str, *, items: int = 0) -> AdminSources:
    """Return a world with an EnvoyFilter that has a key, and a list."""
    tls = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": {
            "tls_certificates": [{"private_key": {"inline_string": key}}],
            "alpn_protocols": ["a" for _ in range(items)],
        },
    }
    patch = {"operation": "MERGE", "value": {"transport_socket": {"name": "tls", "typed_config": tls}}}
    spec = EnvoyFilter.model_validate({"configPatches": [{"applyTo": "CLUSTER", "patch": patch}]})
    held = Object(kinds.ENVOY_FILTER, Meta("shop", "keys"), spec)
    return sources(object={held.key: held}.get)


async def test_who_plans_a_change_of_an_object_with_keys_is_told_that_they_are_not_there() -> None:
    shown = await page("/ui/plan?object=EnvoyFilter/shop/keys", planned_filter("the-key"))
    assert "the-key" not in shown.text
    assert "put them in the place of [redacted]" in shown.text
    assert "put them" not in (await page("/ui/plan?object=VirtualService/shop/reviews")).text


async def test_an_object_that_no_browser_could_send_back_is_not_put_into_the_form() -> None:
    """What is sent is longer than what is shown: line ends, spaces and colons take three bytes."""
    length = LONGEST_FORM // len("              - a\n") - 100
    shown = await page("/ui/plan?object=EnvoyFilter/shop/keys", planned_filter("a", items=length), 413)
    assert "The form takes 65536 bytes" in shown.text


def two_proxies(**changed: bytes) -> AdminSources:
    """Return two proxies that have a route configuration each, which differ as it is said."""
    held = {}
    for id_ in ("web-1.shop-1", "api-1.prod-3"):
        routes = RouteConfiguration(name="80")
        routes.virtual_hosts.add(name="reviews").domains.append("reviews")
        if id_ in changed:
            routes.MergeFromString(changed[id_])
        resource = Resource.of(ResourceType.ROUTE, "80", routes.SerializeToString(deterministic=True))
        held[id_] = Snapshot(7, {ResourceType.ROUTE: {"80": resource}})
    own = Resource.of(ResourceType.CLUSTER, "own", b"")
    first = held["web-1.shop-1"]
    held["web-1.shop-1"] = Snapshot(7, {**first.resources, ResourceType.CLUSTER: {"own": own}})
    known = sources()
    connections = list(known.proxies())
    return replace(known, snapshot=dict(zip(connections, held.values(), strict=True)).get)


async def test_two_proxies_are_compared_by_resource_and_then_by_field() -> None:
    more = RouteConfiguration(request_headers_to_remove=["x-a"]).SerializeToString()
    known = two_proxies(**{"api-1.prod-3": more})
    shown = await page("/ui/compare?one=web-1.shop&other=api-1.prod", known)
    assert "2 resources that they should not hold alike" in shown.text
    assert "has none" in shown.text
    (fields,) = (each["href"] or "" for each in shown.of("a") if "/ui/compare/resource" in (each["href"] or ""))
    detail = await page(fields, known)
    assert (shown.wrong, detail.wrong) == ([], [])
    assert "request_headers_to_remove" in detail.text
    assert '["x-a"]' in detail.text
    assert "virtual_hosts" not in detail.text, "what is the same is left out"
    only = await page("/ui/compare?one=web-1.shop&other=api-1.prod&type=CDS", known)
    assert "1 resource that they" in only.text
    assert "They should hold the same." in (await page("/ui/compare?one=web-1.shop&other=web-1.shop", known)).text
    body = await good("comparison?one=web-1.shop&other=api-1.prod", known)
    assert [(each["type"], each["name"], bool(each["one"]), bool(each["other"])) for each in body["items"]] == [
        ("CDS", "own", True, False),
        ("RDS", "80", True, True),
    ]


async def test_two_resources_that_differ_in_a_key_alone_are_not_said_to_be_the_same() -> None:
    known = two_proxies()
    connections = list(known.proxies())
    own = [Resource.of(ResourceType.CLUSTER, "own", b"") for _ in connections]
    own[1] = replace(own[1], confidential=Resource.of(ResourceType.CLUSTER, "own", b"a"))
    held = (Snapshot(7, {ResourceType.CLUSTER: {"own": each}}) for each in own)
    known = replace(known, snapshot=dict(zip(connections, held, strict=True)).get)
    shown = await page("/ui/compare/resource?one=web-1.shop&other=api-1.prod&type=CDS&name=own", known)
    assert "They differ in what is redacted alone." in shown.text
    same = await page("/ui/compare/resource?one=web-1.shop&other=web-1.shop&type=CDS&name=own", known)
    assert "Both should hold the same." in same.text


async def test_a_proxy_that_is_not_connected_is_named_and_the_form_stays() -> None:
    shown = await page("/ui/compare?one=web-1.shop&other=gone.shop", sources())
    assert "gone.shop: not connected here" in shown.text
    assert "web-1.shop" in {each.get("value") for each in shown.of("input")}


def test_differences_are_of_fields_and_named_items_belong_together() -> None:
    one = {"same": 1, "gone": None, "hosts": [{"name": "a", "x": 1}, {"name": "b"}], "list": [1, 2], "t": 1}
    other = {"same": 1, "hosts": [{"name": "b"}, {"name": "a", "x": 2}, {"name": "c"}], "list": [1], "t": True}
    assert list(differences(one, other)) == [
        Difference("gone", "null", ""),
        Difference("hosts[a].x", "1", "2"),
        Difference("hosts[c]", "", '{"name": "c"}'),
        Difference("hosts (order)", "a, b", "b, a, c"),
        Difference("list[1]", "2", ""),
        Difference("t", "1", "true"),
    ]
    assert not list(differences(one, one))


def test_a_pointer_is_a_path() -> None:
    assert pointer_path("/spec/http/0/route~1x/a.b~0") == "spec.http[0][route/x][a.b~]"


async def test_the_screen_of_a_proxy_leads_to_the_comparison() -> None:
    shown = await page("/ui/proxies/web-1.shop", world.sources())
    assert "/ui/compare?one=web-1.shop" in {each["href"] for each in shown.of("a")}
