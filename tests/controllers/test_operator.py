"""What kopf leaves behind where its watches end midway is taken up; ``tests/kubernetes`` has a real API server."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio.client import ApiClient, Configuration

from controlplane.controllers.operator import Kind, Operator
from tests.controllers.api_server import serving

KINDS = {"namespaces": "Namespace", "nodes": "Node"}
OBJECTS = 20
CUTS = range(40, 220, 3)
"""After how many turns of the loop the work is ended: from its first request to when all is read."""


@dataclass
class Cluster:
    """An API server of two kinds. Nodes are refused once ``refuses`` is set; ``lists`` counts lists of namespaces."""

    refuses: asyncio.Event = field(default_factory=asyncio.Event)
    watched: asyncio.Event = field(default_factory=asyncio.Event)
    ends: asyncio.Event = field(default_factory=asyncio.Event)
    lists: int = 0
    url: str = ""

    async def objects(self, request: web.Request) -> web.StreamResponse:
        name = request.path.rpartition("/")[2]
        if "watch" in request.query:
            answer = web.StreamResponse()
            await answer.prepare(request)
            self.watched.set()
            await self.ends.wait()
        if name == "namespaces":
            self.lists += 1
        elif self.refuses.is_set():
            await self.watched.wait()
            return web.json_response({"kind": "Status", "code": 403, "reason": "Forbidden"}, status=403)
        metas = [{"name": f"{name}-{number}", "uid": str(number), "resourceVersion": "1"} for number in range(OBJECTS)]
        items = [{"apiVersion": "v1", "kind": KINDS[name], "metadata": meta} for meta in metas]
        return web.json_response({"kind": "List", "metadata": {"resourceVersion": "5"}, "items": items})


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    cluster = Cluster()
    async with serving(cluster, KINDS) as cluster.url:
        yield cluster
        cluster.ends.set()


@pytest.fixture
async def untold() -> AsyncIterator[list[dict[str, Any]]]:
    """What happened that nobody waited for."""
    loop, found = asyncio.get_running_loop(), []
    loop.set_exception_handler(lambda _, context: found.append(context))
    yield found
    loop.set_exception_handler(None)


def operator(api: ApiClient) -> Operator:
    kinds = tuple(Kind(("", "v1", name), lambda body: (body["metadata"]["name"], 1), lambda _: None) for name in KINDS)
    return Operator(api, kinds, lambda: None)


async def ended(running: asyncio.Task[None]) -> None:
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()


@pytest.mark.slow
async def test_work_that_is_ended_at_any_time_leaves_nothing_behind(
    cluster: Cluster, untold: list[dict[str, Any]]
) -> None:
    others = asyncio.all_tasks()
    async with ApiClient(Configuration(host=cluster.url)) as api:
        for turns in CUTS:
            running = asyncio.create_task(operator(api).run())
            for _ in range(turns):
                await asyncio.sleep(0)
            await ended(running)
            del running
            gc.collect()
            left = [task.get_name() for task in asyncio.all_tasks() - others if " for " in task.get_name()]
            assert (turns, left, untold) == (turns, [], [])


async def test_where_one_kind_is_refused_the_watch_of_the_other_ends_with_it(
    cluster: Cluster, untold: list[dict[str, Any]]
) -> None:
    cluster.refuses.set()
    async with ApiClient(Configuration(host=cluster.url)) as api:
        running = asyncio.create_task(operator(api).run())
        while cluster.lists < 3:
            await asyncio.sleep(0.01)
        watchers = [task for task in asyncio.all_tasks() if task.get_name().startswith("watcher for namespaces")]
        assert len(watchers) <= 1
        await ended(running)
        del running, watchers
        gc.collect()
        assert untold == []
        assert [task for task in asyncio.all_tasks() if task.get_name().startswith("watcher for")] == []
