"""What an Envoy pays for changes to VirtualServices, with route configurations and with virtual hosts one by one.

    python -m bench.virtual_hosts --services 1000

A real control plane, and one real Envoy after the other. Each is given the mesh, then one VirtualService is changed so
many times, one change after the other. Printed are bytes, the Envoy's processor time and its resident memory.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table

from bench.mesh import Mesh
from samples.authority import LocalAuthority
from samples.control_plane import ControlPlane
from samples.proxy import Pod, Proxy, mount_certificates

TICKS = os.sysconf("SC_CLK_TCK")
PATIENCE_SECONDS = 300.0
RELOADS = r"\.rds\..*config_reload$"
RECEIVED = r"xds-grpc;?\.upstream_cx_rx_bytes_total$"


async def measured(directory: Path, services: int, changes: int, *, split: bool) -> tuple[float, float, float]:
    """Return kilobytes and milliseconds of Envoy's processor time of a change, and its memory in MB after all."""
    mesh = Mesh(directory / "mesh", services, 10, 1)
    mesh.directory.mkdir(parents=True)
    mesh.write()
    control_plane = ControlPlane(mesh.directory, directory / "control-plane.log")
    await control_plane.start()
    pod = Pod("client", namespace="ns-0", metadata={"VIRTUAL_HOST_DISCOVERY": str(split).lower()})
    folder = directory / "client"
    mount_certificates(folder, LocalAuthority(), pod.namespace, pod.service_account)
    config: dict[str, Any] = {"discoveryAddress": str(control_plane.xds), "controlPlaneAuthPolicy": "NONE"}
    config["proxyStatsMatcher"] = {"inclusionRegexps": ["cluster.xds-grpc.*", ".*config_reload"]}
    envoy = Proxy(pod, folder, config)
    try:
        await envoy.start()
        await envoy.wait_ready()
        await _change(mesh, envoy, 0)
        before, spent = await _received(envoy), _cpu(_pid(envoy))
        for number in range(1, changes + 1):
            await _change(mesh, envoy, number)
        after, cpu = await _received(envoy), _cpu(_pid(envoy)) - spent
        return (after - before) / changes / 1e3, cpu / changes * 1e3, _resident(_pid(envoy))
    finally:
        await envoy.stop()
        await control_plane.stop()


async def _change(mesh: Mesh, envoy: Proxy, number: int) -> None:
    """Change the VirtualService, and wait until Envoy has the change."""
    reloads = sum((await envoy.stats(RELOADS)).values())
    mesh.change("virtual-service", number)
    end = asyncio.get_running_loop().time() + PATIENCE_SECONDS
    while sum((await envoy.stats(RELOADS)).values()) == reloads:
        if asyncio.get_running_loop().time() > end:
            raise TimeoutError(f"change {number} did not arrive")
        await asyncio.sleep(0.2)


async def _received(envoy: Proxy) -> int:
    return sum((await envoy.stats(RECEIVED)).values())


def _pid(envoy: Proxy) -> int:
    """Return Envoy's process: the child of its agent."""
    agent = envoy.process.pid
    if agent is None:
        raise ProcessLookupError(envoy.process.failure("ended"))
    return int(Path(f"/proc/{agent}/task/{agent}/children").read_text(encoding="utf-8").split()[0])


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _resident(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


async def both(services: int, changes: int) -> Table:
    """Measure both forms, one after the other, and return the table; it prints as Markdown."""
    table = Table("route configurations", box=MARKDOWN)
    for column in ("received for a change, kB", "Envoy's CPU for a change, ms", "Envoy's memory, MB"):
        table.add_column(column, justify="right")
    for split, name in ((False, "whole"), (True, "virtual hosts one by one")):
        with tempfile.TemporaryDirectory(prefix="bench-") as directory:
            size, cpu, memory = await measured(Path(directory), services, changes, split=split)
        table.add_row(name, f"{size:,.1f}", f"{cpu:,.1f}", f"{memory:,.0f}")
    return table


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--services", type=int, default=1_000, help="each with 10 endpoints and a virtual host")
    parser.add_argument("--changes", type=int, default=20)
    options = parser.parse_args(argv)
    Console(width=130).print(asyncio.run(both(options.services, options.changes)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
