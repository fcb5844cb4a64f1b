"""Measures reading a cluster: 1,000 services, 10,000 endpoints and 10,000 pods on a real API server.

    python -m bench.kube_cluster         # make bench-kubernetes

Everything that reads is a process of its own. ``bench/README.md`` says what the figures are. The exit code is 1 where
a count is not what it has to be: an event rebuilds one target, and a list that brings nothing new rebuilds none.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench import kube_mesh
from bench.kube_child import Child, Report
from bench.subject import LOOPBACK, START_TIMEOUT, free_port, usage
from tests.cluster.api_server import ApiServer
from tests.kubernetes.faults import compact, restart, through
from tests.kubernetes.objects import Writer
from tests.kubernetes.relay import Relay

SERVICES = 1_000
SINGLE_CHANGES = 50
WAYS = ("raw", "ours", "typed", "kopf")


class Figure(NamedTuple):
    """One line of the table; ``wanted`` is the only right value of a count."""

    name: str
    value: float
    unit: str
    wanted: float | None = None


async def serve(cluster: ApiServer, folder: Path) -> list[Figure]:
    """Start the control plane itself, and stop it once it is ready; it serves no proxy."""
    port = free_port()
    command = [sys.executable, "-m", "controlplane", "serve", "--kubeconfig", str(cluster.kubeconfig)]
    for name in ("xds", "secure", "webhook"):
        command += [f"--{name}-port", "0"]
    command += ["--xds-bind", LOOPBACK, "--monitoring-port", str(port)]
    with (folder / "serve.log").open("w") as log:
        begun = time.monotonic()
        process = await asyncio.create_subprocess_exec(*command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            while await asyncio.to_thread(_page, port, "ready") is None:
                if process.returncode is not None or time.monotonic() > begun + START_TIMEOUT.total_seconds():
                    raise RuntimeError(f"it is not ready: {(folder / 'serve.log').read_text()[-2000:]}")
                await asyncio.sleep(0.02)
            seconds, used = time.monotonic() - begun, usage(process.pid)
            metrics = await asyncio.to_thread(_page, port, "metrics") or ""
        finally:
            process.terminate()
            await process.wait()
    size = sum(float(line.split()[-1]) for line in metrics.splitlines() if line.startswith("controlplane_watch_bytes"))
    return [
        Figure("start to ready", seconds, "s"),
        Figure("start to ready, CPU", used.cpu.total_seconds(), "s"),
        Figure("memory, peak", used.peak_bytes / 1e6, "MB"),
        Figure("read from the API server", size / 1e6, "MB"),
    ]


def _page(port: int, name: str) -> str | None:
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/{name}", timeout=5) as answer:
            return str(answer.read().decode())
    except OSError:
        return None


async def events(reader: Child, writer: Writer, services: int) -> list[Figure]:
    """Patch EndpointSlices: all at once with no proxy connected, then with one, then one at a time."""
    before = await reader.ask()
    after = await _burst(reader, writer, services, ready=False)
    alone = 1000 * (after["cpu"] - before["cpu"]) / services
    before = await reader.ask("connect")
    after = await _burst(reader, writer, services, ready=True)
    compiled = 1000 * (after["cpu"] - before["cpu"]) / services
    builds, seconds = after["builds"], []
    for number in range(SINGLE_CHANGES):
        begun, seen = time.monotonic(), after["events"]
        await kube_mesh.patch(writer, number, ready=False)
        after = await reader.until(lambda now, seen=seen: now["events"] > seen and now["applied_at"] > begun)  # type: ignore[misc]  # noqa: B023
        seconds.append(after["applied_at"] - begun)
    return [
        Figure("EndpointSlice patch to registry, CPU", alone, "ms"),
        Figure("the same with a proxy connected, CPU", compiled, "ms"),
        Figure("patch sent until it is compiled, median", 1000 * statistics.median(seconds), "ms"),
        Figure("targets rebuilt by a patch", (after["builds"] - builds) / SINGLE_CHANGES, "", 1),
    ]


async def _burst(reader: Child, writer: Writer, services: int, *, ready: bool) -> Report:
    seen = (await reader.ask())["events"]
    await kube_mesh.patch_all(writer, services, ready=ready)
    return await reader.until(lambda now: now["events"] >= seen + services)


async def gone(reader: Child, writer: Writer, cluster: ApiServer, relay: Relay) -> list[Figure]:
    """Make the reader's position one that the server no longer knows (410): it lists everything anew."""
    before = await reader.ask()
    relay.open.clear()
    await kube_mesh.touch(writer)
    await compact(cluster)
    await restart(cluster)
    await relay.cut()
    relay.open.set()
    kinds = before["lists"]
    after = await reader.until(lambda now: now["lists"] >= 2 * kinds and not now["behind"])
    return [
        Figure("relist after 410, lists", after["lists"] - kinds, ""),
        Figure("relist after 410, CPU", after["cpu"] - before["cpu"], "s"),
        Figure("relist after 410, objects changed", after["changes"] - before["changes"], "", 0),
        Figure("relist after 410, targets rebuilt", after["builds"] - before["builds"], "", 0),
    ]


async def clients(cluster: ApiServer, writer: Writer, services: int) -> list[Figure]:
    """Follow the EndpointSlices in each way, one after the other."""
    figures = []
    ready = True
    await kube_mesh.patch_all(writer, services, ready=ready)
    for way in WAYS:
        print(f"following: {way}", file=sys.stderr)
        ready = not ready
        async with Child("bench.kube_clients", way, str(cluster.kubeconfig), str(services)) as child:
            before = await child.first()
            await kube_mesh.patch_all(writer, services, ready=ready)
            after = await child.until(lambda now: now["seen"] >= 2 * services)
        figures += [
            Figure(f"{way}: list of {services:,} EndpointSlices, CPU", before["list_cpu"], "s"),
            Figure(f"{way}: an event, CPU", 1000 * (after["cpu"] - before["cpu"]) / services, "ms"),
        ]
    return figures


async def measure(services: int) -> list[Figure]:
    """Measure everything on an API server of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cluster = ApiServer(folder, controllers=())
        cluster.start()
        try:
            async with Writer(cluster) as writer, Relay(cluster.addresses.api_port) as relay:
                begun = time.monotonic()
                await kube_mesh.fill(writer, services)
                print(f"filled in {time.monotonic() - begun:.0f} s", file=sys.stderr)
                figures = await serve(cluster, folder)
                kubeconfig = through(relay, cluster, folder).kubeconfig
                async with Child("bench.kube_reader", kubeconfig) as reader:
                    first = await reader.first()
                    figures += [Figure("objects", first["objects"], "")]
                    figures += await events(reader, writer, services)
                    figures += await gone(reader, writer, cluster, relay)
                return figures + await clients(cluster, writer, services)
        finally:
            cluster.stop()


def lines(figures: list[Figure]) -> Iterator[str]:
    """Yield the table, as Markdown."""
    yield "| figure | measured | unit |"
    yield "|---|---|---|"
    for figure in figures:
        value = f"{figure.value:,.0f}" if figure.value == int(figure.value) else f"{figure.value:.3g}"
        yield f"| {figure.name} | {value} | {figure.unit or '-'} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--services", type=int, default=SERVICES, help="each has 10 endpoints, which are pods")
    figures = asyncio.run(measure(parser.parse_args().services))
    for line in lines(figures):
        print(line)
    wrong = [each for each in figures if each.wanted is not None and each.value != each.wanted]
    for each in wrong:
        print(f"{each.name}: {each.value:g}, and not {each.wanted:g}", file=sys.stderr)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
