"""The pages of the status port, each a function of the request."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus

import structlog

from controlplane.agent.http.server import Answer, Request, Response
from controlplane.agent.metrics import STARTUP_SECONDS
from controlplane.agent.status.readiness import Readiness

READY, DRAIN, QUIT = "/healthz/ready", "/drain", "/quitquitquit"

log = structlog.get_logger(__name__)


class Pages:
    """Leads each request to the page of its path; ``further`` are those that are there only where something asks."""

    def __init__(self, pages: Mapping[str, Answer], further: Callable[[str], Answer | None] = lambda _: None) -> None:
        self._pages = pages
        self._further = further

    async def answer(self, request: Request) -> Response:
        """Return the page, or that there is none."""
        page = self._pages.get(request.path) or self._further(request.path)
        return await page(request) if page is not None else Response(HTTPStatus.NOT_FOUND)


class ReadyPage:
    """200 or 503 without a body. Why it is not ready is logged when it is something else than the last time."""

    def __init__(self, readiness: Readiness, started: float) -> None:
        """``started`` is when the agent started, by the clock of ``time.monotonic``."""
        self._readiness = readiness
        self._started = started
        self._said: str | None = None

    async def page(self, _request: Request) -> Response:
        """Return what a probe wants to know."""
        problem = await self._readiness.problem()
        if problem != self._said:
            self._said = problem
            if problem:
                log.warning("agent.not_ready", reason=problem)
            else:
                seconds = time.monotonic() - self._started
                log.info("agent.ready", seconds=round(seconds, 3))
                STARTUP_SECONDS.set(seconds)
        return Response(HTTPStatus.SERVICE_UNAVAILABLE if problem else HTTPStatus.OK)


def command(action: Callable[[], Awaitable[None]]) -> Answer:
    """Return a page that does something, for callers on this host only, and by POST."""

    async def page(request: Request) -> Response:
        if not request.local:
            return Response(HTTPStatus.FORBIDDEN, b"only requests from this host are answered\n")
        if request.method != "POST":
            return Response(HTTPStatus.METHOD_NOT_ALLOWED, b"POST is needed\n", headers=(("Allow", "POST"),))
        await action()
        return Response(body=b"OK")

    return page
