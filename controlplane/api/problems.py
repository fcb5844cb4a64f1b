"""The one shape of errors of the API. Reference: RFC 9457, "Problem Details for HTTP APIs"."""

from __future__ import annotations

from http import HTTPStatus

from aiohttp import web

from controlplane.admin.application import Respond
from controlplane.api.models import Wrong
from controlplane.printable import printable

ROOT = "/api/"
CONTENT_TYPE = "application/problem+json"


def problem(status: int, detail: str) -> web.Response:
    """Return the answer to a question that has none; ``detail`` is a sentence for who asked."""
    said = Wrong(type="about:blank", title=HTTPStatus(status).phrase, status=status, detail=printable(detail.strip()))
    return web.Response(
        status=status,
        body=said.model_dump_json().encode(),
        headers={"Content-Type": CONTENT_TYPE, "X-Content-Type-Options": "nosniff"},
    )


@web.middleware
async def in_one_shape(request: web.Request, handler: Respond) -> web.StreamResponse:
    """Give errors of the API their shape, also those that the rest of the monitoring port has answered with text."""
    if not request.path.startswith(ROOT):
        return await handler(request)
    try:
        response = await handler(request)
    except web.HTTPMethodNotAllowed as error:
        refused = problem(error.status, f"{request.path} may be asked with {', '.join(sorted(error.allowed_methods))}")
        refused.headers["Allow"] = ", ".join(sorted(error.allowed_methods))
        return refused
    except web.HTTPException as error:
        return problem(error.status, error.text or error.reason)
    if response.status < HTTPStatus.BAD_REQUEST or not isinstance(response, web.Response):
        return response
    if response.content_type == CONTENT_TYPE:
        return response
    shaped = problem(response.status, response.text or "")
    if response.keep_alive is False:
        shaped.force_close()
    return shaped
