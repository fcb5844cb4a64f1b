"""The page under /ui as a browser gets it, over real HTTP on loopback."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from html.parser import HTMLParser
from importlib.resources import files
from itertools import pairwise
from typing import Any
from urllib.parse import quote

import pytest

from controlplane.admin.sources import AdminSources, Read, Take
from controlplane.ads.sync_status import Rejection
from controlplane.api.models import Edge, Node, ObjectName, Topology
from controlplane.apis.authorization_policy import AuthorizationPolicy
from controlplane.model import kinds
from controlplane.model.delivery import Delivery
from controlplane.model.events import Event, Happened
from controlplane.model.feeds import Feed, Standing
from controlplane.model.leads import Lead
from controlplane.model.objects import Meta, Object, ObjectKey, Rejected
from controlplane.model.problems import Problem, Sort
from controlplane.model.service import ServiceKey
from controlplane.snapshots import Resource, ResourceType, Snapshot
from controlplane.ui.lines import lines
from controlplane.ui.pages import SCREENS
from controlplane.ui.picture import Picture, picture
from controlplane.ui.words import LONGEST
from tests.admin import world
from tests.api.test_api import serving, sources

HOSTILE = "<script>alert(1)</script>\x1b[31m\"'&\u202e"
ADDRESSES = [
    "/ui",
    "/ui/proxies",
    "/ui/proxies?troubled=true&state=ERROR&name=&namespace=",
    "/ui/proxies/api-1.prod",
    "/ui/proxies/web-1.shop/resource?type=LDS&name=0.0.0.0_9080",
    "/ui/objects",
    "/ui/objects/VirtualService/shop/reviews",
    "/ui/objects/VirtualService/shop/old",
    "/ui/problems",
    "/ui/services",
    "/ui/services/shop/reviews.shop.svc.cluster.local",
    "/ui/topology",
    "/ui/explain",
    "/ui/plan",
    "/ui/plan?object=VirtualService/shop/reviews&delete=vs/shop/old",
    "/ui/compare",
    "/ui/compare?one=web-1.shop&other=api-1.prod",
    "/ui/compare/resource?one=web-1.shop&other=api-1.prod&type=LDS&name=0.0.0.0_9080",
    "/ui/changes",
    "/ui/changes?from=1&to=2",
    "/ui/certificates",
]


VOID = frozenset({"meta", "link", "input", "br"})
BLOCKS = ("div", "p", "ul", "ol", "dl", "table", "form", "pre", "blockquote", "section", "h1", "h2", "h3")
WITHOUT = {
    **dict.fromkeys(BLOCKS, frozenset({"p", "h1", "h2", "h3", "pre", "span", "label"})),
    "a": frozenset({"a", "button", "label"}),
}
"""What may not be around a tag, at any depth."""
WITHIN = {
    "li": {"ul", "ol"}, "tr": {"thead", "tbody"}, "td": {"tr"}, "th": {"tr"}, "dt": {"dl"}, "dd": {"dl"},
    "option": {"select"},
}  # fmt: skip
"""What has to be right around a tag. Reference: HTML Living Standard, content models."""


class Document(HTMLParser):
    """What is in a page: its tags with attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.wrong: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        self.wrong += [f"<{tag}> is not closed" for tag in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if within := WITHOUT.get(tag, frozenset()) & set(self._open):
            self.wrong.append(f"<{tag}> within {sorted(within)}")
        if (only := WITHIN.get(tag)) is not None and self._open[-1:] not in [[each] for each in only]:
            self.wrong.append(f"<{tag}> within {self._open[-1:]}")
        if len({name for name, _ in attrs}) != len(attrs):
            self.wrong.append(f"<{tag}> has an attribute twice")
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.wrong.append(f"</{tag}> closes something else")

    def handle_data(self, data: str) -> None:
        self.text += data

    def of(self, tag: str) -> Iterator[dict[str, str | None]]:
        return (attributes for name, attributes in self.tags if name == tag)


async def page(address: str, asked: AdminSources | None = None, status: int = 200) -> Document:
    async with serving(asked) as session, session.get(address) as response:
        text = await response.text()
        assert (response.status, response.content_type) == (status, "text/html"), text
    return Document(text)


@pytest.mark.parametrize(
    "text", ["<p><div></div></p>", "<ul><p></p></ul><li></li>", "<ul><li></ul>", "<b>", "</b>", '<a id="1" id="2"></a>']
)
def test_what_is_no_good_html_is_noticed(text: str) -> None:
    assert Document(text).wrong


def test_every_screen_is_tried_here() -> None:
    assert {len(address.partition("?")[0].split("/")) for address in ADDRESSES} >= {len(p.split("/")) for p in SCREENS}
    assert {address.partition("?")[0].split("/")[2:3][0] for address in ADDRESSES[1:]} == {
        path.split("/")[2] for path in SCREENS if path != "/ui"
    }


@pytest.mark.parametrize("address", ADDRESSES)
async def test_a_screen_stands_by_itself(address: str) -> None:
    """Nothing of a screen comes from elsewhere, or would need a policy that allows what stands in the page."""
    shown = await page(address)
    assert shown.wrong == []
    assert len(list(shown.of("h1"))) == 1
    assert [each["src"] for each in shown.of("script")] == ["/ui/static/page.js"]
    assert not list(shown.of("style"))
    for tag, attributes in shown.tags:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], (tag, attributes)
        for name in ("href", "src", "action"):
            held = attributes.get(name)
            assert held is None or (held.startswith(("/", "#")) and not held.startswith("//")), (tag, held)


@pytest.mark.parametrize("address", [*ADDRESSES, "/ui/none", "/ui/static/page.js", "/ui/proxies?limit=0"])
async def test_every_answer_has_the_policy(address: str) -> None:
    async with serving() as session, session.get(address) as response:
        policy = response.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none';")
        assert "unsafe" not in policy
        assert "*" not in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["X-Frame-Options"] == "DENY"
        assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("address", "status", "words"),
    [
        ("/ui/proxies/gone.shop", 404, "not connected"),
        ("/ui/objects/VirtualService/shop/none", 404, "There is no VirtualService shop/none"),
        ("/ui/services/shop/none", 404, "There is no service none"),
        ("/ui/proxies/web-1.shop/resource?type=LDS&name=no", 404, "no resource no of LDS"),
        ("/ui/proxies?limit=0", 400, "?limit="),
        ("/ui/proxies/web-1.shop?type=XDS", 400, "type"),
        ("/ui/proxies?after=x", 400, "?after="),
        ("/ui/changes?from=5&to=4", 400, "Revision 4 comes before 5"),
        ("/ui/changes?from=x", 400, "from"),
        ("/ui/plan?object=VirtualService/shop/none", 404, "There is no VirtualService shop/none in force"),
        (f"/ui/plan?object=VirtualService/shop/{'x' * 501}", 400, "name"),
        (f"/ui/objects/VirtualService/shop/{'x' * 501}", 400, "name"),
        ("/ui/objects/vs/shop/none", 404, "There is no VirtualService shop/none"),
        ("/ui/compare?one=web-1.shop&other=api-1.prod&type=XDS", 400, "type"),
        ("/ui/compare/resource?one=web-1.shop&other=api-1.prod&type=LDS&name=no", 404, "no resource no of LDS"),
        ("/ui/compare/resource?one=web-1.shop", 400, "?type=: it is one of CDS, EDS"),
        ("/ui/problems?level=Bad", 400, "?level=: it is one of Error, Warning, Info"),
        ("/ui/none", 404, "page not found"),
        ("/ui/static/none", 404, "page not found"),
        ("/ui/static/..%2fpages.py", 404, "page not found"),
    ],
)
async def test_what_cannot_be_shown_is_a_page_that_says_why(address: str, status: int, words: str) -> None:
    shown = await page(address, status=status)
    assert words in shown.text
    assert "validation error" not in shown.text, "a library's words"
    assert "/ui" in {each["href"] for each in shown.of("a")}


async def test_the_guards_of_the_debug_pages_stand_here_too() -> None:
    async with serving() as session:
        for address in ("/ui", "/ui/", "/ui/proxies", "/ui/static/page.js"):
            async with session.get(address, headers={"Host": "evil.example.com"}) as response:
                assert response.status == 403, address


async def test_without_trouble_the_first_screen_is_one_sentence() -> None:
    quiet = replace(world.sources(world.healthy()), revision=lambda: 7, settled=lambda: 7)
    shown = await page("/ui", quiet)
    assert "The only proxy has revision 7." in shown.text
    busy = replace(quiet, revision=lambda: 8)
    assert "revision 7; what revision 8 means for them is being worked out." in (await page("/ui", busy)).text
    assert "Nothing has changed since the control plane started." in shown.text
    assert "not in order" not in shown.text
    assert "Problems of objects" not in shown.text


async def test_trouble_is_told_first_and_leads_to_the_proxy_and_the_objects() -> None:
    shown = await page("/ui", sources())
    assert "1 of 2 proxies refuse what they were sent" in shown.text
    links = {each["href"] for each in shown.of("a")}
    assert {"/ui/proxies/api-1.prod-3", "/ui/objects/VirtualService/shop/old", "/ui/proxies?state=ERROR"} <= links


async def test_a_refusal_shows_envoys_words_and_leads_to_what_it_was_made_from() -> None:
    shown = await page("/ui/proxies/api-1.prod")
    assert "no such filter" in shown.text
    assert "is made from 2 objects" in shown.text
    assert "/ui/objects/VirtualService/shop/reviews" in {each["href"] for each in shown.of("a")}


async def test_fields_with_problems_are_marked_in_the_object() -> None:
    found = Problem(ObjectKey(kinds.VIRTUAL_SERVICE, "shop", "reviews"), Sort.FINDING, "Error", "lost", "spec.hosts[0]")
    shown = await page("/ui/objects/VirtualService/shop/reviews", sources(problems=lambda: [found]))
    assert len(list(shown.of("mark"))) == 1


def _either(held: Object, others: Callable[[ObjectKey], Object | None], asked: ObjectKey) -> Object | None:
    return held if asked == held.key else others(asked)


async def test_a_refused_policy_is_not_said_to_be_in_force_as_before() -> None:
    """There may be no version of before, but what stands for it."""
    held = Object(kinds.AUTHORIZATION_POLICY, Meta(namespace="shop", name="a"), AuthorizationPolicy())
    for key in (held.key, ObjectKey(kinds.VIRTUAL_SERVICE, "shop", "reviews")):
        problems = [Problem(key, Sort.REFUSED, "Error", "wrong", "spec")]
        known = sources(problems=partial(list, problems))
        known = replace(known, object=partial(_either, held, known.object))
        shown = await page(f"/ui/objects/{key.kind.name}/shop/{key.name}", known)
        assert "The newest version is refused" in shown.text
        assert ("one before stays in force" in shown.text) == (key != held.key)


async def test_filters_stay_in_their_form_and_the_next_page_keeps_them() -> None:
    shown = await page("/ui/objects?kind=VirtualService&limit=1")
    assert {"name": "kind", "value": "VirtualService", "maxlength": "500"} in list(shown.of("input"))
    (following,) = (each["href"] or "" for each in shown.of("a") if each.get("rel") == "next")
    assert "kind=VirtualService" in following
    second = await page(following)
    assert not [each for each in second.of("a") if each.get("rel") == "next"]
    assert "reviews" in second.text


async def explained(_asked: object) -> dict[str, Any]:
    """Answer as ``simulate.explanation`` does, with texts that mean harm."""
    source = {"kind": "VirtualService", "namespace": HOSTILE, "name": HOSTILE, "field": HOSTILE}
    step = {"step": "route", "value": HOSTILE, "source": source, "note": HOSTILE, "verdict": HOSTILE, "code": HOSTILE}
    steps = [{**step, "steps": [{"step": "header", "value": HOSTILE}]}]
    return {
        "proxy": {"id": HOSTILE, "type": "sidecar", "namespace": HOSTILE},
        "revision": 7,
        "steps": steps,
        "servers": [{"endpoint": HOSTILE, "proxy": HOSTILE, "steps": steps}],
        "fails": True,
        "result": HOSTILE,
    }


def hostile() -> AdminSources:
    """Return a world in which everybody means harm: names, refusals and reasons."""
    key = ObjectKey(kinds.VIRTUAL_SERVICE, HOSTILE, HOSTILE)
    proxy = replace(world.proxy("web-1"), id=HOSTILE, labels={HOSTILE: HOSTILE}, istio_version=HOSTILE)
    refusal = replace(
        world.refused(), rejection=Rejection("v", HOSTILE + "x" * 1_000_000, world.healthy().connected_at)
    )
    status = replace(world.healthy(), proxy=proxy, connection_id=HOSTILE, types={ResourceType.LISTENER: refusal})
    listener = Resource.of(ResourceType.LISTENER, HOSTILE, b"")
    service = replace(world.service(), key=ServiceKey(HOSTILE, key), name=HOSTILE)
    known = replace(
        world.sources(status, snapshot=Snapshot(7, {ResourceType.LISTENER: {HOSTILE: listener}})),
        services=lambda: [service],
        endpoints=lambda _: (world.endpoint()._replace(workload=HOSTILE, address=HOSTILE),),
        rejected=lambda: [Rejected(key, (HOSTILE,), HOSTILE)],
        explain=explained,
        problems=lambda: [
            Problem(key, Sort.REFUSED, "Error", HOSTILE + "y" * 1_000_000, HOSTILE, HOSTILE, key, HOSTILE)
        ],
    )
    known.timeline.add(Event(Happened.REFUSED, 1, refused=(HOSTILE,)))
    return known


def answering(answer: bytes) -> AdminSources:
    """Return a world whose copy answers so."""

    async def plan(read: Read, take: Take) -> None:
        assert json.loads(await read()) == {"explain": "VirtualService/shop/reviews"}
        await take(answer[:10])
        await take(answer[10:])

    return sources(plan=plan)


async def test_who_uses_an_object_is_asked_for_and_stays() -> None:
    address = "/ui/objects/VirtualService/shop/reviews"
    assert f"{address}?effect=true#users" in {each["href"] for each in (await page(address)).of("a")}
    effect = {"proxyCount": 2, "sidecars": 1, "gateways": ["edge.shop"], "resources": {"RDS": {"changed": 3}}}
    answer = {
        "revision": 7,
        "proxyCount": 9,
        "effect": effect,
        "rules": [{"path": "spec.http[1]", "name": HOSTILE, "inUse": False}],
        "untranslated": ["spec.http[0].x"],
        "delivery": {"states": {"RDS": {"STALE": 2}}},
    }
    shown = await page(f"{address}?effect=true", answering(json.dumps(answer).encode()))
    for words in (
        "2 of 9 proxies have something because of it: 1 sidecar, gateway edge.shop.",
        "RDS: 3 changed",
        "no proxy has a route of it",
        "spec.http[0].x is read, and has no effect",
        "2 STALE",
    ):
        assert words in shown.text
    assert any("data-asks" in attributes for _, attributes in shown.tags), "no event asks again"
    assert [each["src"] for each in shown.of("script")] == ["/ui/static/page.js"]


async def test_an_answer_that_is_too_large_is_left_to_the_api() -> None:
    large = answering(json.dumps({"revision": "x" * 1_000_000}).encode())
    shown = await page("/ui/objects/VirtualService/shop/reviews?effect=true", large)
    assert "the API has it" in shown.text


@pytest.mark.parametrize(
    "address",
    [
        "/ui",
        "/ui/proxies",
        "/ui/proxies/%3Cscript",
        "/ui/objects",
        "/ui/problems",
        "/ui/services",
        "/ui/topology",
        "/ui/changes",
        "/ui/explain?from=%3Cscript%3Ealert(1)%3C/script%3E%1B&url=%22%3E%3Cscript%3E",
        "/ui/proxies?name=%22%3E%3Cscript%3E%1B",
        "/ui/none/%3Cscript%3E",
    ],
)
async def test_hostile_texts_are_texts(address: str) -> None:
    async with serving(hostile()) as session, session.get(address) as response:
        text = await response.text()
        assert response.status == (404 if address.startswith("/ui/none") else 200), text
    shown = Document(text)
    assert [each["src"] for each in shown.of("script")] == ["/ui/static/page.js"]
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert len(text) < 60_000, "a megabyte is cut"


async def test_commands_that_are_offered_are_quoted_for_a_shell() -> None:
    """Who connects chooses the name in them."""
    id_ = "x$(touch pwned);'.shop"
    asked = world.sources(replace(world.healthy(), proxy=replace(world.proxy("web-1"), id=id_), connection_id="web"))
    assert shlex.join(("controlplane", "status", id_)) in (await page("/ui/proxies/web", asked)).text
    line = "x: 'a' $(touch pwned)"
    shown = await page(f"/ui/explain?url=http://a/&header={quote(line)}", hostile())
    assert shlex.join(("-H", line)) in shown.text


async def test_the_port_itself_leads_to_the_page() -> None:
    async with serving() as session, session.get("/", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (302, "/ui")


async def test_a_cut_text_says_how_much_is_missing() -> None:
    shown = await page("/ui/problems", hostile())
    assert "more characters)" in shown.text
    assert shown.text.count("y") < 2 * LONGEST


async def test_an_explanation_that_cannot_be_given_says_why() -> None:
    shown = await page("/ui/explain?from=pod/shop/web")
    assert "url is needed" in shown.text
    assert {"name": "from", "value": "pod/shop/web"}.items() <= next(
        each for each in shown.of("input") if each["name"] == "from"
    ).items()


def test_lines_are_yaml_with_the_path_of_each_field() -> None:
    value = {"spec": {"hosts": ["a", "*"], "http": [{"route": [{"weight": 1}], "match": []}]}, "n": "yes", "e": {}}
    assert [(each.text, each.path) for each in lines(value)] == [
        ("spec:", "spec"),
        ("  hosts:", "spec.hosts"),
        ("  - a", "spec.hosts[0]"),
        ('  - "*"', "spec.hosts[1]"),
        ("  http:", "spec.http"),
        ("  - route:", "spec.http[0].route"),
        ("    - weight: 1", "spec.http[0].route[0].weight"),
        ("    match: []", "spec.http[0].match"),
        ('"n": "yes"', "n"),
        ("e: {}", "e"),
    ]


def test_two_hundred_services_have_a_place_each_and_none_covers_another() -> None:
    nodes = [Node(id=f"service:{n}", sort="service", name=f"svc-{n}", namespace=f"ns-{n % 7}") for n in range(200)]
    nodes.append(Node(id="gateway:a/b", sort="gateway", name="b", namespace="a"))
    stated = ObjectName(kind="VirtualService", group="", namespace="a", name="b")
    edges = [
        Edge(sort="routes", source="gateway:a/b", target=f"service:{n}", percent=50, subset="", object=stated)
        for n in range(200)
    ]
    drawn = [each for each in picture(Topology(nodes=nodes, edges=edges, left_out=0)) if isinstance(each, Picture)][-1]
    corners = {(each.x, each.y) for each in drawn.placed.values()}
    assert len(corners) == len(nodes)
    assert len(drawn.lines) == 200
    xs, ys = sorted({x for x, _ in corners}), sorted({y for _, y in corners})
    assert min(b - a for a, b in pairwise(xs)) > 176
    assert all(b - a >= 24 for _, column in by_column(corners) for a, b in pairwise(column))
    assert max(xs) + 176 <= drawn.width
    assert max(ys) + 24 <= drawn.height


def by_column(corners: set[tuple[int, int]]) -> Iterator[tuple[int, list[int]]]:
    for column in {x for x, _ in corners}:
        yield column, sorted(y for x, y in corners if x == column)


def test_what_is_served_is_shipped() -> None:
    held = {each.name for each in (files("controlplane.ui") / "static").iterdir()}
    assert held == {"page.js", "style.css", "icon.svg"}


async def test_what_lies_between_two_revisions_is_added_up() -> None:
    known = sources()
    for number in range(1, 5):
        known.timeline.add(Event(Happened.ACCEPTED, 1, changed=(f"Pod shop/p{number}", "Pod shop/all")))
        known.timeline.add(Event(Happened.REFUSED, 1, refused=(f"VirtualService shop/bad{number}",)))
        known.timeline.add(Event(Happened.PUSHED, 1, revision=10 * number, targets=number, proxies=number))
        known.timeline.add(Event(Happened.NACKED, number, refused=("Listener",)))
    shown = await page("/ui/changes?from=10&to=35", known)
    assert "2 pushes, 5 resources built, to 3 proxies at most; 3 refused responses" in shown.text
    assert "Changed: Pod shop/p2, Pod shop/all, Pod shop/p3" in shown.text
    assert "Refused: VirtualService shop/bad2, VirtualService shop/bad3" in shown.text
    assert "Remembered are revisions 10 to 40." in shown.text
    assert "p1" not in shown.text
    assert "p4" not in shown.text
    rest = await page("/ui/changes?from=30", known)
    assert "1 push, 4 resources built" in rest.text
    assert "Nothing has changed there." in (await page("/ui/changes?from=41&to=50", known)).text


async def test_a_proxy_that_lags_says_which_revision_it_has() -> None:
    shown = await page("/ui/proxies", sources())
    stale = next(each for each in world.troubled().types.values() if each.sent_revision != each.acked_revision)
    assert f"has revision {stale.acked_revision}, was sent {stale.sent_revision}" in shown.text


async def test_a_change_says_who_made_it_and_when_the_last_proxy_had_it() -> None:
    known, sent = sources(), Delivery()
    changed = ("VirtualService shop/reviews", "Service shop/reviews")
    event = Event(Happened.PUSHED, 2, revision=7, changed=changed, authors=("argocd", ""), delivery=sent)
    known.timeline.add(event)
    assert "response" not in (await page("/ui/changes", known)).text, "nothing has gone out yet"
    for seconds in (0.02, 0.04):
        sent.sent(1024)
        sent.answered(seconds)
    shown = (await page("/ui", known)).text
    assert "VirtualService shop/reviews by argocd, Service shop/reviews\n" in shown
    told = "2.0 KiB in 2 responses, all acknowledged: the last 40.0 ms after the change (p50 20.0 ms, p99 40.0 ms)"
    assert told in shown
    sent.sent(1024)
    sent.refused += 1
    assert "3 responses, 2 acknowledged, 1 refused: the last" in (await page("/ui/changes", known)).text


def feed(resource: str, standing: Standing, problem: str = "") -> Feed:
    return Feed(resource, "", standing, 3, 0, 1, 0, 0.0, 7.0 if problem else 0.0, problem)


async def test_home_tells_who_leads_and_how_the_watches_stand() -> None:
    good = (feed("pods", Standing.CURRENT), feed("gateways.networking.istio.io", Standing.ABSENT))
    leads = (Lead("status", here=True, holder="istiod-0"), Lead("events", here=False, holder="istiod-1"))
    shown = (await page("/ui", sources(feeds=lambda: good, leads=lambda: leads))).text
    assert "All 2 watches are current, with 6 objects." in shown
    assert "This replica leads: status." in shown
    assert "istiod-1 leads: events." in shown
    bad = (*good, feed("secrets", Standing.BEHIND, "403 Forbidden"))
    away = (await page("/ui", sources(feeds=lambda: bad, away_since=lambda: 1.0))).text
    assert "1 of 3 watches are not current" in away
    assert "secrets: behind for 7 s: 403 Forbidden" in away
    assert "The API server has not answered since" in away
    assert "watches" not in (await page("/ui", sources())).text, "where files are read there are none"
