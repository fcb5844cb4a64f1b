"""Files in, responses out: changes of files, the mesh's settings, both forms of the protocol, and the end."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import aiohttp
import pytest
import yaml

from bench.subject import free_port
from tests.cli.command import ROOT
from tests.feature.client import CDS, EDS, LDS, RDS, Client, Variant, connected
from tests.feature.objects import CART, GOOD, MESH, Json, cluster, manifest, service
from tests.feature.server import PAUSE_SECONDS, Server, serving
from tests.patience import PATIENCE_SECONDS, patience, until

REVIEWS = cluster("reviews.shop.svc.cluster.local")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path, *MESH, GOOD) as running:
        yield running


def mesh_config(text: str) -> Json:
    return manifest("v1", "ConfigMap", "istio", "istio-system", data={"mesh": text})


CONVERGED = "pilot_proxy_convergence_time_count"


def connect_timeout(client: Client) -> float:
    return float(client.message(CDS, REVIEWS).connect_timeout.ToTimedelta().total_seconds())


def addresses(client: Client, name: str) -> set[str]:
    return {
        endpoint.endpoint.address.socket_address.address
        for locality in client.message(EDS, name).endpoints
        for endpoint in locality.lb_endpoints
    }


async def test_a_file_change_reaches_a_delta_client_and_only_what_changed_is_sent(server: Server) -> None:
    async with connected(server.xds) as client:
        assert addresses(client, REVIEWS) == {"10.9.1.2"}
        before, answered = client.copy(), len(client.responses)
        server.write("mesh.yaml", *_moved("reviews", "10.9.1.77"), GOOD)
        await client.until(lambda: addresses(client, REVIEWS) == {"10.9.1.77"}, "the new address")
        after = client.copy()
        assert client.responses[answered:] == [EDS]
        assert {name for name in after[EDS] if after[EDS][name] != before[EDS][name]} == {REVIEWS}
        assert [after[url] for url in (CDS, LDS, RDS)] == [before[url] for url in (CDS, LDS, RDS)]


def _moved(name: str, address: str) -> list[Json]:
    """Return the mesh with one endpoint at another address."""
    text = yaml.safe_dump(MESH)
    held: list[Json] = yaml.safe_load(text)
    for obj in held:
        if obj["kind"] == "EndpointSlice" and obj["metadata"]["name"] == f"{name}-1":
            obj["endpoints"][0]["addresses"] = [address]
    return held


async def test_a_change_is_counted_on_its_way(server: Server) -> None:
    """What came in, how long it was gathered, what was sent, and how long it took to reach the proxy."""

    async def page() -> dict[str, float]:
        lines = str((await server.get("/metrics"))[1]).splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")}

    async with connected(server.xds) as client:
        before = await page()
        server.write("mesh.yaml", *_moved("reviews", "10.9.1.77"), GOOD)
        await client.until(lambda: addresses(client, REVIEWS) == {"10.9.1.77"}, "the new address")

        async def converged() -> bool:
            return (await page())[CONVERGED] > before.get(CONVERGED, 0)

        await until(converged, "the server hears that the proxy took it")
        after = await page()
    grown = {name: after[name] - before.get(name, 0) for name in after}
    assert grown['pilot_inbound_updates{type="eds"}'] == 1
    assert grown['pilot_xds_pushes{type="eds"}'] == 1
    assert grown["pilot_debounce_time_count"] == 1
    assert grown[CONVERGED] == 1
    assert 0 < grown["pilot_proxy_convergence_time_sum"] < PATIENCE_SECONDS


async def test_objects_appear_and_go_with_their_file(server: Server) -> None:
    checkout = cluster("checkout.shop.svc.cluster.local")
    async with connected(server.xds) as client:
        before = client.copy()
        server.write("checkout.yaml", *service("checkout", 4))
        await client.until(lambda: client.has(CDS, checkout) and client.complete, "the new service")
        server.remove("checkout.yaml")
        await client.until(lambda: not client.has(CDS, checkout) and client.complete, "the service gone")
        await client.until(lambda: client.copy() == before, "everything as it was")
    assert 'pilot_inbound_updates{type="svcdelete"} 1.0' in str((await server.get("/metrics"))[1]), "istiod's word"


async def test_an_invalid_mesh_config_keeps_the_last_good_one(server: Server) -> None:
    key = ("ConfigMap", "istio")
    async with connected(server.xds) as client:
        server.write("istio.yaml", mesh_config("connectTimeout: 3s"))
        await client.until(lambda: connect_timeout(client) == 3, "the setting of the mesh")
        before = client.copy()
        for bad in ("connectTimeout: soon", "connectTimeout: [", "- 7"):
            since = len(server.events)
            server.write("istio.yaml", mesh_config(bad))
            await server.event("registry.rejected", since, object="ConfigMap istio-system/istio")
            assert list(await server.problems()) == [key]
            server.write("checkout.yaml", *service(f"after-{since}", 5))
            await _has(client, cluster(f"after-{since}.shop.svc.cluster.local"))
            assert {name: client.held[CDS][name] for name in before[CDS]} == before[CDS]
        server.write("istio.yaml", mesh_config("connectTimeout: 4s"))
        await client.until(lambda: connect_timeout(client) == 4, "the next good setting")
        assert await server.problems() == {}


async def _has(client: Client, name: str) -> None:
    await client.until(lambda: client.has(CDS, name) and client.complete, name)


async def test_both_forms_of_the_protocol_give_equal_resources(server: Server) -> None:
    async with connected(server.xds) as delta, connected(server.xds, Variant.SOTW) as sotw:
        assert delta.bodies() == sotw.bodies()
        assert delta.has(CDS, cluster(CART, "v1"))
        server.write("checkout.yaml", *service("checkout", 4))
        server.write("mesh.yaml", *_moved("reviews", "10.9.1.78"))
        checkout = cluster("checkout.shop.svc.cluster.local")
        for client in (delta, sotw):
            await _changed(client, checkout)
        await _alike(delta, sotw)


async def _alike(one: Client, other: Client) -> None:
    """Wait until both hold the same; whichever gets its last response later is the one to notice."""
    waits = [
        asyncio.create_task(client.until(lambda: one.bodies() == other.bodies(), "the same for both after changes"))
        for client in (one, other)
    ]
    done, pending = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in pending:
        wait.cancel()
    for wait in done:
        wait.result()


async def _changed(client: Client, new: str) -> None:
    await client.until(lambda: addresses(client, REVIEWS) == {"10.9.1.78"}, "the new address")
    await client.until(lambda: client.has(EDS, new) and client.complete, "the new service")


async def test_a_proxy_that_comes_back_gets_the_same_versions(server: Server) -> None:
    async with connected(server.xds) as client:
        before = client.copy()
    async with connected(server.xds) as client:
        assert client.copy() == before


async def test_sigterm_takes_readiness_first_then_drains_and_exits_with_0(tmp_path: Path) -> None:
    with serving(tmp_path, *MESH, drain="8s") as server:
        assert (await server.get("/ready"))[0] == 200
        async with connected(server.xds) as one, connected(server.xds, Variant.SOTW) as other:
            server.terminate()
            still_there = await _unready(server, one, other)
            await asyncio.gather(one.ended.wait(), other.ended.wait())
            assert await server.exit_code() == 0
        assert still_there >= 1, "readiness went after the streams"
        assert [event["streams"] for event in server.logged("app.stopping")] == [2]
        assert [event["cut"] for event in server.logged("ads.stopped")] == [0]
        assert server.logged("app.failed") == []


async def _unready(server: Server, *clients: Client) -> int:
    """Wait until the server says that it is not ready; return how many streams were open then."""
    async with patience():
        while True:
            try:
                status, _ = await server.get("/ready")
            except aiohttp.ClientError:
                raise AssertionError("the port closed before it said so") from None
            if status != 200:
                assert status == 503
                return sum(not client.ended.is_set() for client in clients)
            await asyncio.sleep(PAUSE_SECONDS)


def test_who_can_reach_the_port_of_proxies_can_ask_the_monitoring_port(tmp_path: Path) -> None:
    """Also while a mesh is read that takes a while: probes and tools are told that, and not refused."""
    documents = [each for number in range(200) for each in service(f"s-{number}", number)]
    (tmp_path / "mesh.yaml").write_text(yaml.safe_dump_all(documents))
    xds, monitoring = free_port(), free_port()
    command = [sys.executable, "-m", "controlplane", "serve", "--config-dir", str(tmp_path)]
    command += ["--xds-port", str(xds), "--monitoring-port", str(monitoring)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        try:
            end = time.monotonic() + PATIENCE_SECONDS
            while process.poll() is None and time.monotonic() < end:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", xds)) == 0:
                        break
                time.sleep(0.001)
            with socket.create_connection(("127.0.0.1", monitoring)):
                assert process.poll() is None
        finally:
            process.kill()


async def test_the_timeline_tells_who_changed_what_and_when_the_last_proxy_had_it(server: Server) -> None:
    new = manifest(
        "networking.istio.io/v1",
        "DestinationRule",
        "reviews",
        "shop",
        spec={"host": "reviews", "trafficPolicy": {"connectionPool": {"tcp": {"connectTimeout": "7s"}}}},
    )
    new["metadata"]["managedFields"] = [{"manager": "argocd-controller", "time": "2026-03-01T10:00:00Z"}]
    async with connected(server.xds) as one, connected(server.xds, Variant.SOTW) as other:
        server.write("rule.yaml", new)
        for client in (one, other):
            await client.until(partial(_times_out_after, client, 7), "the new timeout")
        async with patience():
            while not (pushed := await _delivered(server)):
                await asyncio.sleep(0.05)
    name = "DestinationRule shop/reviews"
    assert (pushed["changed"], pushed["authors"]) == ([name], ["argocd-controller"])
    sent = pushed["delivery"]
    assert sent["acknowledged"] == sent["responses"] >= 2
    assert sent["sizeBytes"] > 0
    assert 0 < sent["p50Milliseconds"] <= 1.06 * sent["lastMilliseconds"], "as much as two digits are off"


def _times_out_after(client: Client, seconds: float) -> bool:
    return connect_timeout(client) == seconds


async def _delivered(server: Server) -> Json | None:
    """Return the last push that has reached everybody it was for."""
    events = (await server.get("/api/v1/events"))[1]["items"]
    pushes = [each for each in events if each["delivery"] is not None and each["delivery"]["responses"] > 1]
    return next((each for each in pushes if each["delivery"]["acknowledged"] == each["delivery"]["responses"]), None)
