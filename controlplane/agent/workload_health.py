"""Probes a workload that Kubernetes does not, on a virtual machine for example, and tells the control plane of it.

Source: ``readinessProbe`` of the ProxyConfig, which a WorkloadGroup's ``probe`` becomes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog

from controlplane.agent.addresses import TcpAddress
from controlplane.agent.environment import StartError
from controlplane.agent.grpc_health import ask_health
from controlplane.agent.http.client import NoAnswerError, Request, ask
from controlplane.agent.proxy_config import ProxyConfig
from controlplane.agent.status.probes import connected, unverified

_WHERE = "ProxyConfig.readinessProbe"
_GOOD = range(200, 400)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class HealthProbe:
    """How and how often the workload is asked. ``handlers`` names the one way: ``httpGet`` and so on."""

    way: str
    handler: Mapping[str, Any]
    initial_delay: timedelta
    timeout: timedelta
    period: timedelta
    successes: int
    failures: int

    @classmethod
    def of(cls, config: ProxyConfig) -> HealthProbe | None:
        """Read what was said, nothing where no probe is. Raises ``StartError``."""
        said = config.mapping("readinessProbe")
        if not said:
            return None
        ways = [name for name in ("httpGet", "tcpSocket", "grpc", "exec") if said.get(name) is not None]
        if len(ways) != 1 or not isinstance(said[ways[0]], dict):
            raise StartError(f"{_WHERE} must have one of httpGet, tcpSocket, grpc and exec")
        handler = said[ways[0]]
        if ways[0] == "exec":
            command = handler.get("command")
            if not isinstance(command, list) or not command or not all(isinstance(word, str) for word in command):
                raise StartError(f"{_WHERE}.exec.command must be a list of words")
        elif not 0 < _number(handler, "port", 0) < 1 << 16:
            raise StartError(f"{_WHERE}.{ways[0]}.port must be a port, not {handler.get('port')!r}")
        return cls(
            ways[0],
            handler,
            timedelta(seconds=_number(said, "initialDelaySeconds", 0)),
            timedelta(seconds=_number(said, "timeoutSeconds", 1) or 1),
            timedelta(seconds=_number(said, "periodSeconds", 10) or 10),
            _number(said, "successThreshold", 1) or 1,
            _number(said, "failureThreshold", 1) or 1,
        )


class WorkloadHealth:
    """Asks again and again, and tells of each change. ``proxy_problem`` says what is wrong with Envoy.

    ``host`` is where the workload is asked unless its probe names another; ``source`` the address it is asked from.
    """

    def __init__(
        self,
        probe: HealthProbe,
        host: str,
        source: str | None,
        proxy_problem: Callable[[], Awaitable[str]],
        tell: Callable[[str | None], Awaitable[None]],
    ) -> None:
        self._probe = probe
        self._host = host
        self._source = source
        self._proxy_problem = proxy_problem
        self._tell = tell
        self._told: bool | None = None
        self._in_a_row = 0
        self._last: bool | None = None

    async def run(self) -> None:
        """Ask until cancelled."""
        await asyncio.sleep(self._probe.initial_delay.total_seconds())
        while True:
            await self.once()
            await asyncio.sleep(self._probe.period.total_seconds())

    async def once(self) -> None:
        """Ask once; tell when the answer has been another one often enough."""
        problem = await self._problem()
        healthy = not problem
        self._in_a_row = self._in_a_row + 1 if healthy is self._last else 1
        self._last = healthy
        if healthy is self._told or self._in_a_row < (self._probe.successes if healthy else self._probe.failures):
            return
        self._told = healthy
        log.info("agent.workload_health", healthy=healthy, reason=problem)
        await self._tell(None if healthy else problem)

    async def _problem(self) -> str:
        if problem := await self._proxy_problem():
            return problem
        try:
            await self._ask()
        except NoAnswerError as error:
            return str(error) or "the workload is not healthy"
        return ""

    async def _ask(self) -> None:
        """Ask the workload. Raises ``NoAnswerError``."""
        probe, handler = self._probe, self._probe.handler
        if probe.way == "exec":
            await _executed(handler["command"], probe.timeout)
            return
        where = TcpAddress(str(handler.get("host") or self._host), _number(handler, "port", 0))
        match probe.way:
            case "tcpSocket":
                await connected(where, probe.timeout, None)
            case "grpc":
                await ask_health(where, str(handler.get("service") or ""), probe.timeout)
            case _:
                await self._get(where)

    async def _get(self, where: TcpAddress) -> None:
        handler = self._probe.handler
        path = str(handler.get("path") or "/")
        headers = [(str(each.get("name")), str(each.get("value"))) for each in handler.get("httpHeaders") or ()]
        if "user-agent" not in {name.lower() for name, _ in headers}:
            headers.append(("User-Agent", "istio-probe/1.0"))
        request = Request(
            where,
            path if path.startswith("/") else f"/{path}",
            headers=tuple(headers),
            timeout=self._probe.timeout,
            tls=unverified() if str(handler.get("scheme", "")).lower() == "https" else None,
            source=self._source,
        )
        reply = await ask(request)
        if reply.status not in _GOOD:
            raise NoAnswerError(f"{where}{request.target} answered {reply.status}")


async def _executed(command: list[str], timeout: timedelta) -> None:  # noqa: ASYNC109 - named in the error
    """Run a command. Raises ``NoAnswerError`` when it fails or takes too long."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError as error:
        raise NoAnswerError(f"{command[0]}: {error.strerror}") from None
    try:
        async with asyncio.timeout(timeout.total_seconds()):
            code = await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise NoAnswerError(f"{command[0]} took longer than {timeout.total_seconds():g} s") from None
    if code:
        raise NoAnswerError(f"{command[0]} ended with {code}")


def _number(said: Mapping[str, Any], name: str, default: int) -> int:
    value = said.get(name, default)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise StartError(f"{_WHERE}: {name} must be a whole number, not {value!r}")
    return value
