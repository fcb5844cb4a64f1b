"""``explain --live`` goes by what a real Envoy holds, which may be another thing than it is served."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import pytest

from samples.traffic import Answer
from tests.envoy.mesh import GATEWAYS, Mesh, eventually, eventually_all, routes, running, service, to
from tests.envoy.test_rejection import NOBODYS, bound_to

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def explained(mesh: Mesh, port: int, admin: str, *more: str) -> tuple[int, str]:
    """Run ``controlplane explain --live`` for a request to the gateway; return its exit code and what it printed."""
    command = ["explain", "--from", "gateway/default/own", "GET", f"http://web.test:{port}/", *more]
    command += ["--live", "--admin", admin, "--address", str(mesh.control_plane.monitoring)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "controlplane", *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode()


async def test_what_envoy_refused_is_not_what_becomes_of_a_request() -> None:
    """What it holds and what it is served are both told, until it holds what it is served."""
    async with running() as mesh:
        backend = await mesh.backend("v1")
        first = bound_to("0.0.0.0")
        port = first["spec"]["servers"][0]["port"]["number"]
        routed = routes({"route": [to()]})
        routed["spec"]["gateways"] = [*GATEWAYS, "own"]
        mesh.write(service([backend]), routed, first)
        web = await mesh.gateway()
        await eventually_all(web, Answer(200, "v1", "/"))
        admin = mesh.admin_of(web)

        async def the_same() -> bool:
            code, said = await explained(mesh, port, admin)
            return code == 0 and "Its Envoy holds what it is served, as far as this request goes." in said

        await eventually(the_same, "Envoy holds what it is served")
        second = bound_to(NOBODYS)
        second["spec"]["servers"][0]["port"]["number"] = port
        mesh.write(second)

        async def another() -> bool:
            code, said = await explained(mesh, port, admin)
            return code == 3 and "does not hold what it is served (-), but another thing (+):" in said

        await eventually(another, "Envoy has refused the listener")
        code, said = await explained(mesh, port, admin, "-o", "json")
        answer: Any = json.loads(said)
        assert (code, answer["fails"], answer["differs"]) == (3, True, True)
        refused = f"{NOBODYS}_{port}"  # it is served, and not held
        assert (refused in answer["result"], refused in answer["served"]["result"]) == (False, True)
        mesh.write(first)
        await eventually(the_same, "Envoy takes the correction")
        await backend.stop()
