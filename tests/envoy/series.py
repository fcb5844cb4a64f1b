"""How many series a sidecar on stock Envoy and the control plane give to Prometheus, by the size of the mesh.

``python -m tests.envoy.series`` prints the table of docs/telemetry.md: a real sidecar with the agent's choice of
statistics, and one that keeps those of outbound clusters too, each after one request to every service.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
from aiohttp import web

from samples.control_plane import LOOPBACK, free_port
from samples.proxy import Proxy
from tests.envoy.agents import secure_mesh, started
from tests.envoy.mesh import Json, eventually, istio, write

SIZES = (10, 100, 1000)
CHOICES: Mapping[str, Json] = {
    "as installed": {},
    "with `cluster.outbound`": {"proxyStatsMatcher": {"inclusionPrefixes": ["cluster.outbound"]}},
}


class Counts(NamedTuple):
    """Series by what was chosen to be kept, of one sidecar each, and those of the control plane with both of them."""

    sidecars: Mapping[str, int]
    control_plane: int


async def measured(size: int) -> Counts:
    """Return the counts in a mesh of so many services, each of which was asked once by each sidecar."""
    with tempfile.TemporaryDirectory(prefix="series-") as name:
        folder, port = Path(name), free_port()
        async with secure_mesh(folder) as mesh, aiohttp.ClientSession() as client:
            backend = await _backend()
            found: dict[str, int] = {}
            write(mesh.config / "mesh.yaml", *_objects(size, port, backend.addresses[0][1]))
            for choice, config in CHOICES.items():
                async with started(await mesh.proxy(config=config)) as proxy:
                    await _asked(client, port, size)
                    found[choice] = await _series(proxy, proxy.ports.agent, "/stats/prometheus")
                    counted = await _lines(client, f"http://{mesh.control_plane.monitoring}/metrics")
            await backend.cleanup()
            return Counts(found, counted)


def _objects(size: int, port: int, backend: int) -> Iterable[Json]:
    settings = {"mesh": f"{{proxyHttpPort: {port}, enableAutoMtls: false}}"}
    meta = {"name": "istio", "namespace": "istio-system"}
    yield {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": settings}
    for number in range(size):
        yield istio(
            "ServiceEntry",
            f"s{number}",
            hosts=[f"s{number}.test"],
            ports=[{"number": 80, "name": "http", "protocol": "HTTP", "targetPort": backend}],
            resolution="STATIC",
            location="MESH_INTERNAL",
            endpoints=[{"address": LOOPBACK}],
        )


async def _backend() -> Any:
    async def answer(_: web.Request) -> web.Response:
        return web.Response()

    application = web.Application()
    application.router.add_get("/", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, LOOPBACK, 0).start()
    return runner


async def _asked(client: aiohttp.ClientSession, port: int, size: int) -> None:
    """Ask every service once; the first answer may take a while."""
    proxy = f"http://{LOOPBACK}:{port}"

    async def answered() -> bool:
        try:
            async with client.get(f"http://s{size - 1}.test/", proxy=proxy) as reply:
                return reply.status == 200
        except aiohttp.ClientError:
            return False

    await eventually(answered, "the sidecar reaches the last service")
    for number in range(size - 1):
        async with client.get(f"http://s{number}.test/", proxy=proxy) as reply:
            reply.raise_for_status()


async def _series(proxy: Proxy, port: int, path: str) -> int:
    status, text = await proxy.ask(port, path)
    if status != 200:
        raise RuntimeError(f"{path} was answered with {status}: {text[:200]}")
    return _counted(text)


async def _lines(client: aiohttp.ClientSession, url: str) -> int:
    async with client.get(url) as reply:
        return _counted(await reply.text())


def _counted(page: str) -> int:
    return sum(1 for line in page.splitlines() if line and not line.startswith("#"))


async def _table(sizes: Iterable[int]) -> str:
    rows = [f"| services | {' | '.join(f'sidecar, {choice}' for choice in CHOICES)} | control plane |"]
    rows.append("|---" * (len(CHOICES) + 2) + "|")
    for size in sizes:
        found = await measured(size)
        cells = [size, *(found.sidecars[choice] for choice in CHOICES), found.control_plane]
        rows.append(f"| {' | '.join(f'{cell:,}' for cell in cells)} |")
    return "\n".join(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of services")
    print(asyncio.run(_table(parser.parse_args().sizes)))  # the logs of the programs stand before it
