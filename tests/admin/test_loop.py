"""No request holds the event loop for long, however many proxies and services there are.

What is measured is the processor time that the loop's thread takes in one turn: other programs of the machine have no
part in it. The caller reads in a thread of its own.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from dataclasses import replace
from http.client import HTTPConnection

import pytest
from envoy.config.route.v3.route_pb2 import RouteConfiguration

from bench.turns import Turns
from controlplane.admin.application import DEBUG_ENDPOINTS
from controlplane.admin.sources import AdminSources
from controlplane.ads.sync_status import ProxyStatus, Sync
from controlplane.model import kinds
from controlplane.model.objects import ObjectKey, Rejected
from controlplane.model.service import Service, ServiceKey
from controlplane.snapshots import Resource, ResourceType, Snapshot
from tests.admin import world

pytestmark = pytest.mark.slow

PROXIES, SERVICES, OBJECTS = 1_000, 5_000, 2_000
MOST_SECONDS = 0.005
TRIES = 10
"""One may come when the kernel, or the processor's caches, had other things to do for this thread."""
ANSWERED_ELSEWHERE = {"/debug/explain", "/debug/plan"}  # this package only hands the question on
PAGES = [
    *sorted(DEBUG_ENDPOINTS.keys() - {"/debug/config_dump", "/debug/edsz", "/debug/ecdsz"} - ANSWERED_ELSEWHERE),
    "/debug/config_dump?proxyID=client-7&include_eds",
    "/debug/edsz?proxyID=client-7",
    "/debug/ecdsz?proxyID=client-7",
    "/debug/syncz?pretty",
    "/debug/syncz?limit=10",
    "/debug/syncz?proxyID=client-7&pretty",
    "/debug/registryz?pretty",
    "/metrics",
    "/ready",
    "/version",
]


def services() -> Iterator[Service]:
    one = world.service()
    for number in reversed(range(SERVICES)):
        name = f"svc-{number}"
        key = ServiceKey(f"{name}.shop.svc.cluster.local", ObjectKey(kinds.SERVICE, "shop", name))
        yield replace(one, key=key, name=name)


def routes() -> Resource:
    """One large resource: a route configuration with every service, some several times."""
    made = RouteConfiguration(name="80")
    for number in range(4 * SERVICES):
        host = made.virtual_hosts.add(name=f"svc-{number}:80", domains=[f"svc-{number}", f"svc-{number}.shop"])
        route = host.routes.add(name="default")
        route.match.prefix = "/"
        route.route.cluster = f"outbound|80||svc-{number}.shop.svc.cluster.local"
    return Resource.of(ResourceType.ROUTE, "80", made.SerializeToString())


def large() -> AdminSources:
    """Every proxy refuses one listener, which was made from many objects."""
    names = frozenset(f"outbound|80||svc-{number}.shop.svc.cluster.local" for number in range(300))
    types = {
        ResourceType.CLUSTER: world.sent(Sync.SYNCED),
        ResourceType.ENDPOINT: replace(world.sent(Sync.SYNCED), names=names),
        ResourceType.LISTENER: world.refused(),
    }
    connected: dict[str, ProxyStatus] = {}
    for number in range(PROXIES):
        status = world.status(f"client-{number}", types)
        connected[status.connection_id] = status
    clusters = {f"svc-{n}": Resource.of(ResourceType.CLUSTER, f"svc-{n}", b"") for n in range(SERVICES)}
    listeners = {f"10.0.0.1_{n}": Resource.of(ResourceType.LISTENER, f"10.0.0.1_{n}", b"") for n in range(SERVICES)}
    listeners["0.0.0.0_9080"] = Resource.of(ResourceType.LISTENER, "0.0.0.0_9080", b"")
    held = {ResourceType.CLUSTER: clusters, ResourceType.LISTENER: listeners, ResourceType.ROUTE: {"80": routes()}}
    snapshot = Snapshot(7, held)
    made_from = [ObjectKey(kinds.VIRTUAL_SERVICE, "shop", f"vs-{number}") for number in range(OBJECTS)]
    refused = [Rejected(key, ("spec.http[0]: no destination",), "shop.yaml:12") for key in reversed(made_from)]
    return replace(
        world.sources(*connected.values()),
        snapshot=lambda connection: snapshot if connection in connected else None,
        services=services,
        behind=lambda *_: iter(made_from),
        rejected=lambda: refused,
    )


@pytest.fixture(scope="module")
def asked() -> Iterator[AdminSources]:
    """As when the program serves, the collector has nothing to go through: see ``settle_memory``."""
    sources = large()
    gc.collect()
    gc.freeze()
    gc.disable()
    yield sources
    gc.enable()
    gc.unfreeze()


def read(address: str, path: str) -> int:
    """Return how many bytes a page has."""
    connection = HTTPConnection(address)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        assert response.status == 200, response.read()
        size = 0
        while got := response.read(1 << 16):
            size += len(got)
        return size
    finally:
        connection.close()


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_holds_the_loop_for_a_moment_only(asked: AdminSources, path: str) -> None:
    async with world.serving(asked) as address:
        longest: list[float] = []
        while len(longest) < TRIES and min(longest, default=1.0) >= MOST_SECONDS:
            turns = Turns()
            turns.begin()
            size = await asyncio.to_thread(read, address, path)
            turns.end()
            assert size > 0 or path == "/ready"
            longest.append(turns.longest)
    assert min(longest) < MOST_SECONDS
