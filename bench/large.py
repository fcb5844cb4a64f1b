"""How long large objects and pages of an API server hold up everything else: ``python -m bench.large``.

Processor time, which other programs of the machine have no part in. "Whole" is what decoding takes at one go, "steps"
the longest turn of the loop where it is done in steps. "Read" is what it takes to make an object of it, in a thread;
"held" the longest time for which the loop did not get Python's lock back; "from a process" what it would take the loop
at one go to receive the object, had another process read it.
"""

from __future__ import annotations

import asyncio
import json
import pickle
import time
from collections.abc import Callable, Mapping
from typing import Any

from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table

from bench.turns import Turns
from controlplane.documents.json_reader import json_pruned
from controlplane.watchers.kinds import parse
from controlplane.watchers.kubernetes.decoding import event_value, page_value
from controlplane.wiring.process import settle_memory

RawObject = dict[str, Any]
ROUNDS = 3
_LUA = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"
_BUSY_SECONDS = 0.005


def _object(kind: str, group: str, spec: Mapping[str, Any]) -> RawObject:
    return {"apiVersion": group, "kind": kind, "metadata": {"name": "x", "namespace": "shop"}, "spec": spec}


def _virtual_service(count: int) -> RawObject:
    route = [{"destination": {"host": "a.test", "port": {"number": 80}}, "weight": 100}]
    http = [{"match": [{"uri": {"prefix": f"/{n}/x"}}], "route": route, "timeout": "5s"} for n in range(count)]
    return _object("VirtualService", "networking.istio.io/v1", {"hosts": ["a.test"], "http": http})


def _envoy_filter(count: int) -> RawObject:
    match = {"context": "GATEWAY"}
    lua = {"@type": _LUA, "inlineCode": "x" * 200}
    values = [{"name": f"f{n}", "typed_config": lua} for n in range(count)]
    patches = [
        {"applyTo": "HTTP_FILTER", "match": match, "patch": {"operation": "INSERT_BEFORE", "value": value}}
        for value in values
    ]
    return _object("EnvoyFilter", "networking.istio.io/v1alpha3", {"configPatches": patches})


def _service(count: int) -> RawObject:
    ports = [{"name": f"p-{n}", "port": n % 65_000 + 1, "targetPort": 80} for n in range(count)]
    return _object("Service", "v1", {"clusterIP": "10.0.0.1", "ports": ports})


def _pods(count: int) -> RawObject:
    labels = {f"label-{n}": "value" for n in range(8)}
    status = {"phase": "Running", "podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}] * 5}
    env = [{"name": f"VARIABLE_{n}", "value": "x" * 40} for n in range(40)]
    spec = {"containers": [{"name": "main", "image": "registry/image:1", "env": env}] * 4, "nodeName": "node-1"}
    items = [{"metadata": {"name": f"pod-{n}", "labels": labels}, "spec": spec, "status": status} for n in range(count)]
    return {"metadata": {"resourceVersion": "7"}, "items": items}


class _Breath:
    """As the reflector does."""

    def __init__(self) -> None:
        self._since = time.monotonic()

    async def __call__(self) -> None:
        if time.monotonic() - self._since > _BUSY_SECONDS:
            await asyncio.sleep(0)
            self._since = time.monotonic()


async def decoding(text: bytes, *, page: bool) -> tuple[float, float]:
    """Return milliseconds of a decoding at one go, and of the longest turn in steps: the least of some rounds."""
    whole, longest = [], []
    for _ in range(ROUNDS):
        began = time.thread_time()
        json_pruned(text)
        whole.append(time.thread_time() - began)
        turns = Turns()
        turns.begin()
        await asyncio.sleep(0)
        await (page_value if page else event_value)(text, _Breath())
        turns.end()
        longest.append(turns.longest)
    return 1e3 * min(whole), 1e3 * min(longest)


async def reading(text: bytes) -> tuple[float, float, float]:
    """Return milliseconds of reading an object, of the longest hold, and of receiving it from a process."""
    found = []
    for _ in range(ROUNDS):
        raw = json_pruned(text)
        began = time.process_time()
        task = asyncio.create_task(asyncio.to_thread(parse, raw, "bench"))
        longest, before = 0.0, began
        while not task.done():
            await asyncio.sleep(0.0005)
            now = time.process_time()
            longest, before = max(longest, now - before), now
        took, packed = time.process_time() - began, pickle.dumps(await task)
        began = time.process_time()
        pickle.loads(packed)  # noqa: S301 - our own
        found.append((took, longest, time.process_time() - began))
    took, held, received = (1e3 * min(each) for each in zip(*found, strict=True))
    return took, held, received


async def main() -> None:
    """Print the table."""
    makes: Mapping[str, Callable[[], RawObject]] = {
        "VirtualService of 8,000 routes": lambda: _virtual_service(8_000),
        "EnvoyFilter of 4,500 patches": lambda: _envoy_filter(4_500),
        "Service of 20,000 ports": lambda: _service(20_000),
    }
    table = Table("object or page", box=MARKDOWN)
    for column in ("MB", "whole, ms", "steps, ms", "read, ms", "held, ms", "from a process, ms"):
        table.add_column(column, justify="right")
    settle_memory()
    for name, make in makes.items():
        obj = make()
        whole, steps = await decoding(json.dumps({"type": "ADDED", "object": obj}).encode(), page=False)
        text = json.dumps(obj).encode()
        figures = (whole, steps, *await reading(text))
        table.add_row(name, f"{len(text) / 1e6:.1f}", *(f"{each:.0f}" for each in figures))
    text = json.dumps(_pods(500)).encode()
    whole, steps = await decoding(text, page=True)
    table.add_row("page of 500 pods", f"{len(text) / 1e6:.1f}", f"{whole:.0f}", f"{steps:.0f}", "-", "-", "-")
    Console(width=130).print(table)


if __name__ == "__main__":
    asyncio.run(main())
