"""An Envoy with its agent, as a process in a folder of its own: what a pod has at ``/`` is below that folder."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp

from controlplane.agent.addresses import TcpAddress
from samples.authority import LocalAuthority, spiffe_id
from samples.control_plane import LOOPBACK, READY_TIMEOUT, free_port
from samples.process import ChildProcess, ProcessFailedError

_TIMEOUT = aiohttp.ClientTimeout(total=30)


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports that an agent and its Envoy have beside those of the traffic."""

    admin: int
    agent: int
    ready: int
    metrics: int

    @classmethod
    def free(cls) -> Ports:
        """Return four different ones."""
        return cls(*(free_port() for _ in range(4)))


@dataclass(frozen=True, slots=True)
class Pod:
    """What Kubernetes would tell an agent of its pod; ``metadata`` are keys of the node's."""

    name: str
    namespace: str = "default"
    ip: str = "10.0.0.2"
    kind: str = "sidecar"
    service_account: str = "default"
    labels: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """What the control plane calls its proxy."""
        return f"{self.name}.{self.namespace}"


class Proxy:
    """One agent with its Envoy; ``folder`` is its root. ``config`` is of the ProxyConfig, ``environment`` is added.

    ``wrapper`` is put before the command (``("ip", "netns", "exec", ...)``) and must become it by ``exec``.
    """

    def __init__(  # noqa: PLR0913 - each has a default that a sample takes
        self,
        pod: Pod,
        folder: Path,
        config: Mapping[str, Any],
        environment: Mapping[str, str] | None = None,
        *,
        ports: Ports | None = None,
        wrapper: Sequence[str] = (),
        host: str = LOOPBACK,
        log_level: str = "warning",
    ) -> None:
        """Prepare it; nothing runs before ``start``. ``host`` is where its ports are asked."""
        self.pod = pod
        self.folder = folder
        self.ports = ports or Ports.free()
        self._host = host
        folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "proxyAdminPort": self.ports.admin,
            "statusPort": self.ports.agent,
            "concurrency": 1,
            "drainDuration": "1s",
            "terminationDrainDuration": "0s",
            **config,
        }
        variables = {
            "POD_NAME": pod.name,
            "POD_NAMESPACE": pod.namespace,
            "SERVICE_ACCOUNT": pod.service_account,
            "INSTANCE_IP": pod.ip,
            "ENVOY_STATUS_PORT": str(self.ports.ready),
            "ENVOY_PROMETHEUS_PORT": str(self.ports.metrics),
            "ISTIO_METAJSON_LABELS": json.dumps(dict(pod.labels)),
            "PROXY_CONFIG": json.dumps(settings),
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]),
            **{f"ISTIO_META_{key}": value for key, value in pod.metadata.items()},
            **(environment or {}),
        }
        command = [*wrapper, sys.executable, "-m", "controlplane", "agent", "proxy", pod.kind]
        command += [f"--proxyLogLevel={log_level}"]
        self.process = ChildProcess(f"the agent of {pod.id}", command, folder / "agent.log", variables, folder=folder)

    async def start(self) -> None:
        """Start the agent, which starts Envoy."""
        await self.process.start()

    async def stop(self) -> None:
        """End both and wait for it."""
        await self.process.stop()

    async def wait_ready(self, timeout: timedelta = READY_TIMEOUT) -> None:  # noqa: ASYNC109 - named in the error
        """Wait until the agent calls itself ready. Raises ``ProcessFailedError``."""
        await self.process.wait_until(self.is_ready, timeout)

    async def is_ready(self) -> bool:
        """Whether the agent says that its Envoy has configuration and serves."""
        try:
            status, _ = await self.ask(self.ports.agent, "/healthz/ready")
        except (OSError, aiohttp.ClientError, TimeoutError):  # not listening yet
            return False
        return status == HTTPStatus.OK

    async def stats(self, pattern: str) -> Mapping[str, int]:
        """Return Envoy's counters and gauges whose names match a regular expression somewhere.

        Raises ``ProcessFailedError`` when the admin interface refuses, ``aiohttp.ClientError`` when it is gone.
        """
        status, text = await self.ask(self.ports.admin, f"/stats?format=json&filter={quote(pattern)}")
        if status != HTTPStatus.OK:
            raise ProcessFailedError(self.process.failure(f"answered {status} when asked for stats: {text.strip()}"))
        return {each["name"]: each["value"] for each in json.loads(text)["stats"] if isinstance(each.get("value"), int)}

    async def rejected(self) -> Mapping[str, int]:
        """Return how many updates of each kind Envoy refused since it started; nothing when it took them all."""
        return {name: count for name, count in (await self.stats(r"update_rejected$")).items() if count}

    async def ask(self, port: int, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
        """Return status and body of a page of the agent or of Envoy."""
        async with (
            aiohttp.ClientSession(timeout=_TIMEOUT) as session,
            session.request(method, f"http://{TcpAddress(self._host, port)}{path}", headers=headers) as response,
        ):
            return response.status, await response.text()


def mount_certificates(folder: Path, authority: LocalAuthority, namespace: str, service_account: str) -> None:
    """Put a workload's certificate where an agent in this folder finds it, instead of asking an authority."""
    identity = authority.issue(spiffe_id(namespace, service_account))
    mounted = folder / "etc" / "certs"
    mounted.mkdir(parents=True, exist_ok=True)
    (mounted / "root-cert.pem").write_bytes(identity.root_certificate)
    (mounted / "key.pem").write_bytes(identity.private_key)
    (mounted / "cert-chain.pem").write_bytes(identity.certificate_chain)
