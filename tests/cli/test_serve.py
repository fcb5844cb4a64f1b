"""``serve`` as a process, with a directory of files, from its start to its end."""

from __future__ import annotations

import asyncio
import json
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.cli.command import ROOT, run
from tests.patience import patience

SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop}
spec:
  clusterIP: 10.96.0.9
  selector: {app: reviews}
  ports: [{name: http, port: 9080}]
"""
REFUSED = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: shop}
spec: {hosts: 7}
"""


@asynccontextmanager
async def serving(folder: Path, *wrapper: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """Run the control plane on free ports; give the process and its monitoring port, once it serves.

    ``wrapper`` is a command that becomes the control plane.
    """
    ports = ["--xds-port", "0", "--monitoring-port", "0"]
    process = await asyncio.create_subprocess_exec(
        *(*wrapper, sys.executable),
        *("-m", "controlplane", "serve", "--config-dir", str(folder), *ports, "--drain-period", "1s"),
        cwd=ROOT,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        async with patience():
            event = await _event(process.stderr, "app.serving")
        yield process, event["monitoring"]
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _event(lines: asyncio.StreamReader, name: str) -> dict[str, Any]:
    seen = []
    async for line in lines:
        seen.append(line)
        event: dict[str, Any] = json.loads(line)
        if event["event"] == name:
            return event
    raise AssertionError(b"".join(seen).decode())


async def test_from_start_to_end(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(f"{SERVICE}---\n{REFUSED}")
    async with serving(tmp_path) as (process, address):
        async with aiohttp.ClientSession(f"http://{address}") as session:
            async with session.get("/ready") as response:
                assert response.status == 200
            async with session.get("/debug/registryz") as response:
                hosts = [service["hostname"] for service in await response.json()]
            async with session.get("/debug/rejectedz") as response:
                refused = await response.json()
            async with session.get("/metrics") as response:
                page = await response.text()
        status = await run("status", "--address", address)
        process.send_signal(signal.SIGTERM)
        async with patience():
            code = await process.wait()
    assert "reviews.shop.svc.cluster.local" in hosts
    assert [(each["kind"], each["name"]) for each in refused] == [("VirtualService", "reviews")]
    assert "\npilot_services 1.0\n" in page
    assert status.code == 0
    assert status.err.splitlines()[1:3] == [
        "1 object has problems:",
        f"  VirtualService shop/reviews ({tmp_path}/shop.yaml:9)",
    ]
    assert code == 0


async def test_it_takes_all_the_open_files_that_it_may_have(tmp_path: Path) -> None:
    """Each proxy takes one, and systemd and containerd begin with 1,024, however many are allowed."""
    narrow = 'ulimit -Sn 200 && ulimit -Hn 2000 && exec "$@"'
    async with serving(tmp_path, "sh", "-c", narrow, "sh") as (process, _):
        assert resource.prlimit(process.pid, resource.RLIMIT_NOFILE) == (2000, 2000)


@pytest.mark.parametrize("option", ["--xds-port", "--monitoring-port", "--secure-port", "--webhook-port"])
async def test_a_port_that_is_taken_is_named_by_its_option(tmp_path: Path, option: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = {"--xds-port": 0, "--monitoring-port": 0, "--secure-port": 0, "--webhook-port": 0}
        ports[option] = port = taken.getsockname()[1]
        options = [text for name, number in ports.items() for text in (name, str(number))]
        done = await run("serve", "--config-dir", str(tmp_path), "--ca-dir", str(tmp_path / "ca"), *options)
    (failure,) = (json.loads(line) for line in done.err.splitlines() if "app.failed" in line)
    assert failure["reason"].startswith(f"{option}: ")
    assert str(port) in failure["reason"]
    assert "address already in use" in failure["reason"]
    assert done.code == 1


async def test_without_a_cluster_both_ways_to_serve_are_named(tmp_path: Path) -> None:
    ports = [text for name in ("xds", "monitoring", "secure", "webhook") for text in (f"--{name}-port", "0")]
    nowhere = {"KUBECONFIG": "", "KUBERNETES_SERVICE_HOST": ""}
    done = await run("serve", "--ca-dir", str(tmp_path / "ca"), *ports, environment=nowhere)
    (failure,) = (json.loads(line) for line in done.err.splitlines() if "app.failed" in line)
    assert "name one with --kubeconfig or $KUBECONFIG, or a directory of YAML with --config-dir" in failure["reason"]
    assert done.code == 1
