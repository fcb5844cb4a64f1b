"""The control plane is killed under load and comes again much later: no request fails, and what was missed is made up.

Certificates come to be renewed while nobody signs, and objects change while nobody reads them.

python -m tests.envoy.outage --seconds 300 (``make outage``), as root: pods are network namespaces.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from time import monotonic

from controlplane.security.ca import Authority, Lifetimes
from controlplane.security.issuer import Issuer
from tests.envoy.mesh import eventually, write
from tests.envoy.strict_pods import SERVICE, URL, Json, StrictPods, Word, asked, first, folder, strict_pods
from tests.envoy.test_interception import kube
from tests.security.authorities import cacerts, root

AGENTS = ("client", "server")
AFTERWARDS = timedelta(minutes=2)
"""Certificates live longer than the outage by this: agents may pause for a minute before they ask again."""


@asynccontextmanager
async def pods_of(life: timedelta) -> AsyncIterator[StrictPods]:
    """Run the pods with certificates of this lifetime, of which half is left when they are renewed."""
    async with folder() as directory:
        own = root("mesh")
        files = cacerts(own.signs("mesh"), [], [own])
        (directory / "ca").mkdir()
        for name, content in files.items():
            (directory / "ca" / name).write_bytes(content)
        issuer = Issuer.of_files(files)
        if issuer is None:
            raise RuntimeError("no issuer")
        authority = Authority(issuer, Lifetimes())
        environment = {"SECRET_TTL": f"{life.total_seconds():.0f}s"}
        async with strict_pods(
            directory, lambda place, workload: first(place, workload, authority), environment=environment
        ) as pods:
            yield pods


async def until_noticed(pods: StrictPods) -> None:
    """Wait until both agents have said that nobody answers any more."""
    logs = [pods.log.parent / name / "agent.log" for name in AGENTS]

    async def noticed() -> bool:
        return all("agent.control_plane_ended" in each.read_text(encoding="utf-8") for each in logs)

    await eventually(noticed, "the agents see that the control plane is gone")


def change(config: Path) -> None:
    """Have the service's answers bear a header."""
    bearing = {"response": {"set": {"x-changed": "yes"}}}
    route = {"route": [{"destination": {"host": SERVICE}}], "headers": bearing}
    spec = {"hosts": [SERVICE], "http": [route]}
    write(config / "changed.yaml", kube("VirtualService", "server", "networking.istio.io/v1", spec=spec))


async def until_made_up(pods: StrictPods) -> None:
    """Wait until the change is in force, which was made while the control plane was away."""

    async def changed() -> bool:
        return "x-changed: yes" in (await pods.client.curl(URL, "--include"))[1]

    await eventually(changed, "what changed meanwhile is in force")


async def words(word: Word, seconds: float) -> Json:
    """Read words for so long; return the last one."""
    said, begun = await word(), monotonic()
    while monotonic() - begun < seconds:
        said = await word()
    return said


async def run(seconds: int, workers: int) -> int:
    """Run all of it; 1 if a request failed."""
    life = timedelta(seconds=seconds) + AFTERWARDS  # renewal is due at half of it, when nobody signs
    async with pods_of(life) as pods, asked(pods.client, workers) as word:
        begun = monotonic()

        def tell(said: Json, what: str) -> Json:
            print(f"{monotonic() - begun:6.0f} s  {said}  {what}", flush=True)
            return said

        before = tell(await words(word, 10), "before")
        await pods.control_plane.kill()
        await until_noticed(pods)
        change(pods.config)
        said = tell(await words(word, seconds), "killed, all this time")
        if said["certificates"] != before["certificates"]:
            raise RuntimeError("a certificate was renewed while nobody signed")
        await pods.control_plane.start()
        await until_made_up(pods)
        said = tell(await word(), "the change of meanwhile is in force")
        while said["certificates"] == before["certificates"]:
            said = await word()
        said = tell(await words(word, 10), "certificates are renewed")
    return int(bool(said["failures"]))


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=300, help="how long the control plane is away")
    parser.add_argument("--workers", type=int, default=8, help="requests at a time")
    options = parser.parse_args()
    return asyncio.run(run(options.seconds, options.workers))


if __name__ == "__main__":
    raise SystemExit(main())
