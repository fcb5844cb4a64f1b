"""The server with gRPC's own client, in plaintext and over TLS."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from controlplane.http2.call import Call
from controlplane.http2.headers import Status
from controlplane.http2.options import ConnectionOptions
from controlplane.http2.server import Server
from controlplane.http2.unary import CallRefused, unary
from tests.http2.client import ECHO, echo

UNARY = "/test.Echo/Once"


async def once(request: bytes, call: Call) -> bytes:
    if request == b"refuse":
        raise CallRefused(Status.PERMISSION_DENIED, "not you: 100 % \N{SNOWMAN}")
    if request == b"fail":
        raise RuntimeError("a secret of ours")
    if request == b"who":
        return f"{call.metadata['x-name']} {call.peer_certificate is not None}".encode()
    return request * 2


def served(call: Call) -> None:
    call.accept()
    answer(call)


answer = unary(once)


@pytest.fixture
async def port() -> AsyncIterator[int]:
    server = Server({ECHO: echo, UNARY: served}, ConnectionOptions())
    port = await server.add_port("127.0.0.1", 0)
    await server.start()
    yield port
    await server.stop()


@pytest.fixture
async def channel(port: int) -> AsyncIterator[Any]:
    options = [("grpc.max_receive_message_length", -1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        yield channel


@pytest.mark.parametrize("size", [0, 1, 16_379, 16_380, 70_000, 1_500_000])
async def test_unary(channel: Any, size: int) -> None:
    assert await channel.unary_unary(UNARY)(bytes(size)) == bytes(2 * size)


async def test_streams_side_by_side(channel: Any) -> None:
    async def talk(number: int) -> None:
        call = channel.stream_stream(ECHO)()
        for body in (b"a" * number, b"b" * 100_000, b""):
            await call.write(body)
            assert await call.read() == body
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF  # type: ignore[attr-defined]
        assert await call.code() is grpc.StatusCode.OK

    await asyncio.gather(*map(talk, range(50)))


async def test_refusals(channel: Any) -> None:
    for request, code, details in (
        (b"refuse", grpc.StatusCode.PERMISSION_DENIED, "not you: 100 % \N{SNOWMAN}"),
        (b"fail", grpc.StatusCode.INTERNAL, "internal error"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await channel.unary_unary(UNARY)(request)
        assert (refused.value.code(), refused.value.details()) == (code, details)


async def test_metadata(channel: Any) -> None:
    assert await channel.unary_unary(UNARY)(b"who", metadata=(("x-name", "ann"),)) == b"ann False"


async def test_cancelled_call_ends_alone(channel: Any) -> None:
    first, second = channel.stream_stream(ECHO)(), channel.stream_stream(ECHO)()
    for call in (first, second):
        await call.write(b"x")
        assert await call.read() == b"x"
    first.cancel()
    await second.write(b"y")
    assert await second.read() == b"y"


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    key, crt = folder / f"{name}.key", folder / f"{name}.crt"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
         "-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(crt)],
        check=True, capture_output=True,
    )  # fmt: skip
    return key, crt


@pytest.mark.parametrize("shown", [False, True], ids=["token-only", "client-certificate"])
async def test_tls_with_an_optional_client_certificate(tmp_path: Path, *, shown: bool) -> None:
    """What Python's own gRPC server cannot do: ask for a certificate, and serve those who have none."""
    server_key, server_crt = certificate(tmp_path, "server")
    client_key, client_crt = certificate(tmp_path, "client")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server_crt, server_key)
    context.load_verify_locations(client_crt)
    context.verify_mode = ssl.CERT_OPTIONAL
    server = Server({ECHO: echo, UNARY: served}, ConnectionOptions())
    port = await server.add_port("127.0.0.1", 0, context)
    await server.start()
    pair = (client_key.read_bytes(), client_crt.read_bytes()) if shown else (None, None)
    credentials = grpc.ssl_channel_credentials(server_crt.read_bytes(), *pair)
    options = [("grpc.max_receive_message_length", -1)]
    channel: Any
    async with grpc.aio.secure_channel(f"localhost:{port}", credentials, options=options) as channel:
        assert await channel.unary_unary(UNARY)(b"who", metadata=(("x-name", "ann"),)) == f"ann {shown}".encode()
        assert await channel.unary_unary(UNARY)(bytes(3_000_000)) == bytes(6_000_000)
    await server.stop()
