"""Replicas: equal objects give equal versions, in whatever order they came, so a proxy may go from one to another."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest

from samples.control_plane import free_port
from tests.feature.client import CDS, EDS, END, LDS, NODE_ID, RDS, Variant, connected, stream
from tests.feature.objects import GOOD, MESH, NETWORKING, Json, cluster, manifest, marker, to, virtual_service
from tests.feature.server import Server, serving
from tests.patience import until


def _slice(name: str, address: str) -> Json:
    found = manifest(
        "discovery.k8s.io/v1",
        "EndpointSlice",
        name,
        addressType="IPv4",
        ports=[{"name": "http", "port": 8080, "protocol": "TCP"}],
        endpoints=[{"addresses": [address], "conditions": {"ready": True}}],
    )
    found["metadata"]["labels"] = {"kubernetes.io/service-name": "reviews"}
    return found


def _entry(name: str, number: int, port: str) -> Json:
    spec = {
        "hosts": ["shared.test"],
        "addresses": ["240.2.0.1"],
        "ports": [{"number": number, "name": port}],
        "resolution": "STATIC",
        "endpoints": [{"address": f"10.9.3.{number % 256}"}],
    }
    return manifest(NETWORKING, "ServiceEntry", name, spec=spec)


OBJECTS = (
    *MESH,
    GOOD,
    virtual_service({"route": [to("v1")], "timeout": "3s"}, name="also-for-cart"),  # of two of one host one counts
    _slice("reviews-2", "10.9.1.201"),
    _slice("reviews-0", "10.9.1.200"),
    _entry("a", 80, "http"),
    _entry("b", 90, "tcp"),
    manifest(NETWORKING, "DestinationRule", "of-the-mesh", "istio-system", spec={"host": "*.shop.svc.cluster.local"}),
    manifest("security.istio.io/v1", "PeerAuthentication", "default", spec={"mtls": {"mode": "STRICT"}}),
    marker(1),
    marker(2),
)
"""None says when it was made, so what counts first is decided by names alone."""


@pytest.fixture
def replicas(tmp_path: Path) -> Iterator[tuple[Server, Server]]:
    """One that has read all objects at once, and one that has only the last of them."""
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    with serving(tmp_path / "one", *OBJECTS) as one, serving(tmp_path / "other", OBJECTS[-1]) as other:
        yield one, other


async def test_a_proxy_that_goes_to_another_replica_is_sent_nothing(replicas: tuple[Server, Server]) -> None:
    """The other one had the objects one after the other, in another order, with a proxy to serve all the time."""
    one, other = replicas
    async with connected(one.xds) as client:
        before = client.copy()
    async with connected(other.xds) as client:
        shuffled = random.Random(18).sample(OBJECTS[:-1], len(OBJECTS) - 1)
        for number, each in enumerate(shuffled):
            other.write(f"{number}.yaml", each)
            name = f"order-{number}.test"
            other.write("order.yaml", _seen(name))
            await client.until(partial(client.has, CDS, cluster(name, port=7000)), name)
        other.remove("order.yaml")
        await client.until(lambda: client.bodies() == _bodies(before) and client.complete, "what the first one says")
        assert client.copy() == before, "in the same versions"
    async with connected(other.xds, known=before) as moved:
        await moved.until(lambda: {CDS, EDS, LDS, RDS} <= set(moved.responses), "an answer for each type")
        other.write("order.yaml", marker(3))
        await moved.until(lambda: moved.has(CDS, cluster("marker-3.test", port=7000)), "what came later")
        assert {url: {name: moved.held[url][name] for name in before[url]} for url in before} == before
    async with connected(one.xds, Variant.SOTW) as at_one:
        one.write("order.yaml", marker(3))
        await at_one.until(lambda: at_one.has(LDS, "240.1.0.3_7000"), "the same at the first one")
        async with connected(other.xds, Variant.SOTW) as at_other:
            assert at_other.bodies() == at_one.bodies()
            assert {url: at_other.held[url] for url in (CDS, LDS)} == {url: at_one.held[url] for url in (CDS, LDS)}


def _seen(host: str) -> Json:
    """Return an object by which it shows that everything before it has been compiled."""
    found = marker(0)
    found["spec"] |= {"hosts": [host], "addresses": ["240.3.0.1"]}
    return found


def _bodies(held: dict[str, dict[str, tuple[str, bytes]]]) -> dict[str, dict[str, bytes]]:
    return {url: {name: body for name, (_, body) in resources.items()} for url, resources in held.items()}


PROXIES = 36


async def test_replicas_that_start_get_their_shares(tmp_path: Path) -> None:
    """Proxies go to any of those that run at random, as a Service leads them. Nobody is sent away before all answer."""
    ports = [free_port() for _ in range(3)]
    options = [
        ("--monitoring-port", str(port), "--peer-interval", "100ms", "--peers", _others(ports, port)) for port in ports
    ]
    folders = [tmp_path / name for name in ("one", "two", "three")]
    for folder in folders:
        folder.mkdir()
    with serving(folders[0], *MESH, options=options[0]) as one:
        running = [one]
        async with _proxies(running):
            await until(lambda: _all_in(running))
            with serving(folders[1], *MESH, options=options[1]) as two:
                running.append(two)
                for server in running:
                    await server.event("app.replica_silent")
                assert await _held(one) == PROXIES, "the third one is not known yet"
                with serving(folders[2], *MESH, options=options[2]) as three:
                    running.append(three)
                    await until(lambda: _even(running))
                    for server in running:
                        await until(partial(_knows, server, replicas=3, share=PROXIES // 3))
                    await one.event("app.proxies_sent_away")
                    del running[1:]  # before these end


def _others(ports: Sequence[int], own: int) -> str:
    return ",".join(f"127.0.0.1:{port}" for port in ports if port != own)


@asynccontextmanager
async def _proxies(running: Sequence[Server]) -> AsyncIterator[None]:
    """Keep so many proxies connected, each anew at any of those that run when its stream has ended."""
    chosen = random.Random(18)
    tasks = [asyncio.create_task(_proxy(running, chosen)) for _ in range(PROXIES)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(each, asyncio.CancelledError) for each in results), results


async def _proxy(running: Sequence[Server], chosen: random.Random) -> None:
    while True:
        options = [("grpc.use_local_subchannel_pool", 1)]  # two channels to one address would share a connection
        async with grpc.aio.insecure_channel(chosen.choice(running).xds, options=options) as channel:
            with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # also of a write after the end
                call: Any = stream(channel, Variant.DELTA)()
                await call.write(DeltaDiscoveryRequest(type_url=CDS, node=Node(id=NODE_ID)))
                while (response := await call.read()) is not END:
                    await call.write(DeltaDiscoveryRequest(type_url=CDS, response_nonce=response.nonce))
        await asyncio.sleep(0.01)


async def _held(server: Server) -> int:
    _, answer = await server.get("/load")
    return int(answer["proxies"])


async def _knows(server: Server, replicas: int, share: int) -> bool:
    """Whether a replica counts so many, itself too, and has this share."""
    _, page = await server.get("/metrics")
    return f"controlplane_replicas {replicas}.0" in page and f"controlplane_share {share}.0" in page


async def _all_in(running: Sequence[Server]) -> bool:
    return sum([await _held(server) for server in running]) == PROXIES


async def _even(running: Sequence[Server]) -> bool:
    held = [await _held(server) for server in running]
    return sum(held) == PROXIES and min(held) >= PROXIES / 6  # what chance makes beyond that begins nothing anew
