"""Virtual hosts one by one (VHDS) at a real Envoy: changes, removals, new listeners and restarts under traffic."""

from __future__ import annotations

import pytest

from samples.traffic import Answer
from tests.envoy.mesh import HOST, Load, Mesh, eventually, eventually_all, istio, routes, service, subsets, to

pytestmark = pytest.mark.asyncio(loop_scope="session")

SPLIT_HOST = f"http_proxy/{HOST}:80"


async def test_what_changes_is_one_virtual_host(mesh: Mesh) -> None:
    """Under load a route is changed, then a service comes and goes: no request fails, and no shell is sent again."""
    v1, v2 = await mesh.backend("v1"), await mesh.backend("v2")
    mesh.write(service([v1, v2]), subsets("v1", "v2"), routes({"route": [to("v1")]}))
    web = await mesh.sidecar(split=True)
    await eventually_all(web, Answer(200, "v1", "/"))
    assert set(await mesh.virtual_hosts(web, "http_proxy")) == {SPLIT_HOST, "http_proxy/allow_any"}
    shells = await mesh.counted(web, r"\.rds\.http_proxy\.update_success$")
    async with Load(web) as load:
        await load.more(50)
        mesh.write(routes({"route": [to("v2")]}))

        async def moved() -> bool:
            return {answer.version for answer in await load.more(20)} == {"v2"}

        await eventually(moved, "the change arrives")
        mesh.write(service([v1], host="other.test"))
        other = "http_proxy/other.test:80"

        async def has_other() -> bool:
            return other in await mesh.virtual_hosts(web, "http_proxy")

        async def has_none() -> bool:
            return not await has_other()

        await eventually(has_other, "the new virtual host is there")
        mesh.forget("ServiceEntry", "other")
        await eventually(has_none, "the virtual host is gone")
        await load.more(50)
        assert load.failures == []
    assert await mesh.counted(web, r"\.rds\.http_proxy\.update_success$") == shells


async def test_one_takes_the_place_of_another(mesh: Mesh) -> None:
    """Two virtual hosts for the same domain change places in one update: both at once would be refused."""
    v1 = await mesh.backend("v1")
    mesh.write(service([v1]))
    web = await mesh.sidecar(split=True)
    await eventually_all(web, Answer(200, "v1", "/"))
    mesh.write(
        istio("Sidecar", "default", egress=[{"hosts": ["*/*"]}], outboundTrafficPolicy={"mode": "REGISTRY_ONLY"})
    )

    async def blocked() -> bool:
        return set(await mesh.virtual_hosts(web, "http_proxy")) == {SPLIT_HOST, "http_proxy/block_all"}

    async def passed() -> bool:
        return set(await mesh.virtual_hosts(web, "http_proxy")) == {SPLIT_HOST, "http_proxy/allow_any"}

    await eventually(blocked, "unknown hosts are blocked")
    mesh.forget("Sidecar", "default")
    await eventually(passed, "unknown hosts are passed through again")
    await eventually_all(web, Answer(200, "v1", "/"))


async def test_the_control_plane_is_killed_and_comes_back(mesh: Mesh) -> None:
    """A proxy says which virtual hosts it holds, and gets what changed meanwhile: the others are not sent again."""
    v1, v2 = await mesh.backend("v1"), await mesh.backend("v2")
    entries = (service([v1, v2]), service([v1], host="other.test"), service([v1], host="third.test"))
    mesh.write(*entries, subsets("v1", "v2"), routes({"route": [to("v1")]}))
    web = await mesh.sidecar(split=True)
    await eventually_all(web, Answer(200, "v1", "/"))
    async with Load(web) as load:
        await load.more(50)
        await mesh.control_plane.kill()
        mesh.write(routes({"route": [to("v2")]}))
        mesh.forget("ServiceEntry", "third")
        await mesh.control_plane.start()

        async def moved() -> bool:
            return {answer.version for answer in await load.more(20)} == {"v2"}

        await eventually(moved, "the proxy reconnects and gets the change", seconds=60)
        assert load.failures == []
    names = {f"http_proxy/{name}" for name in (f"{HOST}:80", "other.test:80", "allow_any")}
    assert set(await mesh.virtual_hosts(web, "http_proxy")) == names


async def test_a_gateway_gets_a_further_server(mesh: Mesh) -> None:
    """A listener that comes later has its virtual hosts too, though Envoy asks for them no second time."""
    v1 = await mesh.backend("v1")
    gateway = await mesh.gateway(split=True)
    mesh.write(service([v1]), routes({"route": [to()]}))
    await eventually_all(gateway, Answer(200, "v1", "/"))
    further = await mesh.further_server(gateway)
    await eventually_all(further, Answer(200, "v1", "/"))
    assert await mesh.counted(gateway, r"\.vhds\..*\.update_rejected$") == 0
