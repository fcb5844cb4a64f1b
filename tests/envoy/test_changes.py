"""Changes while requests are under way: none may fail."""

from __future__ import annotations

import pytest

from samples.traffic import Answer
from tests.envoy.mesh import Load, Mesh, eventually, eventually_all, routes, service, subsets, to

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_endpoints_come_and_go_under_load(mesh: Mesh) -> None:
    """An endpoint is added, takes requests, the first is removed and its server stopped: no request fails."""
    v1, v2 = await mesh.backend("v1"), await mesh.backend("v2")
    mesh.write(service([v1]))
    web = await mesh.sidecar()
    await eventually_all(web, Answer(200, "v1", "/"))
    async with Load(web) as load:
        await load.more(50)

        mesh.write(service([v1, v2]))

        async def added() -> bool:
            return any(answer.version == "v2" for answer in await load.more(10))

        await eventually(added, "the new endpoint answers")
        mesh.write(service([v2]))

        async def removed() -> bool:
            return {answer.version for answer in await load.more(20)} == {"v2"}

        await eventually(removed, "the old endpoint answers no more")
        await v1.stop()
        await load.more(100)
        assert load.failures == []


async def test_routes_and_subsets_change_under_load(mesh: Mesh) -> None:
    """A subset appears with the routes to it and goes with them: clusters first, routes next, removals last."""
    v1, v2 = await mesh.backend("v1"), await mesh.backend("v2")
    mesh.write(service([v1, v2]), subsets("v1"), routes({"route": [to("v1")]}))
    web = await mesh.sidecar()
    await eventually_all(web, Answer(200, "v1", "/"))
    async with Load(web) as load:
        await load.more(50)
        mesh.write(subsets("v1", "v2"), routes({"route": [to("v2")]}))

        async def moved() -> bool:
            return {answer.version for answer in await load.more(20)} == {"v2"}

        await eventually(moved, "the new subset takes every request")
        mesh.write(subsets("v2"))
        await load.more(100)
        assert load.failures == []


async def test_the_control_plane_is_killed_and_comes_back(mesh: Mesh) -> None:
    """Proxies serve on without it; started again, it is found, and its next change arrives. No request fails."""
    v1, v2 = await mesh.backend("v1"), await mesh.backend("v2")
    mesh.write(service([v1, v2]), subsets("v1", "v2"), routes({"route": [to("v1")]}))
    web = await mesh.sidecar()
    await eventually_all(web, Answer(200, "v1", "/"))
    async with Load(web) as load:
        await load.more(50)
        await mesh.control_plane.kill()
        await load.more(100)
        mesh.write(routes({"route": [to("v2")]}))  # while nobody watches
        await mesh.control_plane.start()

        async def moved() -> bool:
            return {answer.version for answer in await load.more(20)} == {"v2"}

        # Envoy waits longer and longer between attempts to reconnect.
        await eventually(moved, "the proxy reconnects and gets the change", seconds=60)
        await load.more(50)
        assert load.failures == []
