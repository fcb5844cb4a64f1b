"""What an operator sees when a real Envoy refuses what it was sent."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from samples.traffic import Answer, send
from tests.envoy.mesh import Json, Mesh, eventually, eventually_all, running, service

pytestmark = pytest.mark.asyncio(loop_scope="session")

OK_V1 = Answer(200, "v1", "/")


def mesh_config(log_format: str) -> Json:
    """Return the mesh configuration with an access log; its format is checked by nobody but Envoy."""
    text = json.dumps({"accessLogFile": "/dev/null", "accessLogFormat": log_format})
    metadata = {"name": "istio", "namespace": "istio-system"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"mesh": text}}


def status(mesh: Mesh, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``controlplane status``."""
    command = [sys.executable, "-m", "controlplane", "status", *arguments]
    command += ["--address", str(mesh.control_plane.monitoring)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


async def test_status_names_the_refusal_and_the_object_behind_it() -> None:
    """Traffic goes on with the last good version; a correction ends the error."""
    async with running() as mesh:
        backend = await mesh.backend("v1")
        mesh.write(service([backend]), mesh_config("%PROTOCOL%"))
        web = await mesh.sidecar()
        await eventually_all(web, OK_V1)
        assert status(mesh).returncode == 0

        mesh.write(mesh_config("%NO_SUCH_OPERATOR%"))

        async def refused() -> bool:
            return status(mesh).returncode == 1

        await eventually(refused, "the proxy's refusal shows")
        row = next(line for line in status(mesh).stdout.splitlines() if line.startswith("client-delta"))
        assert "ERROR" in row
        shown = status(mesh, "client-delta.default").stdout
        assert "NO_SUCH_OPERATOR" in shown
        assert "ConfigMap istio-system/istio" in shown
        detail: Any = json.loads(status(mesh, "client-delta.default", "--output", "json").stdout)
        assert "NO_SUCH_OPERATOR" in json.dumps(detail)
        assert set(await send(web, "/", {}, 20)) == {OK_V1}

        mesh.write(mesh_config("%PROTOCOL% %RESPONSE_CODE%"))

        async def accepted() -> bool:
            return status(mesh).returncode == 0

        await eventually(accepted, "the correction is accepted")
        assert set(await send(web, "/", {}, 20)) == {OK_V1}
        await backend.stop()
