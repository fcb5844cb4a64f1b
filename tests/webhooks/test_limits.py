"""What callers of the webhooks' port may take; nobody there proves who he is."""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest

from controlplane.limits import Limits
from controlplane.webhooks.review import Response, Webhook
from controlplane.webhooks.server import WebhookServer
from tests.http2.test_grpc import certificate

REVIEW = json.dumps(
    {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": {"uid": "1", "operation": "CREATE"}}
).encode()


class Serving:
    def __init__(self, port: int, session: aiohttp.ClientSession, reached: list[str]) -> None:
        self.url, self.session, self.reached = f"https://localhost:{port}/validate", session, reached

    async def post(self, body: bytes | AsyncIterator[bytes]) -> tuple[int, str]:
        headers = {"Content-Type": "application/json"}
        async with self.session.post(self.url, data=body, headers=headers, ssl=False) as response:
            return response.status, await response.text()


@asynccontextmanager
async def serving(folder: Path, limits: Limits) -> AsyncIterator[Serving]:
    key, crt = certificate(folder, "server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(crt, key)
    reached: list[str] = []
    server = WebhookServer(context, {"validate": Webhook(lambda _: Response())}, None, limits, reached.append)
    port = await server.start("127.0.0.1", 0)
    async with aiohttp.ClientSession() as session:
        yield Serving(port, session, reached)
    await server.stop()


async def unfinished(size: int, stop: asyncio.Event) -> AsyncIterator[bytes]:
    """Give the beginning of a body, and no end before somebody says so."""
    yield bytes(size)
    await stop.wait()


async def test_a_body_that_is_too_large(tmp_path: Path) -> None:
    async with serving(tmp_path, Limits(max_review_size=1000)) as server:
        status, text = await server.post(bytes(1001))
        assert (status, text) == (413, "the body is over the limit of 1000 bytes\n")
        assert server.reached == ["max_review_size"]
        assert (await server.post(REVIEW))[0] == 200


async def test_a_body_that_does_not_come(tmp_path: Path) -> None:
    async with serving(tmp_path, Limits(review_timeout=timedelta(seconds=0.2))) as server:
        status, text = await server.post(unfinished(10, asyncio.Event()))
        assert (status, text, server.reached) == (408, "the body did not come in time\n", ["review_timeout"])


async def test_bodies_that_are_too_much_together(tmp_path: Path) -> None:
    async with serving(tmp_path, Limits(max_review_bytes=100_000)) as server:
        stop = asyncio.Event()
        held = [asyncio.create_task(server.post(unfinished(40_000, stop))) for _ in range(2)]
        while not all(task.done() for task in held):
            status, _ = await server.post(REVIEW + b" " * 40_000)
            if status == 503:
                break
            await asyncio.sleep(0.01)
        assert server.reached == ["max_review_bytes"]
        assert (await server.post(REVIEW))[0] == 200, "there is room for small ones"
        stop.set()
        assert {status for status, _ in await asyncio.gather(*held)} == {400}
        assert (await server.post(REVIEW + b" " * 80_000))[0] == 200, "the room was given back"


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_body_that_grows(tmp_path: Path, encoding: str) -> None:
    async with serving(tmp_path, Limits(max_review_size=10_000)) as server:
        headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
        packed = gzip.compress(bytes(10_000_000)) if encoding == "gzip" else zlib.compress(bytes(10_000_000))
        async with server.session.post(server.url, data=packed, headers=headers, ssl=False) as response:
            assert response.status == 413
        async with server.session.post(server.url, data=b"not packed", headers=headers, ssl=False) as response:
            assert (response.status, (await response.text())[:23]) == (400, "the body cannot be read")


@pytest.mark.parametrize(
    "body",
    [
        *(REVIEW.decode().encode(name) for name in ("utf-16", "utf-16-le", "utf-32", "utf-8-sig", "utf-7")),
        REVIEW.replace(b'"1"', b'"\xff\xfe"'),
        REVIEW.replace(b'"1"', b'"\xc0\xaf"'),
        REVIEW.replace(b'"1"', b'"\xed\xa0\x80"'),
        REVIEW.replace(b'"1"', rb'"\ud800"'),
        REVIEW.replace(b'"1"', rb'"\u0000"'),
        REVIEW + b"\0",
        b"\x1f\x8b" + REVIEW,
    ],
)
async def test_a_review_in_an_odd_encoding_is_answered(tmp_path: Path, body: bytes) -> None:
    async with serving(tmp_path, Limits()) as server:
        status, text = await server.post(body)
        assert status in {200, 400}, text
        assert "Traceback" not in text
        assert (await server.post(REVIEW))[0] == 200


async def test_idle_connections_make_room_those_of_the_address_that_has_most(tmp_path: Path) -> None:
    async with serving(tmp_path, Limits(max_webhook_connections=4)) as server:
        assert (await server.post(REVIEW))[0] == 200  # and its connection is kept, the oldest of all
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        port = int(server.url.rpartition(":")[2].partition("/")[0])
        opened = [
            await asyncio.open_connection("127.0.0.1", port, ssl=context, local_addr=("127.0.0.2", 0)) for _ in range(6)
        ]
        for reader, _ in opened[:3]:
            assert await reader.read() == b"", "the oldest of them are closed"
        assert server.reached == ["max_webhook_connections"] * 3
        assert (await server.post(REVIEW))[0] == 200
        assert server.reached == ["max_webhook_connections"] * 3, "on the connection that it had"
        for _, writer in opened:
            writer.close()


async def asked(url: str) -> None:
    """Ask over a connection of its own."""
    async with aiohttp.ClientSession() as session:
        await session.post(url, data=REVIEW, headers={"Content-Type": "application/json"}, ssl=False)


async def test_nobody_has_to_go_whose_request_is_answered(tmp_path: Path) -> None:
    async with serving(tmp_path, Limits(max_webhook_connections=2)) as server:
        stop, begun = asyncio.Event(), asyncio.Semaphore(0)

        async def body() -> AsyncIterator[bytes]:
            begun.release()  # the server has said to go on: it is at work on the request
            yield b"x"
            await stop.wait()

        async def post() -> int:
            headers = {"Content-Type": "application/json"}
            async with server.session.post(server.url, data=body(), headers=headers, ssl=False, expect100=True) as got:
                return got.status

        held = [asyncio.create_task(post()) for _ in range(2)]
        for _ in held:
            await begun.acquire()
        with pytest.raises(aiohttp.ClientConnectionError):
            await asked(server.url)
        assert set(server.reached) == {"max_webhook_connections"}
        stop.set()
        assert set(await asyncio.gather(*held)) == {400}
