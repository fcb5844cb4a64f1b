"""Serves the webhooks' port.

| path | result |
|---|---|
| ``/NAME`` and below | the answer of the reviewer of this name to an AdmissionReview |
| ``/ready`` | 200 |

aiohttp is loaded by ``start``: no proxy needs to wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from importlib import import_module
from ssl import SSLContext
from typing import TYPE_CHECKING, Any

import structlog

from controlplane.documents.json_reader import json_value
from controlplane.documents.limits import UnreadableError
from controlplane.http1.bodies import Bodies, BodyRefusedError, room_of_reviews
from controlplane.http1.places import Places
from controlplane.limits import Limits, Reached, unheard
from controlplane.webhooks.advice import Advisor
from controlplane.webhooks.apart import Apart
from controlplane.webhooks.review import NotAReviewError, Webhook, answer, refused

if TYPE_CHECKING:
    from aiohttp import web

log = structlog.get_logger()

PORT = 15017
_LINGER_SECONDS = 1.0  # for a caller to read why its body is not taken
LARGE = 32 * 1024
"""Bytes of a body above which it is read and reviewed beside the loop that serves proxies."""
_LARGE_AT_ONCE = 2
LARGEST_HERE, MOST_PARTS = 4 << 20, 400_000
"""Bytes, and brackets and quotation marks, of a body that is read in this process.

A library reads JSON in one go, which holds up all proxies from a thread too. An API server takes no pod above 3 MiB.
"""
_JSON = "application/json"

Respond = Callable[["web.Request"], Awaitable["web.Response"]]


class WebhookServer:
    """Serves reviewers by name from ``start`` until ``stop``.

    ``context`` holds the certificate. Loading a newer one into it (``load_cert_chain``) takes effect with the next
    connection. ``failed`` is told the HTTP status of each request that gets no review; ``reached`` which limit it ran
    into, if that is why.
    """

    def __init__(
        self,
        context: SSLContext,
        webhooks: Mapping[str, Webhook],
        failed: Callable[[int], None] | None = None,
        limits: Limits | None = None,
        reached: Reached = unheard,
    ) -> None:
        self._context = context
        self._webhooks = webhooks
        self._failed = failed or (lambda _: None)
        self._limits = limits or Limits()
        self._reached = reached
        self._bodies = Bodies(room_of_reviews(self._limits), reached)
        self._apart = Apart(self._limits.max_review_work)
        self._runner: web.AppRunner | None = None
        self._listening: asyncio.Server | None = None
        self._places: Places | None = None

    async def start(self, host: str, port: int = PORT) -> int:
        """Listen, and return the port, which is chosen by the system if 0 was asked for.

        Raises:
            OSError: the address cannot be listened on.
        """
        await asyncio.to_thread(import_module, "aiohttp.web")
        from aiohttp import web  # noqa: PLC0415 - see the module's docstring

        app = web.Application()
        app.router.add_get("/ready", _ready)
        for name, webhook in self._webhooks.items():
            respond = self._respond(webhook)
            app.router.add_post(f"/{name}", respond)
            app.router.add_post(f"/{name}/{{rest:.*}}", respond)
        self._runner = web.AppRunner(
            app, access_log=None, keepalive_timeout=90, shutdown_timeout=1, lingering_time=_LINGER_SECONDS
        )
        await self._runner.setup()
        assert self._runner.server is not None  # noqa: S101 - it is there after ``setup``
        most = self._limits.max_webhook_connections
        self._places = Places(self._runner.server, most, "max_webhook_connections", self._reached)
        self._listening = await asyncio.get_running_loop().create_server(
            self._places.made,
            host,
            port,
            ssl=self._context,
            ssl_handshake_timeout=self._limits.handshake_timeout.total_seconds(),
        )
        return int(self._listening.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Close the port and end what is being answered; nothing if it never started."""
        if self._listening is not None:
            self._listening.close()
        if self._runner is not None:
            await self._runner.cleanup()
        await self._apart.stop()

    def _respond(self, webhook: Webhook) -> Respond:
        respond = _respond(webhook, self._failed, self._bodies, self._apart)

        async def placed(request: web.Request) -> web.Response:
            assert self._places is not None  # noqa: S101 - there is a request
            with self._places.busy(request):
                return await respond(request)

        return placed


async def _ready(_request: web.Request) -> web.Response:
    from aiohttp import web  # noqa: PLC0415 - see the module's docstring

    return web.Response()


def _answer(body: bytes, webhook: Webhook, path: str) -> dict[str, Any]:
    try:
        return answer(json_value(body), webhook.reviewer, path)
    except (NotAReviewError, UnreadableError) as error:
        if not webhook.answers_nonsense:
            raise
        return refused(str(error))


def _read_here(body: bytes, webhook: Webhook, path: str) -> dict[str, Any]:
    """Answer in a thread, where that disturbs nobody for long; raises as ``_answer`` does."""
    if len(body) <= LARGEST_HERE and sum(map(body.count, (b"{", b"[", b'"'))) <= MOST_PARTS:
        return _answer(body, webhook, path)
    reason = f"the review has more than {LARGEST_HERE} bytes, or than {MOST_PARTS} brackets and quotation marks"
    if not webhook.answers_nonsense:
        raise NotAReviewError(reason)
    return refused(reason)


def _respond(webhook: Webhook, failed: Callable[[int], None], bodies: Bodies, apart: Apart) -> Respond:
    from aiohttp import web  # noqa: PLC0415 - see the module's docstring

    large = asyncio.Semaphore(_LARGE_AT_ONCE)
    advisor = Advisor(webhook.advise) if webhook.advise is not None else None

    async def respond(request: web.Request) -> web.Response:
        response = await reviewed(request)
        if response.status != HTTPStatus.OK:
            failed(response.status)
        return response

    async def reviewed(request: web.Request) -> web.Response:
        if request.headers.get("Content-Type") != _JSON:
            return web.Response(status=415, text=f"Content-Type must be {_JSON}\n")
        try:
            async with bodies.of(request) as body:
                if not body:
                    return web.Response(status=400, text="the body is empty\n")
                path = request.match_info.get("rest", "")
                if len(body) <= LARGE and not webhook.is_slow:
                    answered = _answer(body, webhook, path)
                elif webhook.told_apart is not None:
                    answered = await apart.review(body, webhook.told_apart)
                else:
                    async with large:
                        answered = await asyncio.to_thread(_read_here, body, webhook, path)
                if advisor is not None:
                    await advisor.add(answered, body)
        except BodyRefusedError as error:
            response = web.Response(status=error.status, text=f"{error}\n")
            response.force_close()  # what is left of the body is of no use
            return response
        except (NotAReviewError, UnreadableError) as error:
            return web.Response(status=400, text=f"{error}\n")
        except Exception:  # our bug: the API server needs an answer, we the reason
            log.exception("webhooks.failed", path=request.path)
            return web.Response(status=500, text="internal error\n")
        return web.json_response(answered)

    return respond
