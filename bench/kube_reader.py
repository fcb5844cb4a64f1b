"""Reads a whole cluster into a registry, as the control plane does, and compiles for one proxy when told to.

python -m bench.kube_reader KUBECONFIG       # started by bench.kube_cluster; "connect" connects the proxy
"""

from __future__ import annotations

import asyncio
import sys
import time

import uvloop

from bench.kube_child import orders, tell
from bench.kube_mesh import CLIENT
from controlplane import logs
from controlplane.compiler.compiler import Compiler
from controlplane.frontends import FRONTENDS
from controlplane.model.proxy import Proxy
from controlplane.registry.store import Registry
from controlplane.watchers.kubernetes.source import ClusterOptions, KubernetesSource

PROXY = Proxy("sidecar", f"client.{CLIENT}", ("10.9.0.1",), CLIENT, f"{CLIENT}.svc.cluster.local")


async def read(kubeconfig: str) -> None:
    """Load, then report for each line of standard input."""
    logs.configure("error")
    begun_cpu, begun = time.process_time(), time.monotonic()
    source, compiler = KubernetesSource(ClusterOptions(kubeconfig=kubeconfig)), Compiler(Registry(frontends=FRONTENDS))
    await compiler.apply(await source.load())
    loaded = {"load_seconds": time.monotonic() - begun, "load_cpu": time.process_time() - begun_cpu}
    revision, applied_at = compiler.registry.revision, 0.0

    async def follow() -> None:
        nonlocal applied_at
        async for changes in source.changes():
            await compiler.apply(changes)
            applied_at = time.monotonic()

    def report() -> None:
        feeds = source.feeds
        tell(
            {
                **loaded,
                "read_mb": sum(feed.size_bytes for feed in feeds) / 1e6,
                "objects": sum(feed.objects for feed in feeds),
                "events": sum(feed.events for feed in feeds),
                "lists": sum(feed.lists for feed in feeds),
                "behind": sum(feed.standing.value in {"behind", "listing"} for feed in feeds),
                "changes": compiler.registry.revision - revision,
                "applied_at": applied_at,
                "builds": compiler.builds,
            }
        )

    task = asyncio.create_task(follow())
    report()
    lines = await orders()
    while order := await lines.readline():
        if order.strip() == b"connect":
            await compiler.open(PROXY, lambda: None)
        if task.done():
            task.result()
        report()
    task.cancel()


if __name__ == "__main__":
    uvloop.run(read(sys.argv[1]))
