"""Envoy as the agent's child: started from the bootstrap, watched, told to drain, and ended.

Its output is the agent's own. The agent does not start it again: in a pod the kubelet does, with everything else.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import structlog

from controlplane.agent.addresses import TcpAddress
from controlplane.agent.environment import StartError
from controlplane.agent.http.client import NoAnswerError, Reply, Request, ask
from controlplane.agent.options import Options

_LEVELS = ("trace", "debug", "info", "warning", "warn", "error", "critical", "off")
_MOST_FAILURES = 5
_POLL = timedelta(seconds=1)
_ADMIN_TIMEOUT = timedelta(seconds=2)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DrainPolicy:
    """How long connections have to end. ``until_idle`` waits for the last one, but ``minimum`` in any case."""

    inbound_only: bool
    duration: timedelta
    until_idle: bool
    minimum: timedelta
    own_ports: frozenset[int]

    @classmethod
    def of(cls, options: Options, own_ports: frozenset[int]) -> DrainPolicy:
        """Read what was said. Raises ``StartError``."""
        environment = options.environment
        return cls(
            options.workload.kind == "sidecar",
            options.config.duration("terminationDrainDuration"),
            environment.flag("EXIT_ON_ZERO_ACTIVE_CONNECTIONS"),
            environment.duration("MINIMUM_DRAIN_DURATION", timedelta(seconds=5)),
            own_ports,
        )


def arguments(options: Options, bootstrap: Path, override: str) -> list[str]:
    """Return Envoy's command line behind the program. ``override`` is a second bootstrap, merged over the first."""
    flags, environment, config = options.flags, options.environment, options.config
    level, components = log_levels(flags.proxy_log_level, flags.proxy_component_log_level)
    interval = config.duration("fileFlushInterval") or timedelta(seconds=1)
    found = ["-c", str(bootstrap), "--drain-time-s", str(int(config.duration("drainDuration").total_seconds()))]
    found += ["--drain-strategy", "immediate"]
    found += ["--local-address-ip-version", "v6" if options.workload.ipv6_only else "v4"]
    found += ["--file-flush-interval-msec", str(int(interval.total_seconds() * 1000))]
    found += ["--disable-hot-restart", "--allow-unknown-static-fields"]
    if size := config.number("fileFlushMinSizeKb"):
        found += ["--file-flush-min-size-kb", str(size)]
    found += ["-l", level, *(["--component-log-level", components] if components else [])]
    if environment.flag("ENVOY_SKIP_DEPRECATED_LOGS", default=True):
        found.append("--skip-deprecated-logs")
    if environment.flag("ISTIO_ENVOY_ENABLE_CORE_DUMP"):
        found.append("--enable-core-dump")
    if override:
        found += ["--config-yaml", override]
    if config.concurrency:
        found += ["--concurrency", str(config.concurrency)]
    return found


def log_levels(text: str, components: str) -> tuple[str, str]:
    """Return Envoy's level and those of its components, which ``info,misc:error`` states together.

    Raises:
        StartError: the level is none of Envoy's.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    level = next((word for word in words if ":" not in word), "warning")
    if level not in _LEVELS:
        raise StartError(f"--proxyLogLevel: {level!r} is none of {', '.join(_LEVELS)}")
    scoped = ",".join(word for word in words if ":" in word)
    return level, scoped or components


class EnvoyProcess:
    """One Envoy. ``ended`` is set when it has ended, by itself or not."""

    def __init__(self, command: Sequence[str], admin: TcpAddress, environment: Mapping[str, str] | None = None) -> None:
        self._command = tuple(command)
        self._admin = admin
        self._environment = {**os.environ, **(environment or {})}
        self._process: asyncio.subprocess.Process | None = None
        self.ended = asyncio.Event()

    @property
    def returncode(self) -> int | None:
        """Its exit code, ``None`` while it runs or has not been started."""
        return self._process.returncode if self._process is not None else None

    async def start(self) -> None:
        """Start it. Raises ``StartError``."""
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, env=self._environment, stdin=asyncio.subprocess.DEVNULL, start_new_session=True
            )
        except OSError as error:
            raise StartError(f"{self._command[0]} cannot be started: {error.strerror}") from None
        log.info("agent.envoy_started", pid=self._process.pid, command=" ".join(self._command[:3]))

    async def wait(self) -> int:
        """Wait until it has ended; return its exit code."""
        assert self._process is not None, "started"  # noqa: S101 - the caller's order
        code = await self._process.wait()
        self.ended.set()
        return code

    async def kill(self) -> None:
        """End it at once."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGKILL)
            await self._process.wait()
        self.ended.set()

    async def admin(self, target: str, method: str = "GET", timeout: timedelta = _ADMIN_TIMEOUT) -> Reply:  # noqa: ASYNC109
        """Ask the admin interface. Raises ``NoAnswerError``."""
        return await ask(Request(self._admin, target, method, timeout=timeout))

    async def drain(self, policy: DrainPolicy, *, for_good: bool = False) -> None:
        """Tell it to let go of its connections, and wait as the policy says or until it has ended.

        ``for_good`` only tells it: it serves on until it is ended.
        """
        target = "/drain_listeners?" + ("inboundonly&" if policy.inbound_only else "") + "graceful"
        try:
            await self.admin(target + ("&skip_exit" if for_good else ""), "POST")
        except NoAnswerError as error:
            log.warning("agent.drain_failed", reason=str(error))
        if for_good:
            return
        if policy.until_idle:
            await self._until(policy.minimum)
            await self._until_idle(policy)
        else:
            await self._until(policy.duration)

    async def _until(self, duration: timedelta) -> None:
        """Wait so long, or until it has ended."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(duration.total_seconds()):
                await self.ended.wait()

    async def _until_idle(self, policy: DrainPolicy) -> None:
        failures = 0
        while failures < _MOST_FAILURES and not self.ended.is_set():
            try:
                reply = await self.admin("/stats?usedonly&filter=downstream_cx_active$")
                active = active_connections(reply.body.decode(errors="replace"), policy.own_ports)
            except NoAnswerError:
                failures += 1
            else:
                failures = 0
                if not active:
                    return
            await self._until(_POLL)


def active_connections(text: str, own_ports: frozenset[int]) -> int:
    """Return how many connections listeners have, by Envoy's statistics; its own listeners do not count."""
    total = 0
    for line in text.splitlines():
        name, colon, value = line.rpartition(":")
        address = name.removeprefix("listener.").removesuffix(".downstream_cx_active")
        own = any(address.endswith(f"_{port}") for port in own_ports)
        counts = (
            name.startswith("listener.")
            and "worker_" not in name
            and not address.startswith(("envoy_internal_", "admin"))
        )
        if colon and counts and not own and value.strip().isdecimal():
            total += int(value)
    return total
