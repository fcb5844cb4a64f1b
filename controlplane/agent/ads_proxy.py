"""Envoy's stream to the control plane, led through the agent: bytes from a Unix socket to the port with TLS and back.

Both forms of ADS are served. Each stream of Envoy's opens one connection of its own, with the token of that moment;
when either side ends, so does the other. Envoy keeps what it has and comes again with growing pauses (its bootstrap
says which); a stream states what it holds already, so nothing is lost and nothing is sent twice.

Messages are not decoded. Only the type of each response is looked at: what is meant for the agent (``interests``) is
taken out and acknowledged, and what is no type of Envoy's goes no further. Settings of filters with WebAssembly modules
that the agent must fetch first (``Convert``) are held until it has; other types do not wait for them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import structlog
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from google.protobuf.message import DecodeError

from controlplane.agent import protobuf_fields
from controlplane.agent.control_plane import Peer, UnreachableError
from controlplane.agent.metrics import (
    CANCELLED,
    CONTROL_PLANE_TERMINATIONS,
    CONTROL_PLANE_UNREACHABLE,
    ENVOY_TERMINATIONS,
    ERROR,
    XDS_REQUESTS,
    XDS_RESPONSES,
)

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
SOTW, DELTA = "StreamAggregatedResources", "DeltaAggregatedResources"
HEALTH = "type.googleapis.com/istio.v1.HealthInformation"
LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
EXTENSION = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
_RESPONSE_TYPE = 4  # the number of type_url in both forms of response
_REQUEST_TYPE = {SOTW: 4, DELTA: 2}
_FORWARDED = "type.googleapis.com/envoy."
_ALSO_FORWARDED = frozenset({"type.googleapis.com/istio.workload.Workload"})
_INTERNAL = 13
_USUAL = frozenset({grpc.StatusCode.OK, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED})
"""Codes of streams that nothing was wrong with: a server that restarts or sheds load ends them so."""

log = structlog.get_logger(__name__)

_ENDS = (grpc.RpcError, grpc.aio.BaseError, asyncio.InvalidStateError)
"""What a stream raises that ended on either side."""

Interest = Callable[[bytes], None]
"""Takes the encoded resource of a response that is meant for the agent. Raises ``ValueError`` to refuse it."""


Convert = Callable[[Any], Awaitable[bool]]
"""Changes a response with settings of filters, and tells whether it did. Raises ``ValueError`` to refuse it."""


@dataclass(frozen=True, slots=True)
class Taking:
    """What is not simply passed on.

    ``interests`` are the types that the agent itself asks for on each stream, with what takes their resource;
    ``convert`` changes settings of filters, where anything does.
    """

    interests: Mapping[str, Interest] = field(default_factory=dict)
    convert: Convert | None = None


class AdsProxy:
    """Serves ADS on a Unix socket. One stream at a time: a new one ends the former, which Envoy has left."""

    def __init__(self, peer: Peer, taking: Taking | None = None) -> None:
        self._peer = peer
        self._taking = taking or Taking()
        self._server: grpc.aio.Server | None = None
        self._active: _Stream | None = None
        self._health: Mapping[str, bytes] | None = None

    async def start(self, path: Path) -> None:
        """Listen on a Unix socket, where no file may be. Raises ``OSError``."""
        server = grpc.aio.server(
            options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        )
        handlers = {method: grpc.stream_stream_rpc_method_handler(self._served(method)) for method in (SOTW, DELTA)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        try:
            server.add_insecure_port(f"unix:{path}")
        except RuntimeError as error:
            raise OSError(f"cannot serve xDS on {path}: {error}") from error
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """End every stream and stop listening."""
        if self._server is not None:
            await self._server.stop(grace=0)
            self._server = None

    async def tell_health(self, problem: str | None) -> None:
        """Tell the control plane that the workload is healthy (``None``) or what is wrong; new streams are told too."""
        self._health = _health_requests(problem)
        if self._active is not None:
            await self._active.tell(self._health)

    def _served(self, method: str) -> Any:  # noqa: ANN401 - grpc's handler
        async def serve(requests: AsyncIterator[bytes], context: Any) -> None:  # noqa: ANN401 - grpc's
            former = self._active
            stream = self._active = _Stream(self._peer, method, self._taking, self._health)
            if former is not None:
                former.end()
            try:
                await stream.run(requests, context)
            finally:
                if self._active is stream:
                    self._active = None

        return serve


class _Stream:
    """One stream of Envoy's and the one that was opened for it."""

    def __init__(self, peer: Peer, method: str, taking: Taking, health: Mapping[str, bytes] | None) -> None:
        self._peer = peer
        self._method = method
        self._interests = taking.interests
        self._convert = taking.convert
        self._unconverted: asyncio.Queue[bytes] = asyncio.Queue()
        self._sending = asyncio.Lock()
        self._health = health
        self._call: Any = None
        self._writing = asyncio.Lock()
        self._introduced = False
        self._replaced = asyncio.Event()

    def end(self) -> None:
        """End it: another one has taken its place."""
        self._replaced.set()

    async def tell(self, health: Mapping[str, bytes]) -> None:
        """Send word of the workload's health, now or when the stream has come so far."""
        self._health = health
        if self._introduced:
            with contextlib.suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):  # the next stream is told
                await self._write(health[self._method])

    async def run(self, requests: AsyncIterator[bytes], context: Any) -> None:  # noqa: ANN401 - grpc's
        """Move messages both ways until one side ends."""
        try:
            channel = self._peer.channel()
        except UnreachableError as error:
            CONTROL_PLANE_UNREACHABLE.inc()
            log.warning("agent.control_plane_unreachable", address=str(self._peer.address), reason=str(error))
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
            return
        async with channel:
            opened: Any = channel  # whose types ask for a serializer; bytes need none
            method = opened.stream_stream(f"/{SERVICE}/{self._method}")
            self._call = method(metadata=self._peer.metadata())
            await self._until_an_end(requests, context)

    async def _until_an_end(self, requests: AsyncIterator[bytes], context: Any) -> None:  # noqa: ANN401 - grpc's
        upward = asyncio.create_task(self._upward(requests))
        downward = asyncio.create_task(self._downward(context))
        replaced = asyncio.create_task(self._replaced.wait())
        converting = asyncio.create_task(self._converting(context))
        tasks = (upward, downward, replaced, converting)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            answered = self._call.done()
        finally:
            for task in tasks:
                task.cancel()
            for error in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(error, Exception) and not isinstance(error, _ENDS):
                    log.error("agent.work_failed", work="Envoy's stream", exc_info=error)
            self._call.cancel()
        if answered:
            await self._pass_end_on(context)
        else:
            ENVOY_TERMINATIONS.inc(ERROR if _failed(upward) else CANCELLED)
            log.info("agent.envoy_stream_ended", replaced=self._replaced.is_set())

    async def _pass_end_on(self, context: Any) -> None:  # noqa: ANN401 - grpc's
        """End Envoy's stream as the control plane ended the other."""
        code, details = await self._call.code(), await self._call.details()
        if self._introduced or code is not grpc.StatusCode.UNAVAILABLE:
            CONTROL_PLANE_TERMINATIONS.inc(CANCELLED if code in _USUAL else ERROR)
        else:
            CONTROL_PLANE_UNREACHABLE.inc()
        log.warning("agent.control_plane_ended", address=str(self._peer.address), code=code.name, reason=details)
        if code is not grpc.StatusCode.OK:
            await context.abort(code, details or "")

    async def _upward(self, requests: AsyncIterator[bytes]) -> None:
        """Pass Envoy's requests on; behind the first for listeners the agent asks for what it needs itself."""
        async for request in requests:
            XDS_REQUESTS.inc()
            await self._write(request)
            if not self._introduced and protobuf_fields.text(request, _REQUEST_TYPE[self._method]) == LISTENER:
                self._introduced = True
                for own in self._own_requests():
                    await self._write(own)

    def _own_requests(self) -> Iterable[bytes]:
        kind = DiscoveryRequest if self._method == SOTW else DeltaDiscoveryRequest
        for type_url in self._interests:
            yield kind(type_url=type_url).SerializeToString()
        if self._health is not None:
            yield self._health[self._method]

    async def _downward(self, context: Any) -> None:  # noqa: ANN401 - grpc's
        """Pass responses on to Envoy, but for what is the agent's."""
        while response := await self._call.read():  # grpc's end is false, and no message is empty
            XDS_RESPONSES.inc()
            type_url = protobuf_fields.text(response, _RESPONSE_TYPE)
            if type_url in self._interests:
                if own := self._taken(type_url, response):
                    await self._write(own)
            elif type_url == EXTENSION and self._convert is not None:
                self._unconverted.put_nowait(response)
            elif type_url.startswith(_FORWARDED) or type_url in _ALSO_FORWARDED:
                await self._send(context, response)
            else:
                log.warning("agent.response_dropped", type_url=type_url)

    async def _send(self, context: Any, response: bytes) -> None:  # noqa: ANN401 - grpc's
        async with self._sending:
            await context.write(response)

    async def _converting(self, context: Any) -> None:  # noqa: ANN401 - grpc's
        """Pass settings of filters on in the order in which they came, each once it has been changed."""
        while True:
            response = await self._unconverted.get()
            message = self._response(response)
            try:
                changed = self._convert is not None and await self._convert(message)
            except ValueError as error:
                await self._write(self._answer(message, str(error)))
                continue
            await self._send(context, message.SerializeToString() if changed else response)

    def _taken(self, type_url: str, response: bytes) -> bytes | None:
        """Hand a response to whom it is for; return the acknowledgement, or the refusal with its reason."""
        message = self._response(response)
        if not message.resources:
            return None
        first = message.resources[0]
        problem = ""
        try:
            self._interests[type_url](first.value if self._method == SOTW else first.resource.value)
        except (ValueError, DecodeError) as error:
            problem = str(error)
        return self._answer(message, problem)

    def _response(self, encoded: bytes) -> Any:  # noqa: ANN401 - either form
        return (DiscoveryResponse if self._method == SOTW else DeltaDiscoveryResponse).FromString(encoded)

    def _answer(self, message: Any, problem: str = "") -> bytes:  # noqa: ANN401 - either form
        """Return the acknowledgement of a response, or the refusal where there is a problem."""
        sotw, type_url = self._method == SOTW, message.type_url
        answer = (DiscoveryRequest if sotw else DeltaDiscoveryRequest)(type_url=type_url, response_nonce=message.nonce)
        if sotw and not problem:
            answer.version_info = message.version_info
        if problem:
            log.warning("agent.response_refused", type_url=type_url, reason=problem)
            answer.error_detail.code, answer.error_detail.message = _INTERNAL, problem
        encoded: bytes = answer.SerializeToString()
        return encoded

    async def _write(self, message: bytes) -> None:
        async with self._writing:
            await self._call.write(message)


def _failed(task: asyncio.Task[None]) -> bool:
    """Whether a task has ended by an error."""
    return task.done() and not task.cancelled() and task.exception() is not None


def _health_requests(problem: str | None) -> Mapping[str, bytes]:
    """Return word of the workload's health in both forms: without an error it is well."""
    encoded = {}
    for method, kind in ((SOTW, DiscoveryRequest), (DELTA, DeltaDiscoveryRequest)):
        request = kind(type_url=HEALTH)
        if problem is not None:
            request.error_detail.code, request.error_detail.message = _INTERNAL, problem
        encoded[method] = request.SerializeToString()
    return encoded
