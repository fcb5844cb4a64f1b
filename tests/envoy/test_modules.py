"""WebAssembly modules with a real Envoy: the agent fetches them, Envoy runs them; what stands for missing ones."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from controlplane.agent.addresses import TcpAddress
from controlplane.agent.http.server import HttpServer, Request, Response
from samples.control_plane import LOOPBACK, free_port
from samples.proxy import Pod, Proxy
from tests.agent.test_wasm import World, layer, serving
from tests.envoy.agents import SecureMesh, secure_mesh, started
from tests.envoy.mesh import eventually, istio, write
from tests.wasm_module import module

GATEWAY = Pod("gw-1", "shop", "10.0.0.8", "router", labels={"istio": "gw"}, metadata={"UNPRIVILEGED_POD": "true"})
MISSING, OTHER = "/missing.wasm", "/other.wasm"


@pytest.fixture
async def mesh() -> AsyncIterator[SecureMesh]:
    with tempfile.TemporaryDirectory(prefix="wasm-") as name:  # short: paths of Unix sockets end at 107 bytes
        async with secure_mesh(Path(name)) as running:
            yield running


@pytest.fixture
async def modules() -> AsyncIterator[str]:
    """Serve a module that answers with 418, and another one that does with 429."""

    async def answer(request: Request) -> Response:
        status = 429 if request.path == OTHER else 418
        return Response(404) if request.path == MISSING else Response(200, module(status))

    server = HttpServer(answer)
    port = (await server.start(TcpAddress(LOOPBACK, 0))).port
    yield f"http://{LOOPBACK}:{port}"
    await server.stop()


def of_shop(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    return istio(kind, name, **spec) | {"metadata": {"name": name, "namespace": "shop"}}


def plugin(url: str, **spec: Any) -> dict[str, Any]:
    selector = {"matchLabels": {"istio": "gw"}}
    obj = of_shop("WasmPlugin", "teapot", selector=selector, url=url, **spec)
    return obj | {"apiVersion": "extensions.istio.io/v1alpha1"}


async def answers(client: aiohttp.ClientSession, port: int, wanted: int) -> None:
    """Wait until requests are answered with a status."""

    async def so() -> bool:
        try:
            async with client.get(f"http://{LOOPBACK}:{port}/") as reply:
                return reply.status == wanted
        except aiohttp.ClientError:
            return False  # the listener is not there yet, or drains

    await eventually(so, f"requests are answered with {wanted}")


def served_at(port: int) -> tuple[dict[str, Any], ...]:
    """Return a Gateway whose requests are answered with 204."""
    servers = [{"port": {"number": port, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}]
    gateway = of_shop("Gateway", "gw", selector={"istio": "gw"}, servers=servers)
    answer = {"directResponse": {"status": 204}}
    return gateway, of_shop("VirtualService", "all", hosts=["*"], gateways=["gw"], http=[answer])


async def test_an_envoy_runs_what_the_agent_has_fetched(mesh: SecureMesh, modules: str) -> None:
    port = free_port()
    held, file = served_at(port), mesh.config / "mesh.yaml"
    write(file, *held)
    async with started(await mesh.proxy(GATEWAY)) as proxy, aiohttp.ClientSession() as client:
        await answers(client, port, 204)
        write(file, *held, plugin(f"{modules}/teapot.wasm"))
        await answers(client, port, 418)
        write(file, *held, plugin(f"{modules}{OTHER}"))
        await answers(client, port, 429)
        write(file, *held, plugin(f"{modules}{MISSING}", failStrategy="FAIL_OPEN"))
        await answers(client, port, 204)
        write(file, *held, plugin(f"{modules}{MISSING}"))
        await answers(client, port, 403)
        assert await proxy.rejected() == {}


async def test_a_registry_is_shown_the_login_of_the_plugins_namespace(mesh: SecureMesh, tmp_path: Path) -> None:
    """It comes from the control plane, which knows the agent; Envoy is told nothing of it.

    Nobody passes while there is none, or one that the registry does not take.
    """
    port = free_port()
    held, file = served_at(port), mesh.config / "mesh.yaml"
    async with serving(World(tmp_path)) as registry:
        registry.token = "granted"
        registry.image("v1", layer({"plugin.wasm": module(418)}))
        wanted = plugin(registry.oci(":v1"), imagePullSecret="pull")
        elsewhere = pull_secret(registry.login, "istio-system")
        write(file, *held, wanted, elsewhere)
        agent = await mesh.proxy(GATEWAY, WASM_INSECURE_REGISTRIES=LOOPBACK, WASM_HTTP_REQUEST_MAX_RETRIES="1")
        async with started(agent) as proxy, aiohttp.ClientSession() as client:
            await answers(client, port, 403)
            assert registry.asked == [], "without the Secret there is nothing to try"
            write(file, *held, wanted, elsewhere, pull_secret(registry.login.replace("secret", "wrong")))
            await eventually(lambda: refused(registry), "the registry was shown the wrong login")
            await answers(client, port, 403)
            write(file, *held, wanted, elsewhere, pull_secret(registry.login))
            await answers(client, port, 418)
            assert await proxy.rejected() == {}
            assert "PULL_SECRET" not in await config_dump(proxy)


async def refused(registry: World) -> bool:
    return "/token" in registry.asked


def pull_secret(login: str, namespace: str = "shop") -> dict[str, Any]:
    meta = {"name": "pull", "namespace": namespace}
    kind = "kubernetes.io/dockerconfigjson"
    data = {".dockerconfigjson": login}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": kind, "stringData": data}


async def config_dump(proxy: Proxy) -> str:
    _, text = await proxy.ask(proxy.ports.admin, "/config_dump")
    assert "teapot" in text
    return text
