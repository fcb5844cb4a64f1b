"""Secrets over ADS: who is given which, and what stays when a new one is no good."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption
from envoy.config.core.v3.base_pb2 import Node
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)

from tests.feature.client import CDS
from tests.feature.identities import Authorities, account, authorities_of, channel, securely
from tests.feature.key_pairs import DAY, Issuer, Pair, ec_key, key_pem, secret, tls_secret
from tests.feature.objects import NETWORKING, manifest, marker
from tests.feature.server import Server
from tests.patience import PATIENCE_SECONDS, in_time, patience

SDS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
SERVICE = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"
WEB, CART = "kubernetes://web", "kubernetes://cart"
LONGEST = PATIENCE_SECONDS
ISSUER = Issuer()
PAIR = ISSUER.pair("web.test")


def server_of(number: int, host: str, **tls: Any) -> dict[str, Any]:
    port = {"number": number, "name": f"https-{host}", "protocol": "HTTPS"}
    return {"port": port, "hosts": [host], "tls": {"mode": "SIMPLE", **tls}}


def gateway(*servers: dict[str, Any], name: str = "edge") -> dict[str, Any]:
    spec = {"selector": {"istio": "edge"}, "servers": list(servers)}
    return manifest(NETWORKING, "Gateway", name, "istio-system", spec=spec)


GATEWAY = gateway(
    server_of(443, "web.test", credentialName="web"),
    server_of(443, "cart.test", credentialName="cart", mode="MUTUAL"),
)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with securely(tmp_path_factory.mktemp("secrets"), GATEWAY) as running:
        yield running


@pytest.fixture
def server(running: Server) -> Iterator[Server]:
    """The server; what a test writes goes with it."""
    yield running
    for name in ("secrets.yaml", "more.yaml"):
        running.remove(name)


@pytest.fixture
async def authorities(server: Server) -> Authorities:
    return await authorities_of(server)


def node(namespace: str = "istio-system") -> Node:
    made = Node(id=f"router~10.0.0.9~edge.{namespace}~{namespace}.svc.cluster.local")
    made.metadata.update({"NAMESPACE": namespace, "LABELS": {"istio": "edge"}})
    return made


class Asking:
    """A gateway's stream that asks for secrets by name, acknowledges each response, and keeps what it is given."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self.held: dict[str, Secret] = {}

    async def ask(self, *names: str, namespace: str = "istio-system") -> None:
        request = DeltaDiscoveryRequest(type_url=SDS, node=node(namespace), resource_names_subscribe=names)
        await self._call.write(request.SerializeToString())

    async def clusters(self) -> None:
        await self._call.write(DeltaDiscoveryRequest(type_url=CDS).SerializeToString())

    async def read(self) -> DeltaDiscoveryResponse:
        """Return the next response of any type, and acknowledge it."""
        response = DeltaDiscoveryResponse.FromString(await self._call.read())
        answer = DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
        await self._call.write(answer.SerializeToString())
        return response

    async def until(self, holds: Callable[[], bool]) -> None:
        """Take responses until something holds."""
        while not holds():
            await self.next()

    async def next(self) -> list[str]:
        """Return the names of the next response; those that do not exist have ``-`` before them."""
        response = await self.read()
        assert response.type_url == SDS
        for resource in response.resources:
            self.held[resource.name] = Secret.FromString(resource.resource.value)
            assert self.held[resource.name].name == resource.name
        return sorted(
            [*(each.name for each in response.resources), *(f"-{name}" for name in response.removed_resources)]
        )


@asynccontextmanager
async def asking(server: Server, authorities: Authorities, namespace: str = "istio-system") -> AsyncIterator[Asking]:
    async with channel(server, authorities, account(namespace)) as opened:
        yield Asking(opened.stream_stream(f"{SERVICE}DeltaAggregatedResources")(timeout=LONGEST))


GOOD_WEB = tls_secret("web", PAIR)
GOOD_CART = secret("cart", {"cert": PAIR.certificate, "key": PAIR.key, "cacert": ISSUER.certificate, "crl": b""})


def chain(proxy: Asking, name: str) -> bytes:
    """Return the certificate that the proxy holds by a name; empty: none yet."""
    held = proxy.held.get(name)
    return held.tls_certificate.certificate_chain.inline_bytes if held is not None else b""


async def test_a_gateway_is_given_key_and_roots_of_its_namespace(server: Server, authorities: Authorities) -> None:
    server.write("secrets.yaml", GOOD_WEB, GOOD_CART)
    async with asking(server, authorities) as proxy:
        await proxy.ask(WEB, CART, f"{CART}-cacert")
        await proxy.until(lambda: len(proxy.held) == 3)
    assert proxy.held[WEB].tls_certificate.certificate_chain.inline_bytes == PAIR.certificate
    assert proxy.held[CART].tls_certificate.private_key.inline_bytes == PAIR.key
    roots = proxy.held[f"{CART}-cacert"].validation_context
    assert (roots.trusted_ca.inline_bytes, roots.crl.WhichOneof("specifier")) == (ISSUER.certificate, "inline_bytes")


async def test_roots_may_be_a_secret_of_their_own_or_a_config_map(server: Server, authorities: Authorities) -> None:
    """``x-cacert`` comes before what ``x`` has; a ConfigMap is for proxies of every namespace."""
    published = "configmap://shop/roots"
    mutual = server_of(8443, "b.test", mode="MUTUAL", credentialName="web", caCertCredentialName=published)
    config_map = manifest("v1", "ConfigMap", "roots", data={"ca.crt": ISSUER.certificate.decode()})
    other = Issuer("Other CA")
    own = secret("cart-cacert", {"ca.crt": other.certificate})
    server.write("secrets.yaml", GOOD_WEB, GOOD_CART, own, config_map, gateway(mutual, name="second"))
    async with asking(server, authorities) as proxy:
        await proxy.ask(f"{CART}-cacert", published)
        await proxy.until(lambda: len(proxy.held) == 2)
    trusted = {name: held.validation_context.trusted_ca.inline_bytes for name, held in proxy.held.items()}
    assert trusted == {f"{CART}-cacert": other.certificate, published: ISSUER.certificate}


async def test_a_secret_is_for_its_own_namespace(server: Server, authorities: Authorities) -> None:
    """Whoever asks from elsewhere, or for what nobody names, hears that it does not exist."""
    server.write("secrets.yaml", GOOD_WEB, GOOD_CART, tls_secret("private", PAIR))
    async with asking(server, authorities) as owner, asking(server, authorities, "shop") as stranger:
        await owner.ask(WEB)
        await owner.until(lambda: WEB in owner.held)
        names = (WEB, "kubernetes://istio-system/web", "kubernetes-gateway://istio-system/web", "invalid://", "default")
        await stranger.ask(*names, namespace="shop")
        assert await stranger.next() == sorted(f"-{name}" for name in names)
        await owner.ask("kubernetes://private", "kubernetes://shop/web")
        assert await owner.next() == ["-kubernetes://private", "-kubernetes://shop/web"]


async def test_a_caller_in_plaintext_is_given_nothing(server: Server, authorities: Authorities) -> None:
    """It is not even told whether there is such a Secret; other types it is given as before."""
    server.write("secrets.yaml", GOOD_WEB, GOOD_CART)
    async with asking(server, authorities) as proved, grpc.aio.insecure_channel(server.xds) as plain:
        opened: Any = plain
        nobody = Asking(opened.stream_stream(f"{SERVICE}DeltaAggregatedResources")(timeout=LONGEST))
        await nobody.ask(WEB, f"{CART}-cacert")
        await nobody.clusters()
        await proved.ask(WEB, f"{CART}-cacert")
        await proved.until(lambda: len(proved.held) == 2)
        server.write("more.yaml", marker(1))
        assert (await nobody.read()).type_url == CDS
        assert (await nobody.read()).type_url == CDS
    assert nobody.held == {}


async def test_state_of_the_world(server: Server, authorities: Authorities) -> None:
    """Each secret is sent when it exists and when it is another; the rest are not waited for."""
    server.write("secrets.yaml", GOOD_WEB)
    async with channel(server, authorities, account("istio-system")) as opened:
        call: Any = opened.stream_stream(f"{SERVICE}StreamAggregatedResources")(timeout=LONGEST)
        nonce, held = "", dict[str, bytes]()

        async def ask() -> None:
            request = DiscoveryRequest(type_url=SDS, node=node(), resource_names=[WEB, CART], response_nonce=nonce)
            await call.write(request.SerializeToString())

        async def until(name: str, pair: Pair) -> None:
            nonlocal nonce
            while held.get(name) != pair.certificate:
                response = DiscoveryResponse.FromString(await call.read())
                nonce = response.nonce
                for resource in response.resources:
                    found = Secret.FromString(resource.value)
                    held[found.name] = found.tls_certificate.certificate_chain.inline_bytes
                await ask()

        await ask()
        await until(WEB, PAIR)
        server.write("more.yaml", GOOD_CART)
        await until(CART, PAIR)
        renewed = ISSUER.pair("web.test")
        server.write("secrets.yaml", tls_secret("web", renewed))
        await until(WEB, renewed)


NO_GOOD = {
    "garbage": (tls_secret("web", Pair(b"no certificate", PAIR.key)), "data.tls.crt: holds no certificate (PEM)"),
    "no-key": (tls_secret("web", Pair(PAIR.certificate, b"no key")), "data.tls.key: holds no private key (PEM)"),
    "mismatch": (
        tls_secret("web", Pair(PAIR.certificate, ISSUER.pair("x").key)),
        "data.tls.key: is not the key of the certificate in tls.crt",
    ),
    "encrypted": (
        tls_secret("web", Pair(PAIR.certificate, key_pem(ec_key(), BestAvailableEncryption(b"x")))),
        "data.tls.key: is encrypted",
    ),
    "ended": (tls_secret("web", ISSUER.pair("web.test", ago=3 * DAY, lasts=DAY)), "the certificate ended at"),
    "not-yet": (tls_secret("web", ISSUER.pair("web.test", ago=-DAY)), "the certificate begins at"),
}


@pytest.mark.parametrize("case", NO_GOOD)
async def test_the_last_good_pair_stays(case: str, server: Server, authorities: Authorities) -> None:
    """What Envoy or callers would refuse takes its place nowhere; its author reads why at the Gateway; others go on."""
    bad, reason = NO_GOOD[case]
    server.write("secrets.yaml", GOOD_WEB, GOOD_CART)
    async with asking(server, authorities) as proxy:
        await proxy.ask(WEB, CART)
        await proxy.until(
            lambda: [chain(proxy, name) for name in (WEB, CART)] == [PAIR.certificate] * 2
        )  # no earlier ones
        renewed = ISSUER.pair("cart.test")
        server.write("secrets.yaml", bad, secret("cart", {"cert": renewed.certificate, "key": renewed.key}))
        assert await proxy.next() == [CART]
        async with asking(server, authorities) as late:
            await late.ask(WEB)
            await late.until(lambda: WEB in late.held)
            assert late.held[WEB] == proxy.held[WEB]
        path = f"spec.servers[0].tls.credentialName: Secret istio-system/web: {reason}"
        (problem,) = await found(server, path)
        assert problem.endswith("; the last good pair stays")
        again = ISSUER.pair("web.test")
        server.write("secrets.yaml", tls_secret("web", again), GOOD_CART)
        await proxy.until(lambda: proxy.held[WEB].tls_certificate.certificate_chain.inline_bytes == again.certificate)
        await nothing_found(server, "spec.servers[0]")


async def test_a_pair_is_used_once_its_time_has_come(server: Server, authorities: Authorities) -> None:
    """Nothing is written then; clocks differ a little, so a pair that has just been made may lie in the future."""
    server.write("secrets.yaml", GOOD_WEB)
    async with asking(server, authorities) as proxy:
        await proxy.ask(WEB)
        await proxy.until(lambda: WEB in proxy.held)

        def shown() -> bytes:
            return bytes(proxy.held[WEB].tls_certificate.certificate_chain.inline_bytes)

        async def told() -> bool:
            begins = "spec.servers[0].tls.credentialName: Secret istio-system/web: the certificate begins at"
            return any(each.startswith(begins) for each in await _told(server))

        for seconds in (2, 8, 30):  # on a busy machine its time may have come before anybody looks
            early = ISSUER.pair("web.test", ago=-timedelta(seconds=seconds))
            server.write("secrets.yaml", tls_secret("web", early))
            taken = asyncio.create_task(proxy.until(lambda: shown() == early.certificate))  # noqa: B023 - awaited here
            while not (said := await told()) and not taken.done():
                await asyncio.sleep(0.01)
            await in_time(taken)
            if said:
                break
        assert said
    await nothing_found(server, "spec.servers[0]")


async def test_what_is_missing_is_said_at_its_gateway(server: Server) -> None:
    await found(server, "spec.servers[0].tls.credentialName: there is no Secret web;")
    server.write("secrets.yaml", secret("web", {"tls.crt": PAIR.certificate}), GOOD_WEB | {"kind": "ConfigMap"})
    await found(server, "spec.servers[0].tls.credentialName: Secret istio-system/web has no cert and key, or tls.crt")


async def test_keys_are_shown_nowhere(server: Server, authorities: Authorities) -> None:
    """No page and no line of the log has anything of a key: not of one that is served, nor of one that is refused."""
    refused = ISSUER.pair("web.test")
    server.write("secrets.yaml", GOOD_CART, tls_secret("web", Pair(b"no certificate", refused.key)))
    async with asking(server, authorities) as proxy:
        await proxy.ask(CART)
        await proxy.until(lambda: CART in proxy.held)
        await found(server, "spec.servers[0].tls.credentialName: Secret istio-system/web: data.tls.crt")
        (who,) = [each["proxy"] for each in (await server.get("/debug/syncz"))[1]]
        status, dump = await server.get(f"/debug/config_dump?proxyID={who}")
        assert status == 200
        shown = {
            each["name"]: each["secret"] for part in dump["configs"] for each in part.get("dynamic_active_secrets", ())
        }
        certificate = shown[CART]["tls_certificate"]
        assert base64.b64decode(certificate["certificate_chain"]["inline_bytes"]) == PAIR.certificate
        assert base64.b64decode(certificate["private_key"]["inline_bytes"]) == b"[redacted]"
        _, index = await server.get("/debug/list")
        pages = ["/debug/" + name for name in index] + ["/metrics", f"/debug/config_dump?proxyID={who}"]
        texts = [str(server.events), *[json.dumps((await server.get(page))[1]) for page in pages]]
    for key in (PAIR.key, refused.key):
        secret_lines = [line.decode() for line in key.splitlines() if not line.startswith(b"-")]
        encoded = base64.b64encode(key).decode()
        for line in (*secret_lines, *(encoded[at : at + 40] for at in range(0, len(encoded) - 40, 40))):
            assert not any(line in text for text in texts)


async def found(server: Server, problem: str) -> list[str]:
    """Wait until the Gateway has a problem that begins so, and return those."""
    async with patience():
        while not (told := [each for each in await _told(server) if each.startswith(problem)]):
            await asyncio.sleep(0.01)
    return told


async def nothing_found(server: Server, problem: str) -> None:
    """Wait until the Gateway has no problem that begins so."""
    async with patience():
        while any(each.startswith(problem) for each in await _told(server)):
            await asyncio.sleep(0.01)


async def _told(server: Server) -> list[str]:
    return (await server.problems()).get(("Gateway", "edge"), [])
