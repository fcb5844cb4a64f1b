"""TLS of the ports: what clients are shown and asked for, and that it changes under a running server."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from controlplane.security.ca import Authority, Lifetimes
from controlplane.security.issuer import Issuer
from controlplane.security.serving import ServingTls, SignedHere, serving_names
from tests.security.authorities import Clock, Signer, cacerts, csr, key_pem, root

NAMES = serving_names("istio-system")
KEY = ec.generate_private_key(ec.SECP256R1())
ROOT, NEXT = root("root"), root("next")
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def issuer(signer: Signer, *roots: Signer) -> Issuer:
    made = Issuer.of_files(cacerts(signer, [], list(roots)))
    assert made is not None
    return made


class World:
    """A server that says whose certificate it was shown, and then echoes."""

    def __init__(self) -> None:
        self.clock = Clock(datetime.now(UTC) - timedelta(hours=13))  # tests move it to the present
        self.authority = Authority(issuer(ROOT, ROOT), Lifetimes(), self.clock)
        self.names = NAMES
        self.tls = ServingTls(SignedHere(self.authority, lambda: self.names, self.clock))
        self.port = 0
        self._writers: list[asyncio.StreamWriter] = []

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[World]:
        server = await asyncio.start_server(self._echo, "127.0.0.1", 0, ssl=self.tls.grpc_context())
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for writer in self._writers:
                writer.transport.abort()
            for writer in self._writers:
                with suppress(ConnectionError, ssl.SSLError):
                    await writer.wait_closed()

    async def _echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True) or b""
        writer.write(hashlib.sha256(shown).hexdigest().encode() + b"\n")
        while line := await reader.readline():
            writer.write(line)
        writer.close()

    async def connect(self, roots: str, shown: Path | None = None) -> Connection:
        client = ssl.create_default_context(cadata=roots)
        if shown is not None:
            client.load_cert_chain(shown)
        connection = await asyncio.open_connection("127.0.0.1", self.port, ssl=client, server_hostname=NAMES[0])
        self._writers.append(connection[1])
        return connection


def certificate(connection: Connection) -> x509.Certificate:
    return x509.load_der_x509_certificate(connection[1].get_extra_info("ssl_object").getpeercert(binary_form=True))


async def said(connection: Connection) -> str:
    """Return a line; empty where the server has ended the connection."""
    with suppress(ConnectionError, ssl.SSLError):
        return (await connection[0].readline()).decode().strip()
    return ""


async def echoes(connection: Connection) -> bool:
    connection[1].write(b"still there\n")
    return await said(connection) == "still there"


def client_file(authority: Authority, folder: Path) -> Path:
    chain = authority.sign_csr(csr(KEY), ["spiffe://cluster.local/ns/shop/sa/cart"], None)
    path = folder / "client.pem"
    path.write_bytes(key_pem(KEY) + "".join(chain[:-1]).encode())
    return path


Runner = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=[uvloop.run, asyncio.run], ids=["uvloop", "asyncio"])
def run(request: pytest.FixtureRequest) -> Runner:
    runner: Runner = request.param
    return runner


def test_a_new_certificate_shows_in_new_connections_and_ends_no_old_one(run: Runner) -> None:
    async def scenario() -> None:
        async with World().serve() as world:
            old = await world.connect(world.authority.bundle)
            await said(old)
            world.clock.pass_by(timedelta(hours=11))
            world.tls.update()
            same = await world.connect(world.authority.bundle)
            assert certificate(same) == certificate(old)
            world.clock.pass_by(timedelta(hours=2))
            world.tls.update()
            new = await world.connect(world.authority.bundle)
            assert certificate(new) != certificate(old)
            assert certificate(new) == world.tls.certificate
            assert await echoes(old)

    run(scenario())


def test_a_client_certificate_is_optional_and_verified(run: Runner, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with World().serve() as world:
            bundle = world.authority.bundle
            shown = client_file(world.authority, tmp_path)
            leaf = x509.load_pem_x509_certificates(shown.read_bytes())[0]
            without, with_one = await world.connect(bundle), await world.connect(bundle, shown)
            assert await said(without) == hashlib.sha256(b"").hexdigest()
            assert await said(with_one) == hashlib.sha256(leaf.public_bytes(Encoding.DER)).hexdigest()
            stranger = client_file(Authority(issuer(NEXT, NEXT), Lifetimes()), tmp_path)
            assert not await said(await world.connect(bundle, stranger))

    run(scenario())


def test_roots_come_and_go_without_a_new_server(run: Runner, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with World().serve() as world:
            of_old = client_file(world.authority, tmp_path)
            of_old = of_old.rename(tmp_path / "old.pem")
            of_next = client_file(Authority(issuer(NEXT, NEXT), Lifetimes()), tmp_path)
            offered = issuer(NEXT, NEXT)
            world.authority.offer(offered)
            world.tls.update()
            both = [await world.connect(ROOT.pem.decode(), shown) for shown in (of_old, of_next)]
            assert all([await said(each) for each in both])

            world.clock.pass_by(timedelta(days=1))
            world.authority.offer(offered)
            world.clock.pass_by(timedelta(days=2))
            world.authority.offer(offered)
            world.tls.update()
            assert world.authority.bundle == NEXT.pem.decode()
            assert world.tls.certificate is not None
            assert world.tls.certificate.issuer == NEXT.certificate.subject
            assert all([await echoes(each) for each in both])

    run(scenario())


def test_a_root_that_went_is_trusted_no_longer(run: Runner, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with World().serve() as world:
            current = world.authority.issuer
            world.authority.offer(issuer(ROOT, ROOT, NEXT))
            world.tls.update()
            shown = client_file(Authority(issuer(NEXT, NEXT), Lifetimes()), tmp_path)
            trusted = await world.connect(ROOT.pem.decode(), shown)
            assert await said(trusted)
            world.authority.offer(current)
            world.tls.update()
            assert not await said(await world.connect(ROOT.pem.decode(), shown))
            assert await echoes(trusted)

    run(scenario())


@pytest.mark.parametrize("back", [timedelta(hours=6), timedelta(days=30)])
async def test_a_certificate_from_the_future_is_renewed(back: timedelta) -> None:
    """The clock was ahead when it was made, and has been set right: clients would refuse it until then."""
    world = World()
    now = datetime.now(UTC)
    world.clock.now = now + back
    world.tls.update()
    ahead = world.tls.certificate
    world.clock.now = now
    world.tls.update()
    shown = world.tls.certificate
    assert ahead is not None
    assert shown is not None
    assert ahead.not_valid_before_utc > now
    assert shown.not_valid_before_utc <= now
    world.tls.update()
    assert world.tls.certificate is shown


def test_a_new_name_shows_at_once() -> None:
    world = World()
    world.names = (*NAMES, "mesh.example", "192.0.2.7")
    world.tls.update()
    assert world.tls.certificate is not None
    names = world.tls.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [*NAMES, "mesh.example"]
    assert [str(each) for each in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.7"]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_old_versions_of_tls_are_refused(version: ssl.TLSVersion) -> None:
    async with World().serve() as world:
        client = ssl.create_default_context(cadata=world.authority.bundle)
        client.minimum_version, client.maximum_version = ssl.TLSVersion.TLSv1, version
        client.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection("127.0.0.1", world.port, ssl=client, server_hostname=NAMES[0])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param((), (), id="none"),
        pytest.param(("istiod.istio-system.svc:15012",), (), id="usual-address"),
        pytest.param(("discovery.example:443",), ("discovery.example",), id="other-address"),
        pytest.param(("[2001:db8::1]:15012",), ("2001:db8::1",), id="ipv6-address"),
        pytest.param(("", "canary"), ("istiod-canary.istio-system.svc",), id="revision"),
        pytest.param(("", "default"), (), id="default-revision"),
        pytest.param(("", "", ["cp.example"]), ("cp.example",), id="further"),
    ],
)
def test_serving_names(arguments: tuple[Any, ...], expected: tuple[str, ...]) -> None:
    usual = ("istio-pilot.istio-system.svc", "istiod-remote.istio-system.svc", "istiod.istio-system.svc")
    assert serving_names("istio-system", *arguments) == tuple(sorted((*usual, *expected)))
