"""Wires the packages together; the only file that sees all of them."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import groupby
from time import perf_counter
from typing import TYPE_CHECKING, Any

import structlog
import uvloop
from google.protobuf.internal import api_implementation

from controlplane import __version__, logs, metrics
from controlplane.admin.server import AdminServer
from controlplane.admin.sources import AdminSources
from controlplane.ads.observer import Observer
from controlplane.ads.server import AdsServer, Environment, ServerOptions
from controlplane.ads.sync_status import ProxyStatus
from controlplane.apis.mesh import MeshConfig
from controlplane.apis.mesh_fields import read
from controlplane.apis.mesh_networks import MeshNetworks
from controlplane.compiler.compiler import Compiler
from controlplane.compiler.holdoff import Holdoff
from controlplane.model.feeds import Feed
from controlplane.model.objects import ChangeSet, Object, ObjectKey, Rejected
from controlplane.model.service import Endpoint, Service
from controlplane.registry.endpoints import endpoints
from controlplane.registry.findings import Finding, findings
from controlplane.registry.mesh import MESH_KEY, SYSTEM_NAMESPACE, mesh
from controlplane.registry.services import service_table
from controlplane.registry.store import Registry
from controlplane.registry.untranslated import UntranslatedFields
from controlplane.settings import Settings
from controlplane.snapshots import ResourceType
from controlplane.watchers.files import FileSource

if TYPE_CHECKING:
    from kubernetes.aio.client import ApiClient

    from controlplane.ads.credential import Credential
    from controlplane.ads.debug import DebugAnswer
    from controlplane.trust import Trust
    from controlplane.watchers.kubernetes.source import KubernetesSource

log = structlog.get_logger(__name__)

LAG_PROBE_SECONDS = 0.25
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
        self._registry = Registry(settings.domain_suffix, settings.cluster_id)
        self._compiler = Compiler(self._registry)
        self._mesh_problem: Rejected | None = None
        self._untranslated = UntranslatedFields()
        self._findings: tuple[Finding, ...] = ()
        self._registry.memo.keep(findings, ())
        self._listed = False
        self._stopping = False
        self._source = _source(settings)
        self._holdoff = Holdoff(self._push, settings.holdoff, settings.max_holdoff)
        self._observer = _Counting()
        self._trust = _trust(settings, lambda: self._registry.memo.get(mesh, ()))
        environment = Environment(ready=lambda: self._listed, observer=self._observer)
        if self._trust is not None:
            environment = replace(
                environment, identify=self._trust.identify, debug=self._debug, services=self._trust.handlers
            )
        self._ads = AdsServer(self._compiler, _server_options(settings), environment)
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
            ports["xds"] = f"{settings.xds_host}:{await self._ads.add_port(settings.xds_host, settings.xds_port)}"
        starting = asyncio.create_task(self._admin.start(settings.monitoring_bind, settings.monitoring_port))
        try:
            begun = await _unless(stop, self._begin(ports), starting)
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
        tasks = [asyncio.create_task(work) for work in (self._watch(), self._holdoff.run(), _probe_lag())]
        writers = []
        if self._trust is not None:
            status = None if isinstance(self._source, FileSource) else partial(self._write_status, self._source)
            writers.append(asyncio.create_task(self._trust.run(status)))
        stopped = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait([*tasks, *writers, stopped], return_when=asyncio.FIRST_COMPLETED)
        self._stopping = True
        log.info("app.stopping", streams=len(self._ads.connections))
        await _ended(*writers)  # first of all: they give their leases back, through the source's client
        await self._ads.stop(settings.drain_period if len(self._ads.connections) else settings.drain_period * 0)
        await _ended(*tasks, stopped)
        await self._close()
        for task in done - {stopped}:
            task.result()  # work that ended by itself failed: say how

    async def _begin(self, ports: dict[str, str]) -> bool:
        """Apply the first complete list and open the ports that wait for it; ``ports`` gets what they are."""
        source, settings = self._source, self._settings
        await self._apply(source.load() if isinstance(source, FileSource) else await source.load())
        _settle_memory()
        if self._trust is not None:
            client = None if isinstance(source, FileSource) else source.client
            try:
                serving = await self._trust.open(client)
            except ValueError as error:  # an authority that cannot sign
                raise RuntimeError(f"the certificate authority cannot be used: {error}") from error
            if settings.tls_port is not None:
                context = serving.grpc_context()
                port = await self._ads.add_port(settings.xds_host, settings.tls_port, context)
                ports["secure"] = f"{settings.xds_host}:{port}"
            if (webhooks := await self._trust.start_webhooks()) is not None:
                ports["webhooks"] = f"{settings.xds_host}:{webhooks}"
        self._listed = True
        await self._ads.start()
        return True

    async def _close(self) -> None:
        await self._admin.stop()
        if self._trust is not None:
            await self._trust.stop()
        if not isinstance(self._source, FileSource):
            await self._source.close()

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

    async def _write_status(self, source: KubernetesSource, client: ApiClient) -> None:
        """Write what becomes of each object to its status, until cancelled."""
        from controlplane.controllers.conditions import Conditions, Inputs  # noqa: PLC0415 - for one replica

        inputs = Inputs(
            received=source.received,
            find=source.find,
            objects=self._registry.objects,
            findings=lambda: self._registry.memo.get(findings, ()) or (),
            changed=source.statuses,
        )
        await Conditions(client, inputs).run()

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
        checked = self._checked(changes)
        if await self._compiler.apply(checked):
            metrics.PUSH_TRIGGERS.labels("config").inc()
            metrics.COMPILE_TIME.observe(perf_counter() - started)
            self._untranslated.note(checked)
            self._find()
            if self._trust is not None and MESH_KEY in {*checked.deletes, *(obj.key for obj in checked.upserts)}:
                self._trust.mesh_changed()
        if not isinstance(self._source, FileSource):
            self._source.statuses.set()

    def _find(self) -> None:
        """Look for mistakes between objects; each is logged when it appears."""
        before, found = self._findings, self._registry.memo.get(findings, ())
        self._findings = found or ()
        for new in sorted(set(self._findings) - set(before)):
            log.warning("registry.finding", object=str(new.key), path=new.path, reason=new.reason)

    def _checked(self, changes: ChangeSet) -> ChangeSet:
        """Keep the last good mesh configuration where a new one cannot be read."""
        stated = next((obj for obj in changes.upserts if obj.key == MESH_KEY), None)
        if stated is None:
            if MESH_KEY in changes.deletes:
                self._mesh_problem = None
            return changes
        self._mesh_problem = _mesh_problem(stated)
        if self._mesh_problem is None:
            return changes
        log.warning("registry.rejected", object=str(MESH_KEY), problems=list(self._mesh_problem.problems))
        return replace(changes, upserts=tuple(obj for obj in changes.upserts if obj is not stated))

    def _sources(self) -> AdminSources:
        return AdminSources(
            ready=self._ready,
            connections=self._ads.connections.statuses,
            snapshot=self._ads.connections.snapshot,
            services=self._services,
            endpoints=self._endpoints,
            behind=self._behind,
            rejected=self._rejected,
            identity=_identity(),
            version=__version__,
            cluster_id=self._settings.cluster_id,
            feeds=self._feeds,
            away_since=lambda: None if isinstance(self._source, FileSource) else self._source.away_since,
        )

    def _feeds(self) -> tuple[Feed, ...]:
        return () if isinstance(self._source, FileSource) else self._source.feeds

    def _ready(self) -> tuple[bool, str]:
        if self._stopping:
            return False, "stopping"
        if self._listed:
            return True, ""
        missing = () if isinstance(self._source, FileSource) else self._source.waiting
        return False, "; ".join(("the first list of objects is not complete", *missing))

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

    def _rejected(self) -> Iterable[Rejected]:
        yield from self._source.rejected.values()
        if self._mesh_problem is not None:
            yield self._mesh_problem
        for key, warned in groupby(sorted(self._source.warnings), key=lambda warning: warning.key):
            yield Rejected(key, tuple(warning.text for warning in warned), self._source_of(key))
        for key, found in groupby(self._findings, key=lambda finding: finding.key):  # used, but worth a look too
            problems = tuple(f"{finding.path}: {finding.reason}" for finding in found)
            yield Rejected(key, problems, self._source_of(key))

    def _source_of(self, key: ObjectKey) -> str:
        obj = self._registry.objects.get(key)
        return obj.meta.source if obj is not None else ""


def _count(changes: ChangeSet) -> None:
    """Count what came in, by istiod's words for it."""
    for key in (*(obj.key for obj in changes.upserts), *changes.deletes):
        metrics.INBOUND_UPDATES.labels(_UPDATES.get(key.kind, "config")).inc()
    for rejected in changes.rejections:
        metrics.REJECTED_CONFIGS.labels(rejected.key.kind, rejected.key.name).inc()


def _mesh_problem(obj: Object) -> Rejected | None:
    problems: list[str] = []
    try:
        MeshConfig.parse(obj.spec.data.get("mesh", ""))
    except ValueError as error:
        problems.append(f"data.mesh: {error}")
    try:
        read(MeshNetworks, obj.spec.data.get("meshNetworks", ""))
    except ValueError as error:
        problems.append(f"data.meshNetworks: {error}")
    return Rejected(MESH_KEY, tuple(problems), obj.meta.source) if problems else None


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
    """Return the name of this replica."""
    return os.environ.get("POD_NAME") or socket.gethostname()


def _trust(settings: Settings, current_mesh: Callable[[], MeshConfig]) -> Trust | None:
    """Return what ports with TLS need; nothing where there are none."""
    if not settings.secures:
        return None
    from controlplane.trust import Trust  # noqa: PLC0415 - X.509 is loaded where it is used

    return Trust(settings, current_mesh, _identity())


async def _ended(*tasks: asyncio.Task[Any]) -> None:
    """End tasks, and wait until they have."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


async def _unless(stop: asyncio.Event, work: Coroutine[None, None, bool], beside: asyncio.Task[int]) -> bool:
    """Return what some work returns, false if ``stop`` is set before that; a failure beside it is raised at once."""
    working, stopped = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((working, stopped, beside), return_when=asyncio.FIRST_COMPLETED)
        if beside.done():
            beside.result()
            await asyncio.wait((working, stopped), return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else False
    finally:
        for task in (working, stopped):
            task.cancel()
        await asyncio.gather(working, stopped, return_exceptions=True)


def _server_options(settings: Settings) -> ServerOptions:
    return ServerOptions(
        max_streams=settings.max_concurrent_streams,
        max_receive_size_bytes=settings.max_receive_message_size,
        keepalive_interval=settings.keepalive_interval,
        keepalive_timeout=settings.keepalive_timeout,
        max_connection_age=settings.max_connection_age or None,
        max_connection_age_grace=settings.max_connection_age_grace,
        new_streams_per_second=settings.stream_rate,
    )


def _settle_memory() -> None:
    """Keep the collector away from what lives as long as the process: a full pass over it stops the loop.

    Nothing here makes cycles at a rate that matters; what there is, the rarer passes find.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)


async def _probe_lag() -> None:
    """Measure how late the event loop runs its timers."""
    loop = asyncio.get_running_loop()
    with suppress(asyncio.CancelledError):
        while True:
            due = loop.time() + LAG_PROBE_SECONDS
            await asyncio.sleep(LAG_PROBE_SECONDS)
            metrics.EVENT_LOOP_LAG.observe(max(loop.time() - due, 0.0))
