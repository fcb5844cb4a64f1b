"""Roots of other meshes, fetched from real servers over HTTPS."""

from __future__ import annotations

import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.serialization import Encoding

from controlplane.security.jwks_fetcher import JwksLocation, NoKeysError
from controlplane.security.spiffe_bundle import spiffe_bundle
from tests.security.authorities import Signer, key_pem, of_version_6, repeating, root

ISSUER, FAR, FARTHER = root("issuer"), root("far"), root("farther")
LEAF = FAR.signs("leaf", authority=False)


def key(*signers: Signer | bytes, use: str = "x509-svid") -> dict[str, Any]:
    ders = [each if isinstance(each, bytes) else each.certificate.public_bytes(Encoding.DER) for each in signers]
    held = [base64.b64encode(each).decode() for each in ders]
    return {"use": use, "kty": "EC", "x5c": held}


@asynccontextmanager
async def server(folder: Path, answer: Any, *, tls: bool = True) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    """Run a server on loopback; yield a client that believes it, and its address."""

    async def handle(_request: web.Request) -> web.Response:
        if isinstance(answer, str):
            raise web.HTTPFound(answer)
        return web.json_response(answer)

    own = ISSUER.signs("server", authority=False, names=("localhost",))
    (folder / "pair.pem").write_bytes(key_pem(own.key) + own.pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "pair.pem")
    application = web.Application()
    application.router.add_get("/bundle", handle)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context if tls else None).start()
    believing = aiohttp.TCPConnector(ssl=ssl.create_default_context(cadata=ISSUER.pem.decode()))
    try:
        async with aiohttp.ClientSession(connector=believing) as session:
            yield session, f"localhost:{runner.addresses[0][1]}/bundle"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("scheme", ["", "https://"])
async def test_the_roots_for_workloads_are_taken(tmp_path: Path, scheme: str) -> None:
    keys = [key(FAR), key(LEAF, use="jwt-svid"), key(FARTHER)]
    async with server(tmp_path, {"keys": keys, "spiffe_sequence": 1}) as (session, address):
        found = await spiffe_bundle(session, JwksLocation(scheme + address))
    assert found == (FAR.pem + FARTHER.pem).decode()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({}, "it has no list of keys"),
        ({"keys": ["a"]}, "it has no list of keys"),
        ({"keys": []}, "without keys for x509-svid"),
        ({"keys": [key(FAR, use="jwt-svid")]}, "without keys for x509-svid"),
        ({"keys": [key(FAR, FARTHER)]}, "has not exactly one certificate"),
        ({"keys": [key(FAR), key()]}, "has not exactly one certificate"),
        ({"keys": [{"use": "x509-svid", "x5c": ["nonsense"]}]}, "is no certificate"),
        ({"keys": [key(LEAF)]}, "is not that of an authority"),
        ({"keys": [key(repeating(FAR))]}, "is not that of an authority"),
        ({"keys": [key(of_version_6(FAR))]}, "is no certificate"),
    ],
)
async def test_what_is_no_bundle_is_refused(tmp_path: Path, answer: Any, reason: str) -> None:
    async with server(tmp_path, answer) as (session, address):
        with pytest.raises(NoKeysError, match=reason):
            await spiffe_bundle(session, JwksLocation(address))


async def test_an_answer_that_came_without_tls_is_not_believed(tmp_path: Path) -> None:
    """Somebody between could have put in a root of his own."""
    async with (
        server(tmp_path, {"keys": [key(FAR)]}, tls=False) as (_, plain),
        server(tmp_path, f"http://{plain}") as (session, address),
    ):
        with pytest.raises(NoKeysError, match="did not come by HTTPS all the way"):
            await spiffe_bundle(session, JwksLocation(address))
