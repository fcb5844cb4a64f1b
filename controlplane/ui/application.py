"""Adds the page to the application of the monitoring port."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from aiohttp import web

from controlplane.admin.application import Respond
from controlplane.ui.pages import POSTED, SCREENS, moved
from controlplane.ui.showing import failed

ROOT = "/ui"
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Of every answer: nothing is loaded from elsewhere, and nobody else may show it within a page."""
_FILES = {
    "page.js": "text/javascript; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


def add(app: web.Application) -> None:
    """Serve the page in an application of ``admin`` that has the API already."""
    app.on_response_prepare.append(_with_headers)
    app.middlewares.insert(0, _errors)
    for path in ("/", f"{ROOT}/"):
        app.router.add_get(path, moved)
    app.router.add_get(f"{ROOT}/static/{{name}}", _file)
    for path, respond in SCREENS.items():
        app.router.add_get(path, respond)
        if path in POSTED:
            app.router.add_post(path, respond)


async def _with_headers(request: web.Request, response: web.StreamResponse) -> None:
    if request.path.startswith(ROOT):
        response.headers.update(HEADERS)


@web.middleware
async def _errors(request: web.Request, handler: Respond) -> web.StreamResponse:
    """Show what cannot be shown as a page."""
    response = await handler(request)
    if not request.path.startswith(ROOT) or response.prepared or not isinstance(response, web.Response):
        return response
    if response.status < web.HTTPBadRequest.status_code or response.content_type == "text/html":
        return response
    return await failed(request, response.status, response.text or "")


async def _file(request: web.Request) -> web.Response:
    name = request.match_info["name"]
    if name not in _FILES:
        raise web.HTTPNotFound
    return web.Response(body=_content(name), headers={"Content-Type": _FILES[name]})


@cache
def _content(name: str) -> bytes:
    return (files("controlplane.ui") / "static" / name).read_bytes()
