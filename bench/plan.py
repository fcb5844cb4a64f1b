"""What a plan costs a control plane that serves: how long its loop is held, and what the copy takes.

Run it with ``python -m bench.plan [SERVICES [PROXIES]]``. In one process, without connections: proxies of all
namespaces have their snapshots, one VirtualService is to be another, and a ticker on the loop looks how late it is.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time, thread_time

import yaml

from bench.mesh import VIRTUAL_SERVICE, Mesh
from bench.work import objects_of
from controlplane.compiler.compiler import Compiler
from controlplane.frontends import FRONTENDS
from controlplane.model.objects import ChangeSet
from controlplane.model.proxy import Proxy
from controlplane.registry.store import Registry
from controlplane.wiring.questions import Around, Questions

NAMESPACES = 20


class Ticker:
    """Looks how long one turn of the loop took at the most: processor time in milliseconds, as others use it too."""

    def __init__(self) -> None:
        self.held = 0.0
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        last = thread_time()
        while True:
            await asyncio.sleep(0)
            now = thread_time()
            self.held, last = max(self.held, (now - last) * 1e3), now

    def end(self) -> float:
        """Look no more, and return it."""
        self._task.cancel()
        return self.held


class Watch:
    """Looks what memory of its own the copy has at the most, in megabytes."""

    def __init__(self) -> None:
        self.private = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(0.02):
            for child in Path("/proc/self/task").glob("*/children"):
                for pid in child.read_text().split():
                    self._look(Path(f"/proc/{pid}/smaps_rollup"))

    def _look(self, rollup: Path) -> None:
        try:
            found = re.search(r"Private_Dirty: +(\d+) kB", rollup.read_text(encoding="utf-8"))
        except OSError:
            return  # it has ended
        if found is not None:
            self.private = max(self.private, int(found[1]) / 1024)

    def end(self) -> float:
        """Look no more, and return it."""
        self._ended.set()
        self._thread.join()
        return self.private


async def main(services: int = 1_000, proxies: int = 500) -> None:
    """Print the figures of three plans, one after the other."""
    compiler = Compiler(Registry(frontends=FRONTENDS))
    connected = {str(number): _proxy(number) for number in range(proxies)}
    with TemporaryDirectory() as folder:
        mesh = Mesh(Path(folder), services, 2, NAMESPACES)
        mesh.write()
        await compiler.apply(ChangeSet(tuple(objects_of(mesh))))
        sessions = [await compiler.open(proxy, lambda: None) for proxy in connected.values()]
        questions = Questions(compiler, Around(lambda: connected, lambda _: None, tuple, lambda change: change))
        text = VIRTUAL_SERVICE.format(name="svc-0", namespace=mesh.namespace(0), host=mesh.host(0), mark="planned")
        for _ in range(3):
            await _plan(questions, text)
        del sessions


async def _plan(questions: Questions, text: str) -> None:
    body = json.dumps({"objects": [{"value": yaml.safe_load(text)}]}).encode()
    ticker, watch, began, used = Ticker(), Watch(), perf_counter(), process_time()
    told = bytearray()

    async def read() -> bytes:
        return body

    async def take(piece: bytes) -> None:
        told.extend(piece)

    await questions.plan(read, take)
    answer = json.loads(told)
    seconds, held, private = perf_counter() - began, ticker.end(), watch.end()
    print(
        f"{answer['totals']['proxies']} of {answer['proxyCount']} proxies, {answer['totals']['resources']}: "
        f"{seconds:.2f} s, the loop held for {held:.1f} ms at the most, copy {private:.0f} MB, own CPU "
        f"{process_time() - used:.2f} s, resident {_resident():.0f} MB"
    )


def _resident() -> float:
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * 4096 / 1e6


def _proxy(number: int) -> Proxy:
    namespace = f"ns-{number % NAMESPACES}"
    name, addresses = f"client-{number}.{namespace}", (f"10.200.{number // 250}.{number % 250}",)
    return Proxy("sidecar", name, addresses, namespace, f"{namespace}.svc.cluster.local")


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:])))
