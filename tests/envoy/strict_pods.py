"""Two pods that speak nothing but mutual TLS with certificates of a control plane, and requests without end."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from controlplane.agent.addresses import TcpAddress
from controlplane.security.ca import Authority
from samples.authority import LocalAuthority, spiffe_id
from samples.control_plane import ControlPlane, free_port
from tests.envoy.agents import first_certificate
from tests.envoy.mesh import eventually, print_logs, write
from tests.envoy.pods import HOST_ADDRESS, PROXY_UID, Pod, Site, fabric, inside, pod
from tests.envoy.test_interception import SERVICE_ADDRESS, kube, objects

Json = dict[str, Any]
Word = Callable[[], Awaitable[Json]]
URL = f"http://{SERVICE_ADDRESS}/"
SERVICE = "server.default.svc.cluster.local"
LONGEST = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class StrictPods:
    """The pods, what configures them and what signs for them. ``log`` is the control plane's."""

    client: Pod
    server: Pod
    config: Path
    control_plane: ControlPlane
    log: Path


def first(folder: Path, workload: str, authority: Authority) -> None:
    """Put a certificate into a pod that its agent shows to whoever signs."""
    first_certificate(folder, authority, spiffe_id("default", workload))
    for path in (folder, *folder.iterdir()):
        os.chown(path, PROXY_UID, PROXY_UID)


@asynccontextmanager
async def folder() -> AsyncIterator[Path]:
    """Make a folder for everything, with a short name, where pods may write."""
    with tempfile.TemporaryDirectory(prefix="pods-") as name:
        directory = Path(name)
        os.chown(directory, PROXY_UID, PROXY_UID)
        yield directory


@asynccontextmanager
async def strict_pods(
    directory: Path,
    sign_first: Callable[[Path, str], None],
    options: Sequence[str] = (),
    environment: Mapping[str, str] = {},
) -> AsyncIterator[StrictPods]:
    """Run them until the server answers the client; the authority is what lies in ``directory/ca``.

    ``options`` are further ones of the control plane, ``environment`` is for agents. A connection between the proxies
    takes 20 requests at most, so that new ones are made all the time.
    """
    config, log = directory / "config", directory / "control-plane.log"
    config.mkdir()
    subnet = HOST_ADDRESS.rpartition(".")[0]
    strict = kube("PeerAuthentication", "default", "security.istio.io/v1", spec={"mtls": {"mode": "STRICT"}})
    few = {"connectionPool": {"http": {"maxRequestsPerConnection": 20}}}
    rule = kube("DestinationRule", "server", "networking.istio.io/v1", spec={"host": SERVICE, "trafficPolicy": few})
    write(config / "pods.yaml", *objects(f"{subnet}.1", f"{subnet}.2"), strict, rule)
    secure = TcpAddress(HOST_ADDRESS, free_port())
    secured = ["--secure-port", str(secure.port), "--ca-dir", str(directory / "ca"), "--serving-names", HOST_ADDRESS]
    async with AsyncExitStack() as stack:
        network = await stack.enter_async_context(fabric())
        control_plane = ControlPlane(config, log, xds_host=HOST_ADDRESS, options=[*secured, *options])
        stack.push_async_callback(control_plane.stop)
        await control_plane.start()
        site = Site(network, directory, secure, LocalAuthority(), sign_first, environment)
        try:
            client = await stack.enter_async_context(pod(site, "client", 1))
            server = await stack.enter_async_context(pod(site, "server", 2))

            async def answers() -> bool:
                return (await client.curl(URL))[0] == 200

            await eventually(answers, "the service answers")
            yield StrictPods(client, server, config, control_plane, log)
        except BaseException:
            print_logs(directory)
            raise


@asynccontextmanager
async def asked(client: Pod, workers: int) -> AsyncIterator[Word]:
    """Ask from the client; what is yielded waits for the next word of how requests went."""
    command = [*inside(client.namespace), sys.executable, "-m", "tests.envoy.load", URL, str(workers)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output = process.stdout
    if output is None:
        raise RuntimeError("no output to read")

    async def word() -> Json:
        async with asyncio.timeout(LONGEST.total_seconds()):
            said: Json = json.loads(await output.readline())
            return said

    try:
        yield word
    finally:
        process.terminate()
        await process.wait()
