"""The screens: what each asks the views for, and its template."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from itertools import chain
from typing import Any, TypeVar

from aiohttp import web
from multidict import MultiDict

from controlplane.admin.answers import PACE, SOURCES, streamed
from controlplane.admin.application import NOT_CONNECTED, Respond
from controlplane.admin.config_dump import resource_json
from controlplane.admin.json_text import pieces
from controlplane.admin.pace import Pause
from controlplane.api import queries
from controlplane.api.operations import VIEWS
from controlplane.api.views import Part
from controlplane.snapshots import SHORT
from controlplane.ui.effect import effect_of
from controlplane.ui.lines import lines
from controlplane.ui.picture import picture
from controlplane.ui.words import address, environment, part_of_path

_HTML = {"Content-Type": "text/html; charset=utf-8"}
_LAST_EVENTS = 8
_LONGEST_RESOURCE = 200_000
"""Characters of a resource that are shown; the API has all of it."""

Q = TypeVar("Q", bound=queries.Query)


class _WrongError(Exception):
    """What was asked cannot be shown; the arguments are a status and a sentence."""


async def _shown(request: web.Request, name: str, status: int = 200, **values: Any) -> web.StreamResponse:  # noqa: ANN401 - what templates take
    """Answer with a template, which is written in slices as other long answers are."""
    templates = environment() if environment.cache_info().currsize else await asyncio.to_thread(environment)
    held = {"path": request.path, "last_event": request.app[SOURCES].timeline.last, "command": "", "json": ""}
    text: Iterator[str | Pause] = iter(templates.get_template(f"{name}.html").generate(**held | values))
    if status != HTTPStatus.OK:
        body = "".join([each async for made in request.app[PACE].slices(text) for each in made])
        return web.Response(status=status, body=body.encode(), headers=_HTML)
    return await streamed(request, text, _HTML)


async def failed(request: web.Request, status: int, detail: str) -> web.StreamResponse:
    """Answer that there is no such screen, or why it cannot be shown."""
    return await _shown(request, "error", status, title=HTTPStatus(status).phrase, detail=detail.strip())


async def moved(_request: web.Request) -> web.Response:
    """Lead to the one address of the first screen."""
    raise web.HTTPFound("/ui")


def _asked(request: web.Request, kind: type[Q]) -> Q:
    """Read what is asked; what a form sends without a value is not.

    Raises:
        _WrongError: it cannot be read.
    """
    given = MultiDict((name, value) for name, value in request.query.items() if value)
    try:
        return kind.of(given, request.match_info)
    except queries.WrongQueryError as error:
        raise _WrongError(400, str(error)) from error


def _screen(respond: Respond) -> Respond:
    """Return the screen, whose wrong questions are answered with a page."""

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await respond(request)
        except _WrongError as error:
            return await failed(request, *error.args)

    return answer


def _next(request: web.Request, part: Part[Any]) -> str:
    """Return the address of the next page, empty at the end."""
    if not part.after:
        return ""
    after = json.dumps(part.after, separators=(",", ":"))
    return str(request.rel_url.update_query(after=after))


def _api(request: web.Request) -> str:
    """Return where the API has what a screen shows."""
    return str(request.rel_url.with_path(request.path.replace("/ui", "/api/v1", 1)).with_query(request.rel_url.query))


async def _home(request: web.Request) -> web.StreamResponse:
    views = request.app[VIEWS]
    overview = await views.overview()
    events = await views.events(queries.EventsQuery(after=max(0, overview.last_event - _LAST_EVENTS)))
    worst = await views.proxies(queries.ProxiesQuery(limit=10, troubled=True))
    found = await views.findings(queries.FindingsQuery(limit=10))
    return await _shown(
        request,
        "home",
        overview=overview,
        health=views.health(),
        events=events[::-1],
        proxies=worst,
        findings=found,
        json="/api/v1/overview",
        command="controlplane status",
    )


async def _proxies(request: web.Request) -> web.StreamResponse:
    asked = _asked(request, queries.ProxiesQuery)
    part = await request.app[VIEWS].proxies(asked)
    return await _shown(
        request,
        "proxies",
        asked=asked,
        part=part,
        next=_next(request, part),
        json=_api(request),
        command="controlplane status",
    )


async def _proxy(request: web.Request) -> web.StreamResponse:
    id_ = request.match_info["id"]
    detail = await request.app[VIEWS].proxy(queries.ProxyQuery(id=id_))
    if detail is None:
        raise _WrongError(404, NOT_CONNECTED)
    type_ = request.query.get("type", "") or next(iter(detail.resources), "LDS")
    given = {name: request.query[name] for name in ("name", "after", "limit") if request.query.get(name)}
    asked = _of(queries.ResourcesQuery, {"id": detail.proxy.connection_id, "type": type_, **given})
    part = await request.app[VIEWS].resources(asked) or Part([], (), 0)
    return await _shown(
        request,
        "proxy",
        detail=detail,
        asked=asked,
        part=part,
        types=[name for name in SHORT.values() if name in detail.resources],
        next=_next(request, part),
        json=f"/api/v1/proxies/{part_of_path(id_)}",
        command=_command("status", detail.proxy.id),
    )


def _command(*words: str) -> str:
    """Return a command that does the same, to be copied into a shell: peers and objects chose some of its words."""
    return shlex.join(("controlplane", *words))


def _of(kind: type[Q], values: Mapping[str, object]) -> Q:
    try:
        return kind.model_validate(values)
    except ValueError as error:
        raise _WrongError(400, str(error)) from error


async def _resource(request: web.Request) -> web.StreamResponse:
    asked = _asked(request, queries.ResourceQuery)
    found = await request.app[VIEWS].resource(asked)
    if found is None:
        raise _WrongError(404, f"No such proxy is connected, or it has no resource {asked.name} of {asked.type}.")
    resource, objects, count = found
    text, length = [], 0
    async for made in request.app[PACE].slices(pieces(resource_json(resource), indent=2)):
        text += made
        length += sum(map(len, made))
        if length > _LONGEST_RESOURCE:
            break
    return await _shown(
        request,
        "resource",
        asked=asked,
        resource=resource,
        objects=objects,
        count=count,
        lines="".join(text)[:_LONGEST_RESOURCE].split("\n"),
        whole=length <= _LONGEST_RESOURCE,
        json=_api(request),
        command=_command("proxy-config", "all", asked.id, "-o", "json"),
    )


async def _objects(request: web.Request) -> web.StreamResponse:
    asked = _asked(request, queries.ObjectsQuery)
    part = await request.app[VIEWS].objects(asked)
    return await _shown(request, "objects", asked=asked, part=part, next=_next(request, part), json=_api(request))


async def _object(request: web.Request) -> web.StreamResponse:
    plain = queries.ObjectQuery.of(MultiDict(), request.match_info)
    detail = await request.app[VIEWS].object(plain)
    if detail is None:
        raise _WrongError(404, f"There is no {plain.kind} {plain.namespace}/{plain.name}.")
    name = f"{plain.kind}/{plain.namespace}/{plain.name}"
    effect, unanswered = await effect_of(request.app[SOURCES], name) if "effect" in request.query else (None, "")
    return await _shown(
        request,
        "object",
        effect=effect,
        unanswered=unanswered,
        effect_path=address(request.path, effect=True) + "#users",
        effect_json=address("/api/v1/effect", object=name),
        detail=detail,
        lines=await request.app[PACE].gathered(lines(detail.manifest or {})),
        marked={each.path or each.reason.partition(": ")[0] for each in detail.problems},
        json=f"/api/v1/objects/{'/'.join(map(part_of_path, (plain.kind, plain.namespace, plain.name)))}",
        command=_command("explain", name),
    )


async def _problems(request: web.Request) -> web.StreamResponse:
    asked = _asked(request, queries.FindingsQuery)
    part = await request.app[VIEWS].findings(asked)
    return await _shown(
        request,
        "problems",
        asked=asked,
        part=part,
        next=_next(request, part),
        json=_api(request).replace("/problems", "/findings", 1),
        command="controlplane analyze",
    )


async def _services(request: web.Request) -> web.StreamResponse:
    asked = _asked(request, queries.ServicesQuery)
    part = await request.app[VIEWS].services(asked)
    return await _shown(request, "services", asked=asked, part=part, next=_next(request, part), json=_api(request))


async def _service(request: web.Request) -> web.StreamResponse:
    asked = _asked(request, queries.ServiceQuery)
    detail = await request.app[VIEWS].service(asked)
    if detail is None:
        raise _WrongError(404, f"There is no service {asked.hostname} of namespace {asked.namespace}.")
    name = f"{detail.service.object.name}.{detail.service.object.namespace}"
    return await _shown(
        request, "service", detail=detail, json=_api(request), command=_command("describe", "service", name)
    )


async def _topology(request: web.Request) -> web.StreamResponse:
    asked = _asked(request, queries.TopologyQuery)
    topology = await request.app[VIEWS].topology(asked)
    drawn = (await request.app[PACE].gathered(picture(topology)))[-1]
    return await _shown(request, "topology", asked=asked, topology=topology, drawn=drawn, json=_api(request))


async def _changes(request: web.Request) -> web.StreamResponse:
    events = await request.app[VIEWS].events(queries.EventsQuery())
    return await _shown(request, "changes", events=events[::-1], json="/api/v1/events")


async def _certificates(request: web.Request) -> web.StreamResponse:
    held = request.app[VIEWS].certificates()
    return await _shown(
        request, "certificates", certificates=held, json="/api/v1/certificates", command="controlplane status"
    )


async def _explain(request: web.Request) -> web.StreamResponse:
    asked = {name: request.query.get(name, "") for name in ("from", "method", "url", "header", "as")}
    answer: Mapping[str, Any] | None = None
    wrong = ""
    if asked["from"] or asked["url"]:
        answer, wrong = await _explained(request, asked)
    headers = [line for line in asked["header"].splitlines() if line.strip()]
    said = ["--from", asked["from"] or "pod/NAMESPACE/NAME", *filter(None, (asked["method"] or "GET", asked["url"]))]
    said += [word for line in headers for word in ("-H", line)]
    pairs = [("from", asked["from"]), ("method", asked["method"]), ("url", asked["url"]), ("as", asked["as"])]
    found = [(name, value) for name, value in chain(pairs, (("header", line) for line in headers)) if value]
    return await _shown(
        request,
        "explain",
        asked=asked,
        answer=answer,
        wrong=wrong,
        json=str(request.rel_url.with_path("/api/v1/explain").with_query(found)) if answer is not None else "",
        command=_command("explain", *said),
    )


async def _explained(request: web.Request, asked: Mapping[str, str]) -> tuple[Mapping[str, Any] | None, str]:
    """Return the explanation, or why there is none."""
    from controlplane.simulate.questions import WrongQuestionError  # noqa: PLC0415 - loaded for the first question

    ready, reason = request.app[SOURCES].ready()
    if not ready:
        return None, reason
    pairs = [(name, value.strip()) for name, value in asked.items() if value.strip() and name != "header"]
    pairs += [("header", line) for line in asked["header"].splitlines() if line.strip()]
    try:
        return await request.app[SOURCES].explain(pairs), ""
    except WrongQuestionError as error:
        return None, str(error)


SCREENS: Mapping[str, Respond] = {
    path: _screen(respond)
    for path, respond in {
        "/ui": _home,
        "/ui/proxies": _proxies,
        "/ui/proxies/{id}": _proxy,
        "/ui/proxies/{id}/resource": _resource,
        "/ui/objects": _objects,
        "/ui/objects/{kind}/{namespace}/{name}": _object,
        "/ui/problems": _problems,
        "/ui/services": _services,
        "/ui/services/{namespace}/{hostname}": _service,
        "/ui/topology": _topology,
        "/ui/explain": _explain,
        "/ui/changes": _changes,
        "/ui/certificates": _certificates,
    }.items()
}
"""Path -> what answers it."""
