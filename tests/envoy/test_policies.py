"""What Envoy decides under a traffic policy, as real traffic shows it: which endpoint, how many at a time, who else."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import aiohttp
import pytest

from samples.backends import Backend
from samples.traffic import Answer, Entrance, send
from tests.envoy.mesh import HOST, Mesh, eventually, eventually_all, istio, routes, service, subsets, to

pytestmark = pytest.mark.asyncio(loop_scope="session")

USERS = [f"user-{number}" for number in range(40)]
NO_RETRIES = {"retries": {"attempts": 0}}


async def homes(web: Entrance) -> dict[str, str]:
    """Return who answers each user, asked twice: the same one."""
    asked = await asyncio.gather(*(send(web, "/", {"x-user": user}, 2) for user in USERS))
    found = {}
    for user, answers in zip(USERS, asked, strict=True):
        assert len(set(answers)) == 1, f"{user} was answered by {answers}"
        found[user] = answers[0].version
    return found


@pytest.mark.parametrize(("algorithm", "share"), [({"ringHash": {}}, 0.6), ({"maglev": {"tableSize": 65537}}, 0.8)])
async def test_consistent_hash_stays_where_endpoints_come_and_go(
    mesh: Mesh, algorithm: dict[str, object], share: float
) -> None:
    """The users of an endpoint that goes move, and come back with it; most others stay where they are all the time.

    Envoy gives each of fewer endpoints more points of the ring, so a few others do move; chance would keep a third.
    """
    backends = [await mesh.backend(f"v{number}") for number in range(4)]
    mesh.write(service(backends), subsets(loadBalancer={"consistentHash": {"httpHeaderName": "x-user", **algorithm}}))
    web = await mesh.sidecar()

    async def all_serve() -> bool:
        answers = await asyncio.gather(*(send(web, "/", {"x-user": user}, 1) for user in USERS))
        return {answer.version for (answer,) in answers} == {backend.version for backend in backends}

    await eventually(all_serve, "four endpoints share forty users")
    before = await homes(web)
    gone = backends[0].version
    mesh.write(service(backends[1:]))

    victim = next(user for user, home in before.items() if home == gone)

    async def moved() -> bool:
        return gone not in {answer.version for answer in await send(web, "/", {"x-user": victim}, 1)}

    await eventually(moved, "the users of the endpoint that went have another one")
    during = await homes(web)
    stayed = {user for user in USERS if before[user] != gone}
    kept = sum(during[user] == before[user] for user in stayed)
    assert kept >= share * len(stayed), f"{kept} of {len(stayed)} stayed"

    mesh.write(service(backends))
    await eventually(all_serve, "the endpoint is back")
    assert await homes(web) == before


def zonal(places: Mapping[str, Backend]) -> dict[str, Any]:
    """Return the service with an endpoint in each place (``region/zone``)."""
    declared = service(places.values())
    for endpoint, place in zip(declared["spec"]["endpoints"], places, strict=True):
        endpoint["locality"] = place
    return declared


async def test_locality_failover(mesh: Mesh) -> None:
    """Traffic stays in the client's zone until that dies, then in its region, and leaves that last; none is lost."""
    zone, region, world = [await mesh.backend(name) for name in ("zone", "region", "world")]
    detection = {"consecutive5xxErrors": 1, "interval": "1s", "baseEjectionTime": "120s", "maxEjectionPercent": 100}
    client = istio("WorkloadEntry", "client", address="10.0.0.2", labels={"topology.istio.io/locality": "r1.z1"})
    retries = {"attempts": 5, "retryOn": "connect-failure,reset", "retryRemoteLocalities": True}
    mesh.write(
        client,
        zonal({"r2/z1": world, "r1/z2": region, "r1/z1": zone}),
        subsets(outlierDetection=detection),
        routes({"route": [to()], "retries": retries}),
    )
    web = await mesh.sidecar()
    for nearest, dies in ((zone, True), (region, True), (world, False)):
        await eventually_all(web, Answer(200, nearest.version, "/"), count=20)
        if dies:
            await nearest.stop()
            assert {answer.status for answer in await send(web, "/", {}, 10)} == {200}


async def test_circuit_breaking(mesh: Mesh) -> None:
    """One connection and one request that waits: who comes then is refused, and the backend never sees it."""
    v1 = await mesh.backend("v1")
    pool = {"tcp": {"maxConnections": 1}, "http": {"http1MaxPendingRequests": 1}}
    mesh.write(service([v1]), subsets(connectionPool=pool), routes({"route": [to()], **NO_RETRIES}))
    web = await mesh.sidecar()
    await eventually_all(web, Answer(200, "v1", "/"), count=1)
    v1.delay = timedelta(seconds=0.5)

    async def refused() -> bool:
        v1.seen.clear()
        statuses = [answer.status for answer in await send(web, "/", {}, 8)]
        assert set(statuses) <= {200, 503}
        assert len(v1.seen) == statuses.count(200)
        return statuses.count(503) > 0

    await eventually(refused, "some of eight requests at a time are refused")
    mesh.write(subsets(connectionPool={"tcp": {"maxConnections": 100}}))

    async def accepted() -> bool:
        return {answer.status for answer in await send(web, "/", {}, 8)} == {200}

    await eventually(accepted, "with a wider limit all of them are answered")


async def test_mirror(mesh: Mesh) -> None:
    """Each request reaches the mirror too; the answer is the first destination's, whatever the mirror says."""
    v1, v2 = await mesh.backend("v1"), await mesh.backend("v2")
    v2.status = 500
    mirror = {"destination": {"host": HOST, "subset": "v2"}, "percentage": {"value": 100}}
    mesh.write(
        service([v1, v2]),
        subsets("v1", "v2"),
        routes(
            {"match": [{"uri": {"prefix": "/mirrored"}}], "route": [to("v1")], "mirrors": [mirror]},
            {"route": [to("v1")]},
        ),
    )
    web = await mesh.sidecar()
    await eventually_all(web, Answer(200, "v1", "/"))
    assert v2.seen == []
    assert set(await send(web, "/mirrored", {}, 20)) == {Answer(200, "v1", "/mirrored")}

    async def copied() -> bool:
        return len(v2.seen) == 20

    await eventually(copied, "the mirror has seen all twenty")
    assert {seen.path for seen in v2.seen} == {"/mirrored"}


async def preflight(web: Entrance, origin: str) -> tuple[int, dict[str, str]]:
    """Ask whether a page of ``origin`` may send a PUT; return the status and what is said of it."""
    headers = {**web.headers, "origin": origin, "access-control-request-method": "PUT"}
    async with (
        aiohttp.ClientSession() as session,
        session.options(web.url + "/", headers=headers, proxy=web.proxy) as response,
    ):
        allowed = {
            name.lower(): text for name, text in response.headers.items() if name.lower().startswith("access-control")
        }
        return response.status, allowed


async def test_cors_preflight(mesh: Mesh) -> None:
    """Envoy answers for an origin that is allowed; what other origins ask goes on, or ends here, as the policy says."""
    v1 = await mesh.backend("v1")
    policy = {
        "allowOrigins": [{"exact": "https://shop.test"}, {"regex": "https://.*\\.friend\\.test"}],
        "allowMethods": ["GET", "PUT"],
        "allowHeaders": ["x-a", "x-b"],
        "maxAge": "60s",
        "allowCredentials": True,
    }
    mesh.write(service([v1]), routes({"route": [to()], "corsPolicy": policy}))
    web = await mesh.gateway()
    await eventually_all(web, Answer(200, "v1", "/"))
    v1.seen.clear()
    for origin in ("https://shop.test", "https://a.friend.test"):
        assert await preflight(web, origin) == (
            200,
            {
                "access-control-allow-origin": origin,
                "access-control-allow-methods": "GET,PUT",
                "access-control-allow-headers": "x-a,x-b",
                "access-control-max-age": "60",
                "access-control-allow-credentials": "true",
            },
        )
    assert v1.seen == []
    assert await preflight(web, "https://foe.test") == (200, {})
    assert [seen.method for seen in v1.seen] == ["OPTIONS"], "the backend is asked"
