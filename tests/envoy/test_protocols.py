"""Protocols other than plain requests through real Envoys: upgrades, HTTP/2 with gRPC, TCP, TLS by server name."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from aiohttp import web as aiohttp_web

from samples.authority import LocalAuthority
from samples.control_plane import LOOPBACK, free_port
from samples.traffic import Answer, Entrance, send, weights_problem
from tests.envoy.mesh import HOST, Mesh, accepts, eventually, eventually_all, istio, routes, service, subsets, to

pytestmark = pytest.mark.asyncio(loop_scope="session")


def entry(host: str, port: int, protocol: str, *endpoints: int) -> dict[str, Any]:
    """Return a service of this protocol with endpoints on loopback ports, labelled ``v1``, ``v2`` and so on."""
    return istio(
        "ServiceEntry",
        host.split(".", 1)[0],
        hosts=[host],
        ports=[{"number": port, "name": "p", "protocol": protocol}],
        location="MESH_INTERNAL",
        resolution="STATIC",
        endpoints=[
            {"address": LOOPBACK, "ports": {"p": number}, "labels": {"version": f"v{index}"}}
            for index, number in enumerate(endpoints, start=1)
        ],
    )


def server(name: str, port: int, protocol: str, *hosts: str, **more: Any) -> dict[str, Any]:
    """Return a Gateway of one server for the gateway proxy that the mesh runs."""
    declared = {"port": {"number": port, "name": name, "protocol": protocol}, "bind": LOOPBACK, "hosts": list(hosts)}
    return istio("Gateway", name, selector={"istio": "ingress-delta"}, servers=[declared | more])


@asynccontextmanager
async def echo_sockets() -> AsyncIterator[int]:
    """Serve WebSockets that say what they hear; yield the port."""

    async def answer(request: aiohttp_web.Request) -> aiohttp_web.WebSocketResponse:
        socket = aiohttp_web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(f"heard {message.data}")
        return socket

    app = aiohttp_web.Application()
    app.router.add_get("/chat", answer)
    runner = aiohttp_web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await aiohttp_web.TCPSite(runner, LOOPBACK, 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def test_web_socket(mesh: Mesh) -> None:
    """A connection is upgraded through the gateway and carries messages both ways."""
    async with echo_sockets() as port, aiohttp.ClientSession() as session:
        mesh.write(entry(HOST, 80, "HTTP", port), routes({"route": [to()]}))
        web = await mesh.gateway()

        async def talks() -> bool:
            try:
                async with session.ws_connect(web.url + "/chat", headers=web.headers) as socket:
                    await socket.send_str("one")
                    await socket.send_str("two")
                    return [await socket.receive_str(), await socket.receive_str()] == ["heard one", "heard two"]
            except aiohttp.WSServerHandshakeError:  # the route is not there yet
                return False

        await eventually(talks, "messages go both ways")


@asynccontextmanager
async def echo_rpc() -> AsyncIterator[int]:
    """Serve ``/echo.Echo/Talk``, a stream that says what it hears with the peer's authority; yield the port."""

    async def talk(
        requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]
    ) -> AsyncIterator[bytes]:
        async for request in requests:
            yield b"heard " + request
        context.set_trailing_metadata((("x-end", "here"),))

    handler = grpc.stream_stream_rpc_method_handler(talk)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("echo.Echo", {"Talk": handler}),))
    port = server.add_insecure_port(f"{LOOPBACK}:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


async def test_grpc(mesh: Mesh) -> None:
    """Streams and trailers pass; a route matches by method; an unknown service is gRPC's own kind of answer."""
    async with echo_rpc() as port:
        known = {"match": [{"uri": {"prefix": "/echo.Echo/"}}], "route": [to()]}
        mesh.write(entry(HOST, 80, "GRPC", port), routes(known, {"directResponse": {"status": 404}}))
        web = await mesh.gateway()
        target = web.url.removeprefix("http://")
        options = [("grpc.default_authority", HOST)]
        async with grpc.aio.insecure_channel(target, options=options) as channel:

            async def talks() -> bool:
                call = channel.stream_stream("/echo.Echo/Talk", None, None)(iter([b"one", b"two"]))
                try:
                    heard = [answer async for answer in call]
                except grpc.aio.AioRpcError:  # the route is not there yet
                    return False
                trailers = dict(await call.trailing_metadata() or ())
                return heard == [b"heard one", b"heard two"] and trailers.get("x-end") == "here"

            await eventually(talks, "a stream goes both ways and ends with its trailer")
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await channel.unary_unary("/other.Other/Talk", None, None)(b"")
            assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_tcp_weights(mesh: Mesh) -> None:
    """A gateway's TCP port spreads connections by weight; what they carry does not matter."""
    v1, v2 = await mesh.backend("v1"), await mesh.backend("v2")
    port = free_port()
    tcp = {"match": [{"port": port}], "route": [to("v1", 80), to("v2", 20)]}
    mesh.write(
        service([v1, v2]),
        subsets("v1", "v2"),
        server("tcp", port, "TCP", "*"),
        istio("VirtualService", "tcp", hosts=["*"], gateways=["tcp"], tcp=[tcp]),
    )
    await mesh.gateway()
    await eventually(lambda: accepts(port), f"the gateway listens on {port}")
    connections = Entrance("tcp", f"http://{LOOPBACK}:{port}")
    answers = [answer for _ in range(200) for answer in await send(connections, "/", {}, 1)]
    assert weights_problem(answers, {"v1": 80, "v2": 20}) == ""


@asynccontextmanager
async def tls_server(name: str, directory: Path) -> AsyncIterator[int]:
    """Serve TLS with a certificate of its own, and say the name on each connection; yield the port."""
    identity = LocalAuthority().issue(f"spiffe://{name}")
    (directory / f"{name}.pem").write_bytes(identity.certificate_chain + identity.private_key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / f"{name}.pem")

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(name.encode())
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(answer, LOOPBACK, 0, ssl=context)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        await listening.wait_closed()


async def greeted(port: int, server_name: str) -> str:
    """Return who answers a TLS connection for this server name; empty where it is closed."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        reader, writer = await asyncio.open_connection(LOOPBACK, port, ssl=context, server_hostname=server_name)
    except OSError:  # closed before the handshake: nobody serves the name
        return ""
    name = await reader.read()
    writer.close()
    return name.decode()


async def test_tls_passes_through_by_server_name(mesh: Mesh, tmp_path: Path) -> None:
    """Each server name reaches its own service, whose certificate the client sees; other names reach nobody."""
    async with tls_server("a.test", tmp_path) as a, tls_server("b.test", tmp_path) as b:
        port = free_port()
        tls = [
            {"match": [{"port": port, "sniHosts": [name]}], "route": [to(host=host)]}
            for name, host in (("a.test", "a.test"), ("*.b.test", "b.test"))
        ]
        mesh.write(
            entry("a.test", 443, "TLS", a),
            entry("b.test", 443, "TLS", b),
            server("tls", port, "TLS", "*", tls={"mode": "PASSTHROUGH"}),
            istio("VirtualService", "tls", hosts=["a.test", "*.b.test"], gateways=["tls"], tls=tls),
        )
        await mesh.gateway()
        await eventually(lambda: accepts(port), f"the gateway listens on {port}")
        names = ("a.test", "x.b.test", "c.test")
        assert [await greeted(port, name) for name in names] == ["a.test", "b.test", ""]


async def test_http2_upgrade(mesh: Mesh) -> None:
    """A rule that asks for the upgrade makes Envoy speak HTTP/2, which a server of HTTP/1.1 does not understand."""
    mesh.write(service([await mesh.backend("v1")]), routes({"route": [to()], "retries": {"attempts": 0}}))
    web = await mesh.sidecar()
    await eventually_all(web, Answer(200, "v1", "/"))
    mesh.write(subsets(connectionPool={"http": {"h2UpgradePolicy": "UPGRADE"}}))

    async def is_not_understood() -> bool:
        return {answer.status for answer in await send(web, "/", {}, 5)} <= {502, 503}

    await eventually(is_not_understood, "the server cannot answer HTTP/2")
    mesh.write(subsets(connectionPool={"http": {"h2UpgradePolicy": "DO_NOT_UPGRADE"}}))
    await eventually_all(web, Answer(200, "v1", "/"))


async def test_https_redirect(mesh: Mesh) -> None:
    """A server that redirects sends clients to HTTPS before any route is looked at."""
    v1 = await mesh.backend("v1")
    port = free_port()
    mesh.write(
        service([v1]),
        server("redirecting", port, "HTTP", HOST, tls={"httpsRedirect": True}),
        istio("VirtualService", "redirected", hosts=[HOST], gateways=["redirecting"], http=[{"route": [to()]}]),
    )
    await mesh.gateway()
    await eventually(lambda: accepts(port), f"the gateway listens on {port}")
    async with (
        aiohttp.ClientSession(headers={"host": HOST}) as session,
        session.get(f"http://{LOOPBACK}:{port}/page", allow_redirects=False) as response,
    ):
        assert (response.status, response.headers["location"]) == (301, f"https://{HOST}/page")
    assert v1.seen == []
    mesh.write(routes({"route": [to()]}))
    await eventually_all(await mesh.gateway(), Answer(200, "v1", "/"))
