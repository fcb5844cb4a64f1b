"""TLS that a sidecar begins by a DestinationRule, towards a server outside of the mesh: whom each side trusts."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from samples.control_plane import LOOPBACK, free_port
from tests.envoy.mesh import Mesh, eventually, subsets
from tests.envoy.servers import say
from tests.envoy.test_sidecar_protocols import service_on
from tests.security.authorities import Signer, key_pem, root

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROOT, OTHER = root("root"), root("other")
SERVER = ROOT.signs("server", authority=False, names=("pay.test", "spiffe://pay.test/ns/pay/sa/pay"))
CLIENT = ROOT.signs("client", authority=False, names=("client.test",))


@dataclass(slots=True)
class TlsServer:
    """Answers a line with the number of its client's certificate, or ``nobody``.

    ``first`` has the first byte of each connection, ``names`` the SNI values seen.
    """

    asks: bool = False
    port: int = 0
    names: list[str] = field(default_factory=list)
    first: list[bytes] = field(default_factory=list)
    _servers: list[asyncio.Server] = field(default_factory=list, init=False, repr=False)

    async def start(self) -> None:
        inner = await asyncio.start_server(self._answer, LOOPBACK, 0, ssl=self._context())
        behind = inner.sockets[0].getsockname()[1]

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            to_reader, to_writer = await asyncio.open_connection(LOOPBACK, behind)
            begin = await reader.read(65536)
            self.first.append(begin[:1])
            to_writer.write(begin)
            await asyncio.gather(_copy(reader, to_writer), _copy(to_reader, writer))

        outer = await asyncio.start_server(connected, LOOPBACK, 0)
        self._servers = [outer, inner]
        self.port = outer.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        for server in self._servers:
            server.close()

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=ROOT.pem.decode())
        context.verify_mode = ssl.CERT_REQUIRED if self.asks else ssl.CERT_NONE
        with tempfile.NamedTemporaryFile() as file:
            file.write(SERVER.pem + key_pem(SERVER.key))
            file.flush()
            context.load_cert_chain(file.name)
        context.sni_callback = lambda _, name, __: self.names.append(name or "")
        return context

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        serial = x509.load_der_x509_certificate(shown).serial_number if shown else "nobody"
        await _lines(reader, writer, f"{serial}\n".encode())


async def _lines(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: bytes) -> None:
    try:
        while await reader.readline():
            writer.write(answer)
            await writer.drain()
    except OSError:  # the client went away
        pass
    finally:
        writer.close()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while content := await source.read(65536):
            sink.write(content)
            await sink.drain()
    except OSError:  # one side went away
        pass
    finally:
        sink.close()


def revoked(by: Signer, *certificates: Signer) -> bytes:
    """Return a list of certificates that are no longer good (PEM)."""
    now = datetime.now(UTC)
    builder = x509.CertificateRevocationListBuilder().issuer_name(by.certificate.subject)
    builder = builder.last_update(now - timedelta(days=1)).next_update(now + timedelta(days=9))
    for each in certificates:
        one = x509.RevokedCertificateBuilder().serial_number(each.certificate.serial_number)
        builder = builder.add_revoked_certificate(one.revocation_date(now - timedelta(hours=1)).build())
    return builder.sign(by.key, hashes.SHA256()).public_bytes(Encoding.PEM)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Files of certificates by name, as an application would have them mounted."""
    contents = {
        "root": ROOT.pem,
        "other": OTHER.pem,
        "chain": CLIENT.pem,
        "key": key_pem(CLIENT.key),
        "none-revoked": revoked(ROOT),
        "server-revoked": revoked(ROOT, SERVER),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return {name: str(tmp_path / name) for name in contents}


async def begun(mesh: Mesh, server: TlsServer, **tls: Any) -> int:
    """Have the client's sidecar speak TLS to a server in this way; return the port where the client speaks TCP."""
    port = free_port()
    await mesh.sidecar()
    mesh.write(service_on(port, "TCP", {"v": server.port}, addresses=[LOOPBACK]), subsets(tls=tls))
    return port


async def answers(port: int, expected: str) -> None:
    async def answered() -> bool:
        return await say(port, "hello") == expected

    await eventually(answered, f"{expected!r} on port {port}")


async def refuses(port: int, server: TlsServer) -> None:
    """Wait until the server was reached; nothing of the client's came through, and what came was TLS."""

    async def reached() -> bool:
        assert await say(port, "hello") == ""
        return bool(server.first)

    await eventually(reached, "the server is reached")
    assert set(server.first) == {b"\x16"}, "the first byte of a handshake"


async def test_a_server_is_trusted_by_its_root_its_names_and_what_is_revoked(mesh: Mesh, files: dict[str, str]) -> None:
    simple = {"mode": "SIMPLE", "sni": "inside.test"}
    good: list[dict[str, Any]] = [
        {"caCertificates": files["root"]},
        {"caCertificates": files["root"], "subjectAltNames": ["spiffe://pay.test/ns/pay/sa/pay"]},
        {"caCertificates": files["root"], "subjectAltNames": ["other.test", "pay.test"]},
        {"caCertificates": files["root"], "caCrl": files["none-revoked"]},
    ]
    for tls in good:
        server = await mesh.serving(TlsServer())
        await answers(await begun(mesh, server, **simple, **tls), "nobody")
        assert set(server.names) == {"inside.test"}
    bad: list[dict[str, Any]] = [
        {"caCertificates": files["other"]},
        {},  # the roots of the system, to whom our own is a stranger
        {"caCertificates": files["root"], "subjectAltNames": ["other.test"]},
        {"caCertificates": files["root"], "caCrl": files["server-revoked"]},
    ]
    for tls in bad:
        server = await mesh.serving(TlsServer())
        await refuses(await begun(mesh, server, **simple, **tls), server)


async def test_a_client_certificate_from_files(mesh: Mesh, files: dict[str, str]) -> None:
    server = await mesh.serving(TlsServer(asks=True))
    pair = {"clientCertificate": files["chain"], "privateKey": files["key"], "caCertificates": files["root"]}
    port = await begun(mesh, server, mode="MUTUAL", sni="pay.test", **pair)
    await answers(port, str(CLIENT.certificate.serial_number))
    unproved = await mesh.serving(TlsServer(asks=True))
    await refuses(await begun(mesh, unproved, mode="SIMPLE", caCertificates=files["root"]), unproved)


async def test_a_certificate_of_the_mesh_means_nothing_to_a_stranger(mesh: Mesh) -> None:
    """ISTIO_MUTUAL: the workload's own certificate is shown, and the server's has to be of the mesh."""
    server = await mesh.serving(TlsServer(asks=True))
    await refuses(await begun(mesh, server, mode="ISTIO_MUTUAL"), server)


async def test_a_missing_credential_sends_nothing_in_plaintext(mesh: Mesh, files: dict[str, str]) -> None:
    """Files that do not exist leave the cluster without what it needs: connections fail, in no other form."""
    server = await mesh.serving(TlsServer())
    good = await begun(mesh, server, mode="SIMPLE", caCertificates=files["root"])
    await answers(good, "nobody")
    missing = await mesh.serving(TlsServer())
    port = await begun(mesh, missing, mode="SIMPLE", caCertificates=f"{files['root']}-missing")

    async def closed() -> bool:
        assert await say(port, "hello") == ""
        return await say(good, "hello") == ""  # the former service has gone, so the new one is there

    await eventually(closed, "the new service is in force")
    assert await say(port, "hello") == ""
    assert not missing.first
