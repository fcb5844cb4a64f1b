"""TLS of a gateway's servers as clients meet it: versions, ciphers, certificates of the mesh, QUIC, and what passes on.

What Secrets have to do with it is in ``test_gateway_secrets``.
"""

from __future__ import annotations

import asyncio
import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from controlplane.registry.environment import HTTP3
from controlplane.registry.labels import TLS_MODE
from samples.control_plane import LOOPBACK, free_port
from samples.proxy import Pod
from tests.envoy.agents import SecureMesh, secure_mesh, started
from tests.envoy.bare import HTTP_CONNECTION_MANAGER, ROUTER, BareEnvoy, node
from tests.envoy.mesh import Json, eventually, write
from tests.feature.key_pairs import Issuer, tls_secret
from tests.feature.objects import NETWORKING, manifest

pytestmark = pytest.mark.asyncio(loop_scope="session")

ISSUER = Issuer()
WEB = "web.test"
EDGE = Pod("edge-1", "istio-system", "10.0.0.8", kind="router", labels={"istio": "edge"})
CIPHER, OTHER_CIPHER = "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256"
REFUSED = "refused"


def server(port: int, mode: str, host: str = WEB, protocol: str = "HTTPS", **tls: Any) -> Json:
    credential = {"credentialName": "web"} if mode == "SIMPLE" else {}
    named = {"number": port, "name": f"tls-{port}", "protocol": protocol}
    return {"port": named, "bind": LOOPBACK, "hosts": [host], "tls": {"mode": mode, **credential, **tls}}


@dataclass(frozen=True)
class Edge:
    """A running gateway: the ports of its servers, the mesh that it is of, and a folder of files."""

    mesh: SecureMesh
    folder: Path
    newest: int
    older: int
    mutual: int
    passing: int
    quic: int


def service(name: str, exported: str, port: int) -> Json:
    """Return a service of the mesh whose endpoint speaks mutual TLS: others are not passed on to."""
    spec = {
        "hosts": [f"{name}.global"],
        "exportTo": [exported],
        "location": "MESH_INTERNAL",
        "ports": [{"number": 443, "name": "tls", "protocol": "TLS"}],
        "resolution": "STATIC",
        "endpoints": [{"address": LOOPBACK, "ports": {"tls": port}, "labels": {TLS_MODE: "istio"}}],
    }
    return manifest(NETWORKING, "ServiceEntry", name, "istio-system", spec=spec)


def objects(edge: Edge, behind: int) -> list[Json]:
    """Return a Gateway; whoever asks for web.test is answered so, and ``behind`` is the port of a service."""
    servers = [
        server(edge.newest, "SIMPLE", minProtocolVersion="TLSV1_3"),
        server(edge.older, "SIMPLE", maxProtocolVersion="TLSV1_2", cipherSuites=[CIPHER]),
        server(edge.mutual, "ISTIO_MUTUAL"),
        server(edge.passing, "AUTO_PASSTHROUGH", "*.global", "TLS"),
        server(edge.quic, "SIMPLE"),
    ]
    web = {
        "hosts": [WEB],
        "gateways": ["edge"],
        "http": [{"directResponse": {"status": 200, "body": {"string": WEB}}}],
    }
    ports = [{"name": f"https-{each}", "port": edge.quic, "protocol": each} for each in ("TCP", "UDP")]
    gateway = {"selector": EDGE.labels, "servers": servers}
    return [
        tls_secret("web", ISSUER.pair(WEB)),
        manifest(NETWORKING, "Gateway", "edge", "istio-system", spec=gateway),
        manifest(NETWORKING, "VirtualService", "web", "istio-system", spec=web),
        manifest("v1", "Service", "edge", "istio-system", spec={"selector": EDGE.labels, "ports": ports}),
        service("shown", "*", behind),
        service("hidden", "~", behind),
    ]


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[int]:
    """Serve over TLS, on the port that is returned, with a certificate of its own for web.test."""
    pair = ISSUER.pair(WEB)
    (folder / "web.pem").write_bytes(pair.key + pair.certificate)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "web.pem")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {len(WEB)}\r\n\r\n{WEB}".encode())
        writer.close()

    async with await asyncio.start_server(answer, LOOPBACK, 0, ssl=context) as listening:
        yield int(listening.sockets[0].getsockname()[1])


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def edge() -> AsyncIterator[Edge]:
    """A gateway that has its certificates, and everything else, from a control plane."""
    with (
        pytest.MonkeyPatch.context() as environment,
        tempfile.TemporaryDirectory(prefix="edge-") as name,  # short: paths of Unix sockets end at 107 bytes
    ):
        environment.setenv(HTTP3, "true")
        folder = Path(name)
        async with secure_mesh(folder) as mesh, serving(folder) as behind:
            found = Edge(mesh, folder, *(free_port() for _ in range(5)))
            write(mesh.config / "mesh.yaml", *objects(found, behind))
            proxy = await mesh.proxy(EDGE)
            async with started(proxy):
                yield found
                assert await proxy.rejected() == {}


def client(roots: str, pair: Path | None = None) -> ssl.SSLContext:
    """Return what a client asks with: it trusts these roots, and looks at no name."""
    context = ssl.create_default_context(cadata=roots)
    context.check_hostname = False
    if pair is not None:
        context.load_cert_chain(pair)
    return context


async def asked(port: int, context: ssl.SSLContext, host: str = WEB) -> str:
    """Return version and cipher of a connection on which a request is answered."""
    try:
        opening = asyncio.open_connection(LOOPBACK, port, ssl=context, server_hostname=host)
        reader, writer = await opening
        try:
            writer.write(f"GET / HTTP/1.1\r\nhost: {WEB}\r\nconnection: close\r\n\r\n".encode())
            answer = await reader.read()
        finally:
            writer.transport.abort()
    except OSError:  # with TLS 1.3 a client without a certificate is told after its handshake
        return REFUSED
    if not answer.endswith(WEB.encode()):
        return REFUSED
    cipher, version, _ = writer.get_extra_info("ssl_object").cipher()
    return f"{version} {cipher}"


async def until(port: int, context: ssl.SSLContext, host: str = WEB) -> str:
    """Return how a client is answered, once it is."""
    found = ""

    async def answers() -> bool:
        nonlocal found
        found = await asked(port, context, host)
        return found != REFUSED

    await eventually(answers, f"{host} is served at {port}")
    return found


async def test_versions_and_ciphers(edge: Edge) -> None:
    roots = ISSUER.certificate.decode()
    assert (await until(edge.newest, client(roots))).startswith("TLSv1.3 ")
    assert await until(edge.older, client(roots)) == f"TLSv1.2 {CIPHER}"
    old = client(roots)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    assert await asked(edge.newest, old) == REFUSED
    new = client(roots)
    new.minimum_version = ssl.TLSVersion.TLSv1_3
    assert await asked(edge.older, new) == REFUSED
    other = client(roots)
    other.set_ciphers(OTHER_CIPHER)
    other.maximum_version = ssl.TLSVersion.TLSv1_2
    assert await asked(edge.older, other) == REFUSED


async def test_certificates_of_the_mesh(edge: Edge) -> None:
    """ISTIO_MUTUAL shows the gateway's own certificate, and asks for one of the mesh."""
    roots = (await edge.mesh.authority()).bundle
    stranger = Issuer("Other CA").pair("stranger")
    (edge.folder / "friend.pem").write_bytes(await edge.mesh.pair("spiffe://cluster.local/ns/shop/sa/web"))
    (edge.folder / "stranger.pem").write_bytes(stranger.key + stranger.certificate)
    await until(edge.mutual, client(roots, edge.folder / "friend.pem"))
    assert await asked(edge.mutual, client(roots)) == REFUSED
    assert await asked(edge.mutual, client(roots, edge.folder / "stranger.pem")) == REFUSED
    others = client(ISSUER.certificate.decode(), edge.folder / "friend.pem")
    assert await asked(edge.mutual, others) == REFUSED, "its certificate is the mesh's"


async def test_what_passes_on_by_the_name_of_a_cluster(edge: Edge) -> None:
    """AUTO_PASSTHROUGH: a service of the mesh is reached by its cluster's name, and its own certificate is seen."""
    sidecar, outsider = (client(ISSUER.certificate.decode()) for _ in range(2))
    sidecar.set_alpn_protocols(["istio"])  # as proxies of the mesh do
    await until(edge.passing, sidecar, "outbound_.443_._.shown.global")
    for name in ("outbound_.443_._.hidden.global", "outbound_.443_._.other.global", "shown.global", WEB):
        assert await asked(edge.passing, sidecar, name) == REFUSED, name
    assert await asked(edge.passing, outsider, "outbound_.443_._.shown.global") == REFUSED


def over_quic(port: int, target: int, roots: Path) -> Json:
    """Return the bootstrap of an Envoy that takes requests in plain text and asks the target by HTTP/3."""
    http = {
        "stat_prefix": "in",
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER}}],
        "route_config": {
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "edge"}}]}
            ]
        },
    }
    quic = "envoy.extensions.transport_sockets.quic.v3.QuicUpstreamTransport"
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    validation = {
        "trusted_ca": {"filename": str(roots)},
        "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": WEB}}],
    }
    tls = {"sni": WEB, "common_tls_context": {"validation_context": validation}}
    where = {"socket_address": {"address": LOOPBACK, "port_value": target}}
    edge = {
        "name": "edge",
        "load_assignment": {
            "cluster_name": "edge",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": where}}]}],
        },
        "typed_extension_protocol_options": {
            options: {
                "@type": f"type.googleapis.com/{options}",
                "explicit_http_config": {"http3_protocol_options": {}},
            }
        },
        "transport_socket": {
            "name": "envoy.transport_sockets.quic",
            "typed_config": {"@type": f"type.googleapis.com/{quic}", "upstream_tls_context": tls},
        },
    }
    listener = {
        "name": "in",
        "address": {"socket_address": {"address": LOOPBACK, "port_value": port}},
        "filter_chains": [
            {"filters": [{"name": "http", "typed_config": {"@type": HTTP_CONNECTION_MANAGER, **http}}]},
        ],
    }
    return {
        "node": node("sidecar", "client", "default"),
        "static_resources": {"clusters": [edge], "listeners": [listener]},
    }


async def test_http3(edge: Edge, tmp_path: Path) -> None:
    """Beside HTTPS the same server takes QUIC."""
    entrance = free_port()
    (tmp_path / "roots.pem").write_bytes(ISSUER.certificate)
    await until(edge.quic, client(ISSUER.certificate.decode()))
    envoy = BareEnvoy(over_quic(entrance, edge.quic, tmp_path / "roots.pem"), tmp_path)
    await envoy.start()
    try:
        async with aiohttp.ClientSession(headers={"host": WEB}) as session:

            async def answers() -> bool:
                async with session.get(f"http://{LOOPBACK}:{entrance}/") as found:
                    return found.status == 200 and await found.text() == WEB

            await eventually(answers, "the gateway answers over QUIC")
        assert sum((await envoy.stats(r"^cluster\.edge\.upstream_cx_http3_total$")).values()) > 0
    finally:
        await envoy.stop()
