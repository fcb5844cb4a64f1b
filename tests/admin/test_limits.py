"""What callers of the monitoring port may take."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import aiohttp
import pytest

from controlplane.admin.access import is_of_another_site
from controlplane.admin.application import DEBUG_ENDPOINTS, OTHER_SITE
from controlplane.admin.sources import Read, Take
from controlplane.limits import Limits
from controlplane.simulate.questions import UnansweredError
from tests.admin import world

HEADERS = {"Content-Type": "application/json"}


class Asking:
    def __init__(self, address: str, session: aiohttp.ClientSession, reached: list[str]) -> None:
        self.address, self.session, self.reached = address, session, reached

    async def post(self, body: bytes | AsyncIterator[bytes]) -> tuple[int, str]:
        url = f"http://{self.address}/debug/plan"
        async with self.session.post(url, data=body, headers=HEADERS) as response:
            return response.status, await response.text()


@asynccontextmanager
async def asking(limits: Limits) -> AsyncIterator[Asking]:
    reached: list[str] = []
    sources = replace(world.sources(), limits=limits, reached=reached.append)
    async with world.serving(sources) as address, aiohttp.ClientSession() as session:
        yield Asking(address, session, reached)


async def unfinished(size: int, stop: asyncio.Event) -> AsyncIterator[bytes]:
    """Give the beginning of a body, and no end before somebody says so."""
    yield bytes(size)
    await stop.wait()


async def test_a_question_that_is_too_large() -> None:
    async with asking(Limits(max_question_size=1000)) as port:
        assert await port.post(bytes(1001)) == (413, "the body is over the limit of 1000 bytes\n")
        assert port.reached == ["max_question_size"]
        assert (await port.post(b"1"))[0] == 200


async def test_a_question_that_does_not_come() -> None:
    async with asking(Limits(question_timeout=timedelta(seconds=0.2))) as port:
        assert await port.post(unfinished(10, asyncio.Event())) == (408, "the body did not come in time\n")
        assert port.reached == ["question_timeout"]


async def test_questions_that_are_too_much_together() -> None:
    async with asking(Limits(max_question_bytes=100_000)) as port:
        stop = asyncio.Event()
        held = [asyncio.create_task(port.post(unfinished(40_000, stop))) for _ in range(2)]
        while not all(task.done() for task in held):
            status, _ = await port.post(b"1" * 40_000)
            if status == 503:
                break
            await asyncio.sleep(0.01)
        assert port.reached == ["max_question_bytes"]
        assert (await port.post(b"1"))[0] == 200, "there is room for small ones"
        stop.set()
        assert {status for status, _ in await asyncio.gather(*held)} == {200}
        assert (await port.post(b"1" * 80_000))[0] == 200, "the room was given back"


async def test_a_question_without_a_place_is_not_read() -> None:
    async def plan(_read: Read, _take: Take) -> None:
        raise UnansweredError("would be the fifth that is asked for at once: ask again later")

    async with world.serving(replace(world.sources(), plan=plan)) as address, aiohttp.ClientSession() as session:
        answer = await Asking(address, session, []).post(unfinished(10, asyncio.Event()))
    assert answer == (503, "The answer would be the fifth that is asked for at once: ask again later.\n")


async def test_an_answer_that_is_not_told_to_its_end_is_not_taken_for_a_whole() -> None:
    async def plan(_read: Read, take: Take) -> None:
        await take(b"{")
        raise UnansweredError("took longer than 60 s")

    async with world.serving(replace(world.sources(), plan=plan)) as address, aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientPayloadError):
            await Asking(address, session, []).post(b"{}")


async def test_idle_connections_make_room() -> None:
    async with asking(Limits(max_monitoring_connections=4)) as port:
        host, _, number = port.address.rpartition(":")
        opened = [await asyncio.open_connection(host, int(number)) for _ in range(7)]
        for reader, _ in opened[:3]:
            assert await reader.read() == b"", "the oldest of them are closed"
        assert port.reached == ["max_monitoring_connections"] * 3
        async with port.session.get(f"http://{port.address}/ready") as response:
            assert response.status == 200
        for _, writer in opened:
            writer.close()


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, False),
        ({"Sec-Fetch-Site": "none"}, False),
        ({"Sec-Fetch-Site": "same-origin"}, False),
        ({"Sec-Fetch-Site": "same-site"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, True),
        ({"Origin": "null", "Host": "localhost:15014"}, True),
        ({"Origin": "https://evil.test", "Host": "localhost:15014"}, True),
        ({"Origin": "http://localhost:8080", "Host": "localhost:15014"}, True),
        ({"Origin": "http://localhost:15014", "Host": "localhost:15014"}, False),
    ],
)
def test_what_a_browser_says_of_the_site(headers: Mapping[str, str], *, expected: bool) -> None:
    assert is_of_another_site(headers) is expected


@pytest.mark.parametrize("path", [*DEBUG_ENDPOINTS, "/debug/explain?object=vs/shop/web", "//debug/syncz"])
async def test_no_debug_page_answers_on_behalf_of_another_site(path: str) -> None:
    async with asking(Limits()) as port:
        headers = {**HEADERS, "Sec-Fetch-Site": "cross-site"}
        method = "POST" if path == "/debug/plan" else "GET"
        async with port.session.request(method, f"http://{port.address}{path}", headers=headers) as response:
            assert (response.status, await response.text()) == (403, OTHER_SITE)
