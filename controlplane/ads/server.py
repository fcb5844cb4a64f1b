"""The aggregated discovery service: joins calls of the gRPC server to ``stream``."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from controlplane.ads.admission import Admission
from controlplane.ads.class_places import ClassPlaces
from controlplane.ads.connections import Connections
from controlplane.ads.credential import Credential
from controlplane.ads.debug import Debug, DebugAnswer, answer_debug, check, is_debug
from controlplane.ads.fair import Gate
from controlplane.ads.machines import Machines
from controlplane.ads.observer import Observer
from controlplane.ads.refusal import Refusal, StreamRefused
from controlplane.ads.serving import Serving
from controlplane.ads.source import SnapshotSource
from controlplane.ads.stream import Stream
from controlplane.ads.watch import Variant
from controlplane.http2.call import Call, CallEnded
from controlplane.http2.connection import Handler
from controlplane.http2.headers import Status
from controlplane.http2.options import ConnectionOptions
from controlplane.http2.server import Server
from controlplane.limits import Limits, Reached, unheard

log = structlog.get_logger()

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
METHODS = {
    f"/{SERVICE}/StreamAggregatedResources": Variant.SOTW,
    f"/{SERVICE}/DeltaAggregatedResources": Variant.DELTA,
}
Identify = Callable[[Call], Awaitable[Credential]]
"""Finds out who calls; raises ``StreamRefused`` where that cannot be told."""

_FIRST_REQUEST_SECONDS = 30
_DEBUGGED_AT_ONCE = 1
_LONGEST_REASON = 1024  # characters in the log

NOT_READY = "server is not ready to serve discovery information"


async def anybody(_call: Call) -> Credential:
    """Let every caller be what it says."""
    return Credential()


@dataclass(frozen=True)
class ServerOptions:
    """How connections are treated. The defaults are istiod's, with its chart's connection age.

    ``max_connection_age``: ``None`` lets a connection live for ever; at the end of it the proxy is told to connect
    anew, and after ``max_connection_age_grace`` what is left is cut. ``new_streams_per_second``: 0 adapts to the load.
    ``answer_timeout`` is how long a proxy's unanswered response may hold up newer ones: Envoy does not acknowledge
    clusters that do not get warm. ``virtual_hosts``: proxies that can take them one by one do, unless they say no.
    """

    max_streams: int = 4_000
    max_receive_size_bytes: int = 32 << 20
    keepalive_interval: timedelta = timedelta(seconds=30)
    keepalive_timeout: timedelta = timedelta(seconds=10)
    max_connection_age: timedelta | None = timedelta(minutes=30)
    max_connection_age_grace: timedelta = timedelta(seconds=10)
    new_streams_per_second: float = 0.0
    answer_timeout: timedelta = timedelta(seconds=5)
    virtual_hosts: bool = False
    limits: Limits = field(default_factory=Limits)

    def connection(self, reached: Reached = unheard) -> ConnectionOptions:
        """Return those that are about connections, as the server of any method knows them."""
        return ConnectionOptions(
            max_streams=self.max_streams,
            largest_message=self.max_receive_size_bytes,
            keepalive_interval=self.keepalive_interval,
            keepalive_timeout=self.keepalive_timeout,
            max_age=self.max_connection_age,
            max_age_grace=self.max_connection_age_grace,
            limits=self.limits,
            reached=reached,
        )


@dataclass(frozen=True)
class Environment:
    """What the program around a server gives it.

    ``ready``: whether there is anything to serve; until then streams are refused. ``observer`` is told what happens, to
    count it. ``identify`` is asked for each stream before anything is read from it. ``debug`` answers the streams of
    people's tools, which otherwise are taken for proxies. ``services`` are further methods for the same ports.
    ``machines`` keeps account of proxies that Kubernetes does not run.
    """

    ready: Callable[[], bool] = lambda: True
    observer: Observer = field(default_factory=Observer)
    identify: Identify = anybody
    debug: Debug | None = None
    services: Mapping[str, Handler] = field(default_factory=dict)
    machines: Machines = field(default_factory=Machines)


class AdsServer:
    """Serves ADS on one or more ports; streams on all of them are one set of connections."""

    def __init__(
        self, source: SnapshotSource, options: ServerOptions | None = None, environment: Environment | None = None
    ) -> None:
        """Prepare a server, on the event loop that it runs on; ``source`` is where snapshots come from."""
        options = options or ServerOptions()
        self._environment = environment = environment or Environment()
        self.connections = Connections()
        observer, limits = environment.observer, options.limits
        timeout, split, machines = options.answer_timeout.total_seconds(), options.virtual_hosts, environment.machines
        self._serving = Serving(source, timeout, observer, limits, machines=machines, virtual_hosts=split)
        self._limits = limits
        self._admission = Admission(options.new_streams_per_second, limits.max_waiting_calls, observer.limit_reached)
        waiting = ("max_debug_requests", limits.max_debug_requests)
        self._debugging = Gate(_DEBUGGED_AT_ONCE, waiting, observer.limit_reached)
        self._class_places = ClassPlaces(limits, observer.limit_reached)
        self._draining = False
        self._tasks: set[asyncio.Task[None]] = set()
        handlers = {method: self._handler(variant) for method, variant in METHODS.items()}
        self.server = Server(
            {**handlers, **environment.services}, options.connection(environment.observer.limit_reached)
        )

    async def add_port(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Bind a port, in plaintext without ``tls``; return it, chosen by the system if it was 0.

        Raises:
            OSError: the address cannot be listened on.
        """
        return await self.server.add_port(host, port, tls)

    async def start(self) -> None:
        """Begin to serve on the ports that were added."""
        await self.server.start()

    async def pushed(self) -> None:
        """Return once each stream that has something to send has had its turn; one that takes no more does so later."""
        while self._serving.turns.due:  # noqa: ASYNC110 - the next turn of the loop is theirs
            await asyncio.sleep(0)

    async def stop(self, drain: timedelta = timedelta()) -> None:
        """End all streams, spread evenly over ``drain``, so that other replicas get the proxies one by one.

        New streams are refused from now on. What has not ended by then is cut.
        """
        self._draining = True
        self.server.close_ports()
        seconds = drain.total_seconds()
        if seconds and self._tasks:
            await self._end_streams(seconds * 0.9)
            self.server.leave()
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=seconds * 0.1)
        cut = len(self.connections)
        await self.server.stop()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        log.info("ads.stopped", cut=cut)

    async def _end_streams(self, seconds: float) -> None:
        streams = list(self.connections.streams.values())
        for stream in streams:
            stream.end()
            await asyncio.sleep(seconds / len(streams))

    def _handler(self, variant: Variant) -> Handler:
        def handle(call: Call) -> None:
            task = asyncio.create_task(self._serve(variant, call))
            call.on_cut(task.cancel)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        return handle

    async def _serve(self, variant: Variant, call: Call) -> None:
        try:
            credential = await self._identified(call)
            await self._admission.admit(call.address)
            call.accept()
            await self._answer(variant, call, credential)
        except StreamRefused as refusal:
            # Those who come too early or too many at a time come again, by the thousand.
            tell = log.debug if refusal.kind in {Refusal.TOO_MANY, Refusal.UNAVAILABLE} else log.warning
            tell("ads.refused", peer=call.peer, kind=refusal.kind.value, reason=str(refusal)[:_LONGEST_REASON])
            call.finish(Status[refusal.kind.value], str(refusal))
        except (CallEnded, EOFError) as end:
            log.debug("ads.ended", peer=call.peer, reason=str(end))
            call.finish(Status.OK)
        except Exception:  # our bug: it costs this proxy a reconnect and nobody else anything
            self._serving.observer.failed()
            log.exception("ads.failed", peer=call.peer)
            call.finish(Status.INTERNAL, "internal error")
        else:
            call.finish(Status.OK)
        if self._draining:
            call.leave()  # its next stream goes to another replica

    async def _identified(self, call: Call) -> Credential:
        if self._draining or not self._environment.ready():
            raise StreamRefused(Refusal.UNAVAILABLE, NOT_READY)
        credential = await self._environment.identify(call)
        call.identified()
        return credential

    async def _answer(self, variant: Variant, call: Call, credential: Credential) -> None:
        first = await (call.message() if call.has_message else self._first(call))
        if first is None:
            raise EOFError("the stream ended before its first request")
        debug = self._environment.debug
        if debug is not None and is_debug(variant, first):
            await answer_debug(variant, call, first, credential, self._gated(debug, call.address))
        else:
            await self._run(Stream(variant, call, self._serving, credential), call, first)

    async def _first(self, call: Call) -> bytes | None:
        try:
            async with asyncio.timeout(_FIRST_REQUEST_SECONDS):
                return await call.message()
        except TimeoutError as error:
            reason = f"no request came within {_FIRST_REQUEST_SECONDS} seconds"
            raise StreamRefused(Refusal.INVALID, reason) from error

    def _gated(self, debug: Debug, address: str) -> Debug:
        """Return the same, one request at a time, and each address in its turn; none that is too long."""

        async def answer(type_url: str, names: Sequence[str], credential: Credential) -> DebugAnswer:
            check(type_url, names, self._limits, self._environment.observer.limit_reached)
            async with self._debugging.entered(address):
                return await debug(type_url, names, credential)

        return answer

    async def _run(self, stream: Stream, call: Call, first: bytes) -> None:
        def hung_up() -> None:
            if call.cut is None:
                stream.end()
            else:
                stream.fail(CallEnded(call.cut))

        await stream.open(first, call.message)
        place = stream.proxy_class
        try:
            self._class_places.enter(call.address, place)
        except StreamRefused:
            stream.close()
            raise
        connection_id = self.connections.add(stream)
        log.info("ads.connected", connection=connection_id)
        try:
            call.listen(stream.receive, stream.wake, hung_up)
            await stream.ended()
            if stream.elsewhere:
                call.leave()
        finally:
            stream.close()
            self._class_places.leave(call.address, place)
            self.connections.remove(connection_id)
            log.info("ads.disconnected", connection=connection_id)
