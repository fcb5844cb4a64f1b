"""Logins of registries that modules are fetched with: who is sent them, and that nobody else sees them."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import pytest
from envoy.config.core.v3.base_pb2 import Node
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.extensions.filters.http.wasm.v3.wasm_pb2 import Wasm
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from tests.feature.identities import Authorities, account, authorities_of, channel, securely
from tests.feature.objects import Json, manifest
from tests.feature.server import Server
from tests.patience import PATIENCE_SECONDS, patience

ECDS = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
PREFIX = "extensions.istio.io/trafficextension"
OWN = f"{PREFIX}/shop.own~istio-translated-wasmplugin"
ROOT = f"{PREFIX}/istio-system.root"
PASSWORD = "correct horse battery staple"


def logins(name: str, namespace: str, password: str = PASSWORD, kind: str = "kubernetes.io/dockerconfigjson") -> Json:
    auths = {"registry.test": {"username": namespace, "password": password}}
    text = json.dumps({"auths": auths})
    return manifest("v1", "Secret", name, namespace, type=kind, stringData={".dockerconfigjson": text})


API = "extensions.istio.io/v1alpha1"
MODULE = {"url": "oci://registry.test/filter:v1", "imagePullSecret": "pull"}
PLUGIN = manifest(API, "WasmPlugin", "own", spec=MODULE)
ELSEWHERE = {**MODULE, "imagePullSecret": "kubernetes://shop/pull"}
EXTENSION = manifest(API, "TrafficExtension", "root", "istio-system", spec={"wasm": ELSEWHERE})


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with securely(tmp_path_factory.mktemp("pull"), PLUGIN, EXTENSION) as running:
        yield running


@pytest.fixture
def server(running: Server) -> Iterator[Server]:
    yield running
    running.remove("secrets.yaml")


@pytest.fixture
async def authorities(server: Server) -> Authorities:
    return await authorities_of(server)


class Asking:
    """A sidecar's stream that asks for the two modules and keeps the pull secret that each of them came with."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self.held: dict[str, str] = {}

    async def ask(self) -> None:
        node = Node(id="sidecar~10.0.0.9~web.shop~shop.svc.cluster.local")
        agent = {"ISTIO_VERSION": "1.30.0", "NAMESPACE": "shop", "LABELS": {"app": "web"}}
        node.metadata.update(agent)
        request = DeltaDiscoveryRequest(type_url=ECDS, node=node, resource_names_subscribe=[OWN, ROOT])
        await self._call.write(request.SerializeToString())

    async def next(self) -> None:
        """Take a response, and acknowledge it."""
        response = DeltaDiscoveryResponse.FromString(await self._call.read())
        for each in response.resources:
            wasm = Wasm()
            assert TypedExtensionConfig.FromString(each.resource.value).typed_config.Unpack(wasm)
            self.held[each.name] = wasm.config.vm_config.environment_variables.key_values[
                "ISTIO_META_WASM_IMAGE_PULL_SECRET"
            ]
        answer = DeltaDiscoveryRequest(type_url=ECDS, response_nonce=response.nonce)
        await self._call.write(answer.SerializeToString())

    async def until(self, **expected: str) -> None:
        """Take responses until the modules come with these users and passwords; empty for no pull secret."""
        wanted = {OWN: expected["own"], ROOT: expected["root"]}
        while {name: login(text) for name, text in self.held.items()} != wanted:
            await self.next()


def login(text: str) -> str:
    if not text:
        return ""
    (found,) = json.loads(text)["auths"].values()
    return f"{found['username']}:{found['password']}"


@asynccontextmanager
async def asking(opened: Any) -> AsyncIterator[Asking]:
    stream = Asking(opened.stream_stream(METHOD)(timeout=PATIENCE_SECONDS))
    await stream.ask()
    yield stream


async def test_whoever_proves_an_identity_is_sent_the_secret_of_the_plugins_namespace(
    server: Server, authorities: Authorities
) -> None:
    """As it is now, whatever namespace is stated; the plaintext port shows that there should be one, not what it is."""
    server.write("secrets.yaml", logins("pull", "shop"), logins("pull", "istio-system"))
    async with channel(server, authorities, account("shop")) as secure, asking(secure) as proved:
        await proved.until(own=f"shop:{PASSWORD}", root=f"istio-system:{PASSWORD}")
        async with grpc.aio.insecure_channel(server.xds) as plain, asking(plain) as nobody:
            await nobody.until(own="", root="")
        server.write("secrets.yaml", logins("pull", "shop", "other"), logins("pull", "istio-system"))
        await proved.until(own="shop:other", root=f"istio-system:{PASSWORD}")
        server.write("secrets.yaml", logins("pull", "istio-system"))
        await proved.until(own="", root=f"istio-system:{PASSWORD}")


async def test_what_is_wrong_with_a_pull_secret_is_told_of_its_plugin(server: Server) -> None:
    async def told(*beginnings: str) -> None:
        async with patience():
            while True:
                problems = await server.problems()
                said = [
                    *problems.get(("WasmPlugin", "own"), ["spec.imagePullSecret: "]),
                    *problems.get(("TrafficExtension", "root"), ["spec.wasm.imagePullSecret: "]),
                ]
                if len(said) == len(beginnings) and all(map(str.startswith, said, beginnings)):
                    return
                await asyncio.sleep(0.01)

    own, root = "spec.imagePullSecret: ", "spec.wasm.imagePullSecret: "
    await told(
        f"{own}there is no Secret pull in namespace shop; the module is not fetched without it",
        f"{root}there is no Secret pull in namespace istio-system; the module is not fetched without it",
    )
    broken = logins("pull", "istio-system") | {"stringData": {".dockerconfigjson": f'"{PASSWORD}"'}}
    server.write("secrets.yaml", logins("pull", "shop", kind="Opaque"), broken)
    await told(
        f"{own}Secret shop/pull is no Secret of type kubernetes.io/dockerconfigjson with .dockerconfigjson",
        f"{root}Secret istio-system/pull: data..dockerconfigjson: is no JSON object",
    )
    server.write("secrets.yaml", logins("pull", "shop"), logins("pull", "istio-system"))
    await told(own, root)


async def test_passwords_are_shown_nowhere(server: Server, authorities: Authorities) -> None:
    """No page and no line of the log has anything of them."""
    server.write("secrets.yaml", logins("pull", "shop"), logins("pull", "istio-system"))
    async with channel(server, authorities, account("shop")) as secure, asking(secure) as proved:
        await proved.until(own=f"shop:{PASSWORD}", root=f"istio-system:{PASSWORD}")
        (who,) = [each["proxy"] for each in (await server.get("/debug/syncz"))[1]]
        _, index = await server.get("/debug/list")
        pages = ["/debug/" + name for name in index] + ["/metrics", f"/debug/config_dump?proxyID={who}"]
        pages += [f"/debug/ecdsz?proxyID={who}", "/api/v1/objects", f"/api/v1/proxies/{who}"]
        texts = [str(server.events), *[json.dumps((await server.get(page))[1]) for page in pages]]
    assert any(OWN in text for text in texts)
    encoded = base64.b64encode(PASSWORD.encode()).decode()
    assert not [text for text in texts if PASSWORD in text or encoded in text]
