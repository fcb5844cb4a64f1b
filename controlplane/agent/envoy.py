"""Running an Envoy without an agent: start it from a bootstrap, wait until it serves, ask what it thinks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote

import aiohttp

from controlplane.agent.addresses import TcpAddress
from controlplane.agent.binary import envoy_binary
from controlplane.agent.bootstrap import Bootstrap, bootstrap
from controlplane.agent.process import ChildProcess, ProcessFailedError
from controlplane.documents.json_reader import json_value
from controlplane.model.proxy import Proxy

READY_TIMEOUT = timedelta(seconds=30)
_ADMIN_TIMEOUT = aiohttp.ClientTimeout(total=10)


class EnvoyProxy:
    """One Envoy process of this control plane; its bootstrap and log are in ``directory``.

    ``wrapper`` is put before the command line (``("ip", "netns", "exec", ...)``); it must become Envoy by ``exec``,
    so that the process that is stopped is Envoy's own. Raises ``EnvoyNotFoundError``.
    """

    def __init__(
        self,
        proxy: Proxy,
        settings: Bootstrap,
        directory: Path,
        *,
        wrapper: Sequence[str] = (),
        log_level: str = "info",
    ) -> None:
        """Write the bootstrap; nothing runs before ``start``."""
        self.proxy = proxy
        self.settings = settings
        path = directory / f"{proxy.name}.json"
        path.write_text(json.dumps(bootstrap(proxy, settings), indent=2), encoding="utf-8")
        command = [*wrapper, str(envoy_binary()), "-c", str(path), "--log-level", log_level]
        # One worker and no hot restart: several proxies share a machine. Draining at once lets them end quickly.
        command += ["--concurrency", "1", "--disable-hot-restart", "--drain-strategy", "immediate"]
        command += ["--drain-time-s", "1", "--skip-deprecated-logs"]
        self.process = ChildProcess(f"envoy {proxy.id}", command, directory / f"{proxy.name}.log")

    async def start(self) -> None:
        """Start the process."""
        await self.process.start()

    async def stop(self) -> None:
        """End the process and wait for it."""
        await self.process.stop()

    async def wait_ready(self, timeout: timedelta = READY_TIMEOUT) -> None:  # noqa: ASYNC109 - named in the error
        """Wait until Envoy has its first listeners and clusters and serves them. Raises ``ProcessFailedError``."""
        await self.process.wait_until(self.is_ready, timeout)

    async def is_ready(self) -> bool:
        """Whether the admin interface calls Envoy ready: live, not draining."""
        try:
            status, _ = await self._admin("/ready")
        except (OSError, aiohttp.ClientError, TimeoutError):  # not listening yet
            return False
        return status == HTTPStatus.OK

    async def stats(self, pattern: str) -> Mapping[str, int]:
        """Return the counters and gauges whose names match a regular expression somewhere.

        Raises ``ProcessFailedError`` when the admin interface refuses, ``aiohttp.ClientError`` when it is gone.
        """
        status, text = await self._admin(f"/stats?format=json&filter={quote(pattern)}")
        if status != HTTPStatus.OK:
            raise ProcessFailedError(self.process.failure(f"answered {status} when asked for stats: {text.strip()}"))
        named = json_value(text)["stats"]
        return {stat["name"]: stat["value"] for stat in named if isinstance(stat.get("value"), int)}

    async def rejected(self) -> Mapping[str, int]:
        """Return how many updates of each kind Envoy refused since it started; nothing when it took them all."""
        return {name: count for name, count in (await self.stats(r"update_rejected$")).items() if count}

    async def _admin(self, path: str) -> tuple[int, str]:
        where = self.settings.admin
        if isinstance(where, TcpAddress):
            connector: aiohttp.BaseConnector = aiohttp.TCPConnector()
            base = f"http://{where}"
        else:
            connector = aiohttp.UnixConnector(str(where))
            base = "http://envoy"
        async with (
            aiohttp.ClientSession(connector=connector, timeout=_ADMIN_TIMEOUT) as session,
            session.get(base + path) as response,
        ):
            return response.status, await response.text()
