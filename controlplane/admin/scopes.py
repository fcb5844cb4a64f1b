"""The levels of the log, by scope, shown and set while the program runs."""

from __future__ import annotations

import structlog
from aiohttp import web

from controlplane.admin.answers import BODIES, SOURCES, closing, json_answer
from controlplane.documents.json_reader import json_value
from controlplane.http1.bodies import BodyRefusedError

log = structlog.get_logger()


async def scopes(request: web.Request) -> web.StreamResponse:
    """Show them."""
    levels = request.app[SOURCES].log_levels()
    return await json_answer(request, [{"name": name, "output_level": level} for name, level in levels.items()])


async def set_level(request: web.Request) -> web.StreamResponse:
    """Set the level of a scope, as istiod's ``/scopej`` is asked to."""
    if request.content_type != "application/json":  # a web page of elsewhere cannot send that without asking first
        return web.Response(status=415, text="The level must be application/json.\n")
    scope = request.match_info["scope"]
    try:
        async with request.app[BODIES].of(request) as body:
            level = str(json_value(body)["output_level"])
        log.warning("admin.log_level_asked_for", scope=scope, output_level=level)  # before it may be hushed by that
        request.app[SOURCES].set_log_level(scope, level)
    except BodyRefusedError as error:
        return closing(web.Response(status=error.status, text=f"{error}\n"))
    except (KeyError, TypeError):
        return web.Response(status=400, text='The level is asked for as {"output_level": "debug"}.\n')
    except ValueError as error:
        return web.Response(status=400, text=f"{error}\n")
    return web.Response(status=202)
