"""Roots of other meshes, told to agents over their stream: ``ISTIO_MULTIROOT_MESH``, ``PROXY_CONFIG_XDS_AGENT``."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
from pathlib import Path

import pytest

from samples.control_plane import LOOPBACK, free_port
from tests.envoy.agents import WEB, secure_mesh, started
from tests.envoy.mesh import eventually, write
from tests.envoy.test_authorization import mesh_settings
from tests.security.authorities import key_pem, root


async def is_let_in(port: int, pair: bytes, folder: Path) -> bool:
    """Whether a listener with mutual TLS answers who shows this certificate; whom it shows itself does not matter."""
    file = folder / "caller.pem"
    file.write_bytes(pair)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(file)
    try:
        reader, writer = await asyncio.open_connection(LOOPBACK, port, ssl=context)
    except OSError:
        return False
    writer.write(b"GET /stats/prometheus HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
    try:
        return (await reader.read(12)).startswith(b"HTTP/1.1 200")
    except OSError:
        return False
    finally:
        writer.close()


@pytest.mark.parametrize("delta", ["true", "false"], ids=["delta", "sotw"])
async def test_whom_a_proxy_trusts_follows_the_roots_of_the_mesh(delta: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISTIO_MULTIROOT_MESH", "true")
    far, port = root("far"), free_port()
    signed = far.signs("caller", authority=False, names=("spiffe://far.test/ns/shop/sa/caller",))
    caller = key_pem(signed.key) + signed.pem
    environment = {"PROXY_CONFIG_XDS_AGENT": "true", "ENVOY_SECURE_METRICS_PORT": str(port), "ISTIO_DELTA_XDS": delta}
    with tempfile.TemporaryDirectory(prefix="agent-") as name:  # short: paths of Unix sockets end at 107 bytes
        async with secure_mesh(Path(name)) as mesh, started(await mesh.proxy(WEB, None, **environment)) as proxy:
            mine = await mesh.pair("spiffe://cluster.local/ns/shop/sa/other")

            async def ours() -> bool:
                return await is_let_in(port, mine, mesh.folder)

            await eventually(ours, "the listener has its secrets")
            assert not await is_let_in(port, caller, mesh.folder)
            write(mesh.config / "mesh.yaml", mesh_settings(caCertificates=[{"pem": far.pem.decode()}]))

            async def let_in() -> bool:
                return await is_let_in(port, caller, mesh.folder)

            await eventually(let_in, "the other root is trusted")
            write(mesh.config / "mesh.yaml", mesh_settings())

            async def refused() -> bool:
                return not await is_let_in(port, caller, mesh.folder)

            await eventually(refused, "the other root is trusted no more")
            assert await proxy.rejected() == {}
