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

MOST_GROWN = 200 << 20
LATEST_CHANGE = 2.0
LATEST_ANSWER = 1.0
"""Seconds; a probe of health gives up after one."""
SECURE = ("empty-data", "unfinished-messages", "connections", "resets-that-we-send", "prefaces-that-trickle")
"""Those that are done over TLS too."""
KEPT = 50
"""Changes whose objects stay; older ones are taken away again."""

markers = iter(range(1 << 20))


class Measured(NamedTuple):
    """Seconds from a change of a file to the proxy, and of answers to probes; bytes of memory."""

    changes: list[float]
    answers: list[float]
    memory: int


@contextmanager
def attackable(folder: Path, keeps: Callable[[Event], bool] = bool, options: Sequence[str] = ()) -> Iterator[Server]:
    """Run a control plane with both ports, which lets streams in as fast as it can."""
    (folder / "mesh").mkdir()
    ports = ["--new-streams-per-second", "0", "--secure-port", "0", "--ca-dir", str(folder / "ca")]
    with serving(folder / "mesh", *MESH, options=[*ports, *options], keeps=keeps) as running:
        yield running


def memory(server: Server) -> int:
    lines = Path(f"/proc/{server.process.pid}/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS:")).split()[1]) << 10


async def change(server: Server, *clients: Client) -> float:
    """Make a change, and return how long the last of these waited for it."""
    number = next(markers)
    began = time.monotonic()
    server.write(f"marker-{number}.yaml", marker(number % (1 << 16)))
    server.remove(f"marker-{number - KEPT}.yaml")
    name = cluster(f"marker-{number % (1 << 16)}.test", port=7000)
    for client in clients:
        await client.until(lambda client=client: client.has(CDS, name))  # type: ignore[misc]
    return time.monotonic() - began


async def answer(server: Server, session: aiohttp.ClientSession) -> float:
    began = time.monotonic()
    async with session.get(f"http://{server.monitoring}/ready") as response:
        assert response.status == 200
    return time.monotonic() - began


async def measured(server: Server, seconds: float, *clients: Client) -> Measured:
    end = time.monotonic() + seconds
    changes, answers, most = list[float](), list[float](), 0

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
    await asyncio.sleep(0.7)  # it starts
    yield said
    out, _ = await asyncio.wait_for(process.communicate(), seconds + 30)
    said |= json.loads(out)
    assert said["connections"], "the attack did not take place"
