"""Mirrors and faults for a share of the requests, counted at the backends."""

from __future__ import annotations

import asyncio
import math
import time

import aiohttp
import pytest

from samples.backends import Backend
from samples.traffic import SIGMAS, Answer, send
from tests.envoy.mesh import HOST, Mesh, eventually, eventually_all, routes, service, subsets, to

pytestmark = pytest.mark.asyncio(loop_scope="session")

DELAYS = r"fault\.delays_injected$"
OK_V1 = Answer(200, "v1", "/")


def bounds(count: int, percent: float) -> tuple[float, float]:
    """Return the range in which a share of so many independent events lies, 4.5 standard deviations each way."""
    mean = count * percent / 100
    spread = SIGMAS * math.sqrt(mean * (1 - percent / 100))
    return mean - spread, mean + spread


async def test_mirror_percentages(mesh: Mesh) -> None:
    """Two mirrors with percentages of their own: 20 % and 100 % of 300 requests."""
    v1, v2, v3 = [await mesh.backend(version) for version in ("v1", "v2", "v3")]
    mirrors = [
        {"destination": {"host": HOST, "subset": "v2"}, "percentage": {"value": 20}},
        {"destination": {"host": HOST, "subset": "v3"}},
    ]
    mesh.write(service([v1, v2, v3]), subsets("v1", "v2", "v3"), routes({"route": [to("v1")], "mirrors": mirrors}))
    web = await mesh.sidecar()

    async def mirrored() -> bool:
        return set(await send(web, "/", {}, 1)) == {OK_V1} and len(v3.seen) > 0

    await eventually(mirrored, "v3 sees a copy")
    assert set(await send(web, "/counted", {}, 300)) == {Answer(200, "v1", "/counted")}

    def copies(backend: Backend) -> int:
        return sum(seen.path == "/counted" for seen in backend.seen)

    async def all_copied() -> bool:
        return copies(v3) == 300

    await eventually(all_copied, "v3 sees all")
    low, high = bounds(300, 20)
    assert low <= copies(v2) <= high


async def test_fault_percentage(mesh: Mesh) -> None:
    """A share of the requests is aborted (30 % of 500), the others are answered; the backend sees only those."""
    v1 = await mesh.backend("v1")
    fault = {"abort": {"httpStatus": 429, "percentage": {"value": 30}}}
    faulty = {"match": [{"uri": {"prefix": "/faulty"}}], "fault": fault, "route": [to()]}
    mesh.write(service([v1]), routes(faulty, {"route": [to()]}))
    web = await mesh.sidecar()

    async def aborted() -> bool:
        return Answer(429) in await send(web, "/faulty", {}, 10)

    await eventually(aborted, "the fault is in force")
    v1.seen.clear()
    answers = await send(web, "/faulty", {}, 500)
    assert set(answers) == {Answer(429), Answer(200, "v1", "/faulty")}
    low, high = bounds(500, 30)
    assert low <= answers.count(Answer(429)) <= high
    assert len(v1.seen) == 500 - answers.count(Answer(429))
    assert set(await send(web, "/", {}, 50)) == {OK_V1}


async def test_fault_delay_percentage(mesh: Mesh) -> None:
    """A share of the requests is delayed (40 % of 100), by Envoy's count; all are answered."""
    delay = 0.3
    fault = {"delay": {"fixedDelay": f"{delay}s", "percentage": {"value": 40}}}
    slow = {"match": [{"uri": {"prefix": "/slow"}}], "fault": fault, "route": [to()]}
    mesh.write(service([await mesh.backend("v1")]), routes(slow, {"route": [to()]}))
    web = await mesh.sidecar()
    await eventually_all(web, OK_V1)

    async def seconds(session: aiohttp.ClientSession) -> float:
        before = time.monotonic()
        async with session.get(web.url + "/slow", proxy=web.proxy) as response:
            assert response.status == 200
        return time.monotonic() - before

    before = await mesh.counted(web, DELAYS)
    async with aiohttp.ClientSession() as session:
        times = await asyncio.gather(*(seconds(session) for _ in range(100)))
    delayed = await mesh.counted(web, DELAYS) - before
    low, high = bounds(100, 40)
    assert low <= delayed <= high
    assert sum(spent > delay - 0.1 for spent in times) >= delayed  # a busy machine delays others too
