"""A server of secrets beside a gateway, which has what ``credentialName: sds://NAME`` names; with a real Envoy."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

from controlplane.agent.sds import SecretServer
from controlplane.agent.secrets import Secrets
from samples.control_plane import LOOPBACK, free_port
from samples.proxy import Pod, Proxy
from tests.envoy.agents import SecureMesh, secure_mesh, started
from tests.envoy.mesh import eventually, write
from tests.envoy.test_gateway_secrets import ISSUER, asking_callers, led_upstream
from tests.feature.key_pairs import Issuer, Pair
from tests.patience import in_time

SOCKET = "var/run/secrets/credential-uds/socket"
EDGE = Pod("edge-1", "shop", "10.0.0.7", kind="router", labels={"istio": "edge"})


@pytest.fixture
async def mesh() -> AsyncIterator[SecureMesh]:
    with tempfile.TemporaryDirectory(prefix="agent-") as name:  # short: paths of Unix sockets end at 107 bytes
        async with secure_mesh(Path(name)) as running:
            yield running


class Vault(Secrets):
    """What somebody else keeps, by the names that are asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[str, Secret] = {}

    def find(self, name: str) -> Secret | None:
        return self.held.get(name)

    def keep(self, name: str, pair: Pair, issuer: Issuer) -> None:
        """Have a pair under a name, and the roots that vouch for the other side."""
        shown, trusted = Secret(name=name), Secret(name=f"{name}-cacert")
        shown.tls_certificate.certificate_chain.inline_bytes = pair.certificate
        shown.tls_certificate.private_key.inline_bytes = pair.key
        trusted.validation_context.trusted_ca.inline_bytes = issuer.certificate
        self.held |= {each.name: each for each in (shown, trusted)}
        self._tell()


def objects(port: int, upstream: int) -> list[dict[str, Any]]:
    """Return a gateway that asks callers for certificates and shows one itself to the server behind it."""
    https = {"port": {"number": port, "name": "https", "protocol": "HTTPS"}, "bind": LOOPBACK, "hosts": ["web.test"]}
    server = {**https, "tls": {"mode": "MUTUAL", "credentialName": "sds://web"}}
    return led_upstream(server, upstream, "sds://pay", EDGE.namespace)


class Client:
    """Asks the gateway with a certificate of its own."""

    def __init__(self, folder: Path, port: int, pair: Pair | None) -> None:
        self._port = port
        self._context = ssl.create_default_context(cadata=ISSUER.certificate.decode())
        if pair is not None:
            (folder / "caller.pem").write_bytes(pair.key + pair.certificate)
            self._context.load_cert_chain(folder / "caller.pem")

    async def ask(self) -> tuple[int, str]:
        """Return the number of the certificate that is shown, and the body; 0 where there is no answer."""
        try:
            reader, writer = await in_time(
                asyncio.open_connection(LOOPBACK, self._port, ssl=self._context, server_hostname="web.test")
            )
        except OSError:
            return 0, ""
        try:
            shown = Pair(ssl.DER_cert_to_PEM_cert(writer.get_extra_info("ssl_object").getpeercert(True)).encode(), b"")
            writer.write(b"GET / HTTP/1.1\r\nhost: web.test\r\nconnection: close\r\n\r\n")
            return shown.serial, (await in_time(reader.read())).rpartition(b"\r\n\r\n")[2].decode()
        except (OSError, ValueError):  # with TLS 1.3 a refusal ends it after the handshake
            return 0, ""
        finally:
            writer.transport.abort()


async def sees(client: Client, gateway: Pair, caller: Pair) -> None:
    """Wait until the gateway shows the one certificate to its callers, and the other one to the server behind it."""

    async def holds() -> bool:
        return await client.ask() == (gateway.serial, str(caller.serial))

    await eventually(holds, "both certificates are those of the socket")


@pytest.mark.parametrize("delta", ["true", "false"], ids=["delta", "sotw"])
async def test_a_gateway_has_its_secrets_from_the_socket(mesh: SecureMesh, tmp_path: Path, delta: str) -> None:
    """Both ways and both kinds of secret; a new one is used, and nothing is asked of the control plane."""
    port, vault = free_port(), Vault()
    edge: Proxy = await mesh.proxy(EDGE, None, ISTIO_DELTA_XDS=delta)
    (edge.folder / SOCKET).parent.mkdir(parents=True)
    foreign = SecretServer(vault, edge.folder / SOCKET)
    await foreign.start()
    try:
        async with asking_callers(tmp_path) as upstream:
            write(mesh.config / "edge.yaml", *objects(port, upstream))
            first, second = (ISSUER.pair("web.test", "client") for _ in range(2))
            vault.keep("sds://web", first, ISSUER)
            vault.keep("sds://pay", second, ISSUER)
            async with started(edge):
                client = Client(tmp_path, port, ISSUER.pair("friend"))
                await sees(client, first, second)
                vault.keep("sds://web", second, ISSUER)
                vault.keep("sds://pay", first, ISSUER)
                await sees(client, second, first)
                assert await Client(tmp_path, port, None).ask() in {(0, ""), (second.serial, "")}
                assert await edge.rejected() == {}
                assert "sds-external" in (await edge.ask(edge.ports.admin, "/clusters"))[1]
        assert (edge.folder / SOCKET).is_socket()
    finally:
        await foreign.stop()


async def test_a_socket_that_nobody_serves_is_not_asked(mesh: SecureMesh) -> None:
    """What was left there by somebody who is gone is left alone: ``sds://NAME`` is a Secret then."""
    edge = await mesh.proxy(EDGE)
    (edge.folder / SOCKET).parent.mkdir(parents=True)
    gone = await asyncio.start_unix_server(lambda *_: None, edge.folder / SOCKET)
    gone.close()
    write(mesh.config / "edge.yaml", *objects(free_port(), free_port()))
    async with started(edge):
        assert "sds-external" not in (await edge.ask(edge.ports.admin, "/config_dump"))[1]
        assert "kubernetes://web" in (await edge.ask(edge.ports.admin, "/config_dump"))[1]
        assert await edge.rejected() == {}
    assert (edge.folder / SOCKET).is_socket()
