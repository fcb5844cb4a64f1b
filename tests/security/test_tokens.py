"""Tokens that are asked about: how often, how many at once, and what counts when no answer comes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio.client import ApiClient, Configuration

from controlplane.security import tokens
from controlplane.security.refusal import CallRefused, Refusal
from controlplane.security.tokens import LONGEST_TOKEN, TokenReviews
from tests.patience import in_time, until
from tests.security.authorities import Clock
from tests.security.test_jwt import ISSUER, STRANGER, claims, key_set, token

NOW = datetime.now(UTC)
DEFAULT = "system:serviceaccount:shop:cart"


@dataclass
class ApiServer:
    """Reviews tokens: ``no`` are those of pods that are gone. ``answers`` may keep it from answering about any."""

    no: set[str] = field(default_factory=set)
    asked: Counter[str] = field(default_factory=Counter)
    at_once: int = 0
    most_at_once: int = 0
    answers: asyncio.Event = field(default_factory=asyncio.Event)
    status: int = 200
    url: str = ""

    async def review(self, request: web.Request) -> web.Response:
        presented = (await request.json())["spec"]["token"]
        self.asked[presented] += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if not _is_true(presented):
                await self.answers.wait()
        finally:
            self.at_once -= 1
        if self.status != 200:
            return web.json_response({"message": "too many"}, status=self.status)
        if presented in self.no or not _is_true(presented):
            return web.json_response(
                {"spec": {"token": ""}, "status": {"authenticated": False, "error": "the pod is gone"}}
            )
        user = {"username": DEFAULT, "groups": ["system:serviceaccounts"]}
        return web.json_response(
            {"spec": {"token": ""}, "status": {"authenticated": True, "user": user, "audiences": ["istio-ca"]}}
        )

    async def configuration(self, _request: web.Request) -> web.Response:
        return web.json_response({"issuer": ISSUER})

    async def keys(self, _request: web.Request) -> web.Response:
        return web.Response(body=key_set(), content_type="application/json")


def _is_true(presented: str) -> bool:
    return presented.split(".", maxsplit=1)[0] == TRUE.split(".")[0]


def stated(number: int) -> dict[str, Any]:
    """Return claims that hold now: the API server's answers say what time it is."""
    times = {"nbf": int(NOW.timestamp()) - 60, "exp": int(NOW.timestamp()) + 3600}
    return claims(jti=str(number), **times, **{"kubernetes.io": {}})


def of(number: int) -> str:
    """Return a token that the cluster has signed."""
    return token(stated(number))


def nonsense(number: int) -> str:
    """Return a token of a key that nobody knows."""
    return token(stated(number), STRANGER, kid="unknown")


TRUE, OTHER = of(0), of(1)


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    made = ApiServer()
    made.answers.set()
    app = web.Application()
    app.router.add_post("/apis/authentication.k8s.io/v1/tokenreviews", made.review)
    app.router.add_get("/.well-known/openid-configuration", made.configuration)
    app.router.add_get("/openid/v1/jwks", made.keys)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = "http://{}:{}".format(*runner.addresses[0][:2])
    yield made
    made.answers.set()
    await runner.cleanup()


@dataclass
class Checked:
    """What is tested, and whether the API server is away."""

    reviews: TokenReviews
    clock: Clock
    away: bool = False

    async def refusal(self, presented: str) -> CallRefused:
        with pytest.raises(CallRefused) as refused:
            await self.reviews.check(presented)
        return refused.value


@pytest.fixture
async def checked(server: ApiServer) -> AsyncIterator[Checked]:
    async with ApiClient(Configuration(host=server.url)) as api:
        clock = Clock(NOW)
        made = Checked(TokenReviews(api, ["istio-ca"], lambda: made.away, clock=clock), clock)
        assert await made.reviews.fetch_keys()
        await made.reviews.check(TRUE)  # learns what time it is there
        server.asked.clear()
        yield made


async def test_a_refusal_is_repeated_without_asking_for_a_while(server: ApiServer, checked: Checked) -> None:
    server.no.add(OTHER)
    for _ in range(5):
        assert "the pod is gone" in str(await checked.refusal(OTHER))
    assert server.asked == {OTHER: 1}
    checked.clock.pass_by(timedelta(minutes=1))
    server.no.clear()
    await checked.reviews.check(OTHER)
    assert server.asked == {OTHER: 2}


@pytest.mark.parametrize(
    "presented",
    [
        pytest.param(token(claims(), STRANGER), id="wrong-signature"),
        pytest.param(token(claims())[:-8] + "AAAAAAAA", id="changed"),
        pytest.param("nonsense", id="no-token"),
        pytest.param("a" * (LONGEST_TOKEN + 1), id="too-long"),
        pytest.param("e30.\udce4.x", id="no-text"),
        pytest.param("", id="empty"),
    ],
)
async def test_what_the_cluster_has_not_signed_is_never_asked_about(
    server: ApiServer, checked: Checked, presented: str
) -> None:
    assert (await checked.refusal(presented)).kind is Refusal.UNAUTHENTICATED
    assert not server.asked


async def test_one_token_of_many_streams_is_asked_about_once(server: ApiServer, checked: Checked) -> None:
    presented = nonsense(0)
    server.answers.clear()
    asking = [asyncio.create_task(checked.refusal(presented)) for _ in range(50)]
    while not server.asked:
        await asyncio.sleep(0.001)
    asking[0].cancel()  # its stream has ended
    server.answers.set()
    done = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(done[0], asyncio.CancelledError)
    assert {str(each) for each in done[1:]} == {"token: the pod is gone"}
    assert server.asked == {presented: 1}


async def test_a_flood_of_nonsense_delays_no_true_token(server: ApiServer, checked: Checked) -> None:
    """It is made with a key that may be new; the API server takes its time with it."""
    server.answers.clear()
    flood = [asyncio.create_task(checked.refusal(nonsense(number))) for number in range(300)]
    await until(lambda: sum(task.done() for task in flood) > 200)
    for number in range(20):
        await in_time(checked.reviews.check(of(100 + number)))
    assert server.most_at_once <= 8 + 1
    refused_at_once = [task.result() for task in flood if task.done()]
    assert {each.kind for each in refused_at_once} == {Refusal.UNAVAILABLE}
    server.answers.set()
    rest = await asyncio.gather(*flood)
    assert {each.kind for each in rest} == {Refusal.UNAVAILABLE, Refusal.UNAUTHENTICATED}


async def test_who_must_be_asked_about_is_not_let_in_by_an_api_server_that_is_only_busy(
    server: ApiServer, checked: Checked
) -> None:
    server.status = 429
    for _ in range(3):
        refused = await checked.refusal(OTHER)
        assert refused.kind is Refusal.UNAVAILABLE
        assert "cannot be checked now" in str(refused)
    checked.clock.pass_by(timedelta(minutes=6))  # the review of this one is not fresh any more
    assert (await checked.refusal(TRUE)).kind is Refusal.UNAVAILABLE
    checked.away = True
    assert (await checked.reviews.check(OTHER)).username == DEFAULT
    assert (await checked.reviews.check(TRUE)).username == DEFAULT


async def test_who_was_refused_once_is_never_let_in_without_asking(
    server: ApiServer, checked: Checked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does a flood make it forgotten."""
    monkeypatch.setattr(tokens, "_MOST_REMEMBERED", 20)
    server.no.add(OTHER)
    await checked.refusal(OTHER)
    for number in range(50):
        await checked.refusal(nonsense(number))
    checked.clock.pass_by(timedelta(minutes=2))
    server.status, checked.away = 503, True
    for _ in range(3):
        refused = await checked.refusal(OTHER)
        assert refused.kind is Refusal.UNAUTHENTICATED
        assert "the pod is gone" in str(refused)
    assert (await checked.reviews.check(of(7))).username == DEFAULT
