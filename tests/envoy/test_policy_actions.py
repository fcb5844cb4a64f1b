"""Actions of AuthorizationPolicies that neither let in nor refuse by themselves: others are asked, or it is noted."""

from __future__ import annotations

from pathlib import Path

import grpc.aio
import pytest
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse
from envoy.service.auth.v3.external_auth_pb2_grpc import AuthorizationServicer, add_AuthorizationServicer_to_server

from samples.control_plane import LOOPBACK, free_port
from tests.envoy.mesh import Json, Mesh, eventually, istio
from tests.envoy.test_authorization import Authoriser, mesh_settings, security, served, status

pytestmark = pytest.mark.asyncio(loop_scope="session")

DENIED = 7  # PERMISSION_DENIED


class GrpcAuthoriser(AuthorizationServicer):
    """An external authoriser over gRPC: it lets in who says ``please``, and tells the backend who it was."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.port = free_port()
        self._server = grpc.aio.server()

    async def start(self) -> None:
        add_AuthorizationServicer_to_server(self, self._server)
        self._server.add_insecure_port(f"{LOOPBACK}:{self.port}")
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop(0)

    async def Check(self, request: CheckRequest, context: object) -> CheckResponse:  # noqa: N802, ARG002 - of the service
        asked = request.attributes.request.http
        self.asked.append(asked.path)
        answer = CheckResponse()
        if asked.headers.get("x-word") != "please":
            answer.status.code = DENIED
            answer.denied_response.status.code = 401
            return answer
        added = answer.ok_response.headers.add()
        added.header.key, added.header.value = "x-checked", "yes"
        return answer


def guard(name: str, port: int, protocol: str) -> Json:
    """Return an authoriser as a service of the mesh."""
    ports = [{"number": 80, "name": protocol.lower(), "protocol": protocol}]
    endpoints = [{"address": LOOPBACK, "ports": {protocol.lower(): port}}]
    return istio("ServiceEntry", name, hosts=[f"{name}.test"], ports=ports, resolution="STATIC", endpoints=endpoints)


def asking(provider: str, path: str) -> Json:
    """Return a policy that has somebody asked about a path."""
    rules = [{"to": [{"operation": {"paths": [path]}}]}]
    return security("AuthorizationPolicy", f"ask-{provider}", action="CUSTOM", provider={"name": provider}, rules=rules)


async def test_somebody_else_is_asked_over_grpc(mesh: Mesh) -> None:
    """What it answers counts: the status of a refusal, and headers for the backend."""
    authoriser = await mesh.serving(GrpcAuthoriser())
    provider = {"name": "grpc-guard", "envoyExtAuthzGrpc": {"service": "grpc-guard.test", "port": 80, "timeout": "5s"}}
    asked = (mesh_settings(extensionProviders=[provider]), guard("grpc-guard", authoriser.port, "GRPC"))
    gateway = await served(mesh, *asked, asking("grpc-guard", "/guarded*"))

    async def reachable() -> bool:
        return await status(gateway, "/guarded", **{"x-word": "please"}) == 200

    await eventually(reachable, "the authoriser is reached")
    assert await status(gateway, "/guarded/more") == 401
    assert await status(gateway, "/else") == 200
    assert set(authoriser.asked) == {"/guarded", "/guarded/more"}


@pytest.mark.parametrize("fails_open", [False, True])
async def test_an_authoriser_that_does_not_answer(mesh: Mesh, fails_open: bool) -> None:  # noqa: FBT001
    """Nobody is let in for that, unless its provider says so."""
    http = {"service": "gone.test", "port": 80, "timeout": "5s", "failOpen": fails_open, "statusOnError": "503"}
    settings = mesh_settings(extensionProviders=[{"name": "gone", "envoyExtAuthzHttp": http}])
    gateway = await served(mesh, settings, guard("gone", free_port(), "HTTP"), asking("gone", "/guarded*"))
    assert await status(gateway, "/guarded") == (200 if fails_open else 503)
    assert await status(gateway, "/else") == 200


async def test_denials_come_before_permissions_and_an_authoriser_before_both(mesh: Mesh) -> None:
    authoriser = await mesh.serving(Authoriser())
    http = {"service": "guard.test", "port": 80, "timeout": "5s", "includeRequestHeadersInCheck": ["x-word"]}
    settings = mesh_settings(extensionProviders=[{"name": "guard", "envoyExtAuthzHttp": http}])
    denying = [{"to": [{"operation": {"paths": ["/guarded/denied", "/both"]}}]}]
    allowing = [{"to": [{"operation": {"paths": ["/guarded*", "/both"]}}]}]
    gateway = await served(
        mesh,
        settings,
        guard("guard", authoriser.port, "HTTP"),
        asking("guard", "/guarded*"),
        security("AuthorizationPolicy", "deny", action="DENY", rules=denying),
        security("AuthorizationPolicy", "allow", rules=allowing),
    )
    word = {"x-word": "please"}

    async def reachable() -> bool:
        return await status(gateway, "/guarded", **word) == 200

    await eventually(reachable, "the authoriser is reached")
    assert await status(gateway, "/guarded") == 403, "the authoriser refuses what is allowed"
    assert await status(gateway, "/guarded/denied", **word) == 403, "the authoriser does not let in what is denied"
    assert await status(gateway, "/both") == 403, "a denial comes before a permission"
    assert await status(gateway, "/nothing") == 403, "what is not allowed is refused"
    assert set(authoriser.asked) == {"/guarded", "/guarded/denied"}


async def test_what_is_audited_is_noted_down_and_served(mesh: Mesh, tmp_path: Path) -> None:
    """AUDIT changes no answer: Envoy marks the request for the access log."""
    log = tmp_path / "access.log"
    line = "%DYNAMIC_METADATA(envoy.common:access_log_hint)% %REQ(:PATH)%\n"
    settings = mesh_settings(accessLogFile=str(log), accessLogFormat=line)
    rules = [{"to": [{"operation": {"paths": ["/audited"]}}]}]
    gateway = await served(mesh, settings, security("AuthorizationPolicy", "note", action="AUDIT", rules=rules))
    assert await status(gateway, "/audited") == 200
    assert await status(gateway, "/other") == 200

    def noted() -> set[str]:
        return set(log.read_text(encoding="utf-8").splitlines()) if log.exists() else set()

    async def both() -> bool:
        return any(each.endswith("/audited") for each in noted()) and any(each.endswith("/other") for each in noted())

    await eventually(both, "the requests are in the access log")
    assert {"true /audited", "false /other"} <= noted()


async def test_a_dry_run_is_counted_and_changes_no_answer(mesh: Mesh) -> None:
    policy = security("AuthorizationPolicy", "trial", action="DENY", rules=[{"to": [{"operation": {"paths": ["/x"]}}]}])
    policy["metadata"]["annotations"] = {"istio.io/dry-run": "true"}
    gateway = await served(mesh, policy)
    before = await mesh.counted(gateway, r"istio_dry_run_deny_.shadow_denied$")
    assert await status(gateway, "/x") == 200
    assert await status(gateway, "/y") == 200
    assert await mesh.counted(gateway, r"istio_dry_run_deny_.shadow_denied$") == before + 1
