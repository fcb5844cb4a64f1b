"""Wires the packages together; the only file that sees all of them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import Any

import structlog
import uvloop
from google.protobuf.internal import api_implementation

from controlplane import __version__, logs, metrics
from controlplane.admin.server import AdminServer
from controlplane.admin.sources import AdminSources
from controlplane.ads.server import AdsServer, Environment
from controlplane.analysis.problems import Problems
from controlplane.compiler.compiler import Compiler
from controlplane.compiler.holdoff import Holdoff
from controlplane.frontends import FRONTENDS
from controlplane.logs.levels import levels
from controlplane.model.feeds import Feed
from controlplane.model.objects import ChangeSet, ObjectKey
from controlplane.registry.mesh import MESH_KEY, mesh
from controlplane.registry.store import Registry
from controlplane.settings import Settings
from controlplane.snapshots import ResourceType
from controlplane.watchers.files.source import FileSource
from controlplane.watchers.kubernetes.errors import ConfigurationError, NoClusterError
from controlplane.webhooks.injection import injection
from controlplane.wiring.advice import planned
from controlplane.wiring.analysis import Analysis
from controlplane.wiring.change_log import ChangeLog
from controlplane.wiring.counting import CountStreams, count_changes, show_sizes
from controlplane.wiring.debug import DebugAnswers
from controlplane.wiring.deliveries import Deliveries
from controlplane.wiring.evening import Evening, Pace
from controlplane.wiring.expiry import ExpiryRadar
from controlplane.wiring.from_settings import identity, limits, server_options, source, trust
from controlplane.wiring.gateway_names import GatewayNames
from controlplane.wiring.injection import InjectionSettings
from controlplane.wiring.jwks import JwksResolver
from controlplane.wiring.look_alikes import LOOK_ALIKES
from controlplane.wiring.machines import RegisteredMachines, registration
from controlplane.wiring.process import Process, probe_lag, settle_memory
from controlplane.wiring.questions import Around, Questions
from controlplane.wiring.replicas import Replicas, places
from controlplane.wiring.secrets import Secrets
from controlplane.wiring.secure_ports import SecurePorts
from controlplane.wiring.shown import endpoints_of, objects_in_force, services
from controlplane.wiring.tasks import (
    StartError,
    Supervisor,
    WorkEndedError,
    ended,
    opened,
    tell_unawaited,
    unless,
)

log = structlog.get_logger(__name__)
_NO_CLUSTER = (
    "this does not run in a Kubernetes cluster; name one with --kubeconfig or $KUBECONFIG,"
    " or a directory of YAML with --config-dir"
)

PARTS = ("controlplane.api.application", "controlplane.ui.application")
"""What the monitoring port has beside metrics, readiness and debug pages."""


def run(settings: Settings) -> None:
    """Run the control plane until SIGTERM or SIGINT.

    Raises:
        SystemExit: it cannot start, or one of its essential tasks has ended; the reason was logged.
    """
    logs.configure(settings.log_level, settings.log_format)
    if api_implementation.Type() == "python":
        log.error("app.slow_protobuf", reason="protobuf runs in pure Python here, 14 to 270 times slower; install upb")
        sys.exit(1)
    metrics.set_version(__version__)
    try:
        uvloop.run(_serve(settings))
    except NoClusterError:
        log.error("app.failed", reason=_NO_CLUSTER)  # noqa: TRY400 - the reason is for the user, no traceback
        sys.exit(1)
    except (StartError, ConfigurationError) as error:
        log.error("app.failed", reason=str(error))  # noqa: TRY400 - the reason is for the user, no traceback
        sys.exit(1)
    except Exception as error:  # a mistake of ours: whoever repairs it needs to know where it is
        log.exception("app.failed", reason=str(error) or type(error).__name__)
        sys.exit(1)


async def _serve(settings: Settings) -> None:
    await ControlPlane(settings).serve()


class ControlPlane:
    """One running control plane; made on the event loop it runs on."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        written = settings.config_dir is None and settings.secures  # by the leader, in a cluster
        self._registry = Registry(
            settings.domain_suffix,
            settings.cluster_id,
            allocates=not written,
            environment=os.environ,
            frontends=FRONTENDS,
        )
        self._compiler = Compiler(self._registry)
        self._registry.memo.keep(mesh, ())
        self._registry.memo.get(mesh, ())  # made now: it takes a moment that the first proxy need not wait
        self._waiting_for = "the first list of objects is not complete"  # nothing once it serves
        self._stopping = False
        self._stop = asyncio.Event()
        self._supervisor = Supervisor()
        self._source = source(settings)
        self._cluster = None if isinstance(self._source, FileSource) else self._source
        self._problems = Problems(self._source, self._registry, lambda: self._ads.connections.proxies().values())
        self._analysis = Analysis(self._problems, lambda: self._ads.pushed())  # noqa: PLW0108 - it is made below
        self._holdoff = Holdoff(self._push, settings.holdoff, settings.max_holdoff)
        self._jwks = JwksResolver(self._registry, self._holdoff.add, os.environ)
        self._gateway_names = GatewayNames(self._registry, self._holdoff.add, os.environ)
        self._secrets = Secrets(self._registry, self._holdoff.add, self._cluster)
        self._deliveries = Deliveries()
        self._change_log = ChangeLog(
            lambda: (held.snapshot for held in self._ads.connections.streams.values()), self._deliveries
        )
        self._observer = CountStreams(self._change_log.nacked, self._deliveries)
        self._injection = InjectionSettings(self._registry, settings.revision, os.environ)
        self._trust = trust(
            settings,
            lambda: self._registry.memo.get(mesh, ()),
            injection(self._injection.of),
            Process(identity(), self._supervisor, self._take_signals, self._holdoff.add),
        )
        self._expiry = ExpiryRadar(self._registry, self._trust.certificates if self._trust is not None else tuple)
        self._ports: dict[str, str] = {}
        self._debug = DebugAnswers(self._sources, self._ports)
        self._machines = RegisteredMachines()
        environment = Environment(ready=lambda: not self._waiting_for, observer=self._observer, machines=self._machines)
        if self._trust is not None:
            environment = replace(
                environment, identify=self._trust.identify, debug=self._debug.answer, services=self._trust.handlers
            )
        self._ads = AdsServer(self._compiler, server_options(settings), environment)
        self._secure_ports = SecurePorts(settings, self._ads, self._ports)
        self._ads.connections.on_change = self._analysis.proxies_changed
        self._evening = Evening(
            self._ads.connections,
            settings.replica_weight,
            Replicas(identity(), places(settings, self._registry)).loads,
            Pace(settings.peer_interval, settings.sent_away_per_second),
        )
        self._questions = Questions(
            self._compiler,
            Around(
                self._ads.connections.proxies,
                self._ads.connections.status,
                lambda: self._source.rejected.values(),  # noqa: PLW0108 - another mapping each time
                self._checked,
            ),
        )
        if self._trust is not None:
            self._trust.advise = partial(planned, self._questions.plan)
        self._admin = AdminServer(self._sources(), parts=PARTS)
        self._probes = AdminServer(self._sources(), ready_only=True)

    async def serve(self) -> None:
        """Serve until told to stop; readiness goes first, then streams are drained, then the ports close."""
        asyncio.get_running_loop().set_exception_handler(tell_unawaited)
        self._take_signals()
        stop, settings = self._stop, self._settings
        try:
            self._ports |= await self._monitor()  # first: reading a large mesh takes a while, and probes ask meanwhile
            if settings.plaintext:
                adding = self._ads.add_port(settings.xds_host, settings.xds_port)
                self._ports["xds"] = f"{settings.xds_host}:{await opened('--xds-port', settings.xds_port, adding)}"
            begun = await unless(stop, self._begin())
        except BaseException:
            await self._close()
            raise
        if not begun:
            await self._close()
            return
        log.info("app.serving", **self._ports)
        LOOK_ALIKES.loop = asyncio.get_running_loop()
        show_sizes(self._registry, self._problems, self._compiler, self._ads.server)
        self._start_work()
        essential = [asyncio.create_task(work) for work in (self._watch(), self._holdoff.run())]
        stopped = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait([*essential, stopped], return_when=asyncio.FIRST_COMPLETED)
        try:
            await self._end(essential, stopped)
        finally:
            _raise_end(done - {stopped})

    def _take_signals(self) -> None:
        """Have the signals that ask for an end lead to one."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stop.set)

    async def _monitor(self) -> dict[str, str]:
        """Open the monitoring port, and the one of readiness if it is wanted; return them as they are logged."""
        settings = self._settings
        host, monitoring, ready = settings.monitoring_bind, settings.monitoring_port, settings.ready_port
        port = await opened("--monitoring-port", monitoring, self._admin.start(host, monitoring))
        found = {"monitoring": f"{host}:{port}"}
        if ready is not None:
            found["ready"] = f"{host}:{await opened('--ready-port', ready, self._probes.start(host, ready))}"
        return found

    def _start_work(self) -> None:
        """Begin what is supervised."""
        self._supervisor.start("event loop probe", probe_lag)
        self._supervisor.start("ends of certificates", self._expiry.run)
        self._supervisor.start("findings", self._analysis.run)
        if self._settings.shares:
            self._supervisor.start("share of proxies", self._evening.run)
        if self._trust is None:
            return
        self._supervisor.start("authority", partial(self._secure_ports.keep, self._trust))
        if self._cluster is not None:
            from controlplane.wiring.status_writers import status_writers, taint_writers  # noqa: PLC0415 - the Kubernetes client loads slowly

            broadcasts, signals = self._analysis.broadcasts, self._take_signals
            writers = status_writers(self._cluster, self._registry, self._problems, broadcasts, signals)
            for writer in (*writers, *taint_writers(self._cluster, self._settings, signals)):
                self._trust.lead(writer.name, writer.lease, writer.work)
            self._machines.start(self._registry, self._supervisor.start, self._trust.lead)

    async def _end(self, essential: Sequence[asyncio.Task[None]], stopped: asyncio.Task[Any]) -> None:
        """Stop in the order in which nobody misses what is gone."""
        self._stopping = True
        settings = self._settings
        log.info("app.stopping", streams=len(self._ads.connections))
        await self._supervisor.stop()  # first of all: leases are given back, through the source's client
        await self._ads.stop(settings.drain_period if len(self._ads.connections) else settings.drain_period * 0)
        await ended(*essential, stopped)
        await self._close()

    async def _begin(self) -> bool:
        """Apply the first complete list, serve it, and open what needs the authority if that can sign."""
        objects = self._source
        await self._apply(objects.load() if isinstance(objects, FileSource) else await objects.load())
        await self._apply(await self._secrets.first())
        await self._apply(await self._gateway_names.first())
        try:
            self._analysis.once()
        except Exception:  # what is served does not depend on it
            log.exception("app.analysis_failed")
        settle_memory()
        self._supervisor.start("key sets of issuers", self._jwks.run)
        self._supervisor.start("names of gateways", self._gateway_names.run)
        self._supervisor.start("certificates and the clock", self._secrets.run)
        await self._jwks.first()
        if self._cluster is not None and self._cluster.client is not None:
            self._machines.registration = registration(self._cluster.client, self._registry, self._settings)
        self._waiting_for = ""
        await self._ads.start()
        if self._trust is not None:
            self._trust.connect(self._cluster.client if self._cluster is not None else None, self._away)
            try:
                await self._secure_ports.open(self._trust)
            except StartError:
                raise
            except Exception:  # it is tried again, beside what needs no authority
                log.exception("app.authority_failed")
        return True

    async def _close(self) -> None:
        await self._probes.stop()
        await self._admin.stop()
        if self._trust is not None:
            await self._trust.stop()
        if self._cluster is not None:
            await self._cluster.close()

    async def _watch(self) -> None:
        async for changes in self._source.changes():
            count_changes(changes, self._registry.objects.__contains__)
            self._change_log.accepted(changes)
            self._holdoff.add(changes)
        raise WorkEndedError("the source of objects has ended by itself")

    async def _push(self, changes: ChangeSet) -> None:
        waited = asyncio.get_running_loop().time() - self._holdoff.changed_at
        metrics.DEBOUNCE_TIME.observe(waited)
        self._observer.changed_at = perf_counter() - waited
        self._deliveries.begin(self._observer.changed_at, self._registry.revision)
        await self._apply(changes)

    async def _apply(self, changes: ChangeSet) -> None:
        started, built = perf_counter(), self._compiler.builds
        checked = self._checked(changes)
        if await self._compiler.apply(checked):
            seconds, built = perf_counter() - started, self._compiler.builds - built
            metrics.PUSH_TRIGGERS.labels("config").inc()
            metrics.COMPILE_TIME.observe(seconds)
            self._change_log.pushed(checked, built, seconds, self._registry.revision)
            self._analysis.changed(checked)
            self._jwks.changed()
            self._gateway_names.changed()
            self._secrets.changed()
        else:
            self._analysis.renewed()
        self._injection.changed(checked)
        about_mesh = MESH_KEY in checked.deletes or any(obj.key == MESH_KEY for obj in checked.upserts)
        if about_mesh and self._trust is not None:
            self._trust.mesh_changed()

    def _checked(self, changes: ChangeSet) -> ChangeSet:
        """Return a change as it may be applied."""
        return self._secrets.checked(self._problems.checked(changes))

    def _sources(self) -> AdminSources:
        return AdminSources(
            ready=self._ready,
            proxies=self._ads.connections.proxies,
            status=self._ads.connections.status,
            snapshot=self._ads.connections.snapshot,
            services=partial(services, self._registry),
            endpoints=partial(endpoints_of, self._registry),
            objects=partial(objects_in_force, self._registry),
            behind=self._behind,
            explain=self._questions.explain,
            plan=self._questions.plan,
            rejected=lambda: self._problems,
            problems=self._problems.each,
            object=self._registry.objects.get,
            certificates=self._expiry.certificates,
            timeline=self._change_log.timeline,
            revision=lambda: self._registry.revision,
            settled=lambda: self._compiler.settled,
            identity=identity(),
            version=__version__,
            cluster_id=self._settings.cluster_id,
            feeds=self._feeds,
            tasks=lambda: self._supervisor.states,
            leads=lambda: self._trust.leads if self._trust is not None else (),
            troubles=self._troubles,
            load=lambda: self._evening.load,
            log_levels=levels.all,
            set_log_level=levels.set,
            away_since=lambda: self._cluster.away_since if self._cluster is not None else None,
            limits=limits(self._settings),
            reached=self._observer.limit_reached,
        )

    def _feeds(self) -> tuple[Feed, ...]:
        return self._cluster.feeds if self._cluster is not None else ()

    def _away(self) -> bool:
        """Whether the API server answers nobody: its watches say so."""
        return self._cluster is not None and self._cluster.away_since is not None

    def _ready(self) -> tuple[bool, str]:
        if self._stopping:
            return False, "stopping"
        if self._waiting_for:
            missing = self._cluster.waiting if self._cluster is not None else ()
            return False, "; ".join((self._waiting_for, *missing))
        missing_trust = self._trust.missing if self._trust is not None else ""
        return not missing_trust, missing_trust

    def _troubles(self) -> tuple[str, ...]:
        """Return what does not work beside tasks that fail, one sentence each."""
        problem = self._trust.problem if self._trust is not None else ""
        told = self._trust.told.problems if self._trust is not None else ()
        others = (
            *told,
            *self._jwks.problems,
            *self._gateway_names.problems,
            *self._secrets.unread,
            *self._expiry.problems,
        )
        return (*((problem,) if problem else ()), *others)

    def _behind(self, connection_id: str, type_: ResourceType, name: str) -> Iterator[ObjectKey | None]:
        stream = self._ads.connections.streams.get(connection_id)
        return self._compiler.behind(stream.proxy, type_, name) if stream is not None else iter(())


def _raise_end(done: Iterable[asyncio.Future[Any]]) -> None:
    """Raise why an essential task has ended, which it never should."""
    for task in done:
        task.result()
        raise WorkEndedError("an essential task has ended by itself")
