"""Values of AuthorizationPolicies that are odd and lawful: nothing is let in, or refused, that they do not say.

Each case is one rule, told from the others by a header, so that one policy holds all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from samples.traffic import Entrance
from tests.envoy.mesh import HOST, Json, Mesh, eventually, write
from tests.envoy.pods import APP_PORT
from tests.envoy.test_authorization import key_set, security, served, status, token
from tests.envoy.test_interception import SERVICE_ADDRESS, kube, running

CASE = "x-case"


@dataclass(frozen=True)
class Case:
    """A rule, and whether it matches a request: ``GET``, by default of ``/``, in plaintext, without a token."""

    rule: Json
    matches: bool
    path: str = "/"
    headers: dict[str, str] = field(default_factory=dict)


def to(matches: bool, path: str = "/", **operation: list[str]) -> Case:  # noqa: FBT001 - one word a line
    return Case({"to": [{"operation": operation}]}, matches, path)


def by(matches: bool, **source: list[str]) -> Case:  # noqa: FBT001 - as above
    return Case({"from": [{"source": source}]}, matches)


def when(matches: bool, key: str, *values: str, no: tuple[str, ...] = (), **headers: str) -> Case:  # noqa: FBT001
    stated = {"key": key, **({"values": list(values)} if values else {}), **({"notValues": list(no)} if no else {})}
    return Case({"when": [stated]}, matches, headers={name.replace("_", "-"): text for name, text in headers.items()})


OPERATIONS = (
    to(True, hosts=["*"]),
    to(True, hosts=[HOST.upper()]),
    to(True, hosts=["*.test"]),
    to(False, hosts=["**"]),
    to(False, hosts=["*.*"]),
    to(False, hosts=["wäb.test"]),
    to(False, notHosts=["*"]),
    to(True, notHosts=["other.test", "wäb.test"]),
    to(False, hosts=["*"], notHosts=[HOST]),
    to(True, methods=["*"]),
    to(False, methods=["get"]),
    to(False, methods=["G*T"]),
    to(False, notMethods=["*"]),
    to(True, notMethods=["get", "POST"]),
    to(True, paths=["*"]),
    to(True, paths=["/"]),
    to(False, paths=["**"]),
    to(True, "/a/b", paths=["*/b"]),
    to(False, "/a/b", paths=["/a*b"]),
    to(True, "/a/b", paths=["/{**}"]),
    to(False, "/a/b", paths=["/{*}"]),
    to(True, "/a/b", paths=["/{*}/b"]),
    to(False, "/A", paths=["/a"]),
    to(True, "/a?b=c", paths=["/a"]),
    to(False, "/%C3%A4", paths=["/ä"]),
    to(True, "/%C3%A4", paths=["/%C3%A4"]),
    to(False, "/a", notPaths=["/{*}"]),
    to(True, "/a/b", notPaths=["/{*}", "/a"]),
    to(True, ports=["PORT"]),
    to(False, ports=["0"]),
    to(True, ports=["0", "PORT"]),
    to(False, notPorts=["PORT"]),
    to(True, notPorts=["0", "65535"]),
    to(False, methods=["GET"], notPaths=["/"]),
)
SOURCES = (
    by(True, ipBlocks=["127.0.0.1"]),
    by(True, ipBlocks=["127.200.0.1/8"]),
    by(True, ipBlocks=["0.0.0.0/0"]),
    by(False, ipBlocks=["::/0"]),
    by(False, ipBlocks=["127.0.0.2/32"]),
    by(False, notIpBlocks=["0.0.0.0/0"]),
    by(True, notIpBlocks=["::/0", "10.0.0.0/8"]),
    by(True, remoteIpBlocks=["127.0.0.0/8"]),
    by(False, remoteIpBlocks=["10.0.0.0/8"]),
    by(False, notRemoteIpBlocks=["127.0.0.0/8"]),
    by(True, notRemoteIpBlocks=["10.0.0.0/8"]),
    *(
        by(matches, **{name: [value]})
        for field_name, values in {
            "principals": ["*", "spiffe://cluster.local/ns/default/sa/x", "**", "*/ns/*"],
            "requestPrincipals": ["*", "/", "issuer/*", "*/alice", "ä/*"],
            "namespaces": ["*", "default", "d*f"],
            "serviceAccounts": ["x", "default/x"],
            "trustDomains": ["*", "cluster.local", "*.local"],
        }.items()
        for value in values
        for name, matches in (
            (field_name, False),
            (f"not{field_name[0].upper()}{field_name[1:]}", True),
        )
    ),
)
CONDITIONS = (
    when(True, "request.headers[x-a]", "*", x_a="1"),
    when(False, "request.headers[x-a]", "*"),
    when(True, "request.headers[X-A]", "1", x_a="1"),
    when(False, "request.headers[x-a]", "1", x_a="2"),
    when(True, "request.headers[x-a]", "1*", x_a="12"),
    when(True, "request.headers[x-a]", "*2", x_a="12"),
    when(False, "request.headers[x-a]", "1*3", x_a="123"),
    when(True, "request.headers[x-a]", no=("1",)),
    when(True, "request.headers[x-a]", no=("*",)),
    when(False, "request.headers[x-a]", no=("*",), x_a="1"),
    when(False, "request.headers[x-a]", "1", no=("*",), x_a="1"),
    when(True, "request.headers[:method]", "GET"),
    when(True, "source.ip", "127.0.0.1"),
    when(False, "source.ip", no=("127.0.0.0/8",)),
    when(True, "remote.ip", "127.0.0.1"),
    when(False, "remote.ip", "::/0"),
    when(True, "destination.ip", "127.0.0.1/32"),
    when(False, "destination.ip", no=("0.0.0.0/0",)),
    when(True, "destination.port", "PORT"),
    when(False, "destination.port", no=("PORT",)),
    when(True, "destination.port", no=("0",)),
    *(
        case
        for key in (
            "source.namespace",
            "source.principal",
            "source.serviceAccount",
            "source.trustDomain",
            "request.auth.principal",
            "request.auth.audiences",
            "request.auth.presenter",
            "request.auth.claims[a]",
            "request.auth.claims[a][b]",
            "request.auth.claims[ä]",
            "connection.sni",
            "experimental.envoy.filters.http.a[b]",
            "experimental.envoy.filters.http.a[[b]]",
        )
        for value in ("x", *(() if key == "source.serviceAccount" else ("*",)))
        for case in (when(False, key, value), when(True, key, no=(value,)))
    ),
)
CASES = (*OPERATIONS, *SOURCES, *CONDITIONS)


def rules(cases: tuple[Case, ...], port: int) -> list[Json]:
    """Return a rule for each case; ``PORT`` stands for where requests go."""
    found = []
    for number, case in enumerate(cases):
        told = {"key": f"request.headers[{CASE}]", "values": [str(number)]}
        found.append(_at(port, {**case.rule, "when": [*case.rule.get("when", ()), told]}))
    return found


def _at(port: int, value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _at(port, each) for name, each in value.items()}
    if isinstance(value, list):
        return [_at(port, each) for each in value]
    return str(port) if value == "PORT" else value


async def differing(gateway: Entrance, action: str) -> list[tuple[Case, int]]:
    """Return the cases that are answered otherwise than the action says, each with its status."""
    found = []
    for number, case in enumerate(CASES):
        answer = await status(gateway, case.path, **{CASE: str(number), **case.headers})
        if answer != (200 if case.matches == (action == "ALLOW") else 403):
            found.append((case, answer))
    return found


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("action", ["DENY", "ALLOW"])
async def test_a_rule_matches_what_it_says(mesh: Mesh, action: str) -> None:
    gateway = await mesh.gateway()
    port = int(gateway.url.rpartition(":")[2])
    policy = security("AuthorizationPolicy", "odd", action=action, rules=rules(CASES, port))
    gateway = await served(mesh, policy)
    assert await differing(gateway, action) == []


WRONG: dict[str, Json] = {
    "range of ports": {"action": "DENY", "rules": [{"to": [{"operation": {"ports": ["80-90"]}}]}]},
    "no rules": {"action": "DENY"},
    "no such action": {"action": "Deny", "rules": [{"to": [{"operation": {"paths": ["/admin"]}}]}]},
    "a field that nobody knows": {"rules": [{"to": [{"operation": {"methods": ["GET"], "path": ["/public"]}}]}]},
    "no condition": {"rules": [{"from": [{"source": {"namespaces": []}}]}]},
    "address of an interface": {"action": "DENY", "rules": [{"from": [{"source": {"ipBlocks": ["fe80::1%eth0"]}}]}]},
    "nobody to be asked": {"action": "CUSTOM", "rules": [{"to": [{"operation": {"paths": ["/"]}}]}]},
}


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("spec", WRONG.values(), ids=WRONG)
async def test_what_cannot_be_read_lets_nobody_in(mesh: Mesh, spec: Json) -> None:
    """Once it is right it does what it says."""
    gateway = await served(mesh)
    mesh.write(security("AuthorizationPolicy", "wrong", **spec))

    async def answers(expected: int) -> bool:
        return await status(gateway, "/") == expected

    await eventually(lambda: answers(403), "nobody is let in")
    mesh.write(security("AuthorizationPolicy", "wrong", rules=[{}]))
    await eventually(lambda: answers(200), "the policy is right")


@pytest.mark.asyncio(loop_scope="session")
async def test_tokens_of_a_policy_that_cannot_be_read_are_refused(mesh: Mesh) -> None:
    """Without it they would reach the application as if somebody had checked them."""
    gateway = await served(mesh)
    rule = {"issuer": "issuer", "jwks": key_set()}

    async def answers(good: int, forged: int) -> bool:
        asked = [await status(gateway, "/", authorization=f"Bearer {each}") for each in (token(), token(key=None))]
        return asked == [good, forged] and await status(gateway, "/") == 200

    await eventually(lambda: answers(200, 200), "nobody looks at tokens")
    mesh.write(security("RequestAuthentication", "wrong", jwtRules=[{**rule, "audience": ["shop"]}]))
    await eventually(lambda: answers(401, 401), "no token is believed")
    mesh.write(security("RequestAuthentication", "wrong", jwtRules=[{**rule, "audiences": ["shop"]}]))
    await eventually(lambda: answers(200, 401), "the policy is right")


PEER = (
    by(True, principals=["cluster.local/ns/default/sa/client"]),
    by(True, principals=["*"]),
    by(True, principals=["*/sa/client"]),
    by(True, principals=["cluster.local/ns/default/*"]),
    by(False, principals=["spiffe://cluster.local/ns/default/sa/client"]),
    by(False, principals=["cluster.local/ns/default/sa/Client"]),
    by(False, principals=["**"]),
    by(False, principals=["cluster.local/ns/*/sa/client"]),
    by(False, notPrincipals=["*"]),
    by(True, notPrincipals=["cluster.local/ns/default/sa/other"]),
    by(True, namespaces=["default"]),
    by(True, namespaces=["*"]),
    by(True, namespaces=["d*t"]),
    by(False, namespaces=["defaul"]),
    by(False, namespaces=["default|other"]),
    by(False, namespaces=["d.fault"]),
    by(False, notNamespaces=["default"]),
    by(True, notNamespaces=["defaul"]),
    by(True, serviceAccounts=["client"]),
    by(True, serviceAccounts=["default/client"]),
    by(False, serviceAccounts=["other/client"]),
    by(False, serviceAccounts=["clien."]),
    by(False, notServiceAccounts=["client"]),
    by(True, trustDomains=["*"]),
    by(True, trustDomains=["cluster.local"]),
    by(True, trustDomains=["*.local"]),
    by(True, trustDomains=["cluster*"]),
    by(False, trustDomains=["cluster.loca"]),
    by(False, trustDomains=["local"]),
    by(False, notTrustDomains=["*.local"]),
    when(True, "source.principal", "*"),
    when(True, "source.namespace", "default"),
    when(True, "source.serviceAccount", "client"),
    when(True, "source.trustDomain", "cluster.local"),
    when(False, "source.principal", no=("cluster.local/ns/default/sa/client",)),
    to(True, ports=["PORT"]),
    to(True, paths=["/"]),
    to(False, notMethods=["GET"]),
)


@pytest.mark.usefixtures("pods")
async def test_a_rule_knows_the_caller_by_its_certificate() -> None:
    """At the sidecar of a server, whose caller shows one."""
    async with running() as cluster:
        file = cluster.config_dir / "policy.yaml"

        async def answer(number: int) -> int:
            return (await cluster.client.curl(f"http://{SERVICE_ADDRESS}/", "-H", f"{CASE}: {number}"))[0]

        async def answers(number: int, expected: int) -> None:
            async def is_so() -> bool:
                return await answer(number) == expected

            await eventually(is_so, f"case {number} is answered with {expected}")

        await answers(-1, 200)
        for action, matched, other in (("DENY", 403, 200), ("ALLOW", 200, 403)):
            mark = Case({"to": [{"operation": {"methods": ["GET"]}}]}, matches=True)
            spec = {"action": action, "rules": rules((*PEER, mark), APP_PORT)}
            write(file, kube("AuthorizationPolicy", "odd", "security.istio.io/v1", spec=spec))
            await answers(len(PEER), matched)
            await answers(-1, other)
            for number, case in enumerate(PEER):
                assert await answer(number) == (matched if case.matches else other), (action, case)
