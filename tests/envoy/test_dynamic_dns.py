"""Hosts that Envoy resolves when a request names them: ``localhost`` and what is below it, which need no DNS server."""

from __future__ import annotations

from dataclasses import replace

import pytest

from samples.traffic import Answer
from tests.envoy.mesh import Mesh, eventually_all, istio

pytestmark = pytest.mark.asyncio(loop_scope="session")

MESH = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "istio", "namespace": "istio-system"},
    "data": {"mesh": "outboundTrafficPolicy: {mode: REGISTRY_ONLY}"},
}


async def test_a_wildcard_service_entry(mesh: Mesh) -> None:
    """A request goes to whatever host and port below the wildcard it names, and to no other host."""
    v1 = await mesh.backend("v1")
    ports = [{"number": 80, "name": "http", "protocol": "HTTP"}]
    mesh.write(MESH, istio("ServiceEntry", "local", hosts=["*.localhost"], ports=ports, resolution="DYNAMIC_DNS"))
    web = await mesh.sidecar()
    for host in ("a", "b.c"):
        await eventually_all(replace(web, url=f"http://{host}.localhost:{v1.port}"), Answer(200, "v1", "/"))
    await eventually_all(replace(web, url=f"http://localhost:{v1.port}"), Answer(502))


async def test_unknown_hosts_of_the_mesh(mesh: Mesh) -> None:
    """With ``ALLOW_ANY_DYNAMIC_DNS`` a host that nobody declared is resolved; a change of the mode is felt at once."""
    v1 = await mesh.backend("v1")
    mesh.write(MESH)
    anywhere = replace(await mesh.sidecar(), url=f"http://localhost:{v1.port}")
    await eventually_all(anywhere, Answer(502))
    mesh.write({**MESH, "data": {"mesh": "outboundTrafficPolicy: {mode: ALLOW_ANY_DYNAMIC_DNS}"}})
    await eventually_all(anywhere, Answer(200, "v1", "/"))
