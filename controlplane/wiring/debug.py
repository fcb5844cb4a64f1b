"""Debug pages over xDS, which are those of the monitoring port."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from controlplane.admin.sources import AdminSources
from controlplane.registry.mesh import SYSTEM_NAMESPACE
from controlplane.rope import Body, Rope

if TYPE_CHECKING:
    from controlplane.ads.credential import Credential
    from controlplane.ads.debug import DebugAnswer


class DebugAnswers:
    """Answers requests for debug pages, for callers of the secure port."""

    def __init__(self, sources: Callable[[], AdminSources], ports: Mapping[str, str]) -> None:
        """Take what pages are made of; ``ports`` has the address of ``monitoring`` once it is open."""
        self._sources = sources
        self._ports = ports

    async def answer(self, type_url: str, names: Sequence[str], credential: Credential) -> DebugAnswer:
        """Return what a caller may see of the pages that it names."""
        from controlplane.admin.debug_over_xds import DebugOverXds  # noqa: PLC0415 - aiohttp, for few

        return await DebugOverXds(self._sources(), self._page, SYSTEM_NAMESPACE)(type_url, names, credential)

    async def _page(self, page: str) -> Body:
        """Return what the monitoring port answers."""
        import aiohttp  # noqa: PLC0415 - for few

        host, _, port = self._ports.get("monitoring", "").rpartition(":")
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - to ask, not to listen
        url = f"http://[{host}]:{port}/debug/{page}" if ":" in host else f"http://{host}:{port}/debug/{page}"
        timeout = aiohttp.ClientTimeout(total=10)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
            return Rope([piece async for piece in response.content.iter_any()])
