"""The screens: what each asks the views for, and its template."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from controlplane.admin.answers import PACE, SOURCES
from controlplane.admin.application import Respond
from controlplane.admin.config_dump import resource_json
from controlplane.admin.json_text import pieces
from controlplane.api import queries
from controlplane.api.operations import VIEWS
from controlplane.api.proxies import why_absent
from controlplane.api.views import Part
from controlplane.snapshots import SHORT
from controlplane.ui.answering import answer_of_copy
from controlplane.ui.changes import changes
from controlplane.ui.comparing import compare, compare_resource
from controlplane.ui.forms import explain, plan
from controlplane.ui.lines import lines
from controlplane.ui.picture import picture
from controlplane.ui.showing import WrongError, api_of, asked_of, command, next_of, read_as, screen, shown
from controlplane.ui.words import address, part_of_path

_LAST_EVENTS = 8
_LONGEST_RESOURCE = 200_000
"""Characters of a resource that are shown; the API has all of it."""


async def moved(_request: web.Request) -> web.Response:
    """Lead to the one address of the first screen."""
    raise web.HTTPFound("/ui")


async def _home(request: web.Request) -> web.StreamResponse:
    views = request.app[VIEWS]
    overview = await views.overview()
    events = await views.events(queries.EventsQuery(after=max(0, overview.last_event - _LAST_EVENTS)))
    worst = await views.proxies(queries.ProxiesQuery(limit=10, troubled=True))
    found = await views.findings(queries.FindingsQuery(limit=10))
    return await shown(
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
    asked = asked_of(request, queries.ProxiesQuery)
    part = await request.app[VIEWS].proxies(asked)
    return await shown(
        request,
        "proxies",
        asked=asked,
        part=part,
        next=next_of(request, part),
        json=api_of(request),
        command="controlplane status",
    )


async def _proxy(request: web.Request) -> web.StreamResponse:
    id_ = request.match_info["id"]
    detail = await request.app[VIEWS].proxy(queries.ProxyQuery(id=id_))
    if detail is None:
        raise WrongError(404, why_absent(request.app[SOURCES], id_))
    type_ = request.query.get("type", "") or next(iter(detail.resources), "LDS")
    given = {name: request.query[name] for name in ("name", "after", "limit") if request.query.get(name)}
    asked = read_as(queries.ResourcesQuery, {"id": detail.proxy.connection_id, "type": type_, **given})
    part = await request.app[VIEWS].resources(asked) or Part([], (), 0)
    return await shown(
        request,
        "proxy",
        detail=detail,
        asked=asked,
        part=part,
        types=[name for name in SHORT.values() if name in detail.resources],
        next=next_of(request, part),
        json=f"/api/v1/proxies/{part_of_path(id_)}",
        command=command("status", detail.proxy.id),
    )


async def _resource(request: web.Request) -> web.StreamResponse:
    asked = asked_of(request, queries.ResourceQuery)
    found = await request.app[VIEWS].resource(asked)
    if found is None:
        raise WrongError(404, f"No such proxy is connected, or it has no resource {asked.name} of {asked.type}.")
    resource, objects, count = found
    text, length = [], 0
    async for made in request.app[PACE].slices(pieces(resource_json(resource), indent=2)):
        text += made
        length += sum(map(len, made))
        if length > _LONGEST_RESOURCE:
            break
    return await shown(
        request,
        "resource",
        asked=asked,
        resource=resource,
        objects=objects,
        count=count,
        lines="".join(text)[:_LONGEST_RESOURCE].split("\n"),
        whole=length <= _LONGEST_RESOURCE,
        json=api_of(request),
        command=command("proxy-config", "all", asked.id, "-o", "json"),
    )


async def _objects(request: web.Request) -> web.StreamResponse:
    asked = asked_of(request, queries.ObjectsQuery)
    part = await request.app[VIEWS].objects(asked)
    return await shown(request, "objects", asked=asked, part=part, next=next_of(request, part), json=api_of(request))


async def _object(request: web.Request) -> web.StreamResponse:
    plain = read_as(queries.ObjectQuery, request.match_info)
    detail = await request.app[VIEWS].object(plain)
    if detail is None:
        raise WrongError(404, f"There is no {plain.kind} {plain.namespace}/{plain.name}.")
    name = f"{plain.kind}/{plain.namespace}/{plain.name}"
    effect, unanswered = None, ""
    if "effect" in request.query:
        effect, unanswered = await answer_of_copy(request.app[SOURCES], {"explain": name})
    return await shown(
        request,
        "object",
        effect=effect,
        unanswered=unanswered,
        effect_path=address(request.path, effect=True) + "#users",
        effect_json=address("/api/v1/effect", object=name),
        plan_path=address("/ui/plan", object=name),
        removal_path=address("/ui/plan", delete=name),
        detail=detail,
        lines=await request.app[PACE].gathered(lines(detail.manifest or {})),
        marked={each.path or each.reason.partition(": ")[0] for each in detail.problems},
        json=f"/api/v1/objects/{'/'.join(map(part_of_path, (plain.kind, plain.namespace, plain.name)))}",
        command=command("explain", name),
    )


async def _problems(request: web.Request) -> web.StreamResponse:
    asked = asked_of(request, queries.FindingsQuery)
    part = await request.app[VIEWS].findings(asked)
    return await shown(
        request,
        "problems",
        asked=asked,
        part=part,
        next=next_of(request, part),
        json=api_of(request).replace("/problems", "/findings", 1),
        command="controlplane analyze",
    )


async def _services(request: web.Request) -> web.StreamResponse:
    asked = asked_of(request, queries.ServicesQuery)
    part = await request.app[VIEWS].services(asked)
    return await shown(request, "services", asked=asked, part=part, next=next_of(request, part), json=api_of(request))


async def _service(request: web.Request) -> web.StreamResponse:
    asked = asked_of(request, queries.ServiceQuery)
    detail = await request.app[VIEWS].service(asked)
    if detail is None:
        raise WrongError(404, f"There is no service {asked.hostname} of namespace {asked.namespace}.")
    name = f"{detail.service.object.name}.{detail.service.object.namespace}"
    return await shown(
        request, "service", detail=detail, json=api_of(request), command=command("describe", "service", name)
    )


async def _topology(request: web.Request) -> web.StreamResponse:
    asked = asked_of(request, queries.TopologyQuery)
    topology = await request.app[VIEWS].topology(asked)
    drawn = (await request.app[PACE].gathered(picture(topology)))[-1]
    return await shown(request, "topology", asked=asked, topology=topology, drawn=drawn, json=api_of(request))


async def _certificates(request: web.Request) -> web.StreamResponse:
    held = request.app[VIEWS].certificates()
    return await shown(
        request, "certificates", certificates=held, json="/api/v1/certificates", command="controlplane status"
    )


SCREENS: Mapping[str, Respond] = {
    path: screen(respond)
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
        "/ui/explain": explain,
        "/ui/plan": plan,
        "/ui/compare": compare,
        "/ui/compare/resource": compare_resource,
        "/ui/changes": changes,
        "/ui/certificates": _certificates,
    }.items()
}
"""Path -> what answers it."""
POSTED = frozenset({"/ui/plan"})
"""Those that a form is posted to; it changes nothing all the same."""
