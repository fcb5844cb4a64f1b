"""The ports that are served with certificates of the mesh: they open once its authority can sign."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from controlplane.ads.server import AdsServer
from controlplane.backoff import Backoff
from controlplane.settings import Settings
from controlplane.wiring.tasks import opened

if TYPE_CHECKING:
    from controlplane.wiring.identity import Trust

log = structlog.get_logger(__name__)

AUTHORITY_PAUSES = (0.5, 10.0)
"""Seconds between attempts to open an authority that cannot sign: the first pause and the longest."""


class SecurePorts:
    """The ports of xDS over TLS and of the webhooks; ``ports`` is told where each listens, by its name in the log."""

    def __init__(self, settings: Settings, ads: AdsServer, ports: dict[str, str]) -> None:
        self._settings = settings
        self._ads = ads
        self._ports = ports

    async def open(self, authority: Trust) -> bool:
        """Open the ports that need the authority, if it can sign; return whether they are open.

        Raises:
            StartError: one of them cannot be opened.
        """
        serving, settings = await authority.open(), self._settings
        if serving is None:
            return False
        if settings.tls_port is not None and "secure" not in self._ports:
            adding = self._ads.add_port(settings.xds_host, settings.tls_port, serving.grpc_context())
            self._ports["secure"] = f"{settings.xds_host}:{await opened('--secure-port', settings.tls_port, adding)}"
            await self._ads.start()
        if settings.https_port is not None and "webhooks" not in self._ports:
            webhooks = await opened("--webhook-port", settings.https_port, authority.start_webhooks())
            self._ports["webhooks"] = f"{settings.xds_host}:{webhooks}"
        return True

    async def keep(self, authority: Trust) -> None:
        """Wait for an authority that can sign, open what needs it, and keep it right."""
        backoff, late = Backoff(*AUTHORITY_PAUSES), authority.serving is None
        while not await self.open(authority):  # noqa: ASYNC110 - what changes there tells nobody
            await asyncio.sleep(backoff.pause())
        if late:
            log.info("app.serving", **self._ports)
        await authority.keep()
