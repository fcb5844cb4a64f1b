"""Three ways to follow one kind of a cluster in Python, and ours: what a list and an event cost.

    python -m bench.kube_clients WAY KUBECONFIG  # started by bench.kube_cluster

``raw`` reads JSON lines through the generated client's ``..._without_preload_content`` calls, ``typed`` has the client
build its models, ``kopf`` hands each object to a handler. ``ours`` is the feed that the control plane reads with: raw,
and what is used of each object made a value, compared with what was held.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import kopf
import uvloop
from kubernetes.aio import client, config, watch

from bench.kube_child import orders, tell
from controlplane.watchers.kubernetes.api import connect
from controlplane.watchers.kubernetes.broadcast import Broadcast
from controlplane.watchers.kubernetes.cache import Cache, Scope
from controlplane.watchers.kubernetes.change_buffer import ChangeBuffer
from controlplane.watchers.kubernetes.reflector import Reflector
from controlplane.watchers.kubernetes.resources import CORE
from controlplane.watchers.kubernetes.selection import Selection
from controlplane.watchers.kubernetes.timing import Timing

GROUP, VERSION, PLURAL = "discovery.k8s.io", "v1", "endpointslices"


class Count:
    """Counts the objects of the list, and then events; ``listed`` is set when the list is complete."""

    def __init__(self, expected: int) -> None:
        self._expected = expected
        self._seen = 0
        self.listed = asyncio.Event()
        self.more: Callable[[], int] = lambda: 0
        """Those that are counted elsewhere."""

    @property
    def seen(self) -> int:
        """All so far."""
        return self._seen + self.more()

    def one(self) -> None:
        """Count an object of the list, or an event."""
        self._seen += 1
        if self._seen == self._expected:
            self.listed.set()


async def _raw(api: client.DiscoveryV1Api, count: Count) -> None:
    read: Callable[..., Awaitable[Any]] = api.list_endpoint_slice_for_all_namespaces_without_preload_content
    listing = json.loads(await (await read()).read())
    for _ in listing["items"]:
        count.one()
    response = await read(watch=True, resource_version=listing["metadata"]["resourceVersion"])
    rest = b""
    async for chunk in response.content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            json.loads(line)
            count.one()
    raise RuntimeError("the watch ended")


async def _typed(api: client.DiscoveryV1Api, count: Count) -> None:
    listing = await api.list_endpoint_slice_for_all_namespaces()
    for _ in listing.items:
        count.one()
    read, version = api.list_endpoint_slice_for_all_namespaces, listing.metadata.resource_version
    async with watch.Watch().stream(read, resource_version=version) as events:
        async for _ in events:
            count.one()


async def _kopf(_api: client.DiscoveryV1Api, count: Count) -> None:
    registry, settings = kopf.OperatorRegistry(), kopf.OperatorSettings()
    settings.posting.enabled = False
    logging.getLogger("kopf").setLevel(logging.ERROR)

    @kopf.on.login(registry=registry)
    def login(**given: Any) -> Any:  # noqa: ANN401 - kopf's
        return kopf.login_with_kubeconfig(**given)

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
    async def changed(**_: Any) -> None:  # noqa: ANN401 - as above
        count.one()

    await kopf.operator(registry=registry, settings=settings, clusterwide=True, standalone=True)


async def _ours(kubeconfig: str, count: Count) -> None:
    timing, told = Timing(), asyncio.Event()
    resource = next(each for each in CORE if each.plural == PLURAL)
    api = await connect(kubeconfig, "", timing)
    cache = Cache(resource, Scope(Selection(), "default", "bench"), ChangeBuffer(told, Broadcast()))
    reflector = Reflector(api, cache, timing)
    count.more = lambda: len(cache) + reflector.state.events
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(reflector.run())
        await reflector.ready.wait()
        count.listed.set()


async def follow(way: str, kubeconfig: str, expected: int) -> None:
    """Follow the kind in one of the ways; report once ``expected`` objects were listed, then for each line of input."""
    os.environ["KUBECONFIG"] = kubeconfig
    configuration = client.Configuration()
    await config.load_kube_config(kubeconfig, client_configuration=configuration)
    count = Count(expected)
    async with client.ApiClient(configuration) as made:
        api = client.DiscoveryV1Api(made)
        begun = time.process_time()
        if way == "ours":
            work = _ours(kubeconfig, count)
        else:
            work = {"raw": _raw, "typed": _typed, "kopf": _kopf}[way](api, count)
        task = asyncio.create_task(work)
        listed = asyncio.create_task(count.listed.wait())
        await asyncio.wait([task, listed], return_when=asyncio.FIRST_COMPLETED)
        list_cpu = time.process_time() - begun
        lines = await orders()
        tell({"seen": count.seen, "list_cpu": list_cpu})
        while await lines.readline():
            if task.done():
                task.result()
            tell({"seen": count.seen, "list_cpu": list_cpu})
        task.cancel()


if __name__ == "__main__":
    uvloop.run(follow(sys.argv[1], sys.argv[2], int(sys.argv[3])))
