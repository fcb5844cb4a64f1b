"""AuthorizationPolicies on bytes that are no HTTP, through a gateway's TCP port: they know the connection alone."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_asyncio
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse

from samples.control_plane import LOOPBACK, free_port
from tests.envoy.mesh import Json, Mesh, eventually, istio
from tests.envoy.servers import LineServer, say
from tests.envoy.test_authorization import mesh_settings, security
from tests.envoy.test_policy_actions import DENIED, GrpcAuthoriser, guard

pytestmark = pytest.mark.asyncio(loop_scope="session")

HERE, ELSEWHERE = ["127.0.0.0/8"], ["203.0.113.0/24"]


def rule(operation: Json | None = None, source: Json | None = None, when: Json | None = None) -> Json:
    found: Json = {}
    if operation is not None:
        found["to"] = [{"operation": operation}]
    if source is not None:
        found["from"] = [{"source": source}]
    if when is not None:
        found["when"] = [when]
    return found


class Door:
    """A TCP port of the gateway with a server behind it."""

    def __init__(self, mesh: Mesh, port: int, objects: tuple[Json, ...]) -> None:
        self._mesh = mesh
        self.port = port
        self._objects = objects

    async def answers(self) -> bool:
        return await say(self.port, "hello") == "db hello"

    async def is_closed(self) -> bool:
        return await say(self.port, "hello") == ""

    async def with_policies(self, *policies: Json, opens: bool) -> None:
        """Put policies in force, and wait for what they are to come to; before that it was the opposite."""
        if not opens:
            await eventually(self.answers, "the port answers before")
        self._mesh.write(*self._objects, *policies)
        await eventually(self.answers if opens else self.is_closed, f"opens: {opens}")


@pytest_asyncio.fixture(loop_scope="session")
async def door(mesh: Mesh) -> Door:
    server = await mesh.serving(LineServer("db"))
    port = free_port()
    entry = istio(
        "ServiceEntry",
        "db",
        hosts=["db.test"],
        ports=[{"number": 5432, "name": "tcp", "protocol": "TCP"}],
        resolution="STATIC",
        endpoints=[{"address": LOOPBACK, "ports": {"tcp": server.port}}],
    )
    listener = {"port": {"number": port, "name": "tcp", "protocol": "TCP"}, "hosts": ["*"], "bind": LOOPBACK}
    objects = (
        entry,
        istio("Gateway", "tcp", selector={"istio": "ingress-delta"}, servers=[listener]),
        istio(
            "VirtualService",
            "tcp",
            hosts=["*"],
            gateways=["tcp"],
            tcp=[{"route": [{"destination": {"host": "db.test"}}]}],
        ),
    )
    mesh.write(*objects)
    await mesh.gateway()
    found = Door(mesh, port, objects)
    await eventually(found.answers, "the gateway leads to the server")
    return found


CLOSED: dict[str, tuple[str, list[Json]]] = {
    "denied by address": ("DENY", [rule(source={"ipBlocks": HERE})]),
    "denied by port": ("DENY", [rule({"ports": ["PORT"]})]),
    "denied by port, and by what bytes do not say": ("DENY", [rule({"ports": ["PORT"], "paths": ["/admin"]})]),
    "denied by a method": ("DENY", [rule({"methods": ["GET"]})]),
    "denied but for a path": ("DENY", [rule({"notPaths": ["/open"]})]),
    "denied by who asks": ("DENY", [rule(source={"requestPrincipals": ["*"]})]),
    "denied but for who shows a certificate": ("DENY", [rule(source={"notPrincipals": ["*"]})]),
    "denied but for addresses of elsewhere": ("DENY", [rule(source={"notIpBlocks": ["::/0", "203.0.113.0/24"]})]),
    "denied but for a namespace": ("DENY", [rule(source={"notNamespaces": ["*"]})]),
    "denied but for port 0": ("DENY", [rule({"notPorts": ["0"]})]),
    "denied but for a server name": ("DENY", [rule(when={"key": "connection.sni", "notValues": ["*"]})]),
    "denied by where it goes": ("DENY", [rule(when={"key": "destination.ip", "values": ["127.9.9.9/8"]})]),
    "denied but for what a filter left": (
        "DENY",
        [rule(when={"key": "experimental.envoy.filters.network.a[b]", "notValues": ["x"]})],
    ),
    "denied by a range of ports": ("DENY", [rule({"ports": ["80-90"]})]),
    "allowed by a range of ports": ("ALLOW", [rule({"ports": ["0-65535"]})]),
    "allowed port 0": ("ALLOW", [rule({"ports": ["0"]})]),
    "allowed every address of the other family": ("ALLOW", [rule(source={"ipBlocks": ["::/0"]})]),
    "allowed any server name": ("ALLOW", [rule(when={"key": "connection.sni", "values": ["*"]})]),
    "allowed any trust domain": ("ALLOW", [rule(source={"trustDomains": ["*"]})]),
    "denied by a header": ("DENY", [rule(when={"key": "request.headers[x-a]", "values": ["b"]})]),
    "allowed by a method": ("ALLOW", [rule({"methods": ["GET"]})]),
    "allowed but for a path": ("ALLOW", [rule({"notPaths": ["/admin"]})]),
    "allowed by a claim": ("ALLOW", [rule(when={"key": "request.auth.claims[a]", "values": ["b"]})]),
    "allowed but for who asks": ("ALLOW", [rule(source={"notRequestPrincipals": ["mallory/*"]})]),
    "allowed from elsewhere": ("ALLOW", [rule(source={"ipBlocks": ELSEWHERE})]),
    "allowed who shows a certificate": ("ALLOW", [rule(source={"principals": ["*"]})]),
    "allowed a namespace": ("ALLOW", [rule(source={"namespaces": ["default"]})]),
    "allowed at another port": ("ALLOW", [rule({"ports": ["1"]})]),
    "allowed nobody": ("ALLOW", []),
}


@pytest.mark.parametrize(("action", "rules"), CLOSED.values(), ids=CLOSED.keys())
async def test_what_is_closed(door: Door, action: str, rules: list[Json]) -> None:
    stated = _at(door, rules)
    await door.with_policies(security("AuthorizationPolicy", "tcp", action=action, rules=stated), opens=False)


OPEN: dict[str, tuple[str, list[Json]]] = {
    "denied elsewhere": ("DENY", [rule(source={"ipBlocks": ELSEWHERE})]),
    "denied another port": ("DENY", [rule({"ports": ["1"], "methods": ["GET"]})]),
    "allowed by address": ("ALLOW", [rule(source={"ipBlocks": HERE})]),
    "allowed by port": ("ALLOW", [rule({"ports": ["PORT"]})]),
    "allowed by one of two rules": ("ALLOW", [rule({"methods": ["GET"]}), rule({"ports": ["PORT"]})]),
    "denied every address of the other family": ("DENY", [rule(source={"ipBlocks": ["::/0"]})]),
    "denied any certificate": ("DENY", [rule(source={"principals": ["*"]})]),
    "allowed but for port 0": ("ALLOW", [rule({"notPorts": ["0"]})]),
    "audited": ("AUDIT", [rule({"methods": ["GET"]})]),
}


@pytest.mark.parametrize(("action", "rules"), OPEN.values(), ids=OPEN.keys())
async def test_what_is_open(door: Door, action: str, rules: list[Json]) -> None:
    """Another policy closes the port first, so that this one is known to be in force once it opens."""
    await door.with_policies(security("AuthorizationPolicy", "tcp", rules=[]), opens=False)
    stated = _at(door, rules)
    await door.with_policies(security("AuthorizationPolicy", "tcp", action=action, rules=stated), opens=True)


async def test_a_denial_counts_more_than_a_permission(door: Door) -> None:
    allowing = security("AuthorizationPolicy", "allow", rules=[rule(source={"ipBlocks": HERE})])
    denying = security("AuthorizationPolicy", "deny", action="DENY", rules=_at(door, [rule({"ports": ["PORT"]})]))
    await door.with_policies(allowing, denying, opens=False)


class ByAddress(GrpcAuthoriser):
    """Lets connections in while it is ``open``; they have no headers."""

    def __init__(self) -> None:
        super().__init__()
        self.open = False

    async def Check(self, request: CheckRequest, context: object) -> CheckResponse:  # noqa: N802, ARG002 - of the service
        self.asked.append(request.attributes.source.address.socket_address.address)
        answer = CheckResponse()
        answer.status.code = 0 if self.open else DENIED
        return answer


async def test_an_authoriser_over_grpc_is_asked_of_connections(door: Door, mesh: Mesh) -> None:
    """And where it is not there, or not known, nobody is let in."""
    authoriser = await mesh.serving(ByAddress())
    provider = {"name": "guard", "envoyExtAuthzGrpc": {"service": "guard.test", "port": 80, "timeout": "5s"}}
    settings, service = mesh_settings(extensionProviders=[provider]), guard("guard", authoriser.port, "GRPC")
    asking: dict[str, Any] = {
        "action": "CUSTOM",
        "provider": {"name": "guard"},
        "rules": _at(door, [rule({"ports": ["PORT"]})]),
    }
    policy = security("AuthorizationPolicy", "ask", **asking)
    await door.with_policies(settings, service, policy, opens=False)
    authoriser.open = True
    await eventually(door.answers, "the authoriser lets in")
    assert set(authoriser.asked) == {LOOPBACK}
    unknown = security("AuthorizationPolicy", "ask", **{**asking, "provider": {"name": "nobody"}})
    await door.with_policies(settings, service, unknown, opens=False)


def _at(door: Door, rules: list[Json]) -> list[Json]:
    """Return rules with the door's port in the place of a word."""
    found = []
    for each in rules:
        operations = [
            {"operation": {name: [str(door.port) if value == "PORT" else value for value in values]
                           for name, values in stated["operation"].items()}}
            for stated in each.get("to", ())
        ]  # fmt: skip
        found.append({**each, **({"to": operations} if operations else {})})
    return found
