"""Policies as real traffic meets them: who is let in, by what they do, by their token, and by whom is asked."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from typing import Any

import aiohttp
import pytest
from aiohttp import web as http
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from samples.control_plane import LOOPBACK
from samples.traffic import Entrance
from tests.envoy.mesh import HOST, Json, Mesh, eventually, istio, routes, service, to

pytestmark = pytest.mark.asyncio(loop_scope="session")

SELECTOR = {"matchLabels": {"istio": "ingress-delta"}}
KEY = rsa.generate_private_key(65537, 2048)
OTHER_KEY = rsa.generate_private_key(65537, 2048)


def security(kind: str, name: str, **spec: Any) -> Json:
    """Return a policy for the gateway."""
    metadata = {"name": name, "namespace": "default"}
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": kind,
        "metadata": metadata,
        "spec": {"selector": SELECTOR, **spec},
    }


async def status(entrance: Entrance, path: str, method: str = "GET", **headers: str) -> int:
    """Return the status of one request, its path sent as it is written."""
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, _raw(entrance.url + path), headers={"host": HOST, **headers}) as response,
    ):
        return response.status


def _raw(url: str) -> Any:
    from yarl import URL  # noqa: PLC0415 - comes with aiohttp

    return URL(url, encoded=True)


async def served(mesh: Mesh, *policies: Json) -> Entrance:
    """Return the gateway with a backend behind it, once it serves; then with these policies in force."""
    gateway = await mesh.gateway()
    backend = await mesh.backend("v1")
    mesh.write(service([backend]), routes({"route": [to()]}))

    async def serves() -> bool:
        return await status(gateway, "/") == 200

    await eventually(serves, "the gateway serves")
    marker = security(
        "AuthorizationPolicy", "marker", action="DENY", rules=[{"to": [{"operation": {"methods": ["PATCH"]}}]}]
    )
    mesh.write(marker, *policies)

    async def in_force() -> bool:
        return await status(gateway, "/", "PATCH") == 403

    await eventually(in_force, "the policies are in force")
    return gateway


async def test_what_is_denied_is_denied_however_its_path_is_written(mesh: Mesh) -> None:
    denied = {"to": [{"operation": {"paths": ["/admin*"]}}]}
    gateway = await served(mesh, security("AuthorizationPolicy", "no-admin", action="DENY", rules=[denied]))
    for path in ("/admin", "/admin/x?y=1", "/x/../admin", "/./admin", "/%61dmin", "/admin%2Fx"):
        assert await status(gateway, path) == 403, path
    for path in ("/", "/user", "/ADMIN"):
        assert await status(gateway, path) == 200, path


async def raw(entrance: Entrance, target: str, host: str = HOST, *more: str) -> int:
    """Return the status of a request whose first line and headers are sent as they are written; 0 if it was cut off."""
    _, _, port = entrance.url.rpartition(":")
    reader, writer = await asyncio.open_connection(LOOPBACK, int(port))
    lines = (f"GET {target} HTTP/1.1", f"host: {host}", "connection: close", *more)
    writer.write("".join(f"{line}\r\n" for line in (*lines, "")).encode())
    try:
        answer = await reader.read()
    except ConnectionError:
        return 0
    finally:
        writer.close()
    return int(answer.split(b" ", 2)[1]) if answer else 0


def mesh_settings(**config: Any) -> Json:
    metadata = {"name": "istio", "namespace": "istio-system"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"mesh": json.dumps(config)}}


WAYS_TO_ADMIN = (
    "/admin",
    "//admin",
    "/x/..//admin",
    "/%2fadmin",
    "/%2Fadmin",
    "/x%2f..%2fadmin",
    "/x%5c..%5cadmin",
    "\\admin",
    "/admin;x=1",
    "/admin%00",
    "/admin%00.html",
    "/admin#x",
    "/%61dmin",
    "/admin?x#y",
)


async def test_no_way_of_writing_a_path_evades_a_denial_where_paths_are_normalized(mesh: Mesh) -> None:
    """Envoy refuses some of them by itself; what counts is that none reaches the backend."""
    normalized = mesh_settings(pathNormalization={"normalization": "DECODE_AND_MERGE_SLASHES"})
    denied = {"to": [{"operation": {"paths": ["/admin*"]}}]}
    gateway = await served(mesh, normalized, security("AuthorizationPolicy", "no-admin", action="DENY", rules=[denied]))
    answers = {target: await raw(gateway, target) for target in (*WAYS_TO_ADMIN, "/", "/user;x=/admin", "/ADMIN")}
    passed = {target for target, answer in answers.items() if answer not in {400, 403}}
    assert passed == {"/", "/user;x=/admin", "/ADMIN"}, answers


async def test_a_host_is_denied_however_it_is_written(mesh: Mesh) -> None:
    denied = {"to": [{"operation": {"hosts": [HOST, f"{HOST}:*"]}}]}
    gateway = await served(mesh, security("AuthorizationPolicy", "no-host", action="DENY", rules=[denied]))
    for host in (HOST, HOST.upper(), HOST.title(), f"{HOST}:80", f"{HOST.upper()}:8080"):
        assert await raw(gateway, "/", host) == 403, host


async def test_a_header_of_a_megabyte_goes_no_further_than_the_proxy(mesh: Mesh) -> None:
    gateway = await served(mesh)
    assert await raw(gateway, "/", HOST, f"x-large: {'a' * (1 << 20)}") in {0, 431}
    assert await raw(gateway, "/") == 200


async def test_a_policy_of_as_many_rules_as_there_may_be_is_in_force(mesh: Mesh) -> None:
    """More are refused as an object, by the API server too: see ``tests/apis/test_parse.py``."""
    paths = [[f"/secret/{rule}/{number}" for number in range(20)] for rule in range(512)]
    rules = [{"to": [{"operation": {"paths": each}}]} for each in paths]
    gateway = await served(mesh, security("AuthorizationPolicy", "many", action="DENY", rules=rules))
    assert await raw(gateway, "/secret/511/19") == 403
    assert await raw(gateway, "/secret/511/20") == 200


async def test_what_is_not_allowed_is_denied(mesh: Mesh) -> None:
    allowed = {"to": [{"operation": {"methods": ["GET"], "paths": ["/public/{*}"], "hosts": [HOST]}}]}
    gateway = await served(mesh, security("AuthorizationPolicy", "readers", rules=[allowed]))
    assert await status(gateway, "/public/a") == 200
    assert await status(gateway, "/public/a", "POST") == 403
    assert await status(gateway, "/public/a/b") == 403
    assert await status(gateway, "/") == 403


def _part(value: object) -> str:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def token(key: rsa.RSAPrivateKey | None = KEY, *, kid: str | None = "k", expires: float = 600, **claims: Any) -> str:
    """Return a token of ``issuer``; without a key it is not signed, and says so."""
    head: Json = {"alg": "none" if key is None else "RS256", "typ": "JWT"} | ({"kid": kid} if kid else {})
    body = {"iss": "issuer", "sub": "alice", "aud": "shop", "exp": int(time.time() + expires), **claims}
    signed = f"{_part(head)}.{_part(body)}"
    signature = b"" if key is None else key.sign(signed.encode(), padding.PKCS1v15(), SHA256())
    return f"{signed}.{_part(signature)}"


def key_set() -> str:
    """Return the public key that tokens are checked with."""
    numbers = KEY.public_key().public_numbers()
    modulus, exponent = (number.to_bytes(size) for number, size in ((numbers.n, 256), (numbers.e, 3)))
    key = {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "k", "n": _part(modulus), "e": _part(exponent)}
    return json.dumps({"keys": [key]})


async def test_who_has_no_good_token_is_not_let_in(mesh: Mesh) -> None:
    believed = security(
        "RequestAuthentication", "tokens", jwtRules=[{"issuer": "issuer", "audiences": ["shop"], "jwks": key_set()}]
    )
    wanted = {
        "from": [{"source": {"requestPrincipals": ["issuer/*"]}}],
        "when": [{"key": "request.auth.claims[group]", "values": ["staff"]}],
    }
    gateway = await served(mesh, believed, security("AuthorizationPolicy", "staff", rules=[wanted]))

    async def asked(**how: Any) -> int:
        return await status(gateway, "/", authorization=f"Bearer {token(**{'group': 'staff', **how})}")

    assert await asked() == 200
    assert await asked(group=["guests", "staff"]) == 200
    assert await asked(kid=None) == 200, "a key set of one key needs no name"
    assert await status(gateway, "/") == 403, "no token"
    assert await asked(group="guests") == 403
    assert await asked(expires=-600) == 401
    assert await asked(key=OTHER_KEY) == 401
    assert await asked(key=None) == 401, "alg none"
    assert await asked(aud="bank") == 403
    assert await asked(iss="somebody") == 401
    assert await status(gateway, "/", authorization="Bearer no.token.atall") == 401


async def test_tokens_are_found_where_they_are_said_to_be_and_lead_on_by_what_they_claim(mesh: Mesh) -> None:
    """By header, parameter and cookie; claims go to headers of the backend, and routes are chosen by them."""
    backend = await mesh.backend("v1")
    rule = {
        "issuer": "issuer",
        "jwks": key_set(),
        "fromHeaders": [{"name": "x-token", "prefix": "Token "}],
        "fromParams": ["token"],
        "fromCookies": ["token"],
        "outputClaimToHeaders": [{"header": "x-group", "claim": "group"}],
        "outputPayloadToHeader": "x-payload",
    }
    gateway = await served(mesh, security("RequestAuthentication", "tokens", jwtRules=[rule]))
    of_staff = {"match": [{"headers": {"@request.auth.claims.group": {"exact": "staff"}}}], "route": [to()]}
    by_claims = routes(of_staff, {"directResponse": {"status": 418}})
    by_claims["spec"]["gateways"] = ["ingress-delta"]  # sidecars know no claims when they choose
    mesh.write(service([backend]), by_claims)

    async def asked(path: str = "/", **headers: str) -> int:
        return await status(gateway, path, **headers)

    async def leads_on() -> bool:
        return await asked() == 418

    await eventually(leads_on, "routes are chosen by claims")
    staff, guest = token(group="staff"), token(group="guests")

    async def is_reached() -> bool:
        await asked(f"/?token={staff}")
        return bool(backend.seen)

    await eventually(is_reached, "the backend that notes what it is asked")
    backend.seen.clear()
    for where in ({"x-token": f"Token {staff}"}, {"cookie": f"token={staff}"}):
        assert await asked(**where) == 200, where
    assert await asked(f"/?token={staff}") == 200
    assert await asked(**{"x-token": f"Token {guest}"}) == 418
    assert await asked(authorization=f"Bearer {staff}") == 418, "nobody looks for it there"
    assert await asked(**{"x-token": f"Token {token(OTHER_KEY, group='staff')}"}) == 401
    assert await asked(**{"@request.auth.claims.group": "staff"}) in {400, 418}, "a header is no claim"
    told = [each.headers for each in backend.seen if "x-group" in each.headers]
    assert {(each["x-group"], "x-token" in each) for each in told} == {("staff", False)}
    payload = told[-1]["x-payload"]
    assert json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["sub"] == "alice"
    assert len(told) == 3


class Authoriser:
    """An external authoriser: it lets in who says ``please``."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.port = 0
        self._runner: http.AppRunner | None = None

    async def start(self) -> None:
        application = http.Application()
        application.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = http.AppRunner(application)
        await self._runner.setup()
        site = http.TCPSite(self._runner, LOOPBACK, 0)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: http.Request) -> http.Response:
        self.asked.append(request.path)
        return http.Response(status=200 if request.headers.get("x-word") == "please" else 403)


async def test_somebody_else_is_asked_where_a_policy_says_so(mesh: Mesh) -> None:
    authoriser = await mesh.serving(Authoriser())
    config = {
        "extensionProviders": [
            {
                "name": "guard",
                "envoyExtAuthzHttp": {
                    "service": "guard.test",
                    "port": 80,
                    "timeout": "5s",
                    "includeRequestHeadersInCheck": ["x-word"],
                },
            }
        ]
    }
    settings = mesh_settings(**config)
    guard = istio(
        "ServiceEntry",
        "guard",
        hosts=["guard.test"],
        ports=[{"number": 80, "name": "http", "protocol": "HTTP"}],
        resolution="STATIC",
        endpoints=[{"address": LOOPBACK, "ports": {"http": authoriser.port}}],
    )
    asking = security(
        "AuthorizationPolicy",
        "ask",
        action="CUSTOM",
        provider={"name": "guard"},
        rules=[{"to": [{"operation": {"paths": ["/guarded*"]}}]}],
    )
    gateway = await served(mesh, settings, guard, asking)

    async def reachable() -> bool:
        return await status(gateway, "/guarded", **{"x-word": "please"}) == 200

    await eventually(reachable, "the authoriser is reached")
    assert await status(gateway, "/guarded") == 403
    assert await status(gateway, "/else") == 200
    assert set(authoriser.asked) == {"/guarded"}
