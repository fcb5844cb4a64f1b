"""What a stream may ask for, and what is kept of what it asked."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Callable, Sequence
from contextlib import suppress

import grpc
import grpc.aio
import pytest
from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DiscoveryRequest

from controlplane.ads.contents import SnapshotCache
from controlplane.ads.credential import Credential
from controlplane.ads.debug import DebugAnswer
from controlplane.ads.lockstep import Lockstep
from controlplane.ads.observer import Observer
from controlplane.ads.refusal import StreamRefused
from controlplane.ads.server import AdsServer, Environment, ServerOptions
from controlplane.ads.watch import CDS, EDS, Variant
from controlplane.ads.wire import Decoder
from controlplane.limits import Limits
from controlplane.model.proxy import Proxy
from controlplane.snapshots import Resource, ResourceType, Snapshot
from tests.ads.client import NODE_ID, Client, OneSession, OneSnapshot
from tests.patience import patience

SMALL = Limits(max_resource_names=3, max_name_length=10, max_node_size=100)
both = pytest.mark.parametrize("variant", list(Variant), ids=["sotw", "delta"])


def asking(variant: Variant, type_url: str, *names: str) -> bytes:
    if variant is Variant.DELTA:
        return bytes(DeltaDiscoveryRequest(type_url=type_url, resource_names_subscribe=names).SerializeToString())
    return bytes(DiscoveryRequest(type_url=type_url, resource_names=names).SerializeToString())


@both
@pytest.mark.parametrize(
    ("names", "reason", "limit"),
    [
        (("a", "b", "c", "d"), "4 names are over the limit of 3", ["max_resource_names"]),
        (("a" * 11,), "a name of 11 bytes is over the limit of 10", ["max_name_length"]),
    ],
    ids=["many", "long"],
)
def test_names_of_a_request(variant: Variant, names: tuple[str, ...], reason: str, limit: list[str]) -> None:
    reached: list[str] = []
    decoder, served = Decoder(variant, SMALL, reached.append), SnapshotCache().served(Snapshot())
    assert decoder.request(asking(variant, EDS, "a", "b", "c" * 10), served).subscribe == {"a", "b", "c" * 10}
    with pytest.raises(StreamRefused, match=reason):
        decoder.request(asking(variant, EDS, *names), served)
    assert reached == limit


def test_versions_that_a_proxy_says_it_holds() -> None:
    decoder, served = Decoder(Variant.DELTA, SMALL), SnapshotCache().served(Snapshot())
    body = DeltaDiscoveryRequest(type_url=CDS, initial_resource_versions={str(n): "v" for n in range(4)})
    with pytest.raises(StreamRefused, match="4 names are over the limit of 3"):
        decoder.request(body.SerializeToString(), served)
    body = DeltaDiscoveryRequest(type_url=CDS, initial_resource_versions={"a": "v" * 20})
    with pytest.raises(StreamRefused, match="over the limit of 20"):
        decoder.request(body.SerializeToString(), served)


@both
def test_a_pod_with_as_many_annotations_as_kubernetes_allows_is_let_in(variant: Variant) -> None:
    """Beside them an Envoy has 60 kB to say: the names of its extensions."""
    node = Node(id=NODE_ID)
    for number in range(600):
        node.extensions.add(name=f"envoy.filters.http.{number:060}", category="envoy.filters.http")
    assert node.ByteSize() > 60_000
    node.metadata.update({"ANNOTATIONS": {f"a/{number}": "x" * 1000 for number in range(262)}})
    request = (DeltaDiscoveryRequest if variant is Variant.DELTA else DiscoveryRequest)(node=node, type_url=CDS)
    found, type_url = Decoder(variant).introduction(request.SerializeToString())
    assert (found.id, type_url) == (NODE_ID, CDS)


@both
def test_a_large_description_of_itself(variant: Variant) -> None:
    request = DiscoveryRequest if variant is Variant.SOTW else DeltaDiscoveryRequest
    body = request(node=Node(id="x" * 200), type_url=CDS).SerializeToString()
    with pytest.raises(StreamRefused, match="node: 203 bytes are over the limit of 100"):
        Decoder(variant, SMALL).introduction(body)


@both
def test_a_type_url_without_end(variant: Variant) -> None:
    with pytest.raises(StreamRefused, match="type_url: longer than 256 characters"):
        Decoder(variant).request(asking(variant, "x" * 257), SnapshotCache().served(Snapshot()))


@both
@pytest.mark.parametrize(
    ("type_url", "names", "reason"),
    [
        ("istio.io/debug", ["config_dump?" + "a=b&" * 100_000], "a name of 400012 bytes is over the limit of 1024"),
        ("istio.io/debug/config_dump", ["x" * 1025], "a name of 1025 bytes is over the limit of 1024"),
        ("istio.io/debug/syncz", [""] * 50_001, "50001 names are over the limit of 50000"),
        ("istio.io/debug/" + "x" * 100_000, [], "type_url: longer than 256 characters"),
    ],
    ids=["page", "proxy", "names", "type"],
)
async def test_what_a_tool_asks_for_has_bounds_too(
    variant: Variant, type_url: str, names: list[str], reason: str
) -> None:
    """It never reaches who would answer it."""
    asked: list[str] = []

    async def answer(asked_type: str, _names: Sequence[str], _credential: Credential) -> DebugAnswer:
        asked.append(asked_type)
        return DebugAnswer([], "")

    source = OneSnapshot(Snapshot())
    server = AdsServer(source, ServerOptions(new_streams_per_second=0), Environment(debug=answer))
    port = await server.add_port("127.0.0.1", 0)
    await server.start()
    try:
        for each, refused in ((["x" * 1024], False), (names, True)):
            client = Client(port, variant)
            await client.ask(type_url if refused else "istio.io/debug", *each)
            if refused:
                assert (await client.ended())[1].endswith(reason)
            else:
                await client.read()
            await client.close()
    finally:
        await server.stop()
    assert asked == ["istio.io/debug"]


class Reached(Observer):
    def __init__(self) -> None:
        super().__init__()
        self.limits: list[str] = []

    def limit_reached(self, limit: str) -> None:
        self.limits.append(limit)


async def test_names_that_come_one_by_one() -> None:
    observer = Reached()
    server = AdsServer(OneSnapshot(Snapshot(1)), ServerOptions(limits=SMALL), Environment(observer=observer))
    port = await server.add_port("127.0.0.1", 0)
    await server.start()
    client = Client(port, Variant.DELTA, NODE_ID[:80])
    for name in "abcd":
        await client.ask(EDS, name)
    with suppress(grpc.aio.AioRpcError):
        while await client.call.read() is not grpc.aio.EOF:  # type: ignore[attr-defined]
            pass
    assert await client.ended() == (grpc.StatusCode.RESOURCE_EXHAUSTED, "4 names are over the limit of 3")
    assert observer.limits == ["max_resource_names"]
    await client.close()
    await server.stop()


@pytest.mark.slow
async def test_what_one_stream_says_is_kept_within_bounds() -> None:
    """A stream that named one thing more with each request kept 3.6 GB for 5.5 MB."""
    lockstep = Lockstep()
    state = lockstep.begin(Variant.SOTW, SnapshotCache().served(Snapshot()), lambda _type, _name: None)
    names = [f"a-name-of-some-length-{number}" for number in range(3000)]
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(2600, 3000):
        received = lockstep.receive(state, asking(Variant.SOTW, EDS, *names[:number]))
        state = received.state or state
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert taken < 60 << 20


@pytest.mark.slow
@both
async def test_streams_that_name_ever_other_things_leave_little(variant: Variant) -> None:
    """All begin in one state, whose steps led to the names of each: forty sets of 50,000 names took 700 MB."""
    known = {"a": Resource.of(ResourceType.ENDPOINT, "a", b"a")}
    lockstep, served = Lockstep(), SnapshotCache().served(Snapshot(1, {ResourceType.ENDPOINT: known}))
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(60):
        state = lockstep.begin(variant, served, lambda type_, name: Resource.of(type_, name, b"empty"))
        names = [f"{number}-a-name-of-some-length-{each}" for each in range(5_000)]
        state = lockstep.receive(state, asking(variant, EDS, *names)).state or state
        state = lockstep.move(state, served, frozenset()).state or state
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert taken < 45 << 20  # of 100 without a bound


@pytest.mark.slow
async def test_names_that_one_stream_adds_to_many_take_no_copies_of_them() -> None:
    """Each of the last 256 subscriptions was kept: half a gigabyte, for 300 requests."""
    lockstep, served = Lockstep(), SnapshotCache().served(Snapshot())
    state = lockstep.begin(Variant.DELTA, served, lambda _type, _name: None)
    names = [f"a-name-of-some-length-{number}" for number in range(10_000)]
    state = lockstep.receive(state, asking(Variant.DELTA, EDS, *names)).state or state
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(100):
        state = lockstep.receive(state, asking(Variant.DELTA, EDS, f"more-{number}")).state or state
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert taken < 20 << 20  # 100 times half a megabyte without a bound


class Slow(OneSnapshot):
    """Gives nobody a snapshot, and notes who stops waiting for one."""

    def __init__(self) -> None:
        super().__init__(Snapshot(1, {ResourceType.CLUSTER: {"a": Resource.of(ResourceType.CLUSTER, "a", b"a")}}))
        self.waiting = 0

    async def open(self, _proxy: Proxy, _changed: Callable[[], None]) -> OneSession:
        self.waiting += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.waiting -= 1
        raise AssertionError


async def test_work_for_a_peer_that_left_is_given_up() -> None:
    source = Slow()
    server = AdsServer(source, ServerOptions())
    port = await server.add_port("127.0.0.1", 0)
    await server.start()
    client = Client(port, Variant.DELTA)
    await client.ask(CDS)
    async with patience():
        while not source.waiting:
            await asyncio.sleep(0.01)
        await client.close()
        while source.waiting:
            await asyncio.sleep(0.01)
    await server.stop()
