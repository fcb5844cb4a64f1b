"""Who is shown the password of a registry: it, and whom it names to give its tokens, but nobody in plaintext."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

from controlplane.agent.wasm.fetching import Fetcher, FetchError, Rules
from controlplane.agent.wasm.images import Image, ImageName, Login
from tests.security.authorities import key_pem, root

AUTHORITY = root("registry")
PASSWORD = "Basic bWU6c2VjcmV0"
RULES = Rules(attempts=0, insecure=frozenset({"127.0.0.1"}))


@dataclass
class Server:
    """A registry, or who gives tokens; it notes what it is shown."""

    tls: bool
    challenge: str = ""
    redirects: str = ""
    shown: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""

    async def answer(self, request: web.Request) -> web.Response:
        held = request.headers.get("Authorization", "")
        self.shown.append((request.path, held))
        if request.path == "/token":
            return web.json_response({"token": "granted"})
        if self.redirects:
            return web.Response(status=307, headers={"Location": self.redirects + request.path})
        if not self.challenge or held == "Bearer granted":
            return web.json_response({"layers": []})
        return web.Response(status=401, headers={"WWW-Authenticate": self.challenge})

    async def start(self, folder: Path) -> web.AppRunner:
        app = web.Application()
        app.router.add_get("/{path:.*}", self.answer)
        runner = web.AppRunner(app)
        await runner.setup()
        context = None
        if self.tls:
            pair = AUTHORITY.signs("registry", authority=False, names=("registry.test",))
            (folder / "pair.pem").write_bytes(pair.pem + key_pem(pair.key))
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(folder / "pair.pem")
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        self.url = "{}://{}:{}".format("https" if self.tls else "http", *runner.addresses[0][:2])
        return runner


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[dict[str, Server]]:
    made = {name: Server(tls=name.startswith("https")) for name in ("https", "http", "https-2", "http-2")}
    runners = [await server.start(tmp_path) for server in made.values()]
    yield made
    for runner in runners:
        await runner.cleanup()


async def asked(registry: Server) -> None:
    name = ImageName.parse(f"{registry.url.partition('://')[2]}/team/filter:v1")
    await Image(Fetcher(RULES), name, Login(PASSWORD.removeprefix("Basic "))).manifest()


def seen(server: Server) -> list[str]:
    return [held for _, held in server.shown]


@pytest.mark.parametrize(("registry", "realm"), [("https", "https-2"), ("https", "https"), ("http", "http-2")])
async def test_who_gives_tokens_may_be_another_server(servers: dict[str, Server], registry: str, realm: str) -> None:
    """Docker Hub's is one; a registry without TLS has been allowed by the user."""
    servers[registry].challenge = f'Bearer realm="{servers[realm].url}/token",service="here"'
    await asked(servers[registry])
    assert ("/token", PASSWORD) in servers[realm].shown
    assert ("/v2/team/filter/manifests/v1", "Bearer granted") in servers[registry].shown


async def test_a_registry_with_tls_has_nobody_asked_for_tokens_in_plaintext(servers: dict[str, Server]) -> None:
    servers["https"].challenge = f'Bearer realm="{servers["http"].url}/token",service="here"'
    with pytest.raises(FetchError, match=r"has its tokens given without TLS, by http://127.0.0.1:\d+/token: it is not"):
        await asked(servers["https"])
    assert servers["http"].shown == []
    assert PASSWORD not in seen(servers["https"])


@pytest.mark.parametrize("kind", ["Bearer", "Basic"])
async def test_who_a_registry_redirects_to_gets_no_password(servers: dict[str, Server], kind: str) -> None:
    """Not even by naming a server that gives tokens, which may be its own."""
    servers["https"].redirects = servers["http"].url
    servers["http"].challenge = f'{kind} realm="{servers["https-2"].url}/token",service="there"'
    with pytest.raises(FetchError, match="answered with 401"):
        await asked(servers["https"])
    assert PASSWORD not in {held for server in servers.values() for held in seen(server)}


@pytest.mark.parametrize("scheme", ["https", "http"])
async def test_a_realm_that_is_no_url(servers: dict[str, Server], scheme: str) -> None:
    servers[scheme].challenge = 'Bearer realm="https://[/token"'
    with pytest.raises(FetchError, match=r"'https://\[/token' is no URL: "):
        await asked(servers[scheme])


async def test_a_registry_elsewhere_has_nobody_of_this_machine_asked_for_tokens() -> None:
    with pytest.raises(FetchError, match=r"a redirection to this machine, 127\.0\.0\.1, is not followed"):
        await Fetcher(RULES).get("http://127.0.0.1:15000/config_dump", named_by="https://192.0.2.1/v2/")
