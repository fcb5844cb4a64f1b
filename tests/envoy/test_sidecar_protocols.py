"""Protocols other than plain requests, through a sidecar: TCP, TLS by server name, WebSocket, gRPC and HTTP/2."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import grpc
import grpc.aio
import pytest

from samples.authority import LocalAuthority, spiffe_id
from samples.control_plane import LOOPBACK, free_port
from samples.traffic import Answer, Entrance, send
from tests.envoy.mesh import GATEWAYS, HOST, Json, Mesh, eventually, eventually_all, istio, routes, subsets, to
from tests.envoy.servers import CHAT, SAY, EchoServer, LineServer, WebSocketServer, say
from tests.patience import PATIENCE_SECONDS

pytestmark = pytest.mark.asyncio(loop_scope="session")

END = grpc.aio.EOF  # type: ignore[attr-defined]  # the stubs do not know it
IDENTITY = LocalAuthority().issue(spiffe_id("default", "server"))


def service_on(port: int, protocol: str, endpoints: dict[str, int], *hosts: str, **spec: Any) -> Json:
    """Return the service of these hosts (``web.test``) with endpoints on loopback: the port of each version."""
    listed = [
        {"address": LOOPBACK, "ports": {"main": number}, "labels": {"version": version}}
        for version, number in endpoints.items()
    ]
    names = list(hosts or (HOST,))
    return istio(
        "ServiceEntry",
        names[0].split(".", 1)[0],
        hosts=names,
        ports=[{"number": port, "name": "main", "protocol": protocol}],
        resolution="STATIC",
        endpoints=listed,
        **spec,
    )


async def eventually_says(port: int, expected: str, server_name: str | None = None) -> None:
    """Wait until a line sent to a port of loopback is answered like this."""

    async def answered() -> bool:
        return await say(port, "hello", server_name) == expected

    await eventually(answered, f"{expected!r} on port {port} for {server_name}")


async def test_tcp(mesh: Mesh) -> None:
    """Connections to a service address are shared out by weight (200, 4.5 standard deviations), then moved at once."""
    v1, v2 = await mesh.serving(LineServer("v1")), await mesh.serving(LineServer("v2"))
    port = free_port()
    shares = [to("v1", 75), to("v2", 25)]
    listed = {"v1": v1.port, "v2": v2.port}
    mesh.write(
        service_on(port, "TCP", listed, addresses=[LOOPBACK]),
        subsets("v1", "v2"),
        istio("VirtualService", "web", hosts=[HOST], tcp=[{"match": [{"port": port}], "route": shares}]),
    )
    await mesh.sidecar()

    async def both() -> bool:
        return {await say(port, "x") for _ in range(20)} == {"v1 x", "v2 x"}

    await eventually(both, "both versions answer")
    counts = Counter([await say(port, "x") for _ in range(200)])
    assert set(counts) == {"v1 x", "v2 x"}
    assert abs(counts["v1 x"] - 150) <= 27
    mesh.write(istio("VirtualService", "web", hosts=[HOST], tcp=[{"route": [to("v2")]}]))

    async def moved() -> bool:
        return {await say(port, "x") for _ in range(20)} == {"v2 x"}

    await eventually(moved, "v2 has every connection")


async def test_tcp_connections_are_limited(mesh: Mesh) -> None:
    """Of two connections at once the second is closed; when the first has gone there is room again."""
    server = await mesh.serving(LineServer("only"))
    port = free_port()
    mesh.write(
        service_on(port, "TCP", {"v": server.port}, addresses=[LOOPBACK]),
        subsets(connectionPool={"tcp": {"maxConnections": 1}}),
    )
    await mesh.sidecar()
    await eventually_says(port, "only hello")

    async def limited() -> bool:
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        try:
            writer.write(b"first\n")
            first = await reader.readline()
            return first == b"only first\n" and await say(port, "second") == ""
        except OSError:  # the connection before has not ended yet, so this one was closed
            return False
        finally:
            writer.close()

    await eventually(limited, "a second connection is closed")
    await eventually_says(port, "only hello")


async def test_tls_is_routed_by_server_name(mesh: Mesh) -> None:
    """One port, several names: each leads to its own servers, TLS ends there, and other names lead nowhere."""
    servers = {name: await mesh.serving(LineServer(name, IDENTITY)) for name in ("one", "two", "three")}
    port = free_port()
    hosts = ["one.test", "two.test", "*.three.test"]
    tls = [
        {"match": [{"port": port, "sniHosts": ["one.test"]}], "route": [to(host="one.test")]},
        {"match": [{"port": port, "sniHosts": ["two.test"]}], "route": [to(host="two.test")]},
        {"match": [{"port": port, "sniHosts": ["*.three.test"]}], "route": [to(host="x.three.test")]},
    ]
    mesh.write(
        *(service_on(port, "TLS", {"v": servers[name].port}, f"{name}.test") for name in ("one", "two")),
        service_on(port, "TLS", {"v": servers["three"].port}, "x.three.test", "y.three.test"),
        istio("VirtualService", "tls", hosts=hosts, tls=tls),
    )
    await mesh.sidecar()
    await eventually_says(port, "three hello", "y.three.test")
    await eventually_says(port, "one hello", "one.test")
    await eventually_says(port, "two hello", "two.test")
    assert set(servers["one"].names) == {"one.test"}
    assert set(servers["three"].names) == {"y.three.test"}


async def test_tls_is_begun_by_the_proxy(mesh: Mesh) -> None:
    """The client speaks plain TCP, the server TLS: a DestinationRule makes the sidecar begin it, with this name."""
    server = await mesh.serving(LineServer("secure", IDENTITY))
    port = free_port()
    tls = {"mode": "SIMPLE", "sni": "inside.test", "insecureSkipVerify": True}
    mesh.write(service_on(port, "TCP", {"v": server.port}, addresses=[LOOPBACK]), subsets(tls=tls))
    await mesh.sidecar()
    await eventually_says(port, "secure hello")
    assert set(server.names) == {"inside.test"}


async def test_websocket(mesh: Mesh) -> None:
    """A connection is upgraded, and messages go both ways; the route's prefix decides where."""
    one, two = await mesh.serving(WebSocketServer("one")), await mesh.serving(WebSocketServer("two"))
    web = await mesh.sidecar()
    mesh.write(
        service_on(80, "HTTP", {"one": one.port, "two": two.port}),
        subsets("one", "two"),
        routes({"match": [{"uri": {"prefix": "/two"}}], "route": [to("two")]}, {"route": [to("one")]}),
    )
    await eventually_all(web, Answer(426))
    async with aiohttp.ClientSession(headers=web.headers) as session:
        for path, name in (("/", "one"), ("/two/chat", "two")):
            async with session.ws_connect(web.url + path, proxy=web.proxy) as socket:
                for text in ("a", "b"):
                    await socket.send_str(text)
                    assert await socket.receive_str(timeout=PATIENCE_SECONDS) == f"{name} {text}"


def channel(web: Entrance) -> Any:
    """Return a ``grpc.aio.Channel`` for ``web.test``; its type would ask for serializers, which bytes do not need."""
    target = urlsplit(web.proxy or web.url).netloc
    return grpc.aio.insecure_channel(target, options=[("grpc.default_authority", HOST)])


@pytest.mark.parametrize(
    ("protocol", "pool"),
    [
        ("GRPC", {}),
        ("HTTP2", {}),
        pytest.param("HTTP", {"http": {"h2UpgradePolicy": "UPGRADE"}}, id="HTTP-upgraded"),
        pytest.param("HTTP", {"http": {"useClientProtocol": True}}, id="HTTP-like-the-client"),
    ],
)
async def test_grpc_and_http2(mesh: Mesh, protocol: str, pool: Json) -> None:
    """Calls and streams arrive over HTTP/2; methods are paths, the request's metadata are headers."""
    v1, v2 = await mesh.serving(EchoServer("v1")), await mesh.serving(EchoServer("v2"))
    web = await mesh.sidecar()
    mesh.write(
        service_on(80, protocol, {"v1": v1.port, "v2": v2.port}),
        subsets("v1", "v2", **({"connectionPool": pool} if pool else {})),
        routes(
            {"match": [{"uri": {"exact": CHAT}}], "route": [to("v2")]},
            {"match": [{"headers": {"x-version": {"exact": "v2"}}}], "route": [to("v2")]},
            {"route": [to("v1")], "retries": {"attempts": 2, "retryOn": "unavailable"}},
        ),
    )
    async with channel(web) as client:
        ask = client.unary_unary(SAY)

        async def answered() -> bool:
            try:
                return bool(await ask(b"hello", timeout=30) == b"v1 hello")
            except grpc.aio.AioRpcError:
                return False

        await eventually(answered, "the service answers")
        assert await ask(b"hello", timeout=PATIENCE_SECONDS, metadata=[("x-version", "v2")]) == b"v2 hello"
        v1.attempts, v1.fail_next = 0, 2
        assert await ask(b"again", timeout=PATIENCE_SECONDS) == b"v1 again"
        assert v1.attempts == 3
        chat = client.stream_stream(CHAT)(timeout=PATIENCE_SECONDS)
        for text in (b"a", b"b"):
            await chat.write(text)
            assert await chat.read() == b"v2 " + text
        await chat.done_writing()
        assert await chat.read() is END
        assert await chat.code() is grpc.StatusCode.OK


async def test_http2_is_not_spoken_to_who_did_not_ask_for_it(mesh: Mesh) -> None:
    """The same client to a port of HTTP/1.1: the proxy translates, the server sees what its protocol is."""
    old = await mesh.backend("old")
    web = await mesh.sidecar()
    mesh.write(service_on(80, "HTTP", {"old": old.port}))
    await eventually_all(web, Answer(200, "old", "/"))
    old.seen.clear()
    async with channel(web) as client:
        with pytest.raises(grpc.aio.AioRpcError):  # the answer is JSON
            await client.unary_unary(SAY)(b"hello", timeout=PATIENCE_SECONDS)
    assert [(seen.method, seen.path) for seen in old.seen] == [("POST", SAY)]
    assert set(await send(web, "/", {}, 5)) == {Answer(200, "old", "/")}


async def test_a_port_without_protocol_is_sniffed(mesh: Mesh) -> None:
    """A port of no known protocol: a request is routed as HTTP; what only speaks TCP arrives all the same."""
    lines = await mesh.serving(LineServer("tcp"))
    http = await mesh.backend("http")
    tcp_port, http_port = free_port(), free_port()
    mesh.write(
        service_on(tcp_port, "", {"tcp": lines.port}, "tcp.test", addresses=[LOOPBACK]),
        service_on(http_port, "", {"http": http.port}, "http.test", addresses=[LOOPBACK]),
        istio(
            "VirtualService",
            "http",
            hosts=["http.test"],
            gateways=GATEWAYS,
            http=[{"rewrite": {"uri": "/sniffed"}, "route": [to(host="http.test")]}],
        ),
    )
    await mesh.sidecar()
    await eventually_says(tcp_port, "tcp hello")
    direct = Entrance("the port itself", f"http://{LOOPBACK}:{http_port}", headers={"host": "http.test"})
    await eventually_all(direct, Answer(200, "http", "/sniffed"))
