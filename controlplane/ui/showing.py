"""What all screens are made with: templates, questions that are read from an address, and what is wrong with them."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, TypeVar

from aiohttp import web
from multidict import MultiDict

from controlplane.admin.answers import PACE, SOURCES, streamed
from controlplane.admin.application import Respond
from controlplane.admin.pace import Pause
from controlplane.api import queries
from controlplane.api.views import Part
from controlplane.ui.words import environment

_HTML = {"Content-Type": "text/html; charset=utf-8"}

Q = TypeVar("Q", bound=queries.Query)


class WrongError(Exception):
    """What was asked cannot be shown; the arguments are a status and a sentence."""


async def shown(request: web.Request, name: str, status: int = 200, **values: Any) -> web.StreamResponse:  # noqa: ANN401 - what templates take
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
    return await shown(request, "error", status, title=HTTPStatus(status).phrase, detail=detail.strip())


def asked_of(request: web.Request, kind: type[Q]) -> Q:
    """Read what is asked; what a form sends without a value is not.

    Raises:
        WrongError: it cannot be read.
    """
    given = MultiDict((name, value) for name, value in request.query.items() if value)
    try:
        return kind.of(given, request.match_info)
    except queries.WrongQueryError as error:
        raise WrongError(400, str(error)) from error


def screen(respond: Respond) -> Respond:
    """Return the screen, whose wrong questions are answered with a page."""

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await respond(request)
        except WrongError as error:
            return await failed(request, *error.args)

    return answer


def next_of(request: web.Request, part: Part[Any]) -> str:
    """Return the address of the next page, empty at the end."""
    if not part.after:
        return ""
    after = json.dumps(part.after, separators=(",", ":"))
    return str(request.rel_url.update_query(after=after))


def api_of(request: web.Request) -> str:
    """Return where the API has what a screen shows."""
    return str(request.rel_url.with_path(request.path.replace("/ui", "/api/v1", 1)).with_query(request.rel_url.query))


def command(*words: str) -> str:
    """Return a command that does the same, to be copied into a shell: peers and objects chose some of its words."""
    return shlex.join(("controlplane", *words))


def read_as(kind: type[Q], values: Mapping[str, str]) -> Q:
    """Read what is asked from values of any origin.

    Raises:
        WrongError: it cannot be read.
    """
    try:
        return kind.of(MultiDict(), values)
    except queries.WrongQueryError as error:
        raise WrongError(400, str(error)) from error
