"""The screens that compare what two proxies should hold."""

from __future__ import annotations

from itertools import islice
from typing import Any

from aiohttp import web

from controlplane.admin.answers import PACE, SOURCES
from controlplane.admin.config_dump import resource_json
from controlplane.admin.json_text import pieces
from controlplane.api import queries
from controlplane.api.operations import VIEWS
from controlplane.api.proxies import why_absent
from controlplane.documents.json_reader import json_value
from controlplane.snapshots import SHORT, Resource
from controlplane.ui.differences import differences
from controlplane.ui.showing import WrongError, asked_of, next_of, read_as, shown
from controlplane.ui.words import address

_LONGEST = 100_000
"""Characters of a resource that is compared field by field: it is read in one step."""
_MOST_ROWS = 200


async def compare(request: web.Request) -> web.StreamResponse:
    """Show the form, and the resources that two proxies should not hold alike."""
    asked = {name: request.query.get(name, "") for name in ("one", "other", "type")}
    types = tuple(SHORT.values())
    if not (asked["one"] and asked["other"]):
        return await shown(request, "compare", asked=asked, types=types, part=None, next="", wrong="")
    part = await request.app[VIEWS].comparison(asked_of(request, queries.ComparisonQuery))
    if part is None:
        wrong = why_absent(request.app[SOURCES], asked["one"], asked["other"])
        return await shown(request, "compare", asked=asked, types=types, part=None, next="", wrong=wrong)
    json = address("/api/v1/comparison", **asked)
    return await shown(
        request, "compare", asked=asked, types=types, part=part, next=next_of(request, part), json=json, wrong=""
    )


async def compare_resource(request: web.Request) -> web.StreamResponse:
    """Show the fields in which a resource differs between two proxies."""
    asked = {name: request.query.get(name, "") for name in ("one", "other", "type", "name")}
    held = [await _resource(request, asked, side) for side in ("one", "other")]
    if None in held:
        missing = asked["one"] if held[0] is None else asked["other"]
        raise WrongError(404, f"{missing} is not connected, or has no resource {asked['name']} of {asked['type']}.")
    values = [await _value(request, each) for each in held if each is not None]
    whole = all(each is not None for each in values)
    rows = differences(*values) if whole else iter(())
    return await shown(
        request,
        "compare_resource",
        asked=asked,
        alike=held[0] == held[1],
        rows=list(islice(rows, _MOST_ROWS)),
        more=any(rows),
        whole=whole,
    )


async def _resource(request: web.Request, asked: dict[str, str], side: str) -> Resource | None:
    named = {"id": asked[side], "type": asked["type"], "name": asked["name"]}
    found = await request.app[VIEWS].resource(read_as(queries.ResourceQuery, named))
    return found[0] if found is not None else None


async def _value(request: web.Request, resource: Resource) -> Any:  # noqa: ANN401 - JSON
    """Return a resource as JSON has it, ``None`` where it is too large."""
    text, length = [], 0
    async for made in request.app[PACE].slices(pieces(resource_json(resource))):
        text += made
        length += sum(map(len, made))
        if length > _LONGEST:
            return None
    return json_value("".join(text))
