"""Callers that prove who they are and ask without end: for certificates, and for pages of debugging over xDS."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest

from controlplane.messages.istio_auth_pb2 import IstioCertificateRequest, IstioCertificateResponse
from controlplane.security.certificate_service import CREATE_CERTIFICATE
from tests.attack.beside import LATEST_ANSWER, LATEST_CHANGE, MOST_GROWN, attackable, change, measured, memory
from tests.feature.client import Variant, connected, stream
from tests.feature.identities import account, authorities_of, channel
from tests.feature.server import Server

SECONDS = 3.0
AT_ONCE = 16
DEBUG_AT_ONCE = 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    options = ("--certificates-per-second", "5", "--serving-names", "localhost")
    with attackable(tmp_path_factory.mktemp("callers"), options=options) as running:
        yield running


@asynccontextmanager
async def asking(asks: list[Callable[[], Awaitable[Any]]]) -> AsyncIterator[Counter[str]]:
    """Have each of them ask again and again in here; count what came of it."""
    outcomes: Counter[str] = Counter()
    ended = asyncio.Event()

    async def go_on(ask: Callable[[], Awaitable[Any]]) -> None:
        # Cancelling is not enough: a call that ends at that moment raises its status in place of CancelledError.
        while not ended.is_set():
            try:
                await ask()
            except grpc.aio.AioRpcError as error:
                outcomes[error.code().name] += 1
            else:
                outcomes["OK"] += 1

    tasks = [asyncio.create_task(go_on(ask)) for ask in asks]
    try:
        yield outcomes
    finally:
        ended.set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def assert_others_are_served(
    server: Server, asks: list[Callable[[], Awaitable[Any]]], enough: str
) -> Counter[str]:
    """Measure a proxy and probes until there was this outcome, and for some seconds at least."""
    async with connected(server.xds, Variant.DELTA) as client:
        await change(server, client)
        before = memory(server)
        async with asking(asks) as outcomes:
            loaded = [await measured(server, SECONDS, client)]
            while not outcomes[enough]:
                loaded.append(await measured(server, 0.5, client))
    changes = max(waited.work for each in loaded for waited in each.changes)
    answers = max(waited.work for each in loaded for waited in each.answers)
    grown = max(each.memory for each in loaded) - before
    print(
        f"\n{dict(outcomes)}: change at most {changes * 1e3:.0f} ms of work, /ready {answers * 1e3:.0f} ms,"
        f" {grown >> 20:+} MB"
    )
    assert changes < LATEST_CHANGE
    assert answers < LATEST_ANSWER
    assert grown < MOST_GROWN
    assert not server.logged("ads.failed")
    return outcomes


async def test_certificates_for_one_identity_come_to_an_end(server: Server) -> None:
    """They are signed one in a turn of the loop, and no more than the limit allows after the first thousand."""
    uri = account("shop")
    async with channel(server, await authorities_of(server), uri) as opened:
        create = opened.unary_unary(
            CREATE_CERTIFICATE,
            request_serializer=IstioCertificateRequest.SerializeToString,
            response_deserializer=IstioCertificateResponse.FromString,
        )
        request = IstioCertificateRequest(csr=csr(), validity_duration=3600)
        asks = [lambda: create(request) for _ in range(AT_ONCE)]
        outcomes = await assert_others_are_served(server, asks, "RESOURCE_EXHAUSTED")
    assert set(outcomes) == {"OK", "RESOURCE_EXHAUSTED"}
    assert outcomes["OK"] >= 1000


async def test_pages_of_debugging_are_made_one_at_a_time(server: Server) -> None:
    async with channel(server, await authorities_of(server), account("istio-system", "kiali")) as opened:
        request = DiscoveryRequest(node=Node(id="kiali"), type_url="istio.io/debug", resource_names=["registryz"])

        async def ask() -> None:
            call = stream(opened, Variant.SOTW)()
            await call.write(request)
            response = await call.read()
            if response is grpc.aio.EOF:  # type: ignore[attr-defined]  # the stubs do not know it
                raise AssertionError(await call.code())
            # The call is ended, not cancelled: gRPC closes connections of peers that cancel many calls quickly.
            await call.done_writing()
            while await call.read() is not grpc.aio.EOF:  # type: ignore[attr-defined]  # the stubs do not know it
                pass

        outcomes = await assert_others_are_served(server, [ask] * DEBUG_AT_ONCE, "OK")
    assert set(outcomes) <= {"OK", "RESOURCE_EXHAUSTED"}


def csr() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    made = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM).decode()
