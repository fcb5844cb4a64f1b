"""HTTPS through a stock Envoy whose certificates come from Secrets, over the secure port."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import aiohttp
import pytest
from cryptography import x509

from controlplane.agent.addresses import TcpAddress
from samples.control_plane import LOOPBACK, free_port
from tests.envoy.bare import XDS_CLUSTER, BareEnvoy, bootstrap, node
from tests.envoy.mesh import eventually
from tests.feature.identities import account, authorities_of, securely
from tests.feature.key_pairs import DAY, Issuer, Pair, secret, tls_secret
from tests.feature.objects import NETWORKING, manifest
from tests.feature.server import Server
from tests.patience import in_time, until

ISSUER = Issuer()
HOSTS = ("web.test", "cart.test", "pay.test")
NAMES = {"web.test": "web", "cart.test": "cart", "pay.test": "pay"}


def servers(port: int, **tls: Any) -> list[dict[str, Any]]:
    return [
        {
            "port": {"number": port, "name": f"https-{name}", "protocol": "HTTPS"},
            "bind": LOOPBACK,
            "hosts": [host],
            "tls": {"mode": "SIMPLE", "credentialName": name, **tls},
        }
        for host, name in NAMES.items()
    ]


def mesh(port: int, **tls: Any) -> list[dict[str, Any]]:
    """Return a Gateway with three hosts on one port, each answered with its name."""
    gateway = {"selector": {"istio": "edge"}, "servers": servers(port, **tls)}
    answers = [
        manifest(
            NETWORKING,
            "VirtualService",
            name,
            "istio-system",
            spec={
                "hosts": [host],
                "gateways": ["edge"],
                "http": [{"directResponse": {"status": 200, "body": {"string": host}}}],
            },
        )
        for host, name in NAMES.items()
    ]
    return [manifest(NETWORKING, "Gateway", "edge", "istio-system", spec=gateway), *answers]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with securely(tmp_path_factory.mktemp("edge")) as running:
        yield running


@pytest.fixture
async def bare_edge(server: Server, tmp_path: Path) -> AsyncIterator[Edge]:
    """A gateway without Secrets yet."""
    async with running_edge(server, tmp_path, delta=True) as edge:
        yield edge


@pytest.fixture(params=["delta", "sotw"])
async def edge(server: Server, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Edge]:
    """A gateway with a Secret for each host: by state of the world Envoy waits 15 seconds for one that is missing."""
    server.write("secrets.yaml", *(tls_secret(name, ISSUER.pair(host)) for host, name in NAMES.items()))
    async with running_edge(server, tmp_path, delta=request.param == "delta") as edge:
        yield edge


@asynccontextmanager
async def running_edge(server: Server, folder: Path, *, delta: bool) -> AsyncIterator[Edge]:
    port = free_port()
    server.write("edge.yaml", *mesh(port))
    async with gateway_proxy(server, folder, delta=delta) as envoy:
        yield Edge(server, envoy, port)
        assert await envoy.rejected() == {}
    for name in ("edge.yaml", "secrets.yaml"):
        server.remove(name)


@asynccontextmanager
async def gateway_proxy(server: Server, folder: Path, *, delta: bool) -> AsyncIterator[BareEnvoy]:
    """Run an Envoy that connects to the secure port with a certificate of its own."""
    key, chain = (await authorities_of(server)).identity(account("istio-system"))
    roots = (await authorities_of(server)).roots
    for name, content in (("key.pem", key), ("chain.pem", chain), ("roots.pem", roots)):
        (folder / name).write_bytes(content)
    where = TcpAddress(LOOPBACK, int(server.secure.rpartition(":")[2]))
    settings = bootstrap(node("router", "edge", "istio-system", {"istio": "edge"}), where, delta=delta)
    context = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "sni": "localhost",
        "common_tls_context": {
            "alpn_protocols": ["h2"],
            "tls_certificates": [
                {
                    "certificate_chain": {"filename": str(folder / "chain.pem")},
                    "private_key": {"filename": str(folder / "key.pem")},
                }
            ],
            "validation_context": {"trusted_ca": {"filename": str(folder / "roots.pem")}},
        },
    }
    control_plane = next(each for each in settings["static_resources"]["clusters"] if each["name"] == XDS_CLUSTER)
    control_plane["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": context}
    envoy = BareEnvoy(settings, folder)
    try:
        await envoy.start()
        yield envoy
    finally:
        await envoy.stop()


@dataclass
class Edge:
    """A running gateway."""

    server: Server
    envoy: BareEnvoy
    port: int

    async def connect(self, host: str, client: Path | None = None) -> Connection:
        """Shake hands as a client that trusts the issuer of these tests.

        Raises:
            ssl.SSLError, OSError: it does not come about.
        """
        context = ssl.create_default_context(cadata=ISSUER.certificate.decode())
        if client is not None:
            context.load_cert_chain(client)
        opening = asyncio.open_connection(LOOPBACK, self.port, ssl=context, server_hostname=host)
        return Connection(host, *await in_time(opening))

    async def serial(self, host: str) -> int | None:
        """Return which certificate a new connection is shown; ``None`` where there is none."""
        try:
            async with await self.connect(host) as connection:
                assert await connection.get() == host
                return connection.serial
        except OSError:
            return None

    async def serves(self, host: str) -> bool:
        return await self.serial(host) is not None

    async def shows(self, host: str, pair: Pair) -> None:
        await eventually(self._is(host, pair), f"{host} shows its certificate")

    def _is(self, host: str, pair: Pair) -> Callable[[], Awaitable[bool]]:
        async def is_shown() -> bool:
            return await self.serial(host) == pair.serial

        return is_shown


class Connection:
    """One connection for requests, one after the other."""

    def __init__(self, host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._host = host
        self._reader = reader
        self._writer = writer

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.transport.abort()

    @property
    def serial(self) -> int:
        """The number of the certificate that was shown."""
        shown: bytes = self._writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return x509.load_der_x509_certificate(shown).serial_number

    async def get(self) -> str:
        """Make a request and return the body of its answer."""
        self._writer.write(f"GET / HTTP/1.1\r\nhost: {self._host}\r\n\r\n".encode())
        head = (await in_time(self._reader.readuntil(b"\r\n\r\n"))).decode().lower()
        assert head.startswith("http/1.1 200 "), head
        length = next(line for line in head.splitlines() if line.startswith("content-length:"))
        return (await self._reader.readexactly(int(length.partition(":")[2]))).decode()


async def test_each_host_has_its_own_secret(bare_edge: Edge) -> None:
    """One that is missing, or no good, costs its own host only; when it comes, that host is there too, and stays."""
    server, pairs = bare_edge.server, {host: ISSUER.pair(host) for host in HOSTS}
    web, cart, pay = (tls_secret(NAMES[host], pairs[host]) for host in HOSTS)
    good = pairs["cart.test"]
    no_good = {
        "mismatched": Pair(good.certificate, pairs["web.test"].key),
        "expired": ISSUER.pair("cart.test", ago=3 * DAY, lasts=DAY),
        "garbage": Pair(b"no certificate", good.key),
    }

    async def unusable(pair: Pair, *beside: dict[str, Any]) -> None:
        since = len(server.events)
        server.write("secrets.yaml", web, tls_secret("cart", pair), *beside)
        await server.event("secrets.unusable", since, object="Secret istio-system/cart")

    for kind, pair in no_good.items():
        await unusable(pair)
        await bare_edge.shows("web.test", pairs["web.test"])
        assert await bare_edge.serial("cart.test") is None, kind
        assert await bare_edge.serial("pay.test") is None, "there is none"
    server.write("secrets.yaml", web, cart, pay)
    for host, pair in pairs.items():
        await bare_edge.shows(host, pair)
    for pair in no_good.values():
        await unusable(pair, pay)
        for host, served in pairs.items():
            await bare_edge.shows(host, served)


async def test_rotation_under_load(edge: Edge) -> None:
    """A new certificate is shown within a second; no request fails, and no connection ends."""
    others = [tls_secret(name, ISSUER.pair(host)) for host, name in NAMES.items() if name != "web"]
    await eventually(lambda: edge.serves("web.test"), "the host is served")
    stopped = asyncio.Event()
    counts = {"kept": 0, "new": 0}

    async def keep_asking(connection: Connection) -> None:
        while not stopped.is_set():
            assert await connection.get() == "web.test"
            counts["kept"] += 1

    async def come_anew() -> None:
        while not stopped.is_set():
            async with await edge.connect("web.test") as connection:
                assert await connection.get() == "web.test"
                counts["new"] += 1

    delays = []
    async with await edge.connect("web.test") as old:
        load = [asyncio.create_task(keep_asking(old)), asyncio.create_task(come_anew())]
        for _ in range(5):
            pair = ISSUER.pair("web.test")
            edge.server.write("secrets.yaml", tls_secret("web", pair), *others)
            written = time.monotonic()
            await edge.shows("web.test", pair)
            delays.append(time.monotonic() - written)
        await until(lambda: min(counts.values()) > 10, lambda: counts)
        stopped.set()
        await asyncio.gather(*load)
    print("seconds from a file to a handshake:", *(f"{delay:.3f}" for delay in delays), counts)


async def test_callers_are_asked_for_certificates(edge: Edge, tmp_path: Path) -> None:
    """MUTUAL lets in whom the Secret's roots vouch for and have not revoked; OPTIONAL_MUTUAL lets in others too."""
    pair, friend, revoked = (ISSUER.pair(name) for name in ("web.test", "friend", "revoked"))
    stranger = Issuer("Other CA").pair("stranger")
    for name, each in (("friend", friend), ("revoked", revoked), ("stranger", stranger)):
        (tmp_path / f"{name}.pem").write_bytes(each.key + each.certificate)
    data = {"cert": pair.certificate, "key": pair.key, "cacert": ISSUER.certificate, "crl": ISSUER.revoked(revoked)}
    edge.server.write("secrets.yaml", *(secret(name, data) for name in NAMES.values()))

    async def outcome(client: str) -> str:
        try:
            async with await edge.connect("web.test", tmp_path / f"{client}.pem" if client else None) as connection:
                return await connection.get()
        except (OSError, asyncio.IncompleteReadError):  # with TLS 1.3 it is told after the handshake
            return "refused"

    async def outcomes() -> dict[str, str]:
        return {client: await outcome(client) for client in ("friend", "", "revoked", "stranger")}

    async def until(expected: dict[str, str]) -> None:
        async def holds() -> bool:
            return await outcomes() == expected

        await eventually(holds, f"the outcomes are {expected}")

    edge.server.write("edge.yaml", *mesh(edge.port, mode="MUTUAL"))
    refused = {"revoked": "refused", "stranger": "refused"}
    await until({"friend": "web.test", "": "refused", **refused})
    edge.server.write("edge.yaml", *mesh(edge.port, mode="OPTIONAL_MUTUAL"))
    await until({"friend": "web.test", "": "web.test", **refused})


def upstream_mesh(port: int, upstream: int) -> list[dict[str, Any]]:
    """Return a Gateway in plain text that leads to one server, with a client certificate from the Secret ``client``."""
    listener = {"port": {"number": port, "name": "http", "protocol": "HTTP"}, "bind": LOOPBACK, "hosts": ["pay.test"]}
    return led_upstream(listener, upstream, "client", "istio-system")


def led_upstream(listener: dict[str, Any], upstream: int, credential: str, namespace: str) -> list[dict[str, Any]]:
    """Return a Gateway of one server that leads to one outside, which it shows a client certificate."""
    entry = {
        "hosts": ["pay.test"],
        "ports": [{"number": 443, "name": "http", "protocol": "HTTP"}],
        "location": "MESH_EXTERNAL",
        "resolution": "STATIC",
        "endpoints": [{"address": LOOPBACK, "ports": {"http": upstream}}],
    }
    tls = {"mode": "MUTUAL", "credentialName": credential, "sni": "pay.test", "subjectAltNames": ["pay.test"]}
    route = {"route": [{"destination": {"host": "pay.test", "port": {"number": 443}}}]}
    specs: dict[str, dict[str, Any]] = {
        "Gateway": {"selector": {"istio": "edge"}, "servers": [listener]},
        "VirtualService": {"hosts": listener["hosts"], "gateways": ["edge"], "http": [route]},
        "ServiceEntry": entry,
        "DestinationRule": {"host": "pay.test", "trafficPolicy": {"tls": tls}},
    }
    return [manifest(NETWORKING, kind, "edge", namespace, spec=spec) for kind, spec in specs.items()]


@asynccontextmanager
async def asking_callers(folder: Path) -> AsyncIterator[int]:
    """Serve over mutual TLS, on the port that is returned; the answer is the number of the caller's certificate."""
    pair = ISSUER.pair("pay.test")
    (folder / "pay.pem").write_bytes(pair.key + pair.certificate)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=ISSUER.certificate.decode())
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(folder / "pay.pem")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        body = str(x509.load_der_x509_certificate(shown).serial_number)
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n{body}".encode())
        writer.close()

    async with await asyncio.start_server(answer, LOOPBACK, 0, ssl=context) as listening:
        yield int(listening.sockets[0].getsockname()[1])


@pytest.mark.parametrize("form", ["delta", "sotw"])
async def test_a_client_certificate_from_a_secret(form: str, server: Server, tmp_path: Path) -> None:
    """A DestinationRule's credential is shown to the server, which its roots have to vouch for; a new one is used."""
    port = free_port()

    def client(pair: Pair) -> dict[str, Any]:
        return tls_secret("client", pair, ca_crt=ISSUER.certificate)

    async def seen() -> str:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://{LOOPBACK}:{port}/", headers=host) as answer,
        ):
            return await answer.text()

    async def shows(pair: Pair) -> None:
        async def is_shown() -> bool:
            with suppress(aiohttp.ClientError):
                return await seen() == str(pair.serial)
            return False

        await eventually(is_shown, "the server sees the certificate")

    host = {"host": "pay.test"}
    async with asking_callers(tmp_path) as upstream:
        first, second = ISSUER.pair("client"), ISSUER.pair("client")
        server.write("secrets.yaml", client(first))
        server.write("edge.yaml", *upstream_mesh(port, upstream))
        async with gateway_proxy(server, tmp_path, delta=form == "delta") as envoy:
            await shows(first)
            server.write("secrets.yaml", client(second))
            await shows(second)
            strangers = tls_secret("client", second, ca_crt=Issuer("Other CA").certificate)
            server.write("secrets.yaml", strangers)

            async def is_refused() -> bool:
                failed = await envoy.stats(r"pay\.test.*ssl\.fail_verify_error$")
                return "remote connection failure" in await seen() and sum(failed.values()) > 0

            await eventually(is_refused, "the server is not trusted")
            assert await envoy.rejected() == {}
    for name in ("edge.yaml", "secrets.yaml"):
        server.remove(name)
