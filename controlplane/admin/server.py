"""Serves the monitoring port.

The application and aiohttp are loaded by ``start``, in a thread: they take a third of the program's whole start, and
no proxy needs to wait for them.
"""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import TYPE_CHECKING

from controlplane.admin.sources import AdminSources

if TYPE_CHECKING:
    from aiohttp.web import AppRunner

_APPLICATION = "controlplane.admin.application"


class AdminServer:
    """Serves the monitoring port from ``start`` until ``stop``."""

    def __init__(self, sources: AdminSources) -> None:
        self._sources = sources
        self._runner: AppRunner | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the port, which is chosen by the system if 0 was asked for.

        Raises:
            OSError: the address cannot be listened on.
        """
        await asyncio.to_thread(import_module, _APPLICATION)
        from aiohttp import web  # noqa: PLC0415 - see the module's docstring

        from controlplane.admin.application import application  # noqa: PLC0415 - the same

        runner = web.AppRunner(application(self._sources), access_log=None, keepalive_timeout=90, shutdown_timeout=1)
        self._runner = runner
        await runner.setup()
        await web.TCPSite(runner, host, port).start()
        bound: int = runner.addresses[0][1]
        return bound

    async def stop(self) -> None:
        """Close the port and end what is being answered; nothing if it never started."""
        if self._runner is not None:
            await self._runner.cleanup()
