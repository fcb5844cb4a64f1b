"""Wires the packages together; the only file that sees all of them."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING

import structlog
import uvloop
from google.protobuf.internal import api_implementation

from controlplane import __version__, logs, metrics
from controlplane.admin.server import AdminServer
from controlplane.admin.sources import AdminSources
from controlplane.ads.admission import default_rate
from controlplane.ads.observer import Observer
from controlplane.ads.server import AdsServer, Environment, ServerOptions
from controlplane.ads.sync_status import ProxyStatus
from controlplane.apis.mesh import MeshConfig
from controlplane.compiler.compiler import Compiler
from controlplane.compiler.holdoff import Holdoff
from controlplane.lifetime import ended, opened, probe_lag, settle_memory, unless
from controlplane.model.feeds import Feed
from controlplane.model.objects import ChangeSet, ObjectKey
from controlplane.model.service import Endpoint, Service
from controlplane.problems import Problems
from controlplane.registry.endpoints import endpoints
from controlplane.registry.mesh import MESH_KEY, SYSTEM_NAMESPACE, mesh
from controlplane.registry.services import service_table
from controlplane.registry.store import Registry
from controlplane.registry.untranslated import UntranslatedFields
from controlplane.settings import Settings
from controlplane.snapshots import ResourceType
from controlplane.watchers.files import FileSource

if TYPE_CHECKING:
    from controlplane.ads.credential import Credential
    from controlplane.ads.debug import DebugAnswer
    from controlplane.trust import Trust
    from controlplane.watchers.kubernetes.source import KubernetesSource
    from controlplane.writers import Writer

log = structlog.get_logger(__name__)

_UPDATES = {"Service": "svc", "EndpointSlice": "eds"}


def run(settings: Settings) -> None:
    """Run the control plane until SIGTERM or SIGINT.

    Raises:
        SystemExit: it cannot start; the reason was logged.
    """
    logs.configure(settings.log_level, settings.log_format)
    if api_implementation.Type() == "python":
        log.error("app.slow_protobuf", reason="protobuf runs in pure Python here, 14 to 270 times slower; install upb")
        sys.exit(1)
    metrics.set_version(__version__)
    try:
        uvloop.run(_serve(settings))
    except (OSError, RuntimeError) as error:
        log.error("app.failed", reason=str(error))  # noqa: TRY400 - the reason is for the user, no traceback
        sys.exit(1)


class _Counting(Observer):
    """Counts what happens on streams."""

    def sent(self, type_url: str, size_bytes: int) -> None:
        metrics.PUSHES.count(type_url, size_bytes)

    def converged(self, seconds: float) -> None:
        metrics.CONVERGENCE_TIME.observe(seconds)

    def refused(self, type_url: str) -> None:
        if type_url in metrics.REJECTS:
            metrics.REJECTS[type_url].inc()

    def expired(self, type_url: str) -> None:
        if type_url in metrics.EXPIRED_NONCES:
            metrics.EXPIRED_NONCES[type_url].inc()

    def failed(self) -> None:
        metrics.INTERNAL_ERRORS.inc()


async def _serve(settings: Settings) -> None:
    await ControlPlane(settings).serve()


class ControlPlane:
    """One running control plane; made on the event loop it runs on."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        written = settings.config_dir is None and settings.secures  # by the leader, in a cluster
        self._registry = Registry(
            settings.domain_suffix, settings.cluster_id, allocates=not written, environment=os.environ
        )
        self._compiler = Compiler(self._registry)
        self._untranslated = UntranslatedFields()
        self._registry.memo.keep(mesh, ())  # made now: it takes a moment that the first proxy need not wait
        self._waiting_for = "the first list of objects is not complete"  # nothing once it serves
        self._stopping = False
        self._source = _source(settings)
        self._cluster = None if isinstance(self._source, FileSource) else self._source
        self._problems = Problems(self._source, self._registry)
        self._holdoff = Holdoff(self._push, settings.holdoff, settings.max_holdoff)
        self._observer = _Counting()
        self._trust = _trust(settings, lambda: self._registry.memo.get(mesh, ()))
        environment = Environment(ready=lambda: not self._waiting_for, observer=self._observer)
        if self._trust is not None:
            environment = replace(
                environment, identify=self._trust.identify, debug=self._debug, services=self._trust.handlers
            )
        self._ads = AdsServer(self._compiler, server_options(settings), environment)
        self._admin = AdminServer(self._sources())
        self._monitoring = ""

    async def serve(self) -> None:
        """Serve until told to stop; readiness goes first, then streams are drained, then the ports close."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        settings = self._settings
        ports: dict[str, str] = {}
        if settings.plaintext:
            adding = self._ads.add_port(settings.xds_host, settings.xds_port)
            ports["xds"] = f"{settings.xds_host}:{await opened('--xds-port', adding)}"
        starting = asyncio.create_task(
            opened("--monitoring-port", self._admin.start(settings.monitoring_bind, settings.monitoring_port))
        )
        try:
            begun = await unless(stop, self._begin(ports), starting)
            self._monitoring = ports["monitoring"] = f"{settings.monitoring_bind}:{await starting}"
        except BaseException:
            await self._close()
            raise
        if not begun:
            await self._close()
            return
        log.info("app.serving", **ports)
        metrics.VIRTUAL_SERVICES.set_function(lambda: len(self._registry.keys("VirtualService")))
        metrics.CLASSES.set_function(lambda: self._compiler.class_count)
        tasks = [asyncio.create_task(work) for work in (self._watch(), self._holdoff.run(), probe_lag())]
        writers = []
        if self._trust is not None:
            writers.append(asyncio.create_task(self._trust.run(self._status_writers())))
        stopped = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait([*tasks, *writers, stopped], return_when=asyncio.FIRST_COMPLETED)
        self._stopping = True
        log.info("app.stopping", streams=len(self._ads.connections))
        await ended(*writers)  # first of all: they give their leases back, through the source's client
        await self._ads.stop(settings.drain_period if len(self._ads.connections) else settings.drain_period * 0)
        await ended(*tasks, stopped)
        await self._close()
        for task in done - {stopped}:
            task.result()  # work that ended by itself failed: say how

    async def _begin(self, ports: dict[str, str]) -> bool:
        """Apply the first complete list and open the ports that wait for it; ``ports`` gets what they are."""
        source, settings = self._source, self._settings
        await self._apply(source.load() if isinstance(source, FileSource) else await source.load())
        settle_memory()
        if self._trust is not None:
            self._waiting_for = "the certificate authority has no key yet"
            try:
                serving = await self._trust.open(self._cluster.client if self._cluster is not None else None)
            except ValueError as error:  # an authority that cannot sign
                raise RuntimeError(f"the certificate authority cannot be used: {error}") from error
            if settings.tls_port is not None:
                context = serving.grpc_context()
                adding = self._ads.add_port(settings.xds_host, settings.tls_port, context)
                ports["secure"] = f"{settings.xds_host}:{await opened('--secure-port', adding)}"
            if (webhooks := await opened("--webhook-port", self._trust.start_webhooks())) is not None:
                ports["webhooks"] = f"{settings.xds_host}:{webhooks}"
        self._waiting_for = ""
        await self._ads.start()
        return True

    async def _close(self) -> None:
        await self._admin.stop()
        if self._trust is not None:
            await self._trust.stop()
        if self._cluster is not None:
            await self._cluster.close()

    async def _debug(self, type_url: str, names: Sequence[str], credential: Credential) -> DebugAnswer:
        from controlplane.admin.debug_over_xds import DebugOverXds  # noqa: PLC0415 - aiohttp, for few

        return await DebugOverXds(self._sources(), self._page, SYSTEM_NAMESPACE)(type_url, names, credential)

    async def _page(self, page: str) -> bytes:
        """Return what the monitoring port answers."""
        import aiohttp  # noqa: PLC0415 - for few

        host, _, port = self._monitoring.rpartition(":")
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - to ask, not to listen
        url = f"http://[{host}]:{port}/debug/{page}" if ":" in host else f"http://{host}:{port}/debug/{page}"
        timeout = aiohttp.ClientTimeout(total=10)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
            return await response.read()

    def _status_writers(self) -> Mapping[str, Writer]:
        """Return what writes to the status of objects: nothing, where there is no cluster."""
        if self._cluster is None:
            return {}
        from controlplane.writers import status_writers  # noqa: PLC0415 - the Kubernetes client loads slowly

        return status_writers(self._cluster, self._registry)

    async def _watch(self) -> None:
        async for changes in self._source.changes():
            _count(changes)
            self._holdoff.add(changes)

    async def _push(self, changes: ChangeSet) -> None:
        waited = asyncio.get_running_loop().time() - self._holdoff.changed_at
        metrics.DEBOUNCE_TIME.observe(waited)
        self._observer.changed_at = perf_counter() - waited
        await self._apply(changes)

    async def _apply(self, changes: ChangeSet) -> None:
        started = perf_counter()
        checked = self._problems.checked(changes)
        if await self._compiler.apply(checked):
            metrics.PUSH_TRIGGERS.labels("config").inc()
            metrics.COMPILE_TIME.observe(perf_counter() - started)
            self._untranslated.note(checked)
            self._problems.find()
        about_mesh = MESH_KEY in checked.deletes or any(obj.key == MESH_KEY for obj in checked.upserts)
        if about_mesh and self._trust is not None:
            self._trust.mesh_changed()
        if self._cluster is not None:
            self._cluster.statuses.ring()

    def _sources(self) -> AdminSources:
        return AdminSources(
            ready=self._ready,
            connections=self._ads.connections.statuses,
            snapshot=self._ads.connections.snapshot,
            services=self._services,
            endpoints=self._endpoints,
            behind=self._behind,
            rejected=lambda: self._problems,
            identity=_identity(),
            version=__version__,
            cluster_id=self._settings.cluster_id,
            feeds=self._feeds,
            away_since=lambda: self._cluster.away_since if self._cluster is not None else None,
        )

    def _feeds(self) -> tuple[Feed, ...]:
        return self._cluster.feeds if self._cluster is not None else ()

    def _ready(self) -> tuple[bool, str]:
        if self._stopping:
            return False, "stopping"
        if not self._waiting_for:
            return True, ""
        missing = self._cluster.waiting if self._cluster is not None else ()
        return False, "; ".join((self._waiting_for, *missing))

    def _services(self) -> Iterable[Service]:
        table = self._registry.memo.get(service_table, ())
        held = {service.key: service for service in table.public}
        for services in table.private.values():
            held.update((service.key, service) for service in services)
        return held.values()

    def _endpoints(self) -> Iterable[tuple[Service, tuple[Endpoint, ...]]]:
        for service in self._services():
            yield service, self._registry.memo.get(endpoints, (service.hostname, service.namespace))

    def _behind(self, connection_id: str, type_: ResourceType, name: str) -> tuple[ObjectKey, ...]:
        status: ProxyStatus | None = next(
            (held for held in self._ads.connections.statuses() if held.connection_id == connection_id), None
        )
        return self._compiler.behind(status.proxy, type_, name) if status is not None else ()


def _count(changes: ChangeSet) -> None:
    """Count what came in, by istiod's words for it."""
    for obj in changes.upserts:
        metrics.INBOUND_UPDATES.labels(_UPDATES.get(obj.key.kind, "config")).inc()
    for key in changes.deletes:
        metrics.INBOUND_UPDATES.labels("svcdelete" if key.kind == "Service" else _UPDATES.get(key.kind, "config")).inc()
    for rejected in changes.rejections:
        metrics.REJECTED_CONFIGS.labels(rejected.key.kind, rejected.key.name).inc()


def _source(settings: Settings) -> FileSource | KubernetesSource:
    """Return where objects come from: files if a directory is given, else a cluster."""
    if settings.config_dir is not None:
        return FileSource(settings.config_dir)
    from controlplane.watchers.kubernetes.source import ClusterOptions, KubernetesSource  # noqa: PLC0415 - 1 s, 27 MB

    return KubernetesSource(
        ClusterOptions(
            kubeconfig=settings.kubeconfig,
            context=settings.context,
            revision=settings.revision,
            namespaces=settings.namespaces,
            system_namespace=SYSTEM_NAMESPACE,
            name=settings.cluster_id,
        )
    )


def _identity() -> str:
    """Return the name of this replica, which no other one has that runs now."""
    return os.environ.get("POD_NAME") or f"{socket.gethostname()}-{os.getpid()}"


def _trust(settings: Settings, current_mesh: Callable[[], MeshConfig]) -> Trust | None:
    """Return what ports with TLS need; nothing where there are none."""
    if not settings.secures:
        return None
    from controlplane.trust import Trust  # noqa: PLC0415 - X.509 is loaded where it is used

    return Trust(settings, current_mesh, _identity())


def server_options(settings: Settings) -> ServerOptions:
    """Return what the settings say of streams and connections."""
    return ServerOptions(
        max_streams=settings.max_concurrent_streams,
        max_receive_size_bytes=settings.max_receive_message_size,
        keepalive_interval=settings.keepalive_interval,
        keepalive_timeout=settings.keepalive_timeout,
        max_connection_age=settings.max_connection_age or None,
        max_connection_age_grace=settings.max_connection_age_grace,
        new_streams_per_second=settings.new_streams_per_second or default_rate(),
    )
