"""Serves the monitoring port, and another one for readiness alone.

The application, aiohttp and what writes Envoy's messages are loaded by ``start``, in a thread: they take a third of the
program's whole start, and no proxy needs to wait for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from controlplane.admin.sources import AdminSources
from controlplane.http1.places import Places

if TYPE_CHECKING:
    from aiohttp.web import AppRunner, Request, StreamResponse

_MODULES = (
    "controlplane.admin.application",
    "controlplane.admin.config_dump",
    "controlplane.patches.published_manifest",
)
_LINGER_SECONDS = 1.0
"""For a caller to read why its question is not taken."""


class AdminServer:
    """Serves the monitoring port from ``start`` until ``stop``.

    With ``ready_only`` it is the port of readiness, which istiod has on 8080: nothing else is answered there.
    """

    def __init__(self, sources: AdminSources, *, ready_only: bool = False, parts: Sequence[str] = ()) -> None:
        """Prepare; ``parts`` are modules with more to serve: each has a function ``add`` that takes the application."""
        self._sources = sources
        self._parts = parts
        self._ready_only = ready_only
        self._runner: AppRunner | None = None
        self._listening: asyncio.Server | None = None
        self._places: Places | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the port, which is chosen by the system if 0 was asked for.

        Raises:
            OSError: the address cannot be listened on.
        """
        for module in (*_MODULES, *self._parts):
            await asyncio.to_thread(import_module, module)
        from aiohttp import web  # noqa: PLC0415 - see the module's docstring

        from controlplane.admin.application import application, ready_application  # noqa: PLC0415 - the same

        app = (ready_application if self._ready_only else application)(self._sources)
        for part in self._parts:
            import_module(part).add(app)

        @web.middleware
        async def placed(request: Request, handler: Callable[[Request], Awaitable[StreamResponse]]) -> StreamResponse:
            assert self._places is not None  # noqa: S101 - there is a request
            with self._places.busy(request):
                return await handler(request)

        app.middlewares.insert(0, placed)
        runner = web.AppRunner(
            app,
            access_log=None,
            keepalive_timeout=90,
            shutdown_timeout=1,
            lingering_time=_LINGER_SECONDS,
            handler_cancellation=True,
        )
        self._runner = runner
        await runner.setup()
        assert runner.server is not None  # noqa: S101 - it is there after ``setup``
        most, reached = self._sources.limits.max_monitoring_connections, self._sources.reached
        self._places = Places(runner.server, most, "max_monitoring_connections", reached)
        self._listening = await asyncio.get_running_loop().create_server(self._places.made, host, port)
        return int(self._listening.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Close the port and end what is being answered; nothing if it never started."""
        if self._listening is not None:
            self._listening.close()
        if self._runner is not None:
            await self._runner.cleanup()
