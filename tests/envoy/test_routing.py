"""Routes, as real traffic through real Envoys sees them."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest

from samples.traffic import Answer, Entrance, send, weights_problem
from tests.envoy.mesh import Mesh, eventually, eventually_all, routes, service, subsets, to
from tests.patience import PATIENCE_SECONDS

OK_V1, OK_V2 = Answer(200, "v1", "/"), Answer(200, "v2", "/")


pytestmark = pytest.mark.asyncio(loop_scope="session")


async def entrance(mesh: Mesh, through: str, *, delta: bool) -> Entrance:
    """Start the proxy that requests go through."""
    return await (mesh.gateway(delta=delta) if through == "gateway" else mesh.sidecar(delta=delta))


@pytest.mark.parametrize(
    ("through", "delta"),
    [("sidecar", True), ("sidecar", False), ("gateway", True), ("gateway", False)],
    ids=["sidecar-delta", "sidecar-sotw", "gateway-delta", "gateway-sotw"],
)
async def test_weights_header_rewrite_and_fault(mesh: Mesh, through: str, delta: bool) -> None:  # noqa: FBT001
    """The routes of the canary sample, through both kinds of proxy and over both forms of xDS."""
    v1, v2 = await mesh.backend("v1"), await mesh.backend("v2")
    mesh.write(
        service([v1, v2]),
        subsets("v1", "v2"),
        routes(
            {"match": [{"headers": {"canary": {"exact": "always"}}}], "route": [to("v2")]},
            {
                "match": [{"uri": {"prefix": "/broken"}}],
                "fault": {"abort": {"httpStatus": 418, "percentage": {"value": 100}}},
                "route": [to("v1")],
            },
            {"match": [{"uri": {"prefix": "/old/"}}], "rewrite": {"uri": "/new/"}, "route": [to("v1")]},
            {"route": [to("v1", 90), to("v2", 10)]},
        ),
    )
    web = await entrance(mesh, through, delta=delta)
    await eventually_all(web, Answer(200, "v1", "/new/x"), "/old/x")
    assert weights_problem(await send(web, "/", {}, 500), {"v1": 90, "v2": 10}) == ""
    assert set(await send(web, "/", {"canary": "always"}, 30)) == {OK_V2}
    assert set(await send(web, "/", {"canary": "never"}, 30)) <= {OK_V1, OK_V2}
    seen = len(v1.seen) + len(v2.seen)
    assert set(await send(web, "/broken", {}, 30)) == {Answer(418)}
    assert len(v1.seen) + len(v2.seen) == seen


async def test_a_changed_weight_is_served_without_restart(mesh: Mesh) -> None:
    """All to one version, then all to the other."""
    mesh.write(service([await mesh.backend("v1"), await mesh.backend("v2")]), subsets("v1", "v2"))
    mesh.write(routes({"route": [to("v1", 100), to("v2", 0)]}))
    web = await mesh.sidecar()
    await eventually_all(web, OK_V1)
    mesh.write(routes({"route": [to("v1", 0), to("v2", 100)]}))
    await eventually_all(web, OK_V2, count=20)


async def test_retries_hide_failures_and_no_retries_show_them(mesh: Mesh) -> None:
    """Two failures are covered by two retries, counted at the backend; without retries the first failure is seen."""
    v1 = await mesh.backend("v1")
    retried = {
        "match": [{"uri": {"prefix": "/retried"}}],
        "route": [to()],
        "retries": {"attempts": 2, "retryOn": "5xx", "perTryTimeout": "5s"},
    }
    mesh.write(service([v1]), routes(retried, {"route": [to()], "retries": {"attempts": 0}}))
    web = await mesh.sidecar()
    await eventually_all(web, OK_V1)

    v1.seen.clear()
    v1.fail_next = 2
    assert await send(web, "/retried", {}, 1) == [Answer(200, "v1", "/retried")]
    assert [seen.headers["x-envoy-attempt-count"] for seen in v1.seen] == ["1", "2", "3"]

    v1.seen.clear()
    v1.fail_next = 1
    assert [answer.status for answer in await send(web, "/", {}, 1)] == [503]
    assert len(v1.seen) == 1


async def test_timeout(mesh: Mesh) -> None:
    """A slow answer becomes 504 after the route's timeout; another route of the same service waits for it."""
    v1 = await mesh.backend("v1")
    impatient = {"match": [{"uri": {"prefix": "/impatient"}}], "route": [to()], "timeout": "0.3s"}
    mesh.write(service([v1]), routes(impatient, {"route": [to()]}))
    web = await mesh.sidecar()
    await eventually_all(web, OK_V1)
    v1.delay = timedelta(seconds=PATIENCE_SECONDS)
    before = time.monotonic()
    assert [answer.status for answer in await send(web, "/impatient", {}, 1)] == [504]
    assert time.monotonic() - before < v1.delay.total_seconds()
    v1.delay = timedelta(seconds=0.5)
    assert await send(web, "/", {}, 1) == [OK_V1]


async def test_fault_delay(mesh: Mesh) -> None:
    """An injected delay is waited for, then the request goes on."""
    fault = {"delay": {"fixedDelay": "0.5s", "percentage": {"value": 100}}}
    mesh.write(
        service([await mesh.backend("v1")]),
        routes({"match": [{"uri": {"prefix": "/slow"}}], "fault": fault, "route": [to()]}, {"route": [to()]}),
    )
    web = await mesh.sidecar()
    await eventually_all(web, OK_V1)
    before = time.monotonic()
    assert await send(web, "/slow", {}, 1) == [Answer(200, "v1", "/slow")]
    assert time.monotonic() - before > 0.4  # Envoy's timers count from the start of a turn of its loop: some ms early


async def test_outlier_ejection(mesh: Mesh) -> None:
    """An endpoint that only fails is taken out; then every request succeeds. Retries are off, so none is hidden."""
    v1, v2 = await mesh.backend("v1"), await mesh.backend("v2")
    detection = {
        "consecutive5xxErrors": 2,
        "interval": "1s",
        "baseEjectionTime": "120s",
        "maxEjectionPercent": 100,
    }
    mesh.write(
        service([v1, v2]),
        subsets(outlierDetection=detection),
        routes({"route": [to()], "retries": {"attempts": 0}}),
    )
    web = await mesh.sidecar()

    async def both() -> bool:
        return {answer.version for answer in await send(web, "/", {}, 10)} == {"v1", "v2"}

    await eventually(both, "both endpoints answer")
    v2.status = 500

    async def ejected() -> bool:
        return set(await send(web, "/", {}, 20)) == {OK_V1}

    await eventually(ejected, "the failing endpoint is ejected")
    failed = sum(seen.path == "/" for seen in v2.seen)
    assert set(await send(web, "/", {}, 50)) == {OK_V1}
    assert sum(seen.path == "/" for seen in v2.seen) == failed


@pytest.mark.parametrize("declared", [True, False], ids=["no-endpoint-matches", "not-declared"])
async def test_a_missing_subset_is_503_for_its_route_only(mesh: Mesh, declared: bool) -> None:  # noqa: FBT001
    """A route to a subset without endpoints, or that no DestinationRule declares, fails alone."""
    mesh.write(
        service([await mesh.backend("v1")]),
        subsets("v1", *(["v3"] if declared else [])),
        routes({"match": [{"uri": {"prefix": "/v3"}}], "route": [to("v3")]}, {"route": [to("v1")]}),
    )
    web = await mesh.sidecar()
    await eventually_all(web, OK_V1)
    assert set(await send(web, "/v3", {}, 5)) == {Answer(503)}


async def test_a_refused_object_leaves_the_last_good_one_in_force(mesh: Mesh) -> None:
    """A typing error in a file changes nothing for the traffic; its correction does."""
    mesh.write(service([await mesh.backend("v1"), await mesh.backend("v2")]), subsets("v1", "v2"))
    mesh.write(routes({"route": [to("v1")]}))
    web = await mesh.sidecar()
    await eventually_all(web, OK_V1)
    mesh.write(routes({"route": [to("v2", 100) | {"weight": "many"}]}))

    async def refused() -> bool:
        return mesh.control_plane.process.said("registry.rejected")

    await eventually(refused, "the control plane says so in its log")
    assert set(await send(web, "/", {}, 20)) == {OK_V1}
    mesh.write(routes({"route": [to("v2")]}))
    await eventually_all(web, OK_V2)
