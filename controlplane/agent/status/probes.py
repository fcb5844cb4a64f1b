"""The kubelet's probes of an application, which go through the agent: ``/app-health/CONTAINER/livez`` and its like.

Injection leads them here, as Envoy would refuse a kubelet without a certificate. They go on to the pod's address from
127.0.0.6, which the pod's rules do not lead to Envoy.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from urllib.parse import urlsplit

import structlog

from controlplane.agent.addresses import TcpAddress
from controlplane.agent.environment import Environment, StartError
from controlplane.agent.grpc_health import ask_health
from controlplane.agent.http.client import HTTP2, Kept, NoAnswerError, Reply, ask
from controlplane.agent.http.client import Request as Question
from controlplane.agent.http.server import Answer, Request, Response
from controlplane.documents.json_reader import json_value
from controlplane.documents.limits import UnreadableError

SOURCE, SOURCE_V6 = "127.0.0.6", "::6"
_VARIABLE = "ISTIO_KUBE_APP_PROBERS"
_ROOTS = ("app-health", "app-lifecycle")
_NAMES = frozenset({"livez", "readyz", "startupz", "prestopz", "poststartz"})
_LARGEST_BODY = 10 << 10
_MOST_REDIRECTS = 10
_NOT_FORWARDED = frozenset({"connection", "transfer-encoding", "content-length", "keep-alive", "upgrade", "host"})
_OK, _REDIRECT, _CLIENT_ERROR = 200, 300, 400

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class HttpProbe:
    """GET ``path``; over TLS nothing is verified, as the kubelet does."""

    port: int
    path: str
    tls: bool


@dataclass(frozen=True, slots=True)
class TcpProbe:
    """A connection is enough."""

    port: int


@dataclass(frozen=True, slots=True)
class GrpcProbe:
    """``grpc.health.v1.Health/Check`` of a service must say SERVING."""

    port: int
    service: str


Kind = HttpProbe | TcpProbe | GrpcProbe


@dataclass(frozen=True, slots=True)
class Probe:
    """One probe; without a timeout it may take for ever."""

    kind: Kind
    timeout: timedelta | None


def probes(environment: Environment) -> Mapping[str, Probe]:
    """Return the probes by path, as injection wrote them. Raises ``StartError`` for what it does not write."""
    text = environment.text(_VARIABLE)
    if not text:
        return {}
    try:
        said = json_value(text)
    except UnreadableError as error:
        raise StartError(f"{_VARIABLE} is not JSON: {error}") from None
    if not isinstance(said, dict):
        raise StartError(f"{_VARIABLE} must be a JSON object, not {text[:80]!r}")
    return {path: _probe(path, value) for path, value in said.items()}


def _probe(path: str, said: object) -> Probe:
    where = f"{_VARIABLE}: {path}"
    parts = path.split("/")
    if len(parts) != 4 or parts[0] or parts[1] not in _ROOTS or not parts[2] or parts[3] not in _NAMES:  # noqa: PLR2004
        raise StartError(f"{where} is no path of a probe, such as /app-health/CONTAINER/livez")
    if not isinstance(said, dict):
        raise StartError(f"{where} must be an object")
    kinds = [name for name in ("httpGet", "tcpSocket", "grpc") if said.get(name) is not None]
    if len(kinds) != 1:
        raise StartError(f"{where} must have one of httpGet, tcpSocket and grpc")
    handler = said[kinds[0]]
    port = handler.get("port") if isinstance(handler, dict) else None
    if isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 1 << 16:
        raise StartError(f"{where} must have a port, not {port!r}")
    seconds = said.get("timeoutSeconds") or 0
    if isinstance(seconds, bool) or not isinstance(seconds, int) or seconds < 0:
        raise StartError(f"{where}: timeoutSeconds must be a whole number, not {seconds!r}")
    return Probe(_kind(kinds[0], handler, port), timedelta(seconds=seconds) if seconds else None)


def _kind(name: str, handler: Mapping[str, object], port: int) -> Kind:
    if name == "tcpSocket":
        return TcpProbe(port)
    if name == "grpc":
        return GrpcProbe(port, str(handler.get("service") or ""))
    path = str(handler.get("path") or "/")
    return HttpProbe(port, path if path.startswith("/") else f"/{path}", handler.get("scheme") == "HTTPS")


class Probes:
    """Answers the kubelet with what the application said. ``host`` is the address that the application is asked at."""

    def __init__(  # noqa: PLR0913 - what there is, and how it is asked
        self,
        known: Mapping[str, Probe],
        host: str,
        agent_port: int,
        *,
        from_loopback: bool = True,
        http2: bool = True,
        keeps: bool = False,
    ) -> None:
        """``from_loopback`` asks from the address that is not led to Envoy.

        ``http2`` lets applications with TLS choose it; ``keeps`` uses a connection for one probe after the other.
        """
        self._tls = unverified(http2=http2)
        self._kept = Kept() if keeps else None
        self._known = known
        self._host = host
        self._agent_port = agent_port
        self._source = (SOURCE_V6 if ":" in host else SOURCE) if from_loopback else None

    def close(self) -> None:
        """Close connections that are kept."""
        if self._kept is not None:
            self._kept.close()

    def find(self, path: str) -> Answer | None:
        """Return the page of a path below those of probes, known or not; nothing for other paths."""
        if path.partition("/")[0] or path.split("/")[1] not in _ROOTS:
            return None
        return self._page

    async def _page(self, request: Request) -> Response:
        probe = self._known.get(request.path)
        if probe is None:
            text = f"app prober config does not exists for {request.path}"
            return Response(HTTPStatus.BAD_REQUEST, text.encode())
        try:
            match probe.kind:
                case HttpProbe():
                    return await self._http(request, probe, probe.kind)
                case TcpProbe(port):
                    await self._connect(port, probe.timeout)
                case GrpcProbe(port, service):
                    await ask_health(TcpAddress(self._host, port), service, probe.timeout)
        except NoAnswerError as error:
            log.info("agent.probe_failed", path=request.path, reason=str(error))
            return Response(HTTPStatus.INTERNAL_SERVER_ERROR)
        return Response()

    async def _http(self, request: Request, probe: Probe, kind: HttpProbe) -> Response:
        host = request.headers.get("host", "")
        name, colon, port = host.rpartition(":")
        if colon and port == str(self._agent_port):
            host = f"{name}:{kind.port}"
        headers = [(key, value) for key, value in request.headers.items() if key not in _NOT_FORWARDED]
        question = Question(
            TcpAddress(self._host, kind.port),
            kind.path,
            headers=(("host", host or str(TcpAddress(self._host, kind.port))), *headers),
            timeout=probe.timeout,
            limit=_LARGEST_BODY,
            tls=self._tls if kind.tls else None,
            source=self._source,
        )
        reply = await _followed(question, self._kept)
        status = _OK if _REDIRECT <= reply.status < _CLIENT_ERROR else reply.status
        return Response(status, reply.body, reply.headers.get("content-type", "text/plain; charset=utf-8"))

    async def _connect(self, port: int, timeout: timedelta | None) -> None:  # noqa: ASYNC109 - part of the probe
        await connected(TcpAddress(self._host, port), timeout, self._source)


async def _followed(question: Question, kept: Kept | None) -> Reply:
    """Return the answer after redirects to the same host; one that leads elsewhere is an answer by itself."""
    for _ in range(_MOST_REDIRECTS):
        reply = await ask(question, kept)
        location = reply.headers.get("location", "")
        if not (_REDIRECT <= reply.status < _CLIENT_ERROR) or not location:
            return reply
        there = urlsplit(location)
        same = there.hostname in {
            None,
            question.address.host,
            dict(question.headers).get("host", "").rpartition(":")[0],
        }
        if not same:
            return reply
        target = (there.path or "/") + (f"?{there.query}" if there.query else "")
        address = TcpAddress(question.address.host, there.port or question.address.port)
        question = Question(
            address, target, "GET", question.headers, question.timeout, question.limit, question.tls, question.source
        )
    raise NoAnswerError(f"{question.address}: more than {_MOST_REDIRECTS} redirects")


async def connected(where: TcpAddress, timeout: timedelta | None, source: str | None) -> None:  # noqa: ASYNC109
    """Connect and let go again. Raises ``NoAnswerError``."""
    seconds = timeout.total_seconds() if timeout is not None else None
    try:
        async with asyncio.timeout(seconds):
            local = (source, 0) if source is not None else None
            _, writer = await asyncio.open_connection(where.host, where.port, local_addr=local)
    except TimeoutError:
        raise NoAnswerError(f"{where} did not answer within {seconds:g} s") from None
    except OSError as error:
        raise NoAnswerError(f"{where}: {error}") from None
    writer.transport.abort()


def unverified(*, http2: bool = False) -> ssl.SSLContext:
    """Return TLS that believes any certificate: a probe asks whether there is an answer. ``http2`` offers that, too."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if http2:
        context.set_alpn_protocols([HTTP2, "http/1.1"])
    return context
