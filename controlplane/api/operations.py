"""Everything that may be asked of the API, in one table: it is served, and described, from here."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from aiohttp import hdrs, web
from pydantic import BaseModel

from controlplane.admin import questions
from controlplane.admin.answers import SOURCES, json_answer
from controlplane.admin.config_dump import resource_json
from controlplane.admin.json_text import Items, Members
from controlplane.admin.timeline import Timeline
from controlplane.api import models, queries
from controlplane.api.events import event_row
from controlplane.api.problems import problem
from controlplane.api.proxies import why_absent
from controlplane.api.streams import MOST_STREAMS, Streams
from controlplane.api.views import Part, Views
from controlplane.snapshots import SHORT

VIEWS = web.AppKey("views", Views)
STREAMS = web.AppKey("streams", Streams)
ALIVE_SECONDS = 15.0
"""How often a stream of events says something when nothing happens."""
_INSTANCE = secrets.token_hex(4)
"""Revisions count from the start of a process."""

Q = TypeVar("Q", bound=queries.Query)
Respond = Callable[[web.Request, Any], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Operation:
    """One thing that may be asked.

    ``asks`` are its parameters; those that ``path`` has in braces are of the path. ``answer`` is what it gives: a list
    of such where ``listed``, a stream of such where ``streamed``. ``posts`` gives what is sent with it.
    """

    path: str
    summary: str
    asks: type[queries.Query]
    answer: type[BaseModel]
    respond: Respond
    listed: bool = False
    streamed: bool = False
    posts: Callable[[], type[BaseModel]] | None = None
    errors: tuple[int, ...] = (400,)
    tagged: bool = False


async def answered(request: web.Request, asked: Operation) -> web.StreamResponse:
    """Answer one question."""
    try:
        query = asked.asks.of(request.query, request.match_info)
    except queries.WrongQueryError as error:
        return problem(400, str(error))
    if asked.tagged:
        tag = f'"{_INSTANCE}-{request.app[SOURCES].revision()}"'
        if tag in request.headers.get(hdrs.IF_NONE_MATCH, ""):
            return web.Response(status=304, headers={hdrs.ETAG: tag})
    return await asked.respond(request, query)


def _tags(request: web.Request) -> dict[str, str]:
    return {hdrs.ETAG: f'"{_INSTANCE}-{request.app[SOURCES].revision()}"'}


async def _list(request: web.Request, part: Part[Any], headers: Mapping[str, str] | None = None) -> web.StreamResponse:
    after = json.dumps(part.after, separators=(",", ":")) if part.after else None
    items = Items(each.words() for each in part.items)
    members = (("items", items), ("next", after), ("total", part.total))
    return await json_answer(request, Members(members), dict(headers or {}))


async def _one(
    request: web.Request, value: models.Shown | None, missing: str = "", headers: Mapping[str, str] | None = None
) -> web.StreamResponse:
    return problem(404, missing) if value is None else await json_answer(request, value.words(), dict(headers or {}))


async def _overview(request: web.Request, _: queries.NoQuery) -> web.StreamResponse:
    return await _one(request, await request.app[VIEWS].overview())


async def _proxies(request: web.Request, asked: queries.ProxiesQuery) -> web.StreamResponse:
    return await _list(request, await request.app[VIEWS].proxies(asked))


def _absent(request: web.Request, *ids: str) -> str:
    return why_absent(request.app[SOURCES], *ids)


async def _proxy(request: web.Request, asked: queries.ProxyQuery) -> web.StreamResponse:
    return await _one(request, await request.app[VIEWS].proxy(asked), _absent(request, asked.id))


async def _resources(request: web.Request, asked: queries.ResourcesQuery) -> web.StreamResponse:
    part = await request.app[VIEWS].resources(asked)
    return problem(404, _absent(request, asked.id)) if part is None else await _list(request, part)


async def _comparison(request: web.Request, asked: queries.ComparisonQuery) -> web.StreamResponse:
    part = await request.app[VIEWS].comparison(asked)
    return problem(404, _absent(request, asked.one, asked.other)) if part is None else await _list(request, part)


async def _resource(request: web.Request, asked: queries.ResourceQuery) -> web.StreamResponse:
    found = await request.app[VIEWS].resource(asked)
    if found is None:
        return problem(404, f"no such proxy is connected, or it has no resource {asked.name} of {asked.type}")
    resource, objects, count = found
    members = (
        ("type", SHORT[resource.type]),
        ("name", resource.name),
        ("version", resource.version),
        ("sizeBytes", len(resource.content)),
        ("objects", [each.words() for each in objects]),
        ("objectCount", count),
        ("resource", resource_json(resource)),
    )
    return await json_answer(request, Members(members))


async def _objects(request: web.Request, asked: queries.ObjectsQuery) -> web.StreamResponse:
    return await _list(request, await request.app[VIEWS].objects(asked))


async def _object(request: web.Request, asked: queries.ObjectQuery) -> web.StreamResponse:
    missing = f"there is no {asked.kind} {asked.namespace}/{asked.name}"
    return await _one(request, await request.app[VIEWS].object(asked), missing)


async def _findings(request: web.Request, asked: queries.FindingsQuery) -> web.StreamResponse:
    return await _list(request, await request.app[VIEWS].findings(asked))


async def _services(request: web.Request, asked: queries.ServicesQuery) -> web.StreamResponse:
    tags = _tags(request)
    return await _list(request, await request.app[VIEWS].services(asked), tags)


async def _service(request: web.Request, asked: queries.ServiceQuery) -> web.StreamResponse:
    tags = _tags(request)
    missing = f"there is no service {asked.hostname} of namespace {asked.namespace}"
    return await _one(request, await request.app[VIEWS].service(asked), missing, tags)


async def _topology(request: web.Request, asked: queries.TopologyQuery) -> web.StreamResponse:
    tags = _tags(request)
    return await _one(request, await request.app[VIEWS].topology(asked), headers=tags)


async def _events(request: web.Request, asked: queries.EventsQuery) -> web.StreamResponse:
    events = await request.app[VIEWS].events(asked)
    return await _list(request, Part(events, (), len(events)))


async def _stream(request: web.Request, asked: queries.EventsQuery) -> web.StreamResponse:
    """Send events as they happen; see "Server-sent events" of the HTML standard."""
    with request.app[STREAMS].place(request) as there_is:
        if there_is:
            return await _streamed(request, asked)
    return problem(503, f"{MOST_STREAMS} streams of events are open already; close one, or ask for /api/v1/events")


async def _streamed(request: web.Request, asked: queries.EventsQuery) -> web.StreamResponse:
    headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    if request.method != hdrs.METH_HEAD:
        async for text in as_it_happens(request.app[SOURCES].timeline, _last_seen(request, asked)):
            await response.write(text.encode())
    return response


def _last_seen(request: web.Request, asked: queries.EventsQuery) -> int:
    """Return the number after which events are wanted: a browser that comes again says what it has seen."""
    said = request.headers.get("Last-Event-ID", "")
    return int(said) if said.isascii() and said.isdecimal() and len(said) < len(str(2**53)) else asked.after


async def as_it_happens(timeline: Timeline, after: int) -> AsyncIterator[str]:
    """Yield the events after this one, as a stream of events has them, and go on with those to come."""
    after = after if after <= timeline.last else 0  # numbers of a process that has ended
    yield ": connected\n\n"
    while True:
        for event in timeline.after(after):
            after = event.number
            yield f"id: {event.number}\ndata: {json.dumps(event_row(event).words())}\n\n"
            await asyncio.sleep(0)  # whoever reads fast must not have all of them made in one turn
        try:
            await asyncio.wait_for(timeline.wait(after), ALIVE_SECONDS)
        except TimeoutError:
            yield ": nothing\n\n"


async def _certificates(request: web.Request, _: queries.NoQuery) -> web.StreamResponse:
    held = request.app[VIEWS].certificates()
    return await _list(request, Part(held, (), len(held)))


async def _health(request: web.Request, _: queries.NoQuery) -> web.StreamResponse:
    return await _one(request, request.app[VIEWS].health())


async def _explain(request: web.Request, _: queries.ExplainQuery) -> web.StreamResponse:
    return await questions.explain(request)


async def _effect(request: web.Request, _: queries.EffectQuery) -> web.StreamResponse:
    return await questions.explain(request)


async def _plan(request: web.Request, _: queries.NoQuery) -> web.StreamResponse:
    return await questions.plan(request)


def _question() -> type[BaseModel]:
    from controlplane.plan.question import Question  # noqa: PLC0415 - many of Envoy's messages, for who asks

    return Question


@cache
def operations() -> tuple[Operation, ...]:
    """Return the table."""
    q, m = queries, models
    missing, asked_of_copy = (400, 404), (400, 503)
    of_proxy = "/api/v1/proxies/{id}"
    return (
        Operation("/api/v1/overview", "The whole in short", q.NoQuery, m.Overview, _overview),
        Operation(
            "/api/v1/proxies",
            "Connected proxies, those that are not in order first",
            q.ProxiesQuery,
            m.Proxy,
            _proxies,
            listed=True,
        ),
        Operation(of_proxy, "One proxy: what it refuses and why", q.ProxyQuery, m.ProxyDetail, _proxy, errors=missing),
        Operation(
            f"{of_proxy}/resources",
            "What a proxy should hold of one type, by name",
            q.ResourcesQuery,
            m.ResourceName,
            _resources,
            listed=True,
            errors=missing,
        ),
        Operation(
            f"{of_proxy}/resource",
            "One resource of a proxy as Envoy would show it, and the objects that it was made from",
            q.ResourceQuery,
            m.ResourceDetail,
            _resource,
            errors=missing,
        ),
        Operation(
            "/api/v1/comparison",
            "What two proxies should not hold alike",
            q.ComparisonQuery,
            m.ComparedResource,
            _comparison,
            listed=True,
            errors=missing,
        ),
        Operation(
            "/api/v1/objects",
            "Objects of Istio's API, those with problems first",
            q.ObjectsQuery,
            m.ObjectRow,
            _objects,
            listed=True,
        ),
        Operation(
            "/api/v1/objects/{kind}/{namespace}/{name}",
            "One object: as it is in force, and what is wrong with it",
            q.ObjectQuery,
            m.ObjectDetail,
            _object,
            errors=missing,
        ),
        Operation(
            "/api/v1/findings",
            "Problems of objects, the worst first",
            q.FindingsQuery,
            m.Problem,
            _findings,
            listed=True,
        ),
        Operation(
            "/api/v1/services",
            "Services by host name",
            q.ServicesQuery,
            m.Service,
            _services,
            listed=True,
            tagged=True,
        ),
        Operation(
            "/api/v1/services/{namespace}/{hostname}",
            "One service and its endpoints",
            q.ServiceQuery,
            m.ServiceDetail,
            _service,
            errors=missing,
            tagged=True,
        ),
        Operation(
            "/api/v1/topology",
            "Services and gateways, where traffic is led, and who may call whom by policy",
            q.TopologyQuery,
            m.Topology,
            _topology,
            tagged=True,
        ),
        Operation(
            "/api/v1/events",
            "What happened to the configuration lately, the oldest first",
            q.EventsQuery,
            m.Event,
            _events,
            listed=True,
        ),
        Operation(
            "/api/v1/events/stream",
            "The same as it happens: server-sent events, each with an event as its data",
            q.EventsQuery,
            m.Event,
            _stream,
            streamed=True,
            errors=(400, 503),
        ),
        Operation(
            "/api/v1/certificates",
            "Certificates that are watched over, the one that ends first before the others",
            q.NoQuery,
            m.Certificate,
            _certificates,
            listed=True,
        ),
        Operation(
            "/api/v1/tasks",
            "How the control plane itself is doing: tasks, leads, watches",
            q.NoQuery,
            m.Health,
            _health,
        ),
        Operation(
            "/api/v1/explain",
            "What becomes of a request, and which object decides each step",
            q.ExplainQuery,
            m.Explanation,
            _explain,
            errors=asked_of_copy,
        ),
        Operation(
            "/api/v1/effect",
            "What an object makes, for whom, and what of it is without effect",
            q.EffectQuery,
            m.Effect,
            _effect,
            errors=asked_of_copy,
        ),
        Operation(
            "/api/v1/plan",
            "What a change of objects would do",
            q.NoQuery,
            m.PlanAnswer,
            _plan,
            posts=_question,
            errors=(400, 413, 415, 503),
        ),
    )
