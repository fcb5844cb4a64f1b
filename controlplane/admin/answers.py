"""How the monitoring port answers what may be long: sorted and cut to pages, made and sent in slices."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import structlog
from aiohttp import hdrs, web

from controlplane.admin.json_text import Value, pieces
from controlplane.admin.pace import Pace, Pause, in_order
from controlplane.admin.paging import Order, Page, link
from controlplane.admin.sources import AdminSources
from controlplane.http1.bodies import Bodies

log = structlog.get_logger()

SOURCES = web.AppKey("sources", AdminSources)
PACE = web.AppKey("pace", Pace)
BODIES = web.AppKey("bodies", Bodies)
JSON_HEADERS = {"Content-Type": "application/json; charset=utf-8", "X-Content-Type-Options": "nosniff"}

NOT_CONNECTED = "Proxy not connected to this Pilot instance. It may be connected to another instance.\n"
NOT_COMPILED = "Nothing has been compiled for this proxy yet.\n"

T = TypeVar("T")


async def paged(
    request: web.Request, items: Iterable[T | Pause], order: Callable[[Any], Order]
) -> tuple[list[T], dict[str, str]]:
    """Return the part of a list that is asked for, sorted, and the headers that say where the next one is."""
    page = Page.of(request.query)
    steps: Iterator[T | Pause] = in_order(items, order)
    ordered = await request.app[PACE].gathered(steps)
    shown, after = page.cut(ordered, order)
    return list(shown), {"Link": link(request.path, request.query, after)} if after else {}


async def json_answer(request: web.Request, value: Value, headers: dict[str, str] | None = None) -> web.StreamResponse:
    """Answer with a JSON value as it is made; ``?pretty`` indents it."""
    return await streamed(request, pieces(value, _indent(request)), {**JSON_HEADERS, **(headers or {})})


async def streamed(request: web.Request, text: Iterable[str | Pause], headers: dict[str, str]) -> web.StreamResponse:
    """Send a text as it is made, no faster than the caller takes it.

    Raises:
        ConnectionAbortedError: it cannot be made to the end (our bug); half an answer must not be taken for a whole.
    """
    response = web.StreamResponse(headers=headers)
    try:
        async for made in request.app[PACE].slices(text):
            if not response.prepared:
                await response.prepare(request)
            if request.method == hdrs.METH_HEAD:
                break
            if made:
                await response.write("".join(made).encode())
    except (asyncio.CancelledError, ConnectionError):
        raise
    except Exception as error:
        if not response.prepared:
            raise
        log.exception("admin.failed", path=request.path)
        raise ConnectionAbortedError from error
    await response.write_eof()
    return response


def closing(response: web.Response) -> web.Response:
    """Close the connection after an answer: the rest of the question is of no use."""
    response.force_close()
    return response


def _indent(request: web.Request) -> int | None:
    return 4 if "pretty" in request.query else None
