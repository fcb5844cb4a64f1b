"""The port with TLS: who may connect, what certificates are signed, and what tools may see."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse
from envoy.service.status.v3.csds_pb2 import SYNCED, ClientConfig

from controlplane.messages.istio_auth_pb2 import IstioCertificateRequest, IstioCertificateResponse
from tests.feature.identities import Authorities, account, authorities_of, channel, securely
from tests.feature.objects import MESH
from tests.feature.server import Server
from tests.patience import PATIENCE_SECONDS

SOTW = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
CREATE = "/istio.v1.auth.IstioCertificateService/CreateCertificate"
CDS = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
SYNCZ = "istio.io/debug/syncz"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with securely(tmp_path, *MESH) as running:
        yield running


@pytest.fixture
async def authorities(server: Server) -> Authorities:
    return await authorities_of(server)


def request(type_url: str, namespace: str = "shop", *names: str, nonce: str = "") -> bytes:
    node = Node(id=f"sidecar~10.0.0.9~app.{namespace}~{namespace}.svc.cluster.local")
    node.metadata.update({"NAMESPACE": namespace, "SERVICE_ACCOUNT": "default"})
    message = DiscoveryRequest(type_url=type_url, node=node, resource_names=names, response_nonce=nonce)
    return bytes(message.SerializeToString())


async def ask(opened: Any, body: bytes) -> Any:
    call = opened.stream_stream(SOTW)()
    await call.write(body)
    read = await call.read()
    assert isinstance(read, bytes), f"{await call.code()}: {await call.details()}"
    return DiscoveryResponse.FromString(read)


async def refusal(opened: Any, body: bytes = b"") -> tuple[str, str]:
    """Return how a stream ends; who is refused unheard does not ask: a client that still writes loses the reason."""
    call = opened.stream_stream(SOTW)()
    if body:
        await call.write(body)
    return (await call.code()).name, await call.details()


async def test_a_proxy_is_served_as_who_it_proves_to_be(server: Server, authorities: Authorities) -> None:
    async with channel(server, authorities, account("shop")) as opened:
        assert (await ask(opened, request(CDS))).resources
        for other in (request(CDS, "bank"), request(CDS).replace(b"default", b"another")):
            code, reason = await refusal(opened, other)
            assert code == "PERMISSION_DENIED"
            assert account("shop") in reason


async def test_a_caller_who_proves_nothing_sees_nothing(server: Server, authorities: Authorities) -> None:
    async with channel(server, authorities) as opened:
        code, reason = await refusal(opened)
        assert (code, reason) == (
            "UNAUTHENTICATED",
            "authentication failure: the caller shows neither a client certificate nor a bearer token",
        )


async def test_a_header_about_a_certificate_proves_nothing(server: Server, authorities: Authorities) -> None:
    """What a proxy in front may say of its caller counts from no address, this machine's own least of all."""
    said = (("x-forwarded-client-cert", f"By=x;Hash=y;URI={account('shop')}"),)
    async with channel(server, authorities) as opened:
        call = opened.stream_stream(SOTW)(metadata=said)
        assert (await call.code()) is grpc.StatusCode.UNAUTHENTICATED
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await opened.unary_unary(CREATE)(b"", metadata=said)
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_the_objects_of_the_mesh_are_no_resources(server: Server, authorities: Authorities) -> None:
    """Nobody reads Istio's objects over xDS, as istiod's MCP source gives them: neither its own nor another's."""
    async with channel(server, authorities, account("shop")) as opened:
        stream = opened.stream_stream(SOTW)()
        for kind in ("networking.istio.io/v1/VirtualService", "security.istio.io/v1/AuthorizationPolicy"):
            await stream.write(request(kind))
        await stream.write(request(CDS))
        first = DiscoveryResponse.FromString(await stream.read())
    assert (first.type_url, bool(first.resources)) == (CDS, True)


async def test_a_certificate_is_signed_for_the_caller_and_nobody_else(server: Server, authorities: Authorities) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    asked_for = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(account("bank", "root"))])
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).add_extension(asked_for, critical=False)
    pem = csr.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
    body = IstioCertificateRequest(csr=pem, validity_duration=3600).SerializeToString()
    async with channel(server, authorities, account("shop")) as opened:
        chain = IstioCertificateResponse.FromString(await opened.unary_unary(CREATE)(body)).cert_chain
    leaf = x509.load_pem_x509_certificate(chain[0].encode())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [account("shop")]
    assert leaf.public_key() == key.public_key()
    async with channel(server, authorities) as opened:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await opened.unary_unary(CREATE)(body)
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_tools_see_what_their_namespace_may(server: Server, authorities: Authorities) -> None:
    async with channel(server, authorities, account("shop")) as proxy:
        stream = proxy.stream_stream(SOTW)()
        await stream.write(request(CDS))
        nonce = DiscoveryResponse.FromString(await stream.read()).nonce
        await stream.write(DiscoveryRequest(type_url=CDS, response_nonce=nonce).SerializeToString())
        async with channel(server, authorities, account("istio-system")) as admin:
            shown = await ask(admin, request(SYNCZ, "istio-system"))
            assert json.loads(shown.control_plane.identifier)["Component"] == "istiod"
            (config,) = [ClientConfig.FromString(resource.value) for resource in shown.resources]
            assert config.node.id == "app.shop"
            assert [(each.type_url, each.config_status) for each in config.generic_xds_configs] == [(CDS, SYNCED)]
            dumped = await ask(admin, request("istio.io/debug/config_dump", "istio-system", "app.shop"))
            assert any(resource.type_url.endswith("ClustersConfigDump") for resource in dumped.resources)
            page = await ask(admin, request("istio.io/debug", "istio-system", "syncz"))
            assert json.loads(page.resources[0].value)[0]["proxy"] == "app.shop"
        async with channel(server, authorities, account("bank")) as stranger:
            assert not (await ask(stranger, request(SYNCZ, "bank"))).resources
            code, _ = await refusal(stranger, request("istio.io/debug", "bank", "syncz"))
            assert code == "PERMISSION_DENIED"
            kept = await ask(stranger, request("istio.io/debug", "bank", "config_dump?proxyID=app.shop"))
            assert kept.resources[0].value.startswith(b"Proxy not connected to this Pilot instance.")
        own = await ask(proxy, request("istio.io/debug", "shop", "config_dump?proxyID=app.shop"))
        assert json.loads(own.resources[0].value)["configs"]
    async with grpc.aio.insecure_channel(server.xds) as plain:
        opened: Any = plain
        assert await refusal(opened, request(SYNCZ)) == ("UNAUTHENTICATED", "authentication required")


async def test_a_tool_is_answered_whatever_nonce_its_requests_have(server: Server, authorities: Authorities) -> None:
    """`istioctl` writes the time into each; only what repeats a nonce of ours is an acknowledgement."""
    async with channel(server, authorities, account("istio-system")) as admin:
        stream = admin.stream_stream(SOTW)(timeout=PATIENCE_SECONDS)
        await stream.write(request(SYNCZ, "istio-system", nonce="2026-11-21 12:25:00.123 +0000 UTC m=+0.05"))
        first = DiscoveryResponse.FromString(await stream.read())
        await stream.write(request(SYNCZ, "istio-system", nonce=first.nonce))
        await stream.write(request("istio.io/debug", "istio-system", "list", nonce="2026-11-21 12:25:00.456"))
        listed = DiscoveryResponse.FromString(await stream.read())
    assert (first.type_url, listed.type_url) == (SYNCZ, "istio.io/debug")
    assert "syncz" in json.loads(listed.resources[0].value)
    who = [json.loads(answer.control_plane.identifier)["ID"] for answer in (first, listed)]
    assert who[0] == who[1] != ""


async def test_reviews_are_counted(server: Server, authorities: Authorities) -> None:
    """By istiod's names; what nobody knows counts as one, and dry runs never as failures."""
    services = {"group": "networking.istio.io", "version": "v1", "resource": "serviceentries"}
    kind = {"group": "networking.istio.io", "version": "v1", "kind": "ServiceEntry"}
    good = {"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": {"name": "a"}}
    good["spec"] = {"hosts": ["a.test"], "ports": [{"number": 80, "name": "http"}], "resolution": "DNS"}
    bad = good | {"spec": {}}
    context = ssl.create_default_context(cadata=authorities.roots.decode())
    url = f"https://localhost:{server.logged('app.serving')[0]['webhooks'].rpartition(':')[2]}"
    async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(ssl=context)) as session:

        async def review(obj: Any, **fields: Any) -> None:
            asked = {"uid": "u", "operation": "CREATE", "kind": kind, "resource": services, "object": obj} | fields
            body = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": asked}
            async with session.post("/validate", json=body) as response:
                assert response.status == 200

        for obj in (good, good, bad):
            await review(obj)
            await review(obj, dryRun=True)
        await review(good, operation="DELETE")
        await review(good, resource={"group": "example.com"}, kind={"kind": "Whatever"})
        async with session.post("/validate", data=b"{}") as response:
            assert response.status == 415
    page = (await server.get("/metrics"))[1].splitlines()
    labels = 'group="networking.istio.io",resource="serviceentries",version="v1"'
    failed = labels.replace('",resource', '",reason="{}",resource')
    assert f"galley_validation_passed{{{labels}}} 4.0" in page
    assert f"galley_validation_failed{{{failed.format('invalid_resource')}}} 1.0" in page
    assert f"galley_validation_failed{{{failed.format('unsupported_operation')}}} 1.0" in page
    assert 'galley_validation_failed{group="",reason="unknown_type",resource="",version=""} 1.0' in page
    assert 'galley_validation_http_error{status="415"} 1.0' in page
