"""Which endpoint takes a request: what Envoy makes of load balancers, localities and retries."""

from __future__ import annotations

import asyncio
from collections import Counter

import aiohttp
import pytest

from samples.backends import Backend
from samples.traffic import Answer, Entrance, send, weights_problem
from tests.envoy.mesh import Json, Mesh, endpoint, eventually, eventually_all, routes, service, subsets, to

pytestmark = pytest.mark.asyncio(loop_scope="session")

KEYS = [f"user-{number}" for number in range(200)]
OUTLIERS = {
    "consecutive5xxErrors": 2,
    "interval": "0.5s",
    "baseEjectionTime": "2s",
    "maxEjectionPercent": 100,
}


async def owners(web: Entrance) -> dict[str, str]:
    """Return which version answers each key, sent once."""
    found: dict[str, str] = {}
    async with aiohttp.ClientSession(headers=web.headers) as session:

        async def ask(key: str) -> None:
            async with session.get(web.url + "/", proxy=web.proxy, params={"user": key}) as response:
                found[key] = response.headers.get("x-version", "")

        for start in range(0, len(KEYS), 10):
            await asyncio.gather(*(ask(key) for key in KEYS[start : start + 10]))
    return found


async def eventually_among(web: Entrance, versions: set[str]) -> dict[str, str]:
    """Wait until exactly these versions answer the keys, each key the same twice; return who owns which.

    A change that arrives in the middle of a round would give a mixture.
    """
    now: dict[str, str] = {}

    async def among() -> bool:
        now.update(await owners(web))
        return set(now.values()) == versions and await owners(web) == now

    await eventually(among, f"{sorted(versions)} keep the keys they share")
    return now


async def test_a_new_endpoint_takes_keys_from_all(mesh: Mesh) -> None:
    """Hashed by a query parameter: a new endpoint takes about its share, few others move; it goes, all is as before."""
    old = [await mesh.backend(version) for version in ("v1", "v2", "v3")]
    new = await mesh.backend("v4")
    policy = {"httpQueryParameterName": "user", "ringHash": {}}
    mesh.write(service(old), subsets(loadBalancer={"consistentHash": policy}))
    web = await mesh.sidecar()
    before = await eventually_among(web, {"v1", "v2", "v3"})

    mesh.write(service([*old, new]))
    with_four = await eventually_among(web, {"v1", "v2", "v3", "v4"})
    # A ring of 1,024 points has 342 for each of three endpoints and 256 for each of four, so about every eighth key
    # moves between old endpoints: 25 of 200, at most twice that. A hash modulo the number would move 100 of them.
    assert sum(with_four[key] not in {before[key], "v4"} for key in KEYS) <= 50
    assert 15 <= list(with_four.values()).count("v4") <= 100  # a quarter is 50; ring points are not evenly spread

    mesh.write(service(old))
    assert await eventually_among(web, {"v1", "v2", "v3"}) == before


async def test_a_cookie_is_made_for_who_has_none_and_leads_back(mesh: Mesh) -> None:
    """The first answer sets the cookie; whoever returns it stays with one endpoint, others are spread."""
    backends = [await mesh.backend(version) for version in ("v1", "v2", "v3")]
    cookie = {"httpCookie": {"name": "who", "ttl": "60s", "path": "/"}}
    mesh.write(service(backends), subsets(loadBalancer={"consistentHash": cookie}))
    web = await mesh.gateway()
    mesh.write(routes({"route": [to()]}))

    async def visit() -> tuple[str, set[str]]:
        async with aiohttp.ClientSession(headers=web.headers, cookie_jar=aiohttp.DummyCookieJar()) as session:
            async with session.get(web.url + "/") as first:
                if first.status != 200 or "who" not in first.cookies:
                    return "", set()
                version, value = first.headers["x-version"], first.cookies["who"].value
                assert first.cookies["who"]["path"] == "/"
                assert first.cookies["who"]["max-age"] == "60"
            return version, {a.version for a in await send(web, "/", {"cookie": f"who={value}"}, 10)}

    async def made() -> bool:
        return (await visit())[0] != ""

    await eventually(made, "an answer sets the cookie")
    visits = [await visit() for _ in range(20)]
    assert all(returned == {version} for version, returned in visits), visits
    assert len({version for version, _ in visits}) > 1  # one endpoint for all 20: once in 10^9


async def test_clients_are_told_apart_by_their_address(mesh: Mesh) -> None:
    """Each of 20 source addresses keeps to one endpoint; they do not all have the same."""
    backends = [await mesh.backend(version) for version in ("v1", "v2", "v3")]
    mesh.write(service(backends), subsets(loadBalancer={"consistentHash": {"useSourceIp": True}}))
    web = await mesh.sidecar()

    async def answering(client: str) -> set[str]:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(local_addr=(client, 0))) as session:
            versions = set()
            for _ in range(6):
                async with session.get(web.url + "/", proxy=web.proxy) as response:
                    versions.add(response.headers.get("x-version", ""))
            return versions

    clients = [f"127.0.1.{number}" for number in range(1, 21)]

    async def each_has_one() -> bool:
        found = [await answering(client) for client in clients]
        return all(len(one) == 1 for one in found) and len(set.union(*found) - {""}) > 1

    await eventually(each_has_one, "each address has one endpoint")


async def test_a_retry_goes_to_another_endpoint(mesh: Mesh) -> None:
    """Of two endpoints taken in turns one only fails; no request does, and none needs more than one retry."""
    bad, good = await mesh.backend("bad"), await mesh.backend("good")
    bad.status = 503
    retried = {"route": [to()], "retries": {"attempts": 2, "retryOn": "5xx"}}
    mesh.write(service([bad, good]), subsets(loadBalancer={"simple": "ROUND_ROBIN"}), routes(retried))
    web = await mesh.sidecar()
    await eventually_all(web, Answer(200, "good", "/"), count=4)
    bad.seen.clear()
    good.seen.clear()
    answers = [(await send(web, "/", {}, 1))[0] for _ in range(30)]
    assert set(answers) == {Answer(200, "good", "/")}
    assert len(bad.seen) > 0
    assert {seen.headers["x-envoy-attempt-count"] for seen in good.seen} <= {"1", "2"}


async def test_round_robin_takes_turns(mesh: Mesh) -> None:
    """One after the other: in 30 requests each of three endpoints has exactly ten."""
    backends = [await mesh.backend(version) for version in ("v1", "v2", "v3")]
    mesh.write(service(backends), subsets(loadBalancer={"simple": "ROUND_ROBIN"}))
    web = await mesh.sidecar()

    async def turns() -> bool:
        answers = [(await send(web, "/", {}, 1))[0].version for _ in range(30)]
        return Counter(answers) == {"v1": 10, "v2": 10, "v3": 10} and answers[:3] * 10 == answers

    await eventually(turns, "the three take turns")


async def test_endpoint_weights(mesh: Mesh) -> None:
    """Of 400 requests taken in turns 300 go to the endpoint of weight 3; less evenly than chance would is wrong."""
    v1, v2 = await mesh.backend("v1"), await mesh.backend("v2")
    mesh.write(
        service([endpoint(v1, weight=30), endpoint(v2, weight=10)]), subsets(loadBalancer={"simple": "ROUND_ROBIN"})
    )
    web = await mesh.sidecar()

    async def both() -> bool:
        return {answer.version for answer in await send(web, "/", {}, 20)} == {"v1", "v2"}

    await eventually(both, "both endpoints answer")
    assert weights_problem(await send(web, "/", {}, 400), {"v1": 75, "v2": 25}) == ""


def in_places(near: Backend, next_zone: Backend, far: Backend) -> Json:
    """Return the service with an endpoint in the proxies' zone, in another zone of their region, and elsewhere."""
    return service(
        [
            endpoint(near, locality="north/north-a"),
            endpoint(next_zone, locality="north/north-b"),
            endpoint(far, locality="south/south-a"),
        ]
    )


async def test_a_zone_dies_and_comes_back(mesh: Mesh) -> None:
    """The own zone takes all; when it fails the next zone does, then the other region; then the own zone again."""
    near, next_zone, far = [await mesh.backend(name) for name in ("near", "next-zone", "far")]
    mesh.write(
        in_places(near, next_zone, far),
        subsets(outlierDetection=OUTLIERS, loadBalancer={"localityLbSetting": {"enabled": True}}),
        routes({"route": [to()], "retries": {"attempts": 0}}),
    )
    web = await mesh.sidecar()
    await eventually_all(web, Answer(200, "near", "/"), count=30)
    near.status = 503
    await eventually_all(web, Answer(200, "next-zone", "/"), count=10)
    next_zone.status = 503
    await eventually_all(web, Answer(200, "far", "/"), count=10)
    near.status = next_zone.status = 200
    await eventually_all(web, Answer(200, "near", "/"), count=30)


async def test_locality_distribute(mesh: Mesh) -> None:
    """Shares between zones as declared, 80 to 20 (400 requests, 4.5 standard deviations); none elsewhere."""
    near, next_zone, far = [await mesh.backend(name) for name in ("near", "next-zone", "far")]
    shares = [{"from": "north/north-a/*", "to": {"north/north-a/*": 80, "north/north-b/*": 20}}]
    mesh.write(
        in_places(near, next_zone, far),
        subsets(loadBalancer={"simple": "RANDOM", "localityLbSetting": {"enabled": True, "distribute": shares}}),
    )
    web = await mesh.sidecar()

    async def both() -> bool:
        return {answer.version for answer in await send(web, "/", {}, 40)} == {"near", "next-zone"}

    await eventually(both, "two zones answer")
    assert weights_problem(await send(web, "/", {}, 400), {"near": 80, "next-zone": 20}) == ""
