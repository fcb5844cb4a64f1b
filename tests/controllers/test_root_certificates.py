"""A ConfigMap that goes while the watch is cut is written again; ``tests/kubernetes`` has a real API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio.client import ApiClient, Configuration

from controlplane.controllers.root_certificates import RootCertificates
from tests.controllers.api_server import serving
from tests.patience import patience

SYSTEM = "istio-system"
EXPIRED = b'{"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired"}}\n'
KINDS = {"namespaces": "Namespace", "configmaps": "ConfigMap"}


@dataclass
class Cluster:
    """An API server of one namespace, which takes ConfigMaps, forgets them, and tells no watch of anything."""

    created: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    cut: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    async def objects(self, request: web.Request) -> web.StreamResponse:
        name = request.path.rpartition("/")[2]
        if "watch" in request.query:
            answer = web.StreamResponse()
            await answer.prepare(request)
            await self.cut.wait()
            await answer.write(EXPIRED)
            return answer
        items: list[dict[str, Any]] = []
        if name == "namespaces":
            items.append({"metadata": {"name": SYSTEM, "uid": "1", "resourceVersion": "1"}})
        return web.json_response({"kind": "List", "metadata": {"resourceVersion": "5"}, "items": items})

    async def create(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.created.put_nowait(body["metadata"]["name"])
        return web.json_response(body, status=201)


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    cluster = Cluster()
    takes = web.post(f"/api/v1/namespaces/{SYSTEM}/configmaps", cluster.create)
    async with serving(cluster, KINDS, takes) as cluster.url:
        yield cluster
        cluster.cut.set()


async def test_one_that_went_before_the_watch_told_of_its_writing_is_written_again(cluster: Cluster) -> None:
    """The second list is what counts, not what was written before it."""
    async with ApiClient(Configuration(host=cluster.url)) as api:
        writer = RootCertificates(api, SYSTEM, lambda: "roots", signals=lambda: None)
        running = asyncio.create_task(writer.run())
        async with patience():
            assert await cluster.created.get() == writer.name
            cluster.cut.set()
            assert await cluster.created.get() == writer.name
        running.cancel()
        await asyncio.wait([running])
