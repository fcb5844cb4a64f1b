"""Questions that are answered by the program as a whole: what becomes of a request, and what a change would do."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack

from aiohttp import web

from controlplane.admin.answers import BODIES, JSON_HEADERS, SOURCES, closing, json_answer
from controlplane.admin.sources import Read
from controlplane.http1.bodies import BodyRefusedError


async def explain(request: web.Request) -> web.StreamResponse:
    """Answer what becomes of a request, or, with ``?object=``, what an object makes."""
    from controlplane.simulate.questions import WrongQuestionError  # noqa: PLC0415 - loaded for the first question

    if not request.app[SOURCES].ready()[0]:
        return web.Response(status=503, text=f"{request.app[SOURCES].ready()[1]}\n")
    if "object" in request.query:
        question = {"explain": request.query["object"], "patches": "patches" in request.query}

        async def written() -> bytes:
            return json.dumps(question).encode()

        return await _of_copy(request, written)
    asked = [(name, value) for name, value in request.query.items() if name not in {"pretty", "limit"}]
    try:
        answer = await request.app[SOURCES].explain(asked)
    except WrongQuestionError as error:
        return web.Response(status=400, text=f"{error}\n")
    return await json_answer(request, answer)


async def plan(request: web.Request) -> web.StreamResponse:
    """Answer what a change would do."""
    if not request.app[SOURCES].ready()[0]:
        return web.Response(status=503, text=f"{request.app[SOURCES].ready()[1]}\n")
    if request.content_type != "application/json":  # a web page of elsewhere cannot send that without asking first
        return web.Response(status=415, text="The question must be application/json.\n")
    async with AsyncExitStack() as held:
        return await _of_copy(request, lambda: held.enter_async_context(request.app[BODIES].of(request)))


async def _of_copy(request: web.Request, read: Read) -> web.StreamResponse:
    """Have a copy of the process answer the question that is read, and send what it says as fast as it is taken."""
    from controlplane.simulate.questions import UnansweredError, WrongQuestionError  # noqa: PLC0415 - see above

    response = web.StreamResponse(headers=JSON_HEADERS)

    async def take(piece: bytes) -> None:
        if not response.prepared:
            await response.prepare(request)
        await response.write(piece)

    try:
        await request.app[SOURCES].plan(read, take)
    except WrongQuestionError as error:
        return web.Response(status=400, text=f"{error}\n")
    except BodyRefusedError as error:
        return closing(web.Response(status=error.status, text=f"{error}\n"))
    except UnansweredError as error:
        if response.prepared:  # half an answer must not be taken for a whole
            raise ConnectionAbortedError from error
        return closing(web.Response(status=503, text=f"The answer {error}.\n"))
    await response.write_eof()
    return response
