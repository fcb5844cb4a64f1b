"""The service over real gRPC on the loopback."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import grpc
import pytest
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest
from google.rpc.status_pb2 import Status

from controlplane.ads.observer import Observer
from controlplane.ads.server import NOT_READY, AdsServer, Environment, ServerOptions
from controlplane.ads.sync_status import ProxyStatus, Sync
from controlplane.ads.watch import CDS, EDS, Variant
from controlplane.http2.frames import Kind as FrameKind
from controlplane.limits import Limits
from controlplane.snapshots import Resource, ResourceType, Snapshot
from tests.ads.client import NODE_ID, Client, OneSnapshot, serving
from tests.http2.client import Client as RawClient
from tests.http2.client import frame, message
from tests.patience import in_time, until

MINUTE = 60
C, E = ResourceType.CLUSTER, ResourceType.ENDPOINT

both = pytest.mark.parametrize("variant", list(Variant), ids=["sotw", "delta"])


def snapshot(revision: int, size: int = 1, **endpoints: int) -> Snapshot:
    """Build a snapshot with a cluster and a load assignment per name; the number is the assignment's content."""
    clusters = {name: Resource.of(C, name, name.encode()) for name in endpoints}
    assignments = {name: Resource.of(E, name, str(n).encode() * size) for name, n in endpoints.items()}
    return Snapshot(revision, {C: clusters, E: assignments})


def bodies(response: object) -> list[bytes]:
    resources = list(response.resources)  # type: ignore[attr-defined]
    return [getattr(resource, "resource", resource).value for resource in resources]


def statuses(server: AdsServer) -> list[ProxyStatus]:
    held = [server.connections.status(connection_id) for connection_id in server.connections.proxies()]
    return [status for status in held if status is not None]


@both
async def test_subscribe_acknowledge_push(variant: Variant) -> None:
    source = OneSnapshot(snapshot(1, a=1, b=1))
    async with serving(source) as (server, port):
        client = Client(port, variant)
        await client.ask(CDS)
        clusters = await client.read()
        assert (clusters.type_url, bodies(clusters)) == (CDS, [b"a", b"b"])
        await client.ask(CDS, response_nonce=clusters.nonce)
        await client.ask(EDS, "a", "b")
        endpoints = await client.read()
        assert bodies(endpoints) == [b"1", b"1"]
        await client.ask(EDS, *(["a", "b"] if variant is Variant.SOTW else []), response_nonce=endpoints.nonce)

        def synced() -> bool:
            types = statuses(server)[0].types
            return len(types) == 2 and all(status.sync is Sync.SYNCED for status in types.values())

        await until(synced)
        source.publish(source.snapshot.replacing(2, [Resource.of(E, "b", b"2")]))
        pushed = await client.read()
        assert (pushed.type_url, bodies(pushed)) == (EDS, [b"2"])
        assert pushed.nonce != endpoints.nonce
        (status,) = statuses(server)
        assert status.connection_id == "app.shop-1"
        assert status.types[E].sync is Sync.STALE
        assert (status.types[E].sent_revision, status.types[E].acked_revision) == (2, 1)
        assert status.types[C].acked_revision == 2, "nothing of it changed in revision 2"
        (again,) = statuses(server)
        assert again.types[C].sent_at == status.types[C].sent_at, "it was sent once"
        await client.close()
        await until(lambda: not source.sessions and not len(server.connections))


async def test_revisions_are_of_the_stream_and_not_of_who_was_sent_the_same_first() -> None:
    source = OneSnapshot(snapshot(1, a=1))
    async with serving(source) as (server, port):
        clients = []
        for revision in (1, 2):
            source.publish(source.snapshot.replacing(revision, [Resource.of(E, "a", f"{revision}".encode())]))
            clients.append(Client(port, Variant.DELTA))
            await clients[-1].ask(CDS)
            clusters = await clients[-1].read()
            await clients[-1].ask(CDS, response_nonce=clusters.nonce)
            await until(lambda: [s.types[C].sync for s in statuses(server)] == [Sync.SYNCED] * len(clients))
        source.publish(source.snapshot.replacing(3, [Resource.of(C, "a", b"3")]))
        for client in clients:
            await client.read()
        kept = [(status.types[C].acked_revision, status.types[C].sent_revision) for status in statuses(server)]
        assert kept == [(1, 3), (2, 3)]
        for client in clients:
            await client.close()


async def test_a_push_is_out_when_every_stream_had_its_turn() -> None:
    source = OneSnapshot(snapshot(1, a=1))
    async with serving(source) as (server, port):
        clients = [Client(port, Variant.DELTA) for _ in range(20)]
        for client in clients:
            await client.ask(CDS)
            await client.ask(CDS, response_nonce=(await client.read()).nonce)
        await until(lambda: {s.types[C].sync for s in statuses(server)} == {Sync.SYNCED})
        source.publish(source.snapshot.replacing(2, [Resource.of(C, "a", b"2")]))
        assert {s.types[C].sent_revision for s in statuses(server)} == {1}
        assert {s.types[C].sync for s in statuses(server)} == {Sync.STALE}, "who waits for its turn has not got it"
        assert {s.types[C].acked_revision for s in statuses(server)} == {1}
        await server.pushed()
        assert {s.types[C].sent_revision for s in statuses(server)} == {2}
        for client in clients:
            await client.close()


async def test_delta_resources_carry_name_and_version() -> None:
    source = OneSnapshot(snapshot(1, a=1))
    async with serving(source) as (_, port):
        client = Client(port, Variant.DELTA)
        await client.ask(EDS, "a", "nowhere")
        response = await client.read()
        assert [(r.name, r.version) for r in response.resources] == [
            (name, Resource.of(E, name, body).version) for name, body in (("a", b"1"), ("nowhere", b""))
        ]
        assert {r.resource.type_url for r in response.resources} == {EDS}
        await client.close()


async def test_streams_in_the_same_state_get_the_same_bytes() -> None:
    source = OneSnapshot(snapshot(1, a=1, b=2))
    async with serving(source) as (_, port):
        clients = [Client(port, Variant.DELTA) for _ in range(3)]
        received = []
        for client in clients:
            await client.ask(EDS, "a", "b")
            received.append(await client.read_bytes())
        assert len(set(received)) == 1
        for client in clients:
            await client.close()


async def test_reconnect_with_everything_gets_an_empty_response() -> None:
    names = {f"service-{i}": i for i in range(50)}
    source = OneSnapshot(snapshot(1, **names))
    async with serving(source) as (_, port):
        for changed in (set(), {"service-7"}):
            client = Client(port, Variant.DELTA)
            held = {r.name: "old" if r.name in changed else r.version for r in source.snapshot.of(E).values()}
            await client.ask(EDS, *sorted(names), initial_resource_versions=held)
            response = await client.read()
            assert {r.name for r in response.resources} == changed
            await client.close()


@both
async def test_refusal_is_shown_with_its_message(variant: Variant) -> None:
    source = OneSnapshot(snapshot(1, a=1))
    async with serving(source) as (server, port):
        client = Client(port, variant)
        await client.ask(CDS)
        response = await client.read()
        await client.ask(CDS, response_nonce=response.nonce, error_detail=Status(message="no such filter"))
        await until(lambda: statuses(server)[0].types[C].sync is Sync.ERROR)
        status = statuses(server)[0].types[C]
        assert status.rejection is not None
        assert (status.rejection.message, status.rejection.nonce) == ("no such filter", response.nonce)
        assert status.rejection.version == status.sent_version
        await client.close()


async def test_slow_reader_holds_up_nobody_and_gets_the_latest() -> None:
    """It has one response on the way and then gets the newest, whatever came between."""
    size = 4_000_000
    source = OneSnapshot(snapshot(1, size, a=1))
    async with serving(source) as (server, port):
        slow, quick = Client(port, Variant.DELTA), Client(port, Variant.DELTA)
        for client in (slow, quick):
            await client.ask(EDS, "a")
            response = await client.read()
            await client.ask(EDS, response_nonce=response.nonce)
        await until(lambda: all(s.types[E].sync is Sync.SYNCED for s in statuses(server)))
        for n in range(2, 8):
            source.publish(snapshot(n, size, a=n))
            response = await quick.read()
            assert bodies(response)[0][:1] == str(n).encode()
            await quick.ask(EDS, response_nonce=response.nonce)
        first = await slow.read()
        await slow.ask(EDS, response_nonce=first.nonce)
        last = await slow.read()
        assert (bodies(first)[0][:1], bodies(last)[0][:1]) == (b"2", b"7")
        await slow.close()
        await quick.close()


@pytest.mark.parametrize(
    ("node_id", "reason"),
    [
        ("", "missing node information"),
        ("x", 'node.id "x" must have four parts type~ip~name.namespace~domain'),
        ("ztunnel~10.0.0.1~a.b~b.svc", 'type "ztunnel" is not served here'),
    ],
)
async def test_bad_node_is_told_why(node_id: str, reason: str) -> None:
    async with serving(OneSnapshot(snapshot(1))) as (_, port):
        client = Client(port, Variant.SOTW, node_id)
        await client.ask(CDS)
        code, details = await client.ended()
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert reason in details
        await client.close()


async def test_bytes_that_are_no_request() -> None:
    async with serving(OneSnapshot(snapshot(1))) as (server, port):
        client = Client(port, Variant.DELTA)
        await client.call.write(b"\xff\xff\xff")
        code, details = await client.ended()
        assert (code, details) == (grpc.StatusCode.INVALID_ARGUMENT, "the request is no delta discovery request")
        assert len(server.connections) == 0
        await client.close()


async def test_not_ready() -> None:
    async with serving(OneSnapshot(snapshot(1)), ready=lambda: False) as (_, port):
        client = Client(port, Variant.DELTA)
        assert await client.ended() == (grpc.StatusCode.UNAVAILABLE, NOT_READY)
        await client.close()


async def test_new_streams_are_let_in_one_after_the_other() -> None:
    """At one in ten seconds the second one waits, and there is a place for one that waits."""
    options = ServerOptions(new_streams_per_second=0.1, limits=Limits(max_waiting_calls=1))
    observer = Limited()
    server = AdsServer(OneSnapshot(snapshot(1)), options, Environment(observer=observer))
    port = await server.add_port("127.0.0.1", 0)
    await server.start()
    first = Client(port, Variant.DELTA)
    await first.ask(CDS)
    await until(lambda: len(server.connections) == 1)
    second, third = Client(port, Variant.DELTA), Client(port, Variant.DELTA)
    code, details = (
        (
            await asyncio.wait(
                [asyncio.ensure_future(each.ended()) for each in (second, third)], return_when=asyncio.FIRST_COMPLETED
            )
        )[0]
        .pop()
        .result()
    )
    assert (code, details) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "more than 1 new streams of 127.0.0.1 wait")
    assert (observer.limits, len(server.connections)) == (["max_waiting_calls"], 1)
    for client in (first, second, third):
        await client.close()
    await server.stop()


class Limited(Observer):
    """Notes which limits were reached."""

    def __init__(self) -> None:
        super().__init__()
        self.limits: list[str] = []

    def limit_reached(self, limit: str) -> None:
        self.limits.append(limit)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> asyncio.Queue[float]:
    """The pauses of a drain in seconds, the last of which lasts until it is taken from here."""
    held: asyncio.Queue[float] = asyncio.Queue()
    sleep = asyncio.sleep

    async def pause(seconds: float) -> None:
        if seconds < MINUTE:
            await sleep(seconds)
            return
        held.put_nowait(seconds)
        while not held.empty():
            await sleep(0.005)

    monkeypatch.setattr("asyncio.sleep", pause)
    return held


async def test_drain_ends_streams_one_by_one_and_lets_nobody_in(pauses: asyncio.Queue[float]) -> None:
    async with serving(OneSnapshot(snapshot(1, a=1))) as (server, port):
        clients = [Client(port, Variant.DELTA) for _ in range(3)]
        for client in clients:
            await client.ask(CDS)
            await client.read()
        stopping = asyncio.create_task(server.stop(timedelta(hours=1)))
        for left, client in zip((2, 1, 0), clients, strict=True):
            assert (await client.ended())[0] is grpc.StatusCode.OK
            await until(lambda left=left: len(server.connections) <= left)  # type: ignore[misc]
            assert len(server.connections) == left, "they ended together"
            assert await in_time(pauses.get()) == pytest.approx(0.9 * 60 * MINUTE / 3)
        await stopping
        for client in clients:
            await client.close()


async def test_the_proxy_that_has_been_connected_the_longest_is_sent_away() -> None:
    """Its stream ends well, its connection takes no other one, and nobody else notices."""
    async with serving(OneSnapshot(snapshot(1, a=1))) as (server, port):
        clients = [Client(port, Variant.DELTA) for _ in range(3)]
        for client in clients:
            await client.ask(CDS)
            await client.read()
        first, second, third = server.connections.streams
        assert server.connections.staying == 3
        server.connections.send_away()
        assert server.connections.staying == 2
        server.connections.send_away()
        assert server.connections.staying == 1, "another one, although the first is there still"
        for client in clients[:2]:
            assert (await client.ended())[0] is grpc.StatusCode.OK
        await until(lambda: list(server.connections.streams) == [third] and server.server.connection_count == 1)
        assert server.connections.staying == 1
        server.connections.send_away()
        server.connections.send_away()  # nobody is left
        assert (await clients[2].ended())[0] is grpc.StatusCode.OK
        await until(lambda: not server.connections.streams)
        assert server.connections.staying == 0
        assert first != second
        for client in clients:
            await client.close()


async def test_drained_proxies_are_told_to_leave_one_by_one(pauses: asyncio.Queue[float]) -> None:
    """Each with the end of its own stream: what it opens next must not come back here."""
    async with serving(OneSnapshot(snapshot(1, a=1))) as (server, port):
        clients = [await RawClient.connect(port) for _ in range(2)]
        for client in clients:
            await client.begin()
            await client.open(path="/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources")
            node = DeltaDiscoveryRequest(type_url=CDS, node={"id": NODE_ID}).SerializeToString()
            await client.say(frame(FrameKind.DATA, message(node)))
            await client.hear(FrameKind.DATA)
        stopping = asyncio.create_task(server.stop(timedelta(hours=1)))
        assert (await clients[0].status())["grpc-status"] == "0"
        await clients[0].goodbye()
        assert len(server.connections) == 1
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        await in_time(pauses.get())
        assert (await clients[1].status())["grpc-status"] == "0"
        for client in clients:
            client.close()
        await in_time(pauses.get())
        await stopping


@pytest.mark.parametrize("body", [b"\1\0\0\0\1x", b"\0\x02\0\0\1"], ids=["compressed", "large"])
async def test_a_message_that_is_not_taken_ends_the_stream_and_leaves_nothing(body: bytes) -> None:
    source = OneSnapshot(snapshot(1, a=1))
    async with serving(source) as (server, port):
        raw = await RawClient.connect(port)
        await raw.begin()
        await raw.open(path="/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources")
        node = DeltaDiscoveryRequest(type_url=CDS, node={"id": NODE_ID}).SerializeToString()
        await raw.say(frame(FrameKind.DATA, message(node)))
        await until(lambda: len(server.connections) == 1)
        await raw.say(frame(FrameKind.DATA, body))
        assert (await raw.status())["grpc-status"] != "0"
        await until(lambda: len(server.connections) == 0 and not source.sessions)
        raw.close()


async def test_a_large_push_is_counted_too() -> None:
    class Counting(Observer):
        def __init__(self) -> None:
            super().__init__()
            self.seconds: list[float] = []

        def converged(self, seconds: float) -> None:
            self.seconds.append(seconds)

    observer, source = Counting(), OneSnapshot(snapshot(1, a=1))
    server = AdsServer(source, ServerOptions(new_streams_per_second=0), Environment(observer=observer))
    port = await server.add_port("127.0.0.1", 0)
    await server.start()
    client = Client(port, Variant.DELTA)
    await client.ask(EDS, "a")
    await client.read()
    source.publish(snapshot(2, 3_000_000, a=2))
    await client.read()
    await until(lambda: len(observer.seconds) == 1)
    await client.close()
    await server.stop()


async def test_a_proxy_may_speak_of_debugging() -> None:
    async with serving(OneSnapshot(snapshot(1, a=1))) as (_, port):
        client = Client(port, Variant.DELTA)
        assert client.node is not None
        client.node.metadata.update({"ANNOTATIONS": {"note": "see istio.io/debug"}})
        await client.ask(CDS)
        assert bodies(await client.read()) == [b"a"]
        await client.close()


async def test_a_long_reason_is_shortened() -> None:
    async with serving(OneSnapshot(snapshot(1))) as (_, port):
        client = Client(port, Variant.SOTW, "x" * 50_000)
        await client.ask(CDS)
        code, details = await client.ended()
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert len(details) == 1024
        await client.close()


@both
async def test_a_change_while_a_stream_is_opened_is_in_its_first_response(variant: Variant) -> None:
    class Busy(OneSnapshot):
        async def open(self, proxy, changed):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
            session = await super().open(proxy, changed)
            self.publish(snapshot(2, b=1))
            for _ in range(3):
                await asyncio.sleep(0)  # what the change made due happens before the stream has its session
            return session

    async with serving(Busy(snapshot(1, a=1))) as (_, port):
        client = Client(port, variant)
        await client.ask(CDS)
        assert bodies(await client.read()) == [b"b"]
        await client.close()


async def test_failing_source_costs_its_own_stream_only() -> None:
    class Broken(OneSnapshot):
        async def open(self, proxy, changed):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
            if proxy.name == "bad":
                raise RuntimeError("a bug")
            return await super().open(proxy, changed)

    async with serving(Broken(snapshot(1, a=1))) as (server, port):
        good, bad = Client(port, Variant.DELTA), Client(port, Variant.DELTA, "sidecar~10.0.0.2~bad.shop~shop.svc")
        await good.ask(CDS)
        await bad.ask(CDS)
        assert await bad.ended() == (grpc.StatusCode.INTERNAL, "internal error")
        assert bodies(await good.read()) == [b"a"]
        assert len(server.connections) == 1
        await good.close()
        await bad.close()
