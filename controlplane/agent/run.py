"""The agent as a whole: what is started in which order, what is watched, and how it ends.

Order: names, status port, secrets, configuration socket, then Envoy. Whatever cannot be started ends the process at
once with the reason (``StartError``, exit code 255); after that it ends with 0 when it is told to,
and with Envoy's code where that has ended by itself.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from http import HTTPStatus
from pathlib import Path

import structlog

from controlplane.agent.addresses import TcpAddress
from controlplane.agent.ads_proxy import AdsProxy
from controlplane.agent.control_plane import discovery
from controlplane.agent.envoy_command import written_bootstrap
from controlplane.agent.envoy_configuration.places import CREDENTIALS, FILE_SECRETS, Places
from controlplane.agent.envoy_process import DrainPolicy, EnvoyProcess
from controlplane.agent.envoy_user import as_user, let_in, user_of_envoy
from controlplane.agent.http.server import Answer, Request, Response
from controlplane.agent.identity_source import identity_source, is_live
from controlplane.agent.live_log_levels import LiveLogLevels
from controlplane.agent.memory import settle
from controlplane.agent.node import node
from controlplane.agent.options import Options
from controlplane.agent.parts import Parts
from controlplane.agent.proxyless import DEFAULT, ProxylessBootstrap
from controlplane.agent.status.merged import MergedMetrics, targets
from controlplane.agent.status.pages import DRAIN, QUIT, READY, Pages, ReadyPage, command
from controlplane.agent.status.probes import SOURCE, SOURCE_V6, Probes, probes
from controlplane.agent.status.readiness import Readiness
from controlplane.agent.workload_health import HealthProbe, WorkloadHealth

_NAMES = "/debug/ndsz"
_METRICS = ("/metrics", "/stats/prometheus")
_SIGNALLED = 128
_HTTP2_PROBES, _KEPT_PROBES = "ISTIO_ENABLE_HTTP2_PROBING", "ENABLE_PROBE_KEEPALIVE_CONNECTIONS"
_LEGACY_LOCALHOST = "REWRITE_PROBE_LEGACY_LOCALHOST_DESTINATION"

log = structlog.get_logger(__name__)


class Agent:
    """One proxy and everything beside it."""

    def __init__(self, options: Options, started: float) -> None:
        """Open nothing yet; ``started`` is a time of the monotonic clock. Raises ``StartError``."""
        self._options = options
        self._started = started
        self._places = Places.of(options)
        self._peer = discovery(options)
        self._source = identity_source(options, self._places)
        self._drain = DrainPolicy.of(options, self._places.own_ports)
        self._health = HealthProbe.of(options.config)
        self._proxyless = options.environment.flag("DISABLE_ENVOY")
        output = options.environment.text("OUTPUT_CERTS")
        self._grpc = ProxylessBootstrap(
            Path(options.environment.text("GRPC_XDS_BOOTSTRAP", DEFAULT)), Path(output) if output else None
        )
        self._probes = self._known_probes()
        self._merged = self._merged_metrics()
        self._stopping = asyncio.Event()
        self._at_once = False
        self._drained = False

    async def run(self) -> int:
        """Run until told to end, or Envoy has ended; return the exit code. Raises ``StartError``.

        That is Envoy's own where it ended by itself, so that a crash is seen: as shells do, 128 and more for a signal.
        """
        async with AsyncExitStack() as stack:
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, self._stopping.set)
            parts = Parts(self._options, self._places, self._source, stack)
            envoy = self._envoy(stack, external_secrets=parts.external_secrets)
            names = await parts.serve_names()
            readiness = Readiness(
                envoy.admin if envoy is not None else None,
                bootstrap=self._grpc.problem,
                name_table=(lambda: names() is not None) if names is not None else None,
            )
            stack.callback(self._probes.close)
            await parts.serve_status(self._pages(readiness, envoy, names))
            await parts.serve_secrets(to_envoy=envoy is not None)
            proxy = await parts.serve_configuration(self._peer)
            self._grpc.write(node(self._options), self._places.xds)
            self._tell_health(parts, proxy, readiness)
            if envoy is not None:
                self._let_envoy_in(external_secrets=parts.external_secrets)
                await envoy.start()
                stack.push_async_callback(envoy.kill)
                levels = LiveLogLevels(envoy, self._options.flags, self._options.annotations)
                parts.keep("levels of Envoy's log", levels.run)
            settle()
            return await self._until_the_end(envoy, readiness)

    def _envoy(self, stack: AsyncExitStack, *, external_secrets: bool) -> EnvoyProcess | None:
        """Write Envoy's bootstrap, and return the process that starts from it; nothing where there is to be none."""
        if self._proxyless:
            return None
        bootstrap = written_bootstrap(
            self._options, self._places, external_secrets=external_secrets, credentials=is_live(CREDENTIALS)
        )
        stack.callback(bootstrap.remove)
        user = user_of_envoy(self._options)
        command = bootstrap.command if user is None else as_user(bootstrap.command, user)
        return EnvoyProcess(command, TcpAddress(self._places.loopback, self._places.admin_port))

    def _let_envoy_in(self, *, external_secrets: bool) -> None:
        """Let Envoy have what the agent made for it, where it runs as another user."""
        if (user := user_of_envoy(self._options)) is None:
            return
        made = (self._places.bootstrap, self._places.xds, FILE_SECRETS if external_secrets else self._places.secrets)
        let_in(user, (each for path in made for each in (path.parent, path) if each.exists()))

    def _pages(
        self, readiness: Readiness, envoy: EnvoyProcess | None, names: Callable[[], bytes | None] | None
    ) -> Pages:
        async def drain() -> None:
            self._drained = True
            if envoy is not None:
                await envoy.drain(self._drain, for_good=True)

        async def end() -> None:
            self._at_once = True
            self._stopping.set()

        pages: Mapping[str, Answer] = {
            READY: ReadyPage(readiness, self._started).page,
            DRAIN: command(drain),
            QUIT: command(end),
            _NAMES: _names_page(names),
            **dict.fromkeys(_METRICS, self._merged.page),
        }
        return Pages(pages, self._probes.find)

    def _known_probes(self) -> Probes:
        environment, workload = self._options.environment, self._options.workload
        legacy = environment.flag(_LEGACY_LOCALHOST)
        host = workload.loopback if legacy else workload.ips[0]
        return Probes(
            probes(environment),
            host,
            self._places.agent_port,
            from_loopback=not legacy,
            http2=environment.flag(_HTTP2_PROBES, default=True),
            keeps=environment.flag(_KEPT_PROBES),
        )

    def _merged_metrics(self) -> MergedMetrics:
        environment, places = self._options.environment, self._places
        envoy = environment.flag("PILOT_AGENT_MERGE_ENVOY_STATS", default=True) and not self._proxyless
        applications = targets(environment, self._options.workload.kind, places.agent_port)
        return MergedMetrics(
            places.loopback,
            places.prometheus_port if envoy else None,
            applications,
            local_only=environment.flag("METRICS_LOCALHOST_ACCESS_ONLY"),
        )

    def _tell_health(self, parts: Parts, proxy: AdsProxy, readiness: Readiness) -> None:
        """Probe the workload, where that is the agent's to do."""
        if self._health is None:
            return
        host = self._options.workload.ips[0]
        source = SOURCE_V6 if ":" in host else SOURCE
        health = WorkloadHealth(self._health, host, source, readiness.proxy_problem, proxy.tell_health)
        parts.keep("the workload's health", health.run)

    async def _until_the_end(self, envoy: EnvoyProcess | None, readiness: Readiness) -> int:
        """Wait until told to end, or Envoy ends; then let connections end. Return the exit code."""
        stopping = asyncio.create_task(self._stopping.wait())
        if envoy is None:
            await stopping
            log.info("agent.stopped")
            return 0
        running = asyncio.create_task(envoy.wait())
        await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if running.done():
            code = running.result()
            log.warning("agent.envoy_ended", code=code)
            return code if code >= 0 else _SIGNALLED - code
        readiness.end("it was told to end")
        if not self._at_once and not self._drained:
            log.info("agent.draining", until_idle=self._drain.until_idle)
            await envoy.drain(self._drain)
        await envoy.kill()
        await running
        log.info("agent.stopped")
        return 0


def _names_page(names: Callable[[], bytes | None] | None) -> Answer:
    """Return the page of the table of names, for callers on this host."""

    async def page(request: Request) -> Response:
        if not request.local:
            return Response(HTTPStatus.FORBIDDEN)
        table = names() if names is not None else None
        if table is None:
            return Response(HTTPStatus.NOT_FOUND, b"{}", "application/json")
        return Response(body=table, content_type="application/json")

    return page
