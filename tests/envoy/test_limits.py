"""How much at a time, as real traffic shows it: requests, retries and their budget, and the share of a new endpoint."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from samples.backends import Backend
from samples.traffic import Answer, Entrance, send
from tests.envoy.mesh import Mesh, eventually, eventually_all, routes, service, subsets, to

pytestmark = pytest.mark.asyncio(loop_scope="session")

AT_ONCE = 8  # as many as ``send`` has in flight
ONE_RETRY = {"retries": {"attempts": 1, "retryOn": "5xx"}}
NO_RETRY = {"retries": {"attempts": 0}}


async def test_requests_at_a_time_are_limited(mesh: Mesh) -> None:
    """One request at a time: of eight that come together one is answered, and the backend never sees the others."""
    v1 = await mesh.backend("v1")
    mesh.write(
        service([v1]), subsets(connectionPool={"http": {"http2MaxRequests": 1}}), routes({"route": [to()], **NO_RETRY})
    )
    web = await mesh.sidecar()
    await eventually_all(web, Answer(200, "v1", "/"), count=1)
    v1.delay = timedelta(seconds=0.7)

    async def limited() -> bool:
        v1.seen.clear()
        statuses = sorted(answer.status for answer in await send(web, "/", {}, AT_ONCE))
        assert set(statuses) <= {200, 503}
        assert len(v1.seen) == statuses.count(200)
        return statuses == [200, *[503] * (AT_ONCE - 1)]

    await eventually(limited, "one of eight requests at a time is answered")
    mesh.write(subsets(connectionPool={"http": {"http2MaxRequests": AT_ONCE}}))

    async def unlimited() -> bool:
        return {answer.status for answer in await send(web, "/", {}, AT_ONCE)} == {200}

    await eventually(unlimited, "a limit of eight lets eight through")


async def repeated(web: Entrance, backend: Backend) -> int:
    """Send requests together that fail together; return how many of them came a second time."""
    backend.seen.clear()
    backend.status = 503
    backend.delay = timedelta(seconds=0.7)
    try:
        assert {answer.status for answer in await send(web, "/", {}, AT_ONCE)} == {503}
    finally:
        backend.status, backend.delay = 200, timedelta()
    return sum(seen.headers["x-envoy-attempt-count"] == "2" for seen in backend.seen)


@pytest.mark.parametrize(
    ("narrow", "wide"),
    [
        pytest.param(
            {"connectionPool": {"http": {"maxRetries": 1}}},
            {"connectionPool": {"http": {"maxRetries": 100}}},
            id="pool",
        ),
        pytest.param(
            {"retryBudget": {"percent": 0, "minRetryConcurrency": 1}},
            {"retryBudget": {"percent": 0, "minRetryConcurrency": 100}},
            id="budget",
        ),
    ],
)
async def test_retries_at_a_time_are_limited(mesh: Mesh, narrow: dict[str, Any], wide: dict[str, Any]) -> None:
    """Eight requests that fail together: one is tried again where one may be, all where the limit is wide."""
    v1 = await mesh.backend("v1")
    mesh.write(service([v1]), subsets(**narrow), routes({"route": [to()], **ONE_RETRY}))
    web = await mesh.sidecar()
    await eventually_all(web, Answer(200, "v1", "/"), count=1)

    async def one() -> bool:
        return await repeated(web, v1) == 1

    await eventually(one, "one of eight is tried again")
    mesh.write(subsets(**wide))

    async def every() -> bool:
        return await repeated(web, v1) == AT_ONCE

    await eventually(every, "all of eight are tried again")


async def test_a_retry_budget_of_an_interval(mesh: Mesh) -> None:
    """A tenth of the requests at hand allows one retry; a tenth of those of the last minute, 100 more, allows all."""
    v1 = await mesh.backend("v1")
    budget = {"percent": 10, "minRetryConcurrency": 1}
    mesh.write(service([v1]), subsets(retryBudget=budget), routes({"route": [to()], **ONE_RETRY}))
    web = await mesh.sidecar()
    await eventually_all(web, Answer(200, "v1", "/"), count=100)

    async def one() -> bool:
        return await repeated(web, v1) == 1

    await eventually(one, "one of eight is tried again")
    mesh.write(subsets(retryBudget={**budget, "budgetInterval": "60s"}))

    async def every() -> bool:
        assert {answer.status for answer in await send(web, "/", {}, 100)} == {200}
        return await repeated(web, v1) == AT_ONCE

    await eventually(every, "all of eight are tried again")


async def test_a_new_endpoint_warms_up(mesh: Mesh) -> None:
    """It begins with a tenth of its turns, and has half of them when its time is over."""
    window = 6.0
    v1, v2 = await mesh.backend("v1"), await mesh.backend("v2")
    warmup = {"duration": f"{window:.0f}s", "minimumPercent": 10}
    mesh.write(service([v1]), subsets(loadBalancer={"simple": "ROUND_ROBIN", "warmup": warmup}))
    web = await mesh.sidecar()
    await eventually_all(web, Answer(200, "v1", "/"))
    await asyncio.sleep(window)  # the first endpoint is new itself until then

    async def share() -> float:
        return sum(answer.version == "v2" for answer in await send(web, "/", {}, 100)) / 100

    async def gone() -> bool:
        return await share() == 0

    async def small_at_first() -> bool:
        """Whether a new endpoint begins with few turns; on a busy machine it may be found when it has more already."""
        mesh.write(service([v1]))
        await eventually(gone, "the endpoint is gone")
        mesh.write(service([v1, v2]))
        await eventually(answers, "the new endpoint answers")
        return await share() < 0.3

    async def answers() -> bool:
        return "v2" in {answer.version for answer in await send(web, "/", {}, 5)}

    await eventually(small_at_first, "the new endpoint has few turns")

    async def warm() -> bool:
        return await share() >= 0.45

    await eventually(warm, "the new endpoint takes its turns")
