"""One page for Prometheus: what the agent, Envoy and the application count, one after the other.

A part that cannot be had is left out and counted; the page is always answered. The application chooses between
Prometheus' text and OpenMetrics as the scraper allows; Envoy speaks text only, and so does the agent.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus

import structlog

from controlplane.agent.addresses import TcpAddress
from controlplane.agent.environment import Environment, StartError, duration, truth
from controlplane.agent.http.client import NoAnswerError, Reply, ask
from controlplane.agent.http.client import Request as Question
from controlplane.agent.http.server import Request, Response
from controlplane.agent.metrics import SCRAPE_FAILURES, SCRAPES, exposition
from controlplane.documents.json_reader import json_value
from controlplane.documents.limits import UnreadableError
from controlplane.model.proxy import LISTENER_PORTS, OWN_PORTS

TEXT = "text/plain; version=0.0.4; charset=utf-8"
_OPEN_METRICS = "application/openmetrics-text"
_PLAIN = "text/plain;version=0.0.4"
_LARGEST_APPLICATION = 10 << 20
MOST_AT_ONCE = 8
"""Scrapes, each of which holds the answers of Envoy and the application; Prometheus comes one at a time."""
_MOST_OF_ONE = MOST_AT_ONCE // 2
"""Of one address, so that another one has a place."""
_LONGEST = timedelta(minutes=1)
"""What the parts may take, and what a scraper may say that they may."""
_TOO_MANY = b"too many scrapes at a time\n"
_TIMEOUT_HEADER = "x-prometheus-scrape-timeout-seconds"
_END = b"# EOF"
_RESERVED = LISTENER_PORTS | OWN_PORTS | {15001, 15006, 15008}
_VARIABLE = "ISTIO_PROMETHEUS_ANNOTATIONS"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Target:
    """Where an application's metrics are, on this host."""

    port: int
    path: str = "/metrics"


def targets(environment: Environment, kind: str, agent_port: int) -> tuple[Target, ...]:
    """Return the application's targets, as the annotations of its pod said before injection; none for a gateway.

    Raises:
        StartError: the variable is not what injection writes, or a port is one of the proxy's own.
    """
    text = environment.text(_VARIABLE)
    if not text or kind != "sidecar":
        return ()
    try:
        said = json_value(text)
    except UnreadableError as error:
        raise StartError(f"{_VARIABLE} is not JSON: {error}") from None
    if not isinstance(said, dict):
        raise StartError(f"{_VARIABLE} must be a JSON object, not {text[:80]!r}")
    if said.get("scrape", "true") and not truth(str(said.get("scrape") or "true"), f"{_VARIABLE}.scrape"):
        return ()
    listed = said.get("targets") or [said]
    return tuple(_target(each, agent_port) for each in listed)


def _target(said: object, agent_port: int) -> Target:
    if not isinstance(said, dict):
        raise StartError(f"{_VARIABLE}.targets must be objects, not {said!r}")
    port = str(said.get("port") or "80")
    if not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise StartError(f"{_VARIABLE}: {port!r} is no port")
    if int(port) in _RESERVED or int(port) == agent_port:
        raise StartError(f"{_VARIABLE}: port {port} is the proxy's own")
    path = str(said.get("path") or "/metrics")
    return Target(int(port), path if path.startswith("/") else f"/{path}")


class MergedMetrics:
    """The page. ``host`` is loopback; ``envoy_port`` is where Envoy's own metrics are, ``None`` to leave them out."""

    def __init__(
        self, host: str, envoy_port: int | None, applications: Sequence[Target], *, local_only: bool = False
    ) -> None:
        """``local_only`` answers callers on this host only."""
        self._local_only = local_only
        self._host = host
        self._envoy_port = envoy_port
        self._applications = tuple(applications)
        self._asking: Counter[str] = Counter()

    async def page(self, request: Request) -> Response:
        """Ask all at once, and put the answers together; 503 while ``MOST_AT_ONCE`` others do, half of them of one."""
        if self._local_only and not request.local:
            return Response(HTTPStatus.FORBIDDEN)
        if self._asking.total() >= MOST_AT_ONCE or self._asking[request.peer] >= _MOST_OF_ONE:
            return Response(HTTPStatus.SERVICE_UNAVAILABLE, _TOO_MANY)
        self._asking[request.peer] += 1
        try:
            return await self._merged(request)
        finally:
            self._asking[request.peer] -= 1
            self._asking = +self._asking  # no address is kept that asks nothing

    async def _merged(self, request: Request) -> Response:
        SCRAPES.inc()
        accept = request.headers.get("accept", "")
        timeout = _timeout(request.headers.get(_TIMEOUT_HEADER, ""))
        headers = tuple(
            (name, request.headers[name]) for name in ("user-agent", _TIMEOUT_HEADER) if name in request.headers
        )
        envoy, *applications = await asyncio.gather(
            self._envoy(request.query, (*headers, ("accept", envoy_accept(accept))), timeout),
            *(
                self._application(each, (*headers, ("accept", application_accept(accept))), timeout)
                for each in self._applications
            ),
        )
        answered = [reply for reply in applications if reply is not None]
        kinds = {content_type(reply.headers.get("content-type", "")) for reply in answered}
        kind = kinds.pop() if len(kinds) == 1 else TEXT
        parts = [exposition().encode(), envoy.body if envoy is not None else b""]
        parts += [_without_end(reply.body) for reply in answered]
        if kind != TEXT:
            parts.append(_END + b"\n")
        return Response(body=b"".join(map(_ended, parts)), content_type=kind)

    async def _envoy(self, query: str, headers: tuple[tuple[str, str], ...], timeout: timedelta) -> Reply | None:  # noqa: ASYNC109
        if self._envoy_port is None:
            return None
        target = "/stats/prometheus" + (f"?{query}" if query else "")
        question = Question(TcpAddress(self._host, self._envoy_port), target, headers=headers, timeout=timeout)
        return await _answer(question, "envoy")

    async def _application(
        self,
        target: Target,
        headers: tuple[tuple[str, str], ...],
        timeout: timedelta,  # noqa: ASYNC109
    ) -> Reply | None:
        where = TcpAddress(self._host, target.port)
        question = Question(where, target.path, headers=headers, timeout=timeout, limit=_LARGEST_APPLICATION)
        return await _answer(question, "application")


async def _answer(question: Question, kind: str) -> Reply | None:
    """Return an answer of 200 that is whole; else nothing, counted."""
    try:
        reply = await ask(question)
    except NoAnswerError as error:
        problem = str(error)
    else:
        if reply.status == 200 and not reply.cut:  # noqa: PLR2004 - HTTP's word for success
            return reply
        problem = f"more than {question.limit} bytes" if reply.cut else f"status {reply.status}"
    SCRAPE_FAILURES.inc(kind)
    log.info("agent.scrape_failed", part=kind, address=str(question.address), reason=problem)
    return None


def envoy_accept(accept: str) -> str:
    """Return what Envoy is asked for: what of the scraper's list is text."""
    kept = [each for each in _listed(accept) if each.partition(";")[0].strip() in {"text/*", "text/plain"}]
    return ",".join(kept) or _PLAIN


def application_accept(accept: str) -> str:
    """Return what the application is asked for: text and OpenMetrics of the scraper's list, in its order.

    Anything is text, any application's is OpenMetrics. Weights are written anew, as the forms may not be repeated.
    """
    found: list[str] = []
    for each in _listed(accept):
        name, _, parameters = each.partition(";")
        name = name.strip()
        if name in {"*/*", "*"}:
            name, parameters = "text/plain", "version=0.0.4"
        elif name == "application/*":
            name, parameters = _OPEN_METRICS, "version=0.0.1"
        elif name not in {_OPEN_METRICS, "text/plain", "text/*"}:
            continue
        kept = [part.strip() for part in parameters.split(";") if part.strip() and not part.strip().startswith("q=")]
        form = ";".join([name, *kept])
        if form not in found:
            found.append(form)
    if not found:
        return _PLAIN
    weights = range(len(found), 0, -1)
    return ",".join(f"{form};q=0.{min(weight, 9)}" for form, weight in zip(found, weights, strict=True))


def content_type(said: str) -> str:
    """Return the form that an application answered in: OpenMetrics of a version, else text."""
    name, _, parameters = said.partition(";")
    if name.strip() != _OPEN_METRICS:
        return TEXT
    version = next((part.strip()[8:] for part in parameters.split(";") if part.strip().startswith("version=")), "0.0.1")
    return f"{_OPEN_METRICS}; version={version if version == '1.0.0' else '0.0.1'}; charset=utf-8"


def _listed(accept: str) -> Iterator[str]:
    yield from (each.strip() for each in accept.split(",") if each.strip())


def _timeout(text: str) -> timedelta:
    try:
        return min(duration(f"{text}s", _TIMEOUT_HEADER) or _LONGEST, _LONGEST)
    except StartError:
        return _LONGEST


def _without_end(body: bytes) -> bytes:
    """Return a part without the mark that ends OpenMetrics."""
    return body.rstrip().removesuffix(_END)


def _ended(part: bytes) -> bytes:
    return part if not part or part.endswith(b"\n") else part + b"\n"
