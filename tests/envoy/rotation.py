"""Certificates of a minute, renewed again and again under load, and a root that is replaced: no request fails.

A tool, not a test: it takes minutes.

python -m tests.envoy.rotation --rotations 10 (``make rotation``), as root: pods are network namespaces.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Any

from controlplane.agent.addresses import TcpAddress
from controlplane.security.ca import Authority, Lifetimes
from controlplane.security.issuer import Issuer
from samples.authority import LocalAuthority, spiffe_id
from samples.control_plane import ControlPlane, free_port
from tests.envoy.agents import first_certificate
from tests.envoy.mesh import eventually, print_logs, write
from tests.envoy.pods import HOST_ADDRESS, PROXY_UID, Pod, Site, fabric, inside, pod
from tests.envoy.test_interception import SERVICE_ADDRESS, kube, objects
from tests.security.authorities import Signer, cacerts, root

Json = dict[str, Any]
LIFE = timedelta(minutes=1)
OLD_LIFE = timedelta(minutes=4)
LONGEST = timedelta(minutes=30)


class Roots:
    """The authority of the control plane, which ends after some minutes, and one of another root that follows it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._old, self._new = root("old"), root("new")
        self._plug_in(self._old.signs("old", days=OLD_LIFE / timedelta(days=1)), self._old)

    def _plug_in(self, signer: Signer, *roots: Signer) -> None:
        files = cacerts(signer, [], list(roots))
        folder = self._directory / "ca"
        folder.mkdir(exist_ok=True)
        for name, content in files.items():
            (folder / f".{name}").write_bytes(content)
        for name in files:
            (folder / f".{name}").rename(folder / name)
        issuer = Issuer.of_files(files)
        if issuer is None:
            raise RuntimeError("no issuer")
        self.authority = Authority(issuer, Lifetimes())

    def first(self, folder: Path, workload: str) -> None:
        """Put a certificate into a pod that its agent shows to whoever signs."""
        first_certificate(folder, self.authority, spiffe_id("default", workload))
        for path in (folder, *folder.iterdir()):
            os.chown(path, PROXY_UID, PROXY_UID)

    async def replace(self, log: Path) -> None:
        """Plug in the other root; once it is trusted, agents get first certificates of it. Wait until it signs."""
        before = _told(log, "security.serving_certificate")
        self._plug_in(self._new.signs("new"), self._new, self._old)
        async with asyncio.timeout(LONGEST.total_seconds()):
            while _told(log, "security.serving_certificate") == before:
                await asyncio.sleep(0.5)
            for workload in ("client", "server"):
                self.first(self._directory / workload / "first", workload)
            while not _told(log, "security.issuer_changed"):
                await asyncio.sleep(0.5)


def _told(log: Path, event: str) -> int:
    return log.read_text(encoding="utf-8").count(event)


@asynccontextmanager
async def asked(client: Pod, workers: int) -> AsyncIterator[Callable[[], Awaitable[Json]]]:
    """Ask from the client; what is yielded waits for the next word of how requests went."""
    command = [*inside(client.namespace), sys.executable, "-m", "tests.envoy.load", f"http://{SERVICE_ADDRESS}/"]
    process = await asyncio.create_subprocess_exec(*command, str(workers), stdout=asyncio.subprocess.PIPE)
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


async def rotated(word: Callable[[], Awaitable[Json]], enough: Callable[[Json], bool], begun: float) -> Json:
    """Take words until one says enough; print each certificate that is new. No word is left for later."""
    said, told = await word(), 0
    while not enough(said):
        if said["certificates"] != told:
            told = said["certificates"]
            print(f"{monotonic() - begun:6.0f} s  {said}", flush=True)
        said = await word()
    return said


async def run(rotations: int, workers: int) -> int:
    """Run all of it; 1 if a request failed."""
    with tempfile.TemporaryDirectory(prefix="pods-") as name:
        directory = Path(name)
        os.chown(directory, PROXY_UID, PROXY_UID)
        config, log = directory / "config", directory / "control-plane.log"
        config.mkdir()
        subnet = HOST_ADDRESS.rpartition(".")[0]
        strict = kube("PeerAuthentication", "default", "security.istio.io/v1", spec={"mtls": {"mode": "STRICT"}})
        few = {"connectionPool": {"http": {"maxRequestsPerConnection": 20}}}
        spec = {"host": "server.default.svc.cluster.local", "trafficPolicy": few}
        rule = kube("DestinationRule", "server", "networking.istio.io/v1", spec=spec)
        write(config / "pods.yaml", *objects(f"{subnet}.1", f"{subnet}.2"), strict, rule)
        roots, secure = Roots(directory), TcpAddress(HOST_ADDRESS, free_port())
        options = [
            "--secure-port",
            str(secure.port),
            "--ca-dir",
            str(directory / "ca"),
            "--serving-names",
            HOST_ADDRESS,
        ]
        options += ["--certificate-lifetime", "1m"]
        async with AsyncExitStack() as stack:
            network = await stack.enter_async_context(fabric())
            control_plane = ControlPlane(config, log, xds_host=HOST_ADDRESS, options=options)
            stack.push_async_callback(control_plane.stop)
            await control_plane.start()
            environment = {"SECRET_TTL": f"{LIFE.total_seconds():.0f}s"}
            site = Site(network, directory, secure, LocalAuthority(), roots.first, environment)
            try:
                client = await stack.enter_async_context(pod(site, "client", 1))
                await stack.enter_async_context(pod(site, "server", 2))

                async def answers() -> bool:
                    return (await client.curl(f"http://{SERVICE_ADDRESS}/"))[0] == 200

                await eventually(answers, "the service answers")
                begun = monotonic()
                async with asked(client, workers) as word:
                    replacing = asyncio.create_task(roots.replace(log))
                    enough = rotations + 1
                    said = await rotated(word, lambda each: replacing.done() and each["certificates"] >= enough, begun)
                    await replacing
                    print(f"{monotonic() - begun:6.0f} s  the other root signs", flush=True)
                    more = said["certificates"] + 2
                    said = await rotated(word, lambda each: bool(each["certificates"] >= more), begun)
                    print(f"{monotonic() - begun:6.0f} s  {said}", flush=True)
            except BaseException:
                print_logs(directory)
                raise
    return int(bool(said["failures"]))


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rotations", type=int, default=10, help="certificates after the first")
    parser.add_argument("--workers", type=int, default=8, help="requests at a time")
    options = parser.parse_args()
    return asyncio.run(run(options.rotations, options.workers))


if __name__ == "__main__":
    raise SystemExit(main())
