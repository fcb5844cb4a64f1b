"""Keys of tokens, fetched from real servers: what is taken, what is refused, what is asked again."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from controlplane.security.jwks_fetcher import MAX_BYTES, AddressRules, JwksFetcher, JwksLocation, networks
from tests.patience import PATIENCE_SECONDS, patience

KEYS = {"keys": [{"kty": "oct", "k": "AA", "kid": "a"}]}
TEXT = json.dumps(KEYS, sort_keys=True, separators=(",", ":"))
TIMEOUT = timedelta(seconds=PATIENCE_SECONDS)
HERE = AddressRules(own=True)

Answer = Callable[[web.Request], web.StreamResponse]


@asynccontextmanager
async def server(**answers: Any) -> AsyncIterator[str]:
    """Run a server on loopback that answers by path; yield its address."""
    application = web.Application()

    def handler(answer: Any) -> Any:
        async def handle(request: web.Request) -> web.StreamResponse:
            found = answer(request) if callable(answer) else answer
            return await found if asyncio.iscoroutine(found) else web.json_response(found)

        return handle

    for path, answer in answers.items():
        application.router.add_get(f"/{path.replace('__', '/')}", handler(answer))
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


class Kept:
    """What a fetcher published, newest last, and the fetcher while it runs."""

    def __init__(self, rules: AddressRules | None = HERE, refresh: timedelta = timedelta(minutes=20)) -> None:
        self.published: list[tuple[JwksLocation, str | None]] = []
        self.fetcher = JwksFetcher(lambda *what: self.published.append(what), rules=rules, refresh=refresh)

    @asynccontextmanager
    async def running(self, *locations: JwksLocation, at_most: timedelta = TIMEOUT) -> AsyncIterator[Kept]:
        """Run until left, once each of these locations has answered or failed."""
        self.fetcher.want(dict.fromkeys(locations, at_most))
        task = asyncio.create_task(self.fetcher.run())
        try:
            await self.fetcher.asked_once(2 * TIMEOUT)
            yield self
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def until(self, held: Callable[[], bool]) -> None:
        async with patience():
            while not held():
                await asyncio.sleep(0.01)


async def test_keys_are_taken_from_an_address_and_by_discovery() -> None:
    async def discovery(request: web.Request) -> web.Response:
        return web.json_response({"jwks_uri": f"http://{request.host}/keys"})

    answers = {"keys": KEYS, ".well-known__openid-configuration": discovery}
    async with server(**answers) as address:
        stated, discovered = JwksLocation(f"{address}/keys"), JwksLocation("", f"{address}/")
        async with Kept().running(stated, discovered) as kept:
            assert sorted(kept.published) == sorted([(stated, TEXT), (discovered, TEXT)])
            assert kept.fetcher.problems == ()


async def test_keys_are_told_when_they_are_others_and_when_nobody_wants_them() -> None:
    asked = 0

    def keys(_request: web.Request) -> Any:
        nonlocal asked
        asked += 1
        return answer({"keys": [{"kty": "oct", "k": "AA", "kid": "new" if asked > 3 else "old"}]})

    async def answer(value: Any) -> web.Response:
        return web.json_response(value)

    async with server(keys=keys) as address:
        location = JwksLocation(f"{address}/keys")
        async with Kept(refresh=timedelta(milliseconds=20)).running(location) as kept:
            await kept.until(lambda: asked > 5)
            assert [text and json.loads(text)["keys"][0]["kid"] for _, text in kept.published] == ["old", "new"]
            kept.fetcher.want({})
            await kept.until(lambda: kept.published[-1] == (location, None))


async def test_the_last_good_keys_stay_and_a_place_that_failed_is_asked_again() -> None:
    asked = 0

    async def keys(_request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.json_response(KEYS) if asked in {1, 3} else web.Response(status=500)

    async with server(keys=keys) as address:
        location = JwksLocation(f"{address}/keys")
        async with Kept(refresh=timedelta(milliseconds=20)).running(location) as kept:
            await kept.until(lambda: asked >= 2 and kept.fetcher.problems != ())
            assert kept.fetcher.problems == ((location, "the answer has status 500"),)
            await kept.until(lambda: kept.fetcher.problems == () or asked > 3)
            assert kept.published == [(location, TEXT)], "failures take nothing away"


async def _slow(_request: web.Request) -> web.Response:
    await asyncio.sleep(10 * PATIENCE_SECONDS)
    return web.json_response(KEYS)


async def _endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    with contextlib.suppress(ConnectionError):
        for _ in range(MAX_BYTES // 1000):
            await response.write(b" " * 2000)
    return response


async def _redirect(to: str) -> web.Response:
    return web.Response(status=302, headers={"location": to})


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(_slow, "no answer in time", id="slow"),
        pytest.param(_endless, f"the answer is longer than {MAX_BYTES} bytes", id="endless"),
        pytest.param({"keys": {}}, "the answer is no JSON web key set: it has no list of keys", id="no-list"),
        pytest.param({"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}, "512 to 16384 bits", id="no-usable-key"),
        pytest.param({"keys": [], "a": 10**400}, "a number is too large", id="no-json-of-envoy"),
        pytest.param(["keys"], "the answer is no JSON object", id="no-object"),
        pytest.param(lambda _: _redirect("http://169.254.169.254/x"), "of the local network alone", id="metadata"),
        pytest.param(lambda _: _redirect("http://[fd00:ec2::254]/x"), "in a range that is not asked", id="metadata-6"),
        pytest.param(lambda _: _redirect("http://[fd20:ce::254]/x"), "in a range that is not asked", id="google"),
        pytest.param(lambda _: _redirect("http://168.63.129.16/x"), "in a range that is not asked", id="azure"),
        pytest.param(lambda _: _redirect("http://[64:ff9b::a9fe:a9fe]/x"), "of the local network", id="nat64"),
        pytest.param(lambda _: _redirect("http://10.9.8.7/x"), "in a range that is not asked", id="configured"),
        pytest.param(lambda _: _redirect("http://[::ffff:169.254.1.1]/x"), "of the local network", id="mapped"),
        pytest.param(lambda _: _redirect("file:///etc/passwd"), "file", id="file"),
        pytest.param(lambda request: _redirect(str(request.url)), "", id="round-and-round"),
    ],
)
async def test_what_is_refused(answer: Any, reason: str) -> None:
    rules = AddressRules(networks("10.9.0.0/16, nonsense"), own=True)
    async with server(keys=answer) as address:
        location = JwksLocation(f"{address}/keys")
        at_most = timedelta(seconds=0.5) if answer is _slow else TIMEOUT
        async with Kept(rules).running(location, at_most=at_most) as kept:
            ((failed, problem),) = kept.fetcher.problems
            assert failed == location
            assert reason in problem
            assert problem
            assert kept.published == []


async def test_the_machine_itself_is_not_asked() -> None:
    async with server(keys=KEYS) as address:
        for host in (address, address.replace("127.0.0.1", "localhost")):
            async with Kept(AddressRules()).running(JwksLocation(f"{host}/keys")) as kept:
                ((_, problem),) = kept.fetcher.problems
                assert "is this machine's" in problem
                assert kept.published == []


async def test_an_error_that_nobody_foresaw_is_that_of_one_location() -> None:
    """Whether reading or publishing ends with it: the others are asked and told, and it is asked again."""
    reads, told, good, hidden = (JwksLocation(name) for name in ("reads", "told", "good", "hidden"))
    published: list[JwksLocation] = []

    async def read(_session: aiohttp.ClientSession, location: JwksLocation) -> str:
        if location == reads:
            raise RuntimeError("unforeseen")
        return TEXT

    def publish(location: JwksLocation, _text: str | None) -> None:
        if location == told:
            raise RuntimeError("unforeseen, too")
        published.append(location)

    fetcher = JwksFetcher(publish, read=read)
    fetcher.want(dict.fromkeys((reads, told, good), TIMEOUT))
    task = asyncio.create_task(fetcher.run())
    await fetcher.asked_once(2 * TIMEOUT)
    assert fetcher.problems == ((reads, "RuntimeError: unforeseen"), (told, "RuntimeError: unforeseen, too"))
    fetcher.want(dict.fromkeys((reads, told, good, hidden), TIMEOUT))
    await fetcher.asked_once(2 * TIMEOUT)
    assert published == [good, hidden]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
