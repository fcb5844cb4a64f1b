"""Serves the webhooks' port.

| path | result |
|---|---|
| ``/NAME`` and below | the answer of the reviewer of this name to an AdmissionReview |
| ``/ready`` | 200 |

aiohttp is loaded by ``start``: no proxy needs to wait for it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from importlib import import_module
from ssl import SSLContext
from typing import TYPE_CHECKING

import structlog

from controlplane.webhooks.review import NotAReviewError, Reviewer, answer

if TYPE_CHECKING:
    from aiohttp import web

log = structlog.get_logger()

PORT = 15017
MAX_BODY = 16 * 1024 * 1024
"""Bytes; the API server stores objects of up to 1.5 MB, and an update brings the old one too."""
_JSON = "application/json"

Respond = Callable[["web.Request"], Awaitable["web.Response"]]


class WebhookServer:
    """Serves reviewers by name from ``start`` until ``stop``.

    ``context`` holds the certificate. Loading a newer one into it (``load_cert_chain``) takes effect with the next
    connection. ``failed`` is told the HTTP status of each request that gets no review.
    """

    def __init__(
        self, context: SSLContext, reviewers: Mapping[str, Reviewer], failed: Callable[[int], None] | None = None
    ) -> None:
        self._context = context
        self._reviewers = reviewers
        self._failed = failed or (lambda _: None)
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int = PORT) -> int:
        """Listen, and return the port, which is chosen by the system if 0 was asked for.

        Raises:
            OSError: the address cannot be listened on.
        """
        await asyncio.to_thread(import_module, "aiohttp.web")
        from aiohttp import web  # noqa: PLC0415 - see the module's docstring

        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_get("/ready", _ready)
        for name, reviewer in self._reviewers.items():
            respond = _respond(reviewer, self._failed)
            app.router.add_post(f"/{name}", respond)
            app.router.add_post(f"/{name}/{{rest:.*}}", respond)
        self._runner = web.AppRunner(app, access_log=None, keepalive_timeout=90, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port, ssl_context=self._context).start()
        bound: int = self._runner.addresses[0][1]
        return bound

    async def stop(self) -> None:
        """Close the port and end what is being answered; nothing if it never started."""
        if self._runner is not None:
            await self._runner.cleanup()


async def _ready(_request: web.Request) -> web.Response:
    from aiohttp import web  # noqa: PLC0415 - see the module's docstring

    return web.Response()


def _respond(reviewer: Reviewer, failed: Callable[[int], None]) -> Respond:
    from aiohttp import web  # noqa: PLC0415 - see the module's docstring

    async def respond(request: web.Request) -> web.Response:
        response = await reviewed(request)
        if response.status != HTTPStatus.OK:
            failed(response.status)
        return response

    async def reviewed(request: web.Request) -> web.Response:
        if request.content_type != _JSON:
            return web.Response(status=415, text=f"Content-Type must be {_JSON}\n")
        body = await request.read()
        if not body:
            return web.Response(status=400, text="the body is empty\n")
        try:
            answered = answer(json.loads(body), reviewer)
        except (NotAReviewError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
            return web.Response(status=400, text=f"{error}\n")
        except Exception:  # our bug: the API server needs an answer, we the reason
            log.exception("webhooks.failed", path=request.path)
            return web.Response(status=500, text="internal error\n")
        return web.json_response(answered)

    return respond
