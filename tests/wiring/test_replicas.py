"""Where other replicas are, and what each says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from gzip import compress
from pathlib import Path

import pytest
from aiohttp import web

from controlplane.admin.server import AdminServer
from controlplane.ads.shares import Load
from controlplane.settings import Settings
from controlplane.wiring.replicas import Places, Replicas, SilentError, places
from tests.admin import world
from tests.translate.listeners.world import World


@asynccontextmanager
async def replica(name: str, load: Load, *, ready: bool = True) -> AsyncIterator[str]:
    """Run the monitoring port of a replica."""
    sources = replace(
        world.sources(), identity=name, load=lambda: load, ready=lambda: (ready, "" if ready else "stopping")
    )
    server = AdminServer(sources)
    try:
        yield f"127.0.0.1:{await server.start('127.0.0.1', 0)}"
    finally:
        await server.stop()


def _asking(*addresses: str, joined: bool = False, identity: str = "one") -> Replicas:
    return Replicas(identity, lambda: Places(frozenset(addresses), joined))


async def test_each_other_replica_says_what_it_holds() -> None:
    async with replica("one", Load(5)) as one, replica("two", Load(7, 2.0)) as two, replica("three", Load(0)) as three:
        assert sorted(await _asking(one, two, three).loads()) == [Load(0), Load(7, 2.0)]
        same = two.replace("127.0.0.1", "localhost")
        assert await _asking(one, two, same).loads() == (Load(7, 2.0),), "one at two addresses is one"


async def test_who_is_not_among_them_yet_has_no_others() -> None:
    async with replica("one", Load(5)) as one, replica("two", Load(7)) as two:
        assert await _asking(two, joined=True).loads() == ()
        assert await _asking(one, two, joined=True).loads() == (Load(7),)
        assert await _asking().loads() == ()


async def test_one_that_is_not_ready_is_not_known() -> None:
    async with replica("one", Load(5)) as one, replica("two", Load(7), ready=False) as two:
        with pytest.raises(SilentError, match=f"{two}: status 503"):
            await _asking(one, two).loads()


async def test_one_that_is_gone_is_not_known() -> None:
    async with replica("two", Load(7)) as two:
        pass
    with pytest.raises(SilentError, match=two):
        await _asking(two).loads()
    with pytest.raises(SilentError, match="no such host"):
        await _asking("no such host").loads()


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "{}",
        "[]",
        "7",
        '{"replica": "two", "proxies": -1, "weight": 1}',
        '{"replica": "two", "proxies": true, "weight": 1}',
        '{"replica": "two", "proxies": 1, "weight": 0}',
        '{"replica": "two", "proxies": 1, "weight": "x"}',
        '{"replica": "two", "proxies": 1, "weight": []}',
        '{"replica": "two", "proxies": 1, "weight": 1e308}',
        '{"replica": "two", "proxies": 1, "weight": 1e-308}',
        '{"replica": "two", "proxies": 1, "weight": 1' + 400 * "0" + "}",
        '{"replica": "two", "proxies": 1' + 400 * "0" + ', "weight": 1}',
        '{"replica": 2, "proxies": 1, "weight": 1}',
        '{"replica": "two", "proxies": 1, "weight": 1, "more": "' + 5000 * "x" + '"}',
    ],
)
async def test_what_is_no_answer_of_a_replica(answer: str) -> None:
    async def say(_: web.Request) -> web.Response:
        return web.Response(text=answer)

    async with _answering(say) as address:
        with pytest.raises(SilentError, match=f"{address}: the answer"):
            await _asking(address).loads()


async def test_nothing_is_unpacked_that_nobody_asked_to_be_packed() -> None:
    async def say(_: web.Request) -> web.Response:
        packed = compress(b'{"replica": "two", "proxies": 1, "weight": 1}')
        return web.Response(body=packed, headers={"Content-Encoding": "gzip"})

    async with _answering(say) as address:
        with pytest.raises(SilentError, match=f"{address}: the answer"):
            await _asking(address).loads()


async def test_nobody_is_led_elsewhere() -> None:
    async with replica("two", Load(7)) as two:

        async def lead(_: web.Request) -> web.Response:
            return web.Response(status=302, headers={"Location": f"http://{two}/load"})

        async with _answering(lead) as address:
            with pytest.raises(SilentError, match="status 302"):
                await _asking(address).loads()


@asynccontextmanager
async def _answering(handler: Callable[[web.Request], Awaitable[web.Response]]) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/load", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


SERVICE = """
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: istio-system}}
spec:
  clusterIP: 10.0.0.1
  ports:
  - {{name: grpc-xds, port: 15010}}
  - {{name: http-monitoring, port: 15014, targetPort: http-monitoring}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-1, namespace: istio-system, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: {family}
ports: [{{name: grpc-xds, port: 15010}}, {{name: http-monitoring, port: 15014}}]
endpoints:
- {{addresses: ["{address}"]}}
- {{addresses: ["{address}1"], conditions: {{ready: false}}}}
---
"""


def test_replicas_of_a_cluster_are_the_ready_endpoints_of_the_own_service() -> None:
    world = World(
        SERVICE.format(name="istiod", family="IPv4", address="10.1.0.1")
        + SERVICE.format(name="istiod-canary", family="IPv6", address="2001:db8::1")
    )
    assert places(Settings(), world.registry)() == Places(frozenset({"10.1.0.1:15014"}), joined=True)
    canary = places(Settings(revision="canary"), world.registry)()
    assert canary == Places(frozenset({"[2001:db8::1]:15014"}), joined=True)
    assert places(Settings(revision="none"), world.registry)() == Places(frozenset(), joined=True)


def test_replicas_that_are_stated(tmp_path: Path) -> None:
    world = World(SERVICE.format(name="istiod", family="IPv4", address="10.1.0.1"))
    stated = Places(frozenset({"a:1", "[::1]:2"}), joined=False)
    assert places(Settings(peers="a:1, [::1]:2"), world.registry)() == stated
    assert places(Settings(config_dir=tmp_path, peers="a:1,[::1]:2"), world.registry)() == stated
    assert places(Settings(config_dir=tmp_path), world.registry)().addresses == frozenset()


def test_proxies_are_shared_where_there_may_be_replicas(tmp_path: Path) -> None:
    assert Settings().shares
    assert not Settings(sent_away_per_second=0).shares
    assert not Settings(config_dir=tmp_path).shares
    assert Settings(config_dir=tmp_path, peers="a:1").shares
