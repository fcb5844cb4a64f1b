"""What may happen to an API server and to the way to it."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import aiohttp

from controlplane.watchers.kubernetes.source import ClusterOptions
from tests.cluster.api_server import ApiServer
from tests.kubernetes.relay import Relay


def through(relay: Relay, cluster: ApiServer, folder: Path) -> ClusterOptions:
    """Return how to reach the API server by way of the relay; a kubeconfig is written into the folder."""
    path = folder / "through-relay"
    path.write_text(cluster.kubeconfig.read_text().replace(f":{cluster.addresses.api_port}", f":{relay.port}"))
    return ClusterOptions(kubeconfig=str(path))


async def restart(cluster: ApiServer, away_seconds: float = 0.0) -> None:
    """Kill the API server and start it again; its watch caches begin anew."""
    cluster.api.stop()
    await asyncio.sleep(away_seconds)
    cluster.api.start()
    await asyncio.to_thread(cluster.wait_ready)


async def compact(cluster: ApiServer) -> None:
    """Forget all history in etcd, as happens each five minutes by itself."""
    etcd = f"http://{cluster.addresses.etcd}:{cluster.addresses.etcd_port}/v3"
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{etcd}/maintenance/status", json={}) as response:
            revision = (await response.json(content_type=None))["header"]["revision"]
        async with session.post(f"{etcd}/kv/compaction", json={"revision": revision, "physical": True}) as response:
            response.raise_for_status()


class Storage:
    """The stored state of an API server, which can be kept and restored; each stops the server for a moment."""

    def __init__(self, cluster: ApiServer) -> None:
        self._cluster = cluster
        self._data, self._kept = cluster.folder / "etcd", cluster.folder / "etcd-kept"

    async def keep(self) -> None:
        """Keep the state of now."""
        self._stop()
        shutil.copytree(self._data, self._kept)
        await self._start()

    async def restore(self) -> None:
        """Go back to the state that was kept."""
        self._stop()
        shutil.rmtree(self._data)
        self._kept.rename(self._data)
        await self._start()

    def _stop(self) -> None:
        self._cluster.api.stop()
        self._cluster.etcd.stop()

    async def _start(self) -> None:
        self._cluster.etcd.start()
        self._cluster.api.start()
        await asyncio.to_thread(self._cluster.wait_ready)
