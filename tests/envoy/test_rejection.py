"""What an operator sees when a real Envoy refuses what it was sent."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from samples.control_plane import LOOPBACK, free_port
from samples.traffic import Answer, send
from tests.envoy.mesh import Json, Mesh, eventually, eventually_all, istio, routes, running, service, to

pytestmark = pytest.mark.asyncio(loop_scope="session")

OK_V1 = Answer(200, "v1", "/")
NOBODYS = "192.0.2.1"  # of a block for documentation


def bound_to(address: str) -> Json:
    """Return a Gateway at this address; whether the proxy has it is known to nobody but its Envoy."""
    server = {"port": {"number": free_port(), "name": "http", "protocol": "HTTP"}, "bind": address, "hosts": ["*"]}
    return istio("Gateway", "own", selector={"istio": "ingress-delta"}, servers=[server])


def status(mesh: Mesh, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``controlplane status``."""
    command = [sys.executable, "-m", "controlplane", "status", *arguments]
    command += ["--address", str(mesh.control_plane.monitoring)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


async def test_status_names_the_refusal_and_the_object_behind_it() -> None:
    """Traffic goes on with the last good version; a correction ends the error."""
    async with running() as mesh:
        backend = await mesh.backend("v1")
        mesh.write(service([backend]), routes({"route": [to()]}), bound_to(LOOPBACK))
        web = await mesh.gateway()
        await eventually_all(web, OK_V1)
        assert status(mesh).returncode == 0

        mesh.write(bound_to(NOBODYS))

        async def refused() -> bool:
            return status(mesh).returncode == 1

        await eventually(refused, "the proxy's refusal shows")
        row = next(line for line in status(mesh).stdout.splitlines() if line.startswith("ingress-delta"))
        assert "ERROR" in row
        refused_rows = status(mesh).stdout.partition("Refused:\n")[2]
        assert refused_rows.startswith("  LDS by ingress-delta.default: ")
        assert f"cannot bind '{NOBODYS}" in refused_rows
        assert "made from Gateway default/own" in refused_rows
        shown = status(mesh, "ingress-delta.default").stdout
        assert f"cannot bind '{NOBODYS}" in shown
        assert "is made from:\n    Gateway default/own" in shown
        detail: Any = json.loads(status(mesh, "ingress-delta.default", "--output", "json").stdout)
        assert f"cannot bind '{NOBODYS}" in json.dumps(detail)
        assert set(await send(web, "/", {}, 20)) == {OK_V1}

        mesh.write(bound_to(LOOPBACK))

        async def accepted() -> bool:
            return status(mesh).returncode == 0

        await eventually(accepted, "the correction is accepted")
        assert set(await send(web, "/", {}, 20)) == {OK_V1}
        await backend.stop()
