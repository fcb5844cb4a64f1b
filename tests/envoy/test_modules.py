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
from samples.proxy import Pod
from tests.envoy.agents import SecureMesh, secure_mesh, started
from tests.envoy.mesh import eventually, istio, write
from tests.wasm_module import module

GATEWAY = Pod("gw-1", "shop", "10.0.0.8", "router", labels={"istio": "gw"}, metadata={"UNPRIVILEGED_POD": "true"})
MISSING = "/missing.wasm"


@pytest.fixture
async def mesh() -> AsyncIterator[SecureMesh]:
    with tempfile.TemporaryDirectory(prefix="wasm-") as name:  # short: paths of Unix sockets end at 107 bytes
        async with secure_mesh(Path(name)) as running:
            yield running


@pytest.fixture
async def modules() -> AsyncIterator[str]:
    """Serve one module, which answers with 418."""

    async def answer(request: Request) -> Response:
        return Response(404) if request.path == MISSING else Response(200, module(418))

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


async def test_an_envoy_runs_what_the_agent_has_fetched(mesh: SecureMesh, modules: str) -> None:
    port = free_port()
    servers = [{"port": {"number": port, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}]
    gateway = of_shop("Gateway", "gw", selector={"istio": "gw"}, servers=servers)
    answer = {"directResponse": {"status": 204}}
    routes = of_shop("VirtualService", "all", hosts=["*"], gateways=["gw"], http=[answer])
    file = mesh.config / "mesh.yaml"
    write(file, gateway, routes)
    async with started(await mesh.proxy(GATEWAY)) as proxy, aiohttp.ClientSession() as client:

        async def status() -> int:
            try:
                async with client.get(f"http://{LOOPBACK}:{port}/") as reply:
                    return reply.status
            except aiohttp.ClientError:
                return 0  # the listener is not there yet, or drains

        async def answers(wanted: int) -> None:
            async def so() -> bool:
                return await status() == wanted

            await eventually(so, f"requests are answered with {wanted}")

        await answers(204)
        write(file, gateway, routes, plugin(f"{modules}/teapot.wasm"))
        await answers(418)
        write(file, gateway, routes, plugin(f"{modules}{MISSING}", failStrategy="FAIL_OPEN"))
        await answers(204)
        write(file, gateway, routes, plugin(f"{modules}{MISSING}"))
        await answers(403)
        assert await proxy.rejected() == {}
