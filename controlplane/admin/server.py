"""Serves the monitoring port, and another one for readiness alone.

The application, aiohttp and what writes Envoy's messages are loaded by ``start``, in a thread: they take a third of the
program's whole start, and no proxy needs to wait for them.
"""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import TYPE_CHECKING

from controlplane.admin.sources import AdminSources

if TYPE_CHECKING:
    from aiohttp.web import AppRunner

_MODULES = ("controlplane.admin.application", "controlplane.admin.config_dump")


class AdminServer:
    """Serves the monitoring port from ``start`` until ``stop``.

    With ``ready_only`` it is the port of readiness, which istiod has on 8080: nothing else is answered there.
    """

    def __init__(self, sources: AdminSources, *, ready_only: bool = False) -> None:
        self._sources = sources
        self._ready_only = ready_only
        self._runner: AppRunner | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the port, which is chosen by the system if 0 was asked for.

        Raises:
            OSError: the address cannot be listened on.
        """
        for module in _MODULES:
            await asyncio.to_thread(import_module, module)
        from aiohttp import web  # noqa: PLC0415 - see the module's docstring

        from controlplane.admin.application import application, ready_application  # noqa: PLC0415 - the same

        app = (ready_application if self._ready_only else application)(self._sources)
        runner = web.AppRunner(
            app, access_log=None, keepalive_timeout=90, shutdown_timeout=1, handler_cancellation=True
        )
        self._runner = runner
        await runner.setup()
        await web.TCPSite(runner, host, port).start()
        bound: int = runner.addresses[0][1]
        return bound

    async def stop(self) -> None:
        """Close the port and end what is being answered; nothing if it never started."""
        if self._runner is not None:
            await self._runner.cleanup()
