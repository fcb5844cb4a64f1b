"""What is measured beside an attack: how long an honest proxy and a probe of health wait, and the memory."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import NamedTuple

import aiohttp

from tests.feature.client import CDS, Client
from tests.feature.objects import MESH, cluster, marker
from tests.feature.server import Event, Server, serving
from tests.patience import PATIENCE_SECONDS, in_time

MOST_GROWN = 200 << 20
LATEST_CHANGE = 2.0
LATEST_ANSWER = 1.0
"""Seconds of work; a probe of health gives up after one."""
SECURE = ("empty-data", "unfinished-messages", "connections", "resets-that-we-send", "prefaces-that-trickle")
"""Those that are done over TLS too."""
KEPT = 50
"""Changes whose objects stay; older ones are taken away again."""

markers = iter(range(1 << 20))


class Waited(NamedTuple):
    """How long somebody waited, and what the control plane worked meanwhile, both in seconds.

    Beside an attack it is never idle, so the work says how long one would wait if nobody else used the machine.
    """

    seconds: float
    work: float


class Measured(NamedTuple):
    """From a change of a file to the proxy, and of answers to probes; bytes of memory."""

    changes: list[Waited]
    answers: list[Waited]
    memory: int


class Watch:
    """Measures from its beginning."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._began, self._worked = time.monotonic(), worked(server)

    def waited(self) -> Waited:
        return Waited(time.monotonic() - self._began, worked(self._server) - self._worked)


def worked(server: Server) -> float:
    """Return the seconds of processor time that the main thread, which has the event loop, has taken."""
    pid = server.process.pid
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text(encoding="utf-8").split()[0]) / 1e9


@contextmanager
def attackable(folder: Path, keeps: Callable[[Event], bool] = bool, options: Sequence[str] = ()) -> Iterator[Server]:
    """Run a control plane with both ports, which lets streams in as fast as it can."""
    (folder / "mesh").mkdir()
    ports = ["--new-streams-per-second", "0", "--secure-port", "0", "--ca-dir", str(folder / "ca")]
    ports += ["--max-connection-age", "0s"]  # who is honest stays for as long as it is measured, which may be hours
    with serving(folder / "mesh", *MESH, options=[*ports, *options], keeps=keeps) as running:
        yield running


def memory(server: Server) -> int:
    lines = Path(f"/proc/{server.process.pid}/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS:")).split()[1]) << 10


async def change(server: Server, *clients: Client) -> Waited:
    """Make a change, and return how long the last of these waited for it."""
    number = next(markers)
    watch = Watch(server)
    server.write(f"marker-{number}.yaml", marker(number % (1 << 16)))
    server.remove(f"marker-{number - KEPT}.yaml")
    name = cluster(f"marker-{number % (1 << 16)}.test", port=7000)
    for client in clients:
        await client.until(lambda client=client: client.has(CDS, name))  # type: ignore[misc]
    return watch.waited()


async def answer(server: Server, session: aiohttp.ClientSession) -> Waited:
    watch = Watch(server)
    async with session.get(f"http://{server.monitoring}/ready") as response:
        assert response.status == 200
    return watch.waited()


async def measured(server: Server, seconds: float, *clients: Client) -> Measured:
    end = time.monotonic() + seconds
    changes, answers, most = list[Waited](), list[Waited](), 0

    async def probe() -> None:
        nonlocal most
        async with aiohttp.ClientSession() as session:
            while time.monotonic() < end:
                answers.append(await answer(server, session))
                most = max(most, memory(server))
                await asyncio.sleep(0.02)

    async def edit() -> None:
        while time.monotonic() < end:
            changes.append(await change(server, *clients))
            await asyncio.sleep(0.15)  # the holdoff after it

    await asyncio.gather(probe(), edit())
    return Measured(changes, answers, most)


@asynccontextmanager
async def attacked(server: Server, kind: str, *, tls: bool, seconds: float) -> AsyncIterator[dict[str, int]]:
    """Attack in here, from the beginning on; what the attacker has done is in the mapping afterwards."""
    host, _, port = (server.secure if tls else server.xds).rpartition(":")
    command = [sys.executable, "-m", "tests.attack.floods", kind, host, port, str(seconds), *(["tls"] if tls else [])]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    said: dict[str, int] = {}
    assert process.stdout is not None
    assert await in_time(process.stdout.readline()) == b"begun\n"
    yield said
    out, _ = await asyncio.wait_for(process.communicate(), seconds + PATIENCE_SECONDS)
    said |= json.loads(out)
    assert said["connections"], "the attack did not take place"
