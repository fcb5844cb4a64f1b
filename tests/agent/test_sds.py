"""The secret server, over gRPC as Envoy speaks it: state of the world and incremental, and after a rotation."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)

from controlplane.agent.addresses import Address, TcpAddress
from controlplane.agent.sds import SERVICE, TYPE_URL, SecretServer
from controlplane.agent.secrets import Secrets
from samples.authority import LocalAuthority, spiffe_id

AUTHORITY = LocalAuthority()
SHOP = AUTHORITY.issue(spiffe_id("shop"))
SHOP_LATER = AUTHORITY.issue(spiffe_id("shop"))
ANY_PORT = TcpAddress("127.0.0.1", 0)


@asynccontextmanager
async def serving(where: Address = ANY_PORT) -> AsyncIterator[tuple[Secrets, grpc.aio.Channel]]:
    """Run a server and connect to it."""
    secrets = Secrets(SHOP)
    server = SecretServer(secrets, where)
    address = await server.start()
    target = str(address) if isinstance(address, TcpAddress) else f"unix:{address}"
    try:
        async with grpc.aio.insecure_channel(target) as channel:
            yield secrets, channel
    finally:
        await server.stop()


def stream_of(channel: Any, method: str, request: Any, response: Any) -> Any:
    """Open a stream that is written to by hand."""
    return channel.stream_stream(f"/{SERVICE}/{method}", request.SerializeToString, response.FromString)()


def sotw(channel: grpc.aio.Channel) -> Any:
    """Open a state-of-the-world stream."""
    return stream_of(channel, "StreamSecrets", DiscoveryRequest, DiscoveryResponse)


def delta(channel: grpc.aio.Channel) -> Any:
    """Open an incremental stream."""
    return stream_of(channel, "DeltaSecrets", DeltaDiscoveryRequest, DeltaDiscoveryResponse)


async def silent(stream: Any) -> bool:
    """Whether nothing comes for a while."""
    read = asyncio.ensure_future(stream.read())
    done, _ = await asyncio.wait([read], timeout=0.3)
    return not done


def certificate_of(resource: Any) -> bytes:
    """Return the certificate chain inside a packed secret."""
    return bytes(Secret.FromString(resource.value).tls_certificate.certificate_chain.inline_bytes)


@pytest.mark.parametrize("unix", [True, False], ids=["unix-socket", "loopback-port"])
async def test_gives_the_certificate_and_the_root(unix: bool) -> None:  # noqa: FBT001
    """Both secrets come by name, the key with the certificate, inline."""
    with tempfile.TemporaryDirectory(prefix="sds-") as directory:
        async with serving(Path(directory) / "sds.sock" if unix else ANY_PORT) as (_, channel):
            stream = sotw(channel)
            await stream.write(DiscoveryRequest(type_url=TYPE_URL, resource_names=["ROOTCA", "default"]))
            response = await stream.read()
            secrets = {secret.name: secret for secret in (Secret.FromString(any_.value) for any_ in response.resources)}
            assert secrets["ROOTCA"].validation_context.trusted_ca.inline_bytes == AUTHORITY.root_certificate
            assert secrets["default"].tls_certificate.certificate_chain.inline_bytes == SHOP.certificate_chain
            assert secrets["default"].tls_certificate.private_key.inline_bytes == SHOP.private_key
        assert not (Path(directory) / "sds.sock").exists()


async def test_an_acknowledgement_is_not_answered_and_a_rotation_is_sent() -> None:
    """State of the world: silence after the ACK, one response after ``rotate``."""
    async with serving() as (secrets, channel):
        stream = sotw(channel)
        await stream.write(DiscoveryRequest(resource_names=["default"]))
        first = await stream.read()
        ack = DiscoveryRequest(resource_names=["default"], version_info=first.version_info, response_nonce=first.nonce)
        await stream.write(ack)
        await asyncio.sleep(0.2)
        secrets.use(SHOP_LATER)
        second = await stream.read()
        assert certificate_of(first.resources[0]) == SHOP.certificate_chain
        assert certificate_of(second.resources[0]) == SHOP_LATER.certificate_chain
        assert second.version_info != first.version_info


async def test_silence_after_the_acknowledgement() -> None:
    async with serving() as (_, channel):
        stream = sotw(channel)
        await stream.write(DiscoveryRequest(resource_names=["default"]))
        first = await stream.read()
        await stream.write(DiscoveryRequest(resource_names=["default"], response_nonce=first.nonce))
        assert await silent(stream)


async def test_an_unknown_name_is_not_answered() -> None:
    """Nothing is invented for it; a later request on the same stream still is."""
    async with serving() as (_, channel):
        stream = sotw(channel)
        await stream.write(DiscoveryRequest(resource_names=["kubernetes://other"]))
        await stream.write(DiscoveryRequest(resource_names=["kubernetes://other", "ROOTCA"]))
        response = await stream.read()
        assert [Secret.FromString(any_.value).name for any_ in response.resources] == ["ROOTCA"]


async def test_incremental() -> None:
    """A subscription is answered once, a rotation sends only what changed: the root stayed."""
    async with serving() as (secrets, channel):
        stream = delta(channel)
        await stream.write(DeltaDiscoveryRequest(resource_names_subscribe=["default", "ROOTCA"]))
        first = await stream.read()
        assert [resource.name for resource in first.resources] == ["ROOTCA", "default"]
        await stream.write(DeltaDiscoveryRequest(response_nonce=first.nonce))
        await asyncio.sleep(0.2)
        secrets.use(SHOP_LATER)
        second = await stream.read()
        assert [resource.name for resource in second.resources] == ["default"]
        assert certificate_of(second.resources[0].resource) == SHOP_LATER.certificate_chain


async def test_incremental_reconnect_sends_only_what_the_proxy_lacks() -> None:
    """A proxy that says which versions it holds is sent the others."""
    async with serving() as (_, channel):
        stream = delta(channel)
        await stream.write(DeltaDiscoveryRequest(resource_names_subscribe=["default", "ROOTCA"]))
        held = {resource.name: resource.version for resource in (await stream.read()).resources}
        again = delta(channel)
        await again.write(
            DeltaDiscoveryRequest(
                resource_names_subscribe=["default", "ROOTCA"],
                initial_resource_versions={"default": held["default"], "ROOTCA": "of another server"},
            )
        )
        assert [resource.name for resource in (await again.read()).resources] == ["ROOTCA"]


async def test_unsubscribed_secrets_are_not_sent_any_more() -> None:
    async with serving() as (secrets, channel):
        stream = delta(channel)
        await stream.write(DeltaDiscoveryRequest(resource_names_subscribe=["default"]))
        await stream.read()
        await stream.write(DeltaDiscoveryRequest(resource_names_unsubscribe=["default"]))
        await stream.write(DeltaDiscoveryRequest(resource_names_subscribe=["ROOTCA"]))
        assert [resource.name for resource in (await stream.read()).resources] == ["ROOTCA"]
        secrets.use(SHOP_LATER)
        assert await silent(stream)


async def test_a_taken_address_is_an_error_that_names_it() -> None:
    with tempfile.TemporaryDirectory(prefix="sds-") as directory:
        missing = Path(directory) / "no such directory" / "sds.sock"
        with pytest.raises(OSError, match="no such directory"):
            await SecretServer(Secrets(SHOP), missing).start()
