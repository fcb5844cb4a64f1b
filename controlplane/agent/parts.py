"""What runs beside Envoy, opened in order and closed in the opposite one. A part is there only where it is wanted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from controlplane.agent import trust_bundle
from controlplane.agent.addresses import TcpAddress
from controlplane.agent.ads_proxy import AdsProxy, Convert, Interest, Taking
from controlplane.agent.control_plane import Peer
from controlplane.agent.environment import StartError
from controlplane.agent.envoy_configuration.places import FILE_SECRETS, Places
from controlplane.agent.http.server import HttpServer
from controlplane.agent.identity_source import FromAuthority, FromFiles, FromSocket, Source, revoked
from controlplane.agent.node import MODULES, dns_is_captured
from controlplane.agent.options import Options
from controlplane.agent.output_certificates import OutputCertificates
from controlplane.agent.sds import SecretServer
from controlplane.agent.secrets import QUIET_SECONDS, Secrets
from controlplane.agent.status.pages import Pages
from controlplane.agent.wasm.fetching import Fetcher, Rules
from controlplane.agent.wasm.modules import FOLDER, Modules
from controlplane.backoff import Backoff

_LONGEST_PAUSE = 60.0
_SOCKET_FOLDER_MODE, _SOCKET_MODE = 0o750, 0o666
_CONFIGURATION_FOLDER_MODE = 0o700

log = structlog.get_logger(__name__)


class Parts:
    """Opens parts into a stack. Raises ``StartError`` with what could not be opened."""

    def __init__(self, options: Options, places: Places, source: Source, stack: AsyncExitStack) -> None:
        self._options = options
        self._places = places
        self._source = source
        self._stack = stack
        self._tasks: list[asyncio.Task[None]] = []
        self._interests: dict[str, Interest] = {}
        self.secrets = _secrets(options, source)
        stack.push_async_callback(self._end_tasks)

    @property
    def external_secrets(self) -> bool:
        """Whether somebody else serves the workload's secrets."""
        return isinstance(self._source, FromSocket)

    async def serve_status(self, pages: Pages) -> None:
        """Open the status port, unless there is to be none."""
        if self._places.agent_port:
            server = HttpServer(pages.answer)
            self._stack.push_async_callback(server.stop)
            where = TcpAddress("", self._places.agent_port)
            await _opened(server.start(where), f"port {self._places.agent_port}")

    async def serve_secrets(self, *, to_envoy: bool) -> None:
        """Have the workload's certificate, and serve it; where others do, serve only what files hold."""
        if to_envoy:
            path = FILE_SECRETS if self.external_secrets else self._places.secrets
            make_way(path, _SOCKET_FOLDER_MODE)
            server = SecretServer(self.secrets, path)
            await _opened(server.start(), f"the socket of secrets {path}")
            self._stack.push_async_callback(server.stop)
            path.chmod(_SOCKET_MODE)
        self.keep("secrets in files", self.secrets.watch)
        self.keep("revoked certificates", self.secrets.watch_revoked)
        if (output := OutputCertificates.of(self._options.environment, self.secrets)) is not None:
            self.secrets.listen(output.write)
            output.write()
        if isinstance(self._source, FromAuthority):
            self._source.certificate.on_change(self.secrets.use)
            self.keep("the workload's certificate", self._source.certificate.run)

    async def serve_names(self) -> Callable[[], bytes | None] | None:
        """Answer questions for names, where that is asked for; return what shows the table."""
        if not dns_is_captured(self._options):
            return None
        from controlplane.agent.dns.settings import TYPE_URL, name_server  # noqa: PLC0415 - most proxies need none

        server, addresses = name_server(self._options)
        self._stack.push_async_callback(server.stop)
        await _opened(server.start(addresses), f"the name server on {', '.join(map(str, addresses))}")
        self._interests[TYPE_URL] = server.take
        return server.page

    async def serve_configuration(self, peer: Peer) -> AdsProxy:
        """Open the socket of configuration."""
        if self._options.environment.flag("PROXY_CONFIG_XDS_AGENT"):
            self._interests[trust_bundle.TYPE_URL] = self._trust
        proxy = AdsProxy(peer, Taking(self._interests, self._modules()))
        make_way(self._places.xds, _CONFIGURATION_FOLDER_MODE)
        await _opened(proxy.start(self._places.xds), f"the socket of configuration {self._places.xds}")
        self._stack.push_async_callback(proxy.stop)
        return proxy

    def _modules(self) -> Convert | None:
        """Return what fetches WebAssembly modules, unless nobody should. Raises ``StartError``."""
        environment = self._options.environment
        if not environment.flag(MODULES, default=True):
            return None
        expiry = environment.duration("WASM_MODULE_EXPIRY", timedelta(hours=24))
        interval = environment.duration("WASM_PURGE_INTERVAL", timedelta(hours=1))
        modules = Modules(FOLDER, Fetcher(Rules.of(environment)), expiry)
        self.keep("modules that nobody asks for", partial(modules.keep_small, interval))

        async def convert(response: Any) -> bool:  # noqa: ANN401 - a discovery response
            if not response.resources:
                return False
            from controlplane.agent.wasm.rewriting import rewrite  # noqa: PLC0415 - most proxies have no such filter

            return await rewrite(response, modules)

        return convert

    def keep(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do some work until the end; should it fail, it is begun anew."""

        async def kept() -> None:
            backoff = Backoff(1.0, _LONGEST_PAUSE)
            while True:
                try:
                    await work()
                except Exception:
                    log.exception("agent.work_failed", work=name)
                await asyncio.sleep(backoff.pause())

        self._tasks.append(asyncio.create_task(kept()))

    def _trust(self, encoded: bytes) -> None:
        """Trust the roots that the control plane sent, and have a certificate that goes with them."""
        changed = self.secrets.trust(trust_bundle.roots(encoded))
        if changed and isinstance(self._source, FromAuthority):
            self._source.certificate.renew_now()

    async def _end_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _secrets(options: Options, source: Source) -> Secrets:
    if options.config.mapping("privateKeyProvider"):
        log.warning("agent.private_key_provider_ignored", reason="keys are handed to Envoy as they are")
    quiet = options.environment.duration("FILE_DEBOUNCE_DURATION", timedelta(seconds=QUIET_SECONDS)).total_seconds()
    if isinstance(source, FromFiles):
        return Secrets(pair=source.pair, root=source.root, crl=revoked(options), quiet=quiet)
    return Secrets(crl=revoked(options), quiet=quiet)


def make_way(path: Path, mode: int) -> None:
    """Make the folder of a socket, and remove one that was left there. Raises ``StartError``."""
    try:
        path.parent.mkdir(mode=mode, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StartError(f"{path} cannot be made: {error.strerror}") from None


async def _opened(opening: Awaitable[object], what: str) -> None:
    try:
        await opening
    except OSError as error:
        raise StartError(f"{what} cannot be opened: {error}") from None
