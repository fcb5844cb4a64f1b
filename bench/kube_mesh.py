"""A cluster to read: services with their pods and EndpointSlices, on a real API server without nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from tests.kubernetes.objects import Writer

ENDPOINTS = 10
NAMESPACES = 20
WRITERS = 24
NODE = "node-1"
CLIENT = "bench-0"
"""A namespace in which a proxy may be."""
RawObject = dict[str, Any]


def _namespace(number: int) -> str:
    return f"bench-{number % NAMESPACES}"


def _address(service: int, endpoint: int) -> str:
    number = service * ENDPOINTS + endpoint
    return f"10.{64 + number // 65536}.{number // 256 % 256}.{number % 256}"


def _service(number: int) -> RawObject:
    ports = [{"name": "http", "port": 80, "targetPort": 8080}]
    spec = {"selector": {"app": f"s{number}"}, "ports": ports}
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


async def fill(writer: Writer, services: int) -> None:
    """Write everything; what is there already stays."""
    await _each(NAMESPACES, lambda n: writer.create("/api/v1/namespaces", {"metadata": {"name": _namespace(n)}}))
    await writer.create("/api/v1/namespaces", {"metadata": {"name": "istio-system"}})
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


async def patch(writer: Writer, number: int, *, ready: bool) -> None:
    """Make one endpoint of a slice not ready, or ready again."""
    raw = _slice(number)
    raw["endpoints"][0]["conditions"]["ready"] = ready
    place = f"/apis/discovery.k8s.io/v1/namespaces/{_namespace(number)}/endpointslices"
    await writer.request("PATCH", f"{place}/s{number}-x", {"endpoints": raw["endpoints"]})


async def patch_all(writer: Writer, services: int, *, ready: bool) -> None:
    """Patch each slice, some at a time."""
    await _each(services, lambda number: patch(writer, number, ready=ready))


async def touch(writer: Writer) -> None:
    """Write something that nobody reads, so that the cluster has a newer state."""
    await writer.create("/api/v1/namespaces/istio-system/configmaps", {"metadata": {"name": "nobody-reads-this"}})
