"""Measures reading a cluster: 1,000 services, 10,000 endpoints and 10,000 pods on a real API server.

    python -m bench.kube_cluster         # needs the binaries of tests/cluster

The reader is a process of its own, which is told on its standard input when to report: start to complete, processor
time, memory and bytes; then patches of EndpointSlices, and a new list after 410, which must change nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from controlplane import logs
from tests.cluster.api_server import ApiServer
from tests.kubernetes.objects import Writer

SERVICES = 1_000
ENDPOINTS = 10
NAMESPACES = 20
PATCHES = 1_000
WRITERS = 24
SETTLE_SECONDS = 15.0
"""What the reader is given to be equal again after the API server was restarted."""
NODE = "node-1"
RawObject = dict[str, Any]


def _namespace(number: int) -> str:
    return f"bench-{number % NAMESPACES}"


def _address(service: int, endpoint: int) -> str:
    number = service * ENDPOINTS + endpoint
    return f"10.{64 + number // 65536}.{number // 256 % 256}.{number % 256}"


def _service(number: int) -> RawObject:
    ports = [{"name": "http", "port": 80, "targetPort": 8080}]
    spec = {"clusterIP": "None", "selector": {"app": f"s{number}"}, "ports": ports}
    return {"metadata": {"name": f"s{number}", "labels": {"app": f"s{number}"}}, "spec": spec}


def _pod(service: int, endpoint: int) -> RawObject:
    environment = [{"name": f"VARIABLE_{each}", "value": "some value"} for each in range(10)]
    container = {"name": "app", "image": "example.com/app:1", "ports": [{"containerPort": 8080}], "env": environment}
    labels = {"app": f"s{service}", "version": "v1", "pod-template-hash": "6d4cf56db6"}
    return {
        "metadata": {"name": f"s{service}-{endpoint}", "labels": labels},
        "spec": {"nodeName": NODE, "containers": [container], "automountServiceAccountToken": False},
    }


def _status(service: int, endpoint: int) -> RawObject:
    ip = _address(service, endpoint)
    conditions = [{"type": each, "status": "True"} for each in ("Initialized", "Ready", "ContainersReady")]
    return {"status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": conditions}}


def _slice(number: int) -> RawObject:
    endpoints = [
        {
            "addresses": [_address(number, each)],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "nodeName": NODE,
            "targetRef": {"kind": "Pod", "name": f"s{number}-{each}", "namespace": _namespace(number)},
        }
        for each in range(ENDPOINTS)
    ]
    return {
        "metadata": {"name": f"s{number}-x", "labels": {"kubernetes.io/service-name": f"s{number}"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": endpoints,
    }


async def _each(count: int, work: Callable[[int], Awaitable[object]]) -> None:
    """Do something for each number, some at a time."""
    numbers = iter(range(count))

    async def worker() -> None:
        for number in numbers:
            await work(number)

    async with asyncio.TaskGroup() as workers:
        for _ in range(WRITERS):
            workers.create_task(worker())


async def _fill(writer: Writer, services: int) -> None:
    await _each(NAMESPACES, lambda n: writer.create("/api/v1/namespaces", {"metadata": {"name": _namespace(n)}}))
    await writer.create("/api/v1/nodes", {"metadata": {"name": NODE}})

    async def one(number: int) -> None:
        namespace = _namespace(number)
        core = f"/api/v1/namespaces/{namespace}"
        await writer.create(f"{core}/services", _service(number))
        for each in range(ENDPOINTS):
            await writer.create(f"{core}/pods", _pod(number, each))
            await writer.request("PATCH", f"{core}/pods/s{number}-{each}/status", _status(number, each))
        await writer.create(f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices", _slice(number))

    await _each(services, one)


async def _patch(writer: Writer, services: int) -> None:
    """Make one endpoint of each slice not ready, or ready again."""

    async def one(number: int) -> None:
        raw = _slice(number % services)
        raw["endpoints"][0]["conditions"]["ready"] = number // services % 2 == 1
        place = f"/apis/discovery.k8s.io/v1/namespaces/{_namespace(number % services)}/endpointslices"
        await writer.request("PATCH", f"{place}/s{number % services}-x", {"endpoints": raw["endpoints"]})

    await _each(PATCHES, one)


class Reader:
    """The process that reads; ``ask`` gives what it used so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, kubeconfig: Path) -> Reader:
        """Start it."""
        command = (sys.executable, "-m", "bench.kube_cluster", "--read", str(kubeconfig))
        pipe = asyncio.subprocess.PIPE
        return cls(await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe))

    async def ask(self, order: str = "") -> dict[str, float]:
        """Send an order and return the next report."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the reader has no pipes")
        if order:
            self._process.stdin.write(f"{order}\n".encode())
        line = await self._process.stdout.readline()
        report: dict[str, float] = json.loads(line)
        return report

    async def stop(self) -> None:
        """End it."""
        self._process.kill()
        await self._process.wait()


async def _read(kubeconfig: str) -> None:
    """Be the reader: load, then report for each line of standard input."""
    logs.configure("warning")
    from controlplane.registry.store import Registry  # noqa: PLC0415 - counted as part of the start
    from controlplane.watchers.kubernetes.source import ClusterOptions, KubernetesSource  # noqa: PLC0415

    begun_cpu, begun = time.process_time(), time.monotonic()
    before = _resident_bytes()
    source, registry = KubernetesSource(ClusterOptions(kubeconfig=kubeconfig)), Registry()
    registry.apply(await source.load())
    seconds, cpu = time.monotonic() - begun, time.process_time() - begun_cpu
    facts = batches = 0

    async def follow() -> None:
        nonlocal facts, batches
        async for changes in source.changes():
            batches += 1
            facts += len(registry.apply(changes))

    task = asyncio.create_task(follow())

    def report() -> None:
        figures = {
            "seconds": seconds,
            "load_cpu": cpu,
            "cpu": time.process_time(),
            "resident_mb": (_resident_bytes() - before) / 1e6,
            "read_mb": sum(feed.size_bytes for feed in source.feeds) / 1e6,
            "objects": sum(feed.objects for feed in source.feeds),
            "events": sum(feed.events for feed in source.feeds),
            "lists": sum(feed.lists for feed in source.feeds),
            "facts": facts,
            "batches": batches,
        }
        print(json.dumps(figures), flush=True)

    report()
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while await lines.readline():
        report()
    task.cancel()


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


async def _measure(services: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        server = ApiServer(Path(folder), controllers=())
        server.start()
        try:
            async with Writer(server) as writer:
                begun = time.monotonic()
                await _fill(writer, services)
                print(f"filled in {time.monotonic() - begun:.0f} s")
                await _report(server, writer, services)
        finally:
            server.stop()


async def _report(server: ApiServer, writer: Writer, services: int) -> None:
    reader = await Reader.start(server.kubeconfig)
    try:
        first = await reader.ask()
        print(
            f"start to complete    {first['seconds']:.2f} s, {first['load_cpu']:.2f} s CPU,"
            f" {first['objects']:.0f} objects"
        )
        print(f"memory               {first['resident_mb']:.0f} MB   read {first['read_mb']:.1f} MB")
        await _patch(writer, services)
        after = first
        while after["events"] < first["events"] + PATCHES:
            await asyncio.sleep(0.2)
            after = await reader.ask("report")
        each_ms = 1000 * (after["cpu"] - first["cpu"]) / PATCHES
        print(f"EndpointSlice patch  {each_ms:.3f} ms CPU each, {after['facts'] / PATCHES:.2f} facts")
        server.api.stop()
        server.api.start()
        await asyncio.to_thread(server.wait_ready)
        await writer.request("PATCH", "/api/v1/nodes/node-1", {"metadata": {"annotations": {"a": "b"}}})
        await asyncio.sleep(SETTLE_SECONDS)
        again = await reader.ask("report")
        used = {name: again[name] - after[name] for name in again}
        print(
            f"server restarted     {used['cpu']:.2f} s CPU, {used['lists']:.0f} lists, {used['read_mb']:.1f} MB,"
            f" {used['facts']:.0f} facts"
        )
    finally:
        await reader.stop()


def main() -> None:
    """Measure, or be the reader."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--read", metavar="KUBECONFIG", help=argparse.SUPPRESS)
    parser.add_argument("--services", type=int, default=SERVICES)
    given = parser.parse_args()
    asyncio.run(_read(given.read) if given.read else _measure(given.services))


if __name__ == "__main__":
    main()
