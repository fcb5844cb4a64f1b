"""Adds the API to the application of the monitoring port."""

from __future__ import annotations

import asyncio
from functools import partial

from aiohttp import hdrs, web

from controlplane.admin.answers import JSON_HEADERS, PACE, SOURCES
from controlplane.api.operations import STREAMS, VIEWS, Operation, answered, operations
from controlplane.api.problems import in_one_shape
from controlplane.api.streams import Streams
from controlplane.api.views import Views


def add(app: web.Application) -> None:
    """Serve the API in an application of ``admin``."""
    app[VIEWS] = Views(app[SOURCES], app[PACE])
    app[STREAMS] = Streams()
    app.middlewares.insert(0, in_one_shape)
    app.router.add_get("/api/v1/openapi.json", _described)
    for each in operations():
        respond = partial(_answered, each)
        if each.posts is not None:
            app.router.add_post(each.path, respond)
        else:
            app.router.add_get(each.path, respond)


async def _answered(asked: Operation, request: web.Request) -> web.StreamResponse:
    return await answered(request, asked)


async def _described(request: web.Request) -> web.Response:
    from controlplane.api.openapi import document  # noqa: PLC0415 - made for the first who asks, beside the loop

    text = await asyncio.to_thread(document)
    response = web.Response(body=text.encode(), headers=JSON_HEADERS)
    response.headers[hdrs.ETAG] = f'"{hash(text) & 0xFFFFFFFFFFFF:x}"'
    if response.headers[hdrs.ETAG] in request.headers.get(hdrs.IF_NONE_MATCH, ""):
        return web.Response(status=304, headers={hdrs.ETAG: response.headers[hdrs.ETAG]})
    return response
