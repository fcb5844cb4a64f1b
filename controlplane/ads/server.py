"""The aggregated discovery service over gRPC: moves bytes between grpc.aio and ``stream``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import structlog

from controlplane.ads.admission import StreamRate, default_rate
from controlplane.ads.connections import Connections
from controlplane.ads.observer import Observer
from controlplane.ads.refusal import Refusal, StreamRefused
from controlplane.ads.source import SnapshotSource
from controlplane.ads.stream import Serving, Stream
from controlplane.ads.watch import Variant

log = structlog.get_logger()

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
METHODS = {
    f"/{SERVICE}/StreamAggregatedResources": Variant.SOTW,
    f"/{SERVICE}/DeltaAggregatedResources": Variant.DELTA,
}
NOT_READY = "server is not ready to serve discovery information"

_END = grpc.aio.EOF  # type: ignore[attr-defined]  # missing from the stubs
_Call = grpc.aio.ServicerContext[bytes, bytes]
if TYPE_CHECKING:
    _GenericHandler = grpc.GenericRpcHandler[bytes, bytes]  # generic in the stubs, not in the library
else:
    _GenericHandler = grpc.GenericRpcHandler


@dataclass(frozen=True)
class ServerOptions:
    """How connections are treated. The defaults are istiod's, with its chart's connection age.

    ``max_connection_age``: ``None`` lets a connection live for ever; at the end of it the proxy is told to connect
    anew, and after ``max_connection_age_grace`` what is left is cut. ``new_streams_per_second``: 0 is no limit.
    ``answer_timeout`` is how long a proxy's unanswered response may hold up newer ones: Envoy does not acknowledge
    clusters that do not get warm.
    """

    max_streams: int = 100_000
    max_receive_size_bytes: int = 4 << 20
    keepalive_interval: timedelta = timedelta(seconds=30)
    keepalive_timeout: timedelta = timedelta(seconds=10)
    max_connection_age: timedelta | None = timedelta(minutes=30)
    max_connection_age_grace: timedelta = timedelta(seconds=10)
    new_streams_per_second: float = field(default_factory=default_rate)
    answer_timeout: timedelta = timedelta(seconds=5)

    def channel_arguments(self) -> list[tuple[str, int]]:
        """Return these options as gRPC knows them."""
        interval = _milliseconds(self.keepalive_interval)
        arguments = [
            ("grpc.max_concurrent_streams", self.max_streams),
            ("grpc.max_receive_message_length", self.max_receive_size_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.keepalive_time_ms", interval),
            ("grpc.keepalive_timeout_ms", _milliseconds(self.keepalive_timeout)),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", interval // 2),
            ("grpc.so_reuseport", 0),  # a port that is taken is an error, not half of the connections
        ]
        if self.max_connection_age is not None:
            arguments += [
                ("grpc.max_connection_age_ms", _milliseconds(self.max_connection_age)),
                ("grpc.max_connection_age_grace_ms", _milliseconds(self.max_connection_age_grace)),
            ]
        return arguments


def _milliseconds(duration: timedelta) -> int:
    return round(duration.total_seconds() * 1000)


class _Connection:
    """A gRPC call as a transport."""

    def __init__(self, call: _Call) -> None:
        self._call = call
        self.peer = call.peer()

    async def requests(self) -> AsyncIterator[bytes]:
        while (request := await self._call.read()) is not _END:
            yield request

    async def send(self, response: bytes) -> None:
        await self._call.write(response)


class AdsServer(_GenericHandler):
    """Serves ADS on one or more ports; streams on all of them are one set of connections."""

    def __init__(
        self,
        source: SnapshotSource,
        options: ServerOptions | None = None,
        ready: Callable[[], bool] = lambda: True,
        services: Sequence[grpc.GenericRpcHandler[Any, Any]] = (),
        observer: Observer | None = None,
    ) -> None:
        """Prepare a server.

        Args:
            source: where snapshots come from.
            options: how connections are treated.
            ready: whether there is anything to serve; until then streams are refused.
            services: further gRPC services for the same ports.
            observer: is told what happens, to count it.
        """
        options = options or ServerOptions()
        self.connections = Connections()
        self._serving = Serving(source, options.answer_timeout.total_seconds(), observer or Observer())
        self._rate = StreamRate(options.new_streams_per_second)
        self._ready = ready
        self._draining = False
        self._server = grpc.aio.server(options=options.channel_arguments())
        self._server.add_generic_rpc_handlers((self, *services))

    def add_port(self, address: str, credentials: grpc.ServerCredentials | None = None) -> int:
        """Listen on ``host:port``, in plaintext without credentials; return the port, chosen if it was 0.

        Raises:
            RuntimeError: the address cannot be listened on.
        """
        if credentials is None:
            return self._server.add_insecure_port(address)
        return self._server.add_secure_port(address, credentials)

    async def start(self) -> None:
        """Begin to serve on the ports that were added."""
        await self._server.start()

    async def stop(self, drain: timedelta = timedelta()) -> None:
        """End all streams, spread evenly over ``drain``, so that other replicas get the proxies one by one.

        New streams are refused from now on. What has not ended by then is cut.
        """
        self._draining = True
        seconds = drain.total_seconds()
        if seconds:
            await asyncio.gather(self._server.stop(seconds), self._end_streams(seconds))
        else:
            await self._server.stop(None)
        log.info("ads.stopped", cut=len(self.connections))

    async def _end_streams(self, seconds: float) -> None:
        streams = list(self.connections.streams.values())
        for stream in streams:
            stream.end()
            # The last tenth of the time is for the proxies to hang up.
            await asyncio.sleep(seconds * 0.9 / len(streams))

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        """Return the method's handler. It has no serialisers: requests and responses stay bytes."""
        variant = METHODS.get(handler_call_details.method)
        if variant is None:
            return None

        async def serve(_: object, call: _Call) -> None:
            await self._serve(variant, call)

        return grpc.stream_stream_rpc_method_handler(serve)

    async def _serve(self, variant: Variant, call: _Call) -> None:
        try:
            await self._admit()
            await self._run(Stream(variant, _Connection(call), self._serving))
        except StreamRefused as refusal:
            log.warning("ads.refused", peer=call.peer(), kind=refusal.kind.value, reason=str(refusal))
            await call.abort(grpc.StatusCode[refusal.kind.value], str(refusal))
        except EOFError:
            return  # a peer that hung up without a word is owed none
        except grpc.aio.AbortError:
            raise
        except (grpc.aio.UsageError, asyncio.InvalidStateError, grpc.RpcError) as error:
            log.info("ads.broken", peer=call.peer(), reason=str(error))
        except Exception:  # our bug: it costs this proxy a reconnect and nobody else anything
            self._serving.observer.failed()
            log.exception("ads.failed", peer=call.peer())
            await call.abort(grpc.StatusCode.INTERNAL, "internal error")

    async def _admit(self) -> None:
        if self._draining or not self._ready():
            raise StreamRefused(Refusal.UNAVAILABLE, NOT_READY)
        await self._rate.admit()

    async def _run(self, stream: Stream) -> None:
        requests = await stream.open()
        connection_id = self.connections.add(stream)
        log.info("ads.connected", connection=connection_id)
        try:
            await stream.run(requests)
        finally:
            self.connections.remove(connection_id)
            log.info("ads.disconnected", connection=connection_id)
