"""The control plane as a process, serving a directory of YAML on loopback."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import random
import socket
import sys
from collections.abc import Sequence
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path

import aiohttp

from controlplane.agent.addresses import TcpAddress
from samples.process import ChildProcess

LOOPBACK = "127.0.0.1"
READY_TIMEOUT = timedelta(seconds=120)
"""For one that hangs: a machine that is busy elsewhere takes long for what is done in a second otherwise."""
_NOT_EPHEMERAL = (20_000, 32_768)  # below what Linux takes for connections
_PROCESSES = 16
_returned: set[int] = set()


def free_port(preferred: int = 0, *hosts: str) -> int:
    """Return ``preferred`` if nothing listens there, else a port that is free now, on every host (loopback if none).

    The system gives it to no outgoing connection before it is opened, and it is returned only once. Processes that look
    at the same time look in different places, by their numbers: whoever finds a port opens it some time later.

    Raises ``OSError`` when no port is, or a host is no address of this machine.
    """
    first, end = _NOT_EPHEMERAL
    others = (random.randrange(first + os.getpid() % _PROCESSES, end, _PROCESSES) for _ in range(200))
    for port in itertools.chain((preferred,) if preferred else (), others):
        if port in _returned and port != preferred:
            continue
        with contextlib.ExitStack() as stack:
            try:
                for host in hosts or (LOOPBACK,):
                    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                        probe = stack.enter_context(socket.socket(type=kind))
                        if kind is socket.SOCK_STREAM:
                            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                        probe.bind((host, port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
            _returned.add(port)
            return port
    raise OSError(errno.EADDRINUSE, f"no port is free on {', '.join(hosts) or LOOPBACK}")


class ControlPlane:
    """``controlplane serve`` on a directory; its ports stay the same when it is started again."""

    def __init__(  # noqa: PLR0913 - each has a default that a sample takes
        self,
        config_dir: Path,
        log_path: Path,
        *,
        xds_port: int = 0,
        monitoring_port: int = 0,
        xds_host: str = LOOPBACK,
        options: Sequence[str] = (),
    ) -> None:
        """Choose the ports (0: any free one); nothing runs before ``start``. ``options`` are further ones."""
        self.xds = TcpAddress(xds_host, free_port(xds_port, xds_host))
        self.monitoring = TcpAddress(LOOPBACK, free_port(monitoring_port))
        command = [sys.executable, "-m", "controlplane", "serve", "--config-dir", str(config_dir)]
        command += ["--xds-bind", self.xds.host, "--xds-port", str(self.xds.port)]
        command += ["--monitoring-port", str(self.monitoring.port), *options]
        self.process = ChildProcess("the control plane", command, log_path)

    async def start(self) -> None:
        """Start it and wait until it has read the directory and serves. Raises ``ProcessFailedError``."""
        await self.process.start()
        await self.process.wait_until(self.is_ready, READY_TIMEOUT)

    async def is_ready(self) -> bool:
        """Whether ``/ready`` of the monitoring port says yes."""
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session,
                session.get(f"http://{self.monitoring}/ready") as response,
            ):
                return response.status == HTTPStatus.OK
        except (OSError, aiohttp.ClientError, TimeoutError):  # not listening yet
            return False

    async def problems(self) -> list[str]:
        """Return what is wrong with its objects, a line each, in force or not; nothing while it cannot be asked."""
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session,
                session.get(f"http://{self.monitoring}/debug/rejectedz") as response,
            ):
                found = await response.json()
        except (OSError, aiohttp.ClientError, TimeoutError):
            return []
        return [f"{each['source']}: {problem}" for each in found for problem in each["problems"]]

    async def stop(self) -> None:
        """End it politely."""
        await self.process.stop()

    async def kill(self) -> None:
        """End it at once, as a crash would."""
        await self.process.kill()
