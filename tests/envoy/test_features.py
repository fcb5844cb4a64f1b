"""Mirrors, injected faults and cross-origin requests, as backends and clients see them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import aiohttp
import pytest

from samples.backends import Backend
from samples.traffic import SIGMAS, Answer, Entrance, send
from tests.envoy.mesh import HOST, Mesh, eventually, eventually_all, routes, service, subsets, to

pytestmark = pytest.mark.asyncio(loop_scope="session")

OK_V1 = Answer(200, "v1", "/")


def bounds(count: int, percent: float) -> tuple[float, float]:
    """Return the range in which a share of so many independent events lies, 4.5 standard deviations each way."""
    mean = count * percent / 100
    spread = SIGMAS * math.sqrt(mean * (1 - percent / 100))
    return mean - spread, mean + spread


async def test_mirror(mesh: Mesh) -> None:
    """Every request is answered by v1; v2 sees each again, for the same host, and may fail unnoticed."""
    v1, v2 = await mesh.backend("v1"), await mesh.backend("v2")
    v2.status = 500
    mirror = {"host": HOST, "subset": "v2"}
    mesh.write(service([v1, v2]), subsets("v1", "v2"), routes({"route": [to("v1")], "mirror": mirror}))
    web = await mesh.sidecar()

    async def mirrored() -> bool:
        return set(await send(web, "/", {}, 1)) == {OK_V1} and len(v2.seen) > 0

    await eventually(mirrored, "v2 sees a copy")
    v2.seen.clear()
    assert set(await send(web, "/mirrored?x=1", {}, 50)) == {Answer(200, "v1", "/mirrored?x=1")}

    async def copied() -> bool:
        return sum(seen.path == "/mirrored?x=1" for seen in v2.seen) == 50

    await eventually(copied, "v2 sees each of the 50 once")
    assert {seen.headers["host"] for seen in v2.seen} == {HOST}  # Istio adds no "-shadow"


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


async def preflight(web: Entrance, origin: str, method: str = "PUT") -> tuple[int, Mapping[str, str]]:
    """Ask whether a request of this origin may be made, as a browser does; return the status and the headers."""
    asked = {"origin": origin, "access-control-request-method": method}
    async with (
        aiohttp.ClientSession(headers={**web.headers, **asked}) as session,
        session.options(web.url + "/", proxy=web.proxy) as response,
    ):
        return response.status, {name.lower(): value for name, value in response.headers.items()}


@pytest.mark.parametrize("through", ["gateway", "sidecar"])
async def test_cors(mesh: Mesh, through: str) -> None:
    """A preflight of an allowed origin is answered by the proxy, others go on; answers carry the headers."""
    v1 = await mesh.backend("v1")
    policy = {
        "allowOrigins": [{"exact": "https://shop.example"}, {"regex": r"https://[a-z]+\.partner\.example"}],
        "allowMethods": ["GET", "PUT"],
        "allowHeaders": ["x-token"],
        "exposeHeaders": ["x-version"],
        "maxAge": "24h",
        "allowCredentials": True,
    }
    web = await (mesh.gateway() if through == "gateway" else mesh.sidecar())
    mesh.write(service([v1]), routes({"route": [to()], "corsPolicy": policy}))
    await eventually_all(web, OK_V1)
    v1.seen.clear()
    for origin in ("https://shop.example", "https://a.partner.example"):
        status, headers = await preflight(web, origin)
        assert status == 200
        assert {name: value for name, value in headers.items() if name.startswith("access-control-")} == {
            "access-control-allow-origin": origin,
            "access-control-allow-methods": "GET,PUT",
            "access-control-allow-headers": "x-token",
            "access-control-allow-credentials": "true",
            "access-control-max-age": "86400",
            "access-control-expose-headers": "x-version",
        }
    assert v1.seen == []

    status, headers = await preflight(web, "https://elsewhere.example")
    assert "access-control-allow-origin" not in headers
    assert [seen.method for seen in v1.seen] == ["OPTIONS"]

    async with (
        aiohttp.ClientSession(headers={**web.headers, "origin": "https://shop.example"}) as session,
        session.get(web.url + "/", proxy=web.proxy) as response,
    ):
        assert response.headers["access-control-allow-origin"] == "https://shop.example"
        assert response.headers["access-control-expose-headers"] == "x-version"


async def test_unmatched_preflights_can_be_kept_from_the_backend(mesh: Mesh) -> None:
    """With ``IGNORE`` the proxy answers every preflight; a foreign origin's answer allows nothing."""
    v1 = await mesh.backend("v1")
    policy = {"allowOrigins": [{"exact": "https://shop.example"}], "unmatchedPreflights": "IGNORE"}
    mesh.write(service([v1]), routes({"route": [to()], "corsPolicy": policy}))
    web = await mesh.sidecar()
    await eventually_all(web, OK_V1)
    v1.seen.clear()
    status, headers = await preflight(web, "https://elsewhere.example")
    assert (status, "access-control-allow-origin" in headers) == (200, False)
    assert v1.seen == []
