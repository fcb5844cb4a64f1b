"""Small HTTP servers that say who answered, for seeing where a request went.

python -m samples.backends v1 127.0.0.1 8080
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from aiohttp import web


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as a backend saw it; header names are lower case."""

    method: str
    path: str
    headers: Mapping[str, str]


@dataclass(slots=True)
class Backend:
    """One HTTP server; every path answers ``{"version": ..., "path": ..., "headers": {...}}``.

    ``status`` is the status of every answer, ``fail_next`` how many of the next answers are 503 instead, ``delay``
    the time before each answer. All may be changed while it runs. ``seen`` grows with each request.
    """

    version: str
    host: str = "127.0.0.1"
    port: int = 0
    status: int = 200
    fail_next: int = 0
    delay: timedelta = timedelta()
    seen: list[Seen] = field(default_factory=list)
    _runner: web.AppRunner | None = field(default=None, init=False, repr=False)

    async def start(self) -> None:
        """Listen on ``host`` and ``port`` (0: a free one, known afterwards). Raises ``OSError`` when it is taken."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        try:
            await web.TCPSite(runner, self.host, self.port).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        self.port = runner.addresses[0][1]

    async def stop(self) -> None:
        """Close the port and every connection."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.seen.append(Seen(request.method, request.path_qs, headers))
        status = self.status
        if self.fail_next > 0:
            self.fail_next -= 1
            status = 503
        if self.delay:
            await asyncio.sleep(self.delay.total_seconds())
        body = {"version": self.version, "path": request.path_qs, "headers": headers}
        return web.json_response(body, status=status, headers={"x-version": self.version})


async def serve(version: str, host: str, port: int) -> None:
    """Serve until cancelled."""
    backend = Backend(version, host, port)
    await backend.start()
    print(f"{version} answers on {host}:{backend.port}", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        await backend.stop()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2], int(sys.argv[3])))
