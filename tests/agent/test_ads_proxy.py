"""Envoy's stream led to the control plane: bytes, token, what is the agent's own, ends, and what it costs."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from structlog.testing import capture_logs

from controlplane.agent.addresses import TcpAddress
from controlplane.agent.ads_proxy import DELTA, EXTENSION, HEALTH, LISTENER, SERVICE, SOTW, AdsProxy, Convert, Taking
from controlplane.agent.control_plane import Peer
from controlplane.agent.metrics import exposition
from controlplane.agent.protobuf_fields import length_delimited
from controlplane.security.ca import Authority, Lifetimes
from controlplane.security.certificates import encode, encode_key
from controlplane.security.self_signed import RootPolicy
from controlplane.security.sources import FolderSource
from tests.patience import in_time

CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
OWN = "type.googleapis.com/istio.networking.nds.v1.NameTable"
STRANGE = "type.googleapis.com/somebody.Else"
FORMS: dict[str, tuple[Any, Any]] = {
    SOTW: (DiscoveryRequest, DiscoveryResponse),
    DELTA: (DeltaDiscoveryRequest, DeltaDiscoveryResponse),
}


class Upstream:
    """A control plane that keeps what it is sent, and answers what it is told to."""

    def __init__(self) -> None:
        self.metadata: list[dict[str, str]] = []
        self.requests: asyncio.Queue[bytes] = asyncio.Queue()
        self.answers: asyncio.Queue[bytes | grpc.StatusCode] = asyncio.Queue()
        self.echoes = False
        self.port = 0

    async def serve(self, requests: AsyncIterator[bytes], context: Any) -> None:
        self.metadata.append({key: str(value) for key, value in context.invocation_metadata()})
        reading = asyncio.create_task(self._read(requests))
        try:
            while isinstance(answer := await self.answers.get(), bytes):
                await context.write(answer)
            await context.abort(answer, "because")
        finally:
            reading.cancel()

    async def _read(self, requests: AsyncIterator[bytes]) -> None:
        async for request in requests:
            (self.answers if self.echoes else self.requests).put_nowait(request)


class Client:
    """What Envoy is to the agent."""

    def __init__(self, proxy: AdsProxy, upstream: Upstream, path: Path) -> None:
        self.proxy, self.upstream, self._path = proxy, upstream, path

    @asynccontextmanager
    async def stream(self, method: str, target: str = "") -> AsyncIterator[Any]:
        options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(target or f"unix:{self._path}", options) as channel:
            opened: Any = channel
            call = opened.stream_stream(f"/{SERVICE}/{method}")()
            yield call
            call.cancel()


@asynccontextmanager
async def led(
    interests: dict[str, Any] | None = None, *, convert: Convert | None = None, tls: bool = False
) -> AsyncIterator[Client]:
    """Run a control plane and an agent's proxy in front of it."""
    upstream = Upstream()
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    handlers = {method: grpc.stream_stream_rpc_method_handler(upstream.serve) for method in FORMS}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    with tempfile.TemporaryDirectory(prefix="ads-") as name:
        folder, root = Path(name), None
        if tls:
            authority = Authority(await FolderSource(folder / "ca", RootPolicy()).read(), Lifetimes())
            key = ec.generate_private_key(ec.SECP256R1())
            chain = encode(authority.sign(key.public_key(), ["localhost"], timedelta(hours=1)))
            root = folder / "root.pem"
            root.write_text(authority.bundle)
            pair = (encode_key(key), chain.encode())
            upstream.port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
        else:
            upstream.port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        proxy = AdsProxy(peer(upstream.port, root), Taking(interests or {}, convert))
        await proxy.start(folder / "XDS")
        try:
            yield Client(proxy, upstream, folder / "XDS")
        finally:
            await proxy.stop()
            await server.stop(None)


def peer(port: int, root: Path | None = None) -> Peer:
    seconds = timedelta(seconds=30)
    return Peer(TcpAddress("127.0.0.1", port), root, "localhost", None, (("clusterid", "east"),), seconds, seconds)


async def soon(awaitable: Any) -> Any:
    return await in_time(awaitable)


@pytest.mark.parametrize("method", FORMS)
async def test_messages_arrive_as_they_are(method: str) -> None:
    """Both ways, byte for byte, unknown fields too, and larger than gRPC allows by itself."""
    request, response = FORMS[method]
    unknown = b"\xfa\x3f\x03abc"
    asked = request(type_url=CLUSTER, response_nonce="n").SerializeToString() + unknown
    answer = response(type_url=CLUSTER, nonce="m").SerializeToString() + unknown
    large = answer * ((6 << 20) // len(answer))
    async with led() as client, client.stream(method) as stream:
        await stream.write(asked)
        assert await soon(client.upstream.requests.get()) == asked
        for each in (answer, large):
            client.upstream.answers.put_nowait(each)
            assert await soon(stream.read()) == each
        assert client.upstream.metadata[0]["clusterid"] == "east"
        assert "authorization" not in client.upstream.metadata[0], "no token over plaintext"


@pytest.mark.parametrize("method", FORMS)
async def test_what_is_for_the_agent_is_taken_out_and_acknowledged(method: str) -> None:
    """It is asked for once, behind Envoy's first request for listeners; what it cannot use is refused with why."""
    request, response = FORMS[method]
    taken: list[bytes] = []

    def take(encoded: bytes) -> None:
        taken.append(encoded)
        if encoded == b"bad":
            raise ValueError("of no use")

    def resource(value: bytes) -> bytes:
        message = response(type_url=OWN, nonce=f"nonce-{value.decode()}")
        added = message.resources.add()
        (added if method == SOTW else added.resource).value = value
        return bytes(message.SerializeToString())

    async with led({OWN: take}) as client, client.stream(method) as stream:
        sent = [request(type_url=each).SerializeToString() for each in (CLUSTER, LISTENER, CLUSTER, LISTENER)]
        for each in sent:
            await stream.write(each)
        arrived = [await soon(client.upstream.requests.get()) for _ in range(5)]
        assert arrived == [*sent[:2], request(type_url=OWN).SerializeToString(), *sent[2:]]
        strange = response(type_url=STRANGE).SerializeToString()
        wanted = response(type_url=CLUSTER, nonce="2").SerializeToString()
        for each in (resource(b"good"), resource(b"bad"), response(type_url=OWN).SerializeToString(), strange, wanted):
            client.upstream.answers.put_nowait(each)
        assert await soon(stream.read()) == wanted, "nothing else goes further"
        good = request.FromString(await soon(client.upstream.requests.get()))
        bad = request.FromString(await soon(client.upstream.requests.get()))
        assert (good.response_nonce, good.error_detail.code) == ("nonce-good", 0)
        assert (bad.response_nonce, bad.error_detail.code, bad.error_detail.message) == ("nonce-bad", 13, "of no use")
        assert taken == [b"good", b"bad"]


@pytest.mark.parametrize("method", FORMS)
async def test_word_of_health_waits_for_the_first_listeners(method: str) -> None:
    request, _ = FORMS[method]
    async with led() as client:
        await client.proxy.tell_health("no answer")
        async with client.stream(method) as stream:
            await stream.write(request(type_url=LISTENER).SerializeToString())
            await soon(client.upstream.requests.get())
            told = request.FromString(await soon(client.upstream.requests.get()))
            assert (told.type_url, told.error_detail.message) == (HEALTH, "no answer")
            await client.proxy.tell_health(None)
            told = request.FromString(await soon(client.upstream.requests.get()))
            assert (told.type_url, told.HasField("error_detail")) == (HEALTH, False)


async def test_the_token_of_the_moment_goes_along_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    token = tmp_path / "var/run/secrets/tokens/istio-token"
    token.parent.mkdir(parents=True)
    async with led(tls=True) as client:
        for text in ("first\n", "second"):
            token.write_text(text)
            async with client.stream(DELTA) as stream:
                await stream.write(DeltaDiscoveryRequest(type_url=CLUSTER).SerializeToString())
                await soon(client.upstream.requests.get())
    assert [each["authorization"] for each in client.upstream.metadata] == ["Bearer first", "Bearer second"]


async def test_a_mistake_of_ours_is_told() -> None:
    """The stream ends, and the log has the traceback: nothing else would say why."""

    def take(_: bytes) -> None:
        raise RuntimeError("a mistake")

    response = DeltaDiscoveryResponse(type_url=OWN)
    response.resources.add().resource.value = b"x"
    with capture_logs() as logs:
        async with led({OWN: take}) as client, client.stream(DELTA) as stream:
            await stream.write(DeltaDiscoveryRequest(type_url=CLUSTER).SerializeToString())
            await soon(client.upstream.requests.get())
            client.upstream.answers.put_nowait(response.SerializeToString())
            assert not await soon(stream.read())
    (failed,) = [each for each in logs if each["event"] == "agent.work_failed"]
    assert str(failed["exc_info"]) == "a mistake"


def ended() -> dict[str, float]:
    """Return how many streams have ended, by metric and type."""
    lines = (line.rpartition(" ") for line in exposition().splitlines() if "_connection_terminations{" in line)
    return {name.removeprefix("istio_agent_"): float(value) for name, _, value in lines}


async def test_an_end_of_either_side_is_an_end_of_both() -> None:
    before = ended()
    async with led() as client:
        async with client.stream(DELTA) as stream:
            await stream.write(DeltaDiscoveryRequest(type_url=CLUSTER).SerializeToString())
            await soon(client.upstream.requests.get())
            client.upstream.answers.put_nowait(grpc.StatusCode.RESOURCE_EXHAUSTED)
            assert (await soon(stream.code()), await stream.details()) == (
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                "because",
            )
        async with client.stream(DELTA) as former:
            await former.write(DeltaDiscoveryRequest(type_url=CLUSTER).SerializeToString())
            await soon(client.upstream.requests.get())
            async with client.stream(DELTA) as later:
                await later.write(DeltaDiscoveryRequest(type_url=CLUSTER).SerializeToString())
                await soon(client.upstream.requests.get())
                assert not await soon(former.read()), "it has ended: there is one Envoy"
                more = {name: value - before[name] for name, value in ended().items()}
                assert more == {
                    'istiod_connection_terminations{type="cancelled"}': 0,
                    'istiod_connection_terminations{type="error"}': 1,
                    'envoy_connection_terminations{type="cancelled"}': 1,
                    'envoy_connection_terminations{type="error"}': 0,
                }


async def test_nobody_there_is_said_at_once() -> None:
    async with led() as client:
        proxy = AdsProxy(peer(1))
        with tempfile.TemporaryDirectory(prefix="ads-") as name:
            await proxy.start(Path(name) / "XDS")
            try:
                async with client.stream(SOTW, f"unix:{name}/XDS") as stream:
                    assert await soon(stream.code()) == grpc.StatusCode.UNAVAILABLE
            finally:
                await proxy.stop()
    missing = AdsProxy(peer(1, Path("/nowhere/root.pem")))
    with tempfile.TemporaryDirectory(prefix="ads-") as name:
        await missing.start(Path(name) / "XDS")
        try:
            async with client.stream(SOTW, f"unix:{name}/XDS") as stream:
                assert await soon(stream.code()) == grpc.StatusCode.UNAVAILABLE
                assert "/nowhere/root.pem cannot be read" in await stream.details()
        finally:
            await missing.stop()


async def test_what_the_way_through_the_agent_costs() -> None:
    """Prints the time that a message and its answer take, directly and through the agent."""
    message = DiscoveryResponse(type_url=CLUSTER, nonce="n").SerializeToString() + b"\xfa\x3f\x80\x08" + b"x" * 1024
    async with led() as client:
        client.upstream.echoes = True
        medians = {}
        for way, target in (("directly", f"127.0.0.1:{client.upstream.port}"), ("through the agent", "")):
            async with client.stream(SOTW, target) as stream:
                times = []
                for _ in range(200):
                    began = perf_counter()
                    await stream.write(message)
                    assert await soon(stream.read()) == message
                    times.append(perf_counter() - began)
                medians[way] = statistics.median(times)
        added = medians["through the agent"] - medians["directly"]
        print(*(f"{way} {seconds * 1000:.2f} ms," for way, seconds in medians.items()), f"added {added * 1000:.2f} ms")


@pytest.mark.parametrize("wire", [b"\xff", b"\x0a\x05ab", b"\x0b", b"\x0a" + b"\xff" * 11])
def test_what_is_no_message_is_refused(wire: bytes) -> None:
    with pytest.raises(ValueError, match=r"field|number"):
        list(length_delimited(wire))


@pytest.mark.parametrize("method", FORMS)
async def test_settings_of_filters_are_held_until_they_are_converted(method: str) -> None:
    """In their order; other types do not wait, and what cannot be read is refused in Envoy's place."""
    request, response = FORMS[method]
    fetched = asyncio.Event()

    async def convert(message: Any) -> bool:
        if message.nonce == "bad":
            raise ValueError("of no use")
        if message.nonce == "plain":
            return False
        await fetched.wait()
        message.nonce = "converted"
        return True

    async with led(convert=convert) as client, client.stream(method) as stream:
        await stream.write(request(type_url=CLUSTER).SerializeToString())
        await soon(client.upstream.requests.get())
        for nonce in ("slow", "bad", "plain"):
            client.upstream.answers.put_nowait(response(type_url=EXTENSION, nonce=nonce).SerializeToString())
        client.upstream.answers.put_nowait(response(type_url=CLUSTER, nonce="c").SerializeToString())
        assert response.FromString(await soon(stream.read())).nonce == "c"
        fetched.set()
        assert [response.FromString(await soon(stream.read())).nonce for _ in range(2)] == ["converted", "plain"]
        refused = request.FromString(await soon(client.upstream.requests.get()))
        assert (refused.type_url, refused.response_nonce) == (EXTENSION, "bad")
        assert refused.error_detail.message == "of no use"
