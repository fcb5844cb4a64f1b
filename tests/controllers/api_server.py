"""An API server of a few kinds on loopback, whose objects a test answers for; ``tests/kubernetes`` has a real one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol

from aiohttp import web


class Cluster(Protocol):
    """What a test's cluster answers: lists and watches of its kinds."""

    async def objects(self, request: web.Request) -> web.StreamResponse: ...


@asynccontextmanager
async def serving(cluster: Cluster, kinds: Mapping[str, str], *further: web.RouteDef) -> AsyncIterator[str]:
    """Serve these kinds, by plural name, and further routes; yield the server's URL."""

    async def about(request: web.Request) -> web.Response:
        """Say what there is."""
        common = {"singularName": "", "namespaced": False, "verbs": ["get", "list", "watch"]}
        resources = [{"name": name, "kind": kind, **common} for name, kind in kinds.items()]
        answers: dict[str, dict[str, Any]] = {
            "/api": {"versions": ["v1"]},
            "/apis": {"groups": []},
            "/api/v1": {"groupVersion": "v1", "resources": resources},
        }
        return web.json_response(answers.get(request.path, {}))

    app = web.Application()
    app.add_routes([*(web.get(f"/api/v1/{name}", cluster.objects) for name in kinds), *further])
    app.router.add_get("/{path:.*}", about)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield "http://{}:{}".format(*runner.addresses[0][:2])
    await runner.cleanup()
