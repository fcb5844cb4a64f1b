"""``admin log``: what a control plane logs is changed while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.cli.command import Result, run
from tests.feature.objects import GOOD, MESH
from tests.feature.server import Server, serving


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path, *MESH, GOOD) as running:
        yield running


def scopes(result: Result) -> dict[str, str]:
    assert result.code == 0, result.err
    rows = [line.split() for line in result.out.splitlines()[1:]]
    return {name: level for name, level in rows if name != "SCOPE"}


async def test_levels_are_shown_set_and_reset(server: Server) -> None:
    where = ("--address", server.monitoring)
    before = scopes(await run("admin", "log", *where))
    assert (before["ads"], before["registry"]) == ("info", "info")
    after = scopes(await run("admin", "log", "--level", "ads:debug,registry:error", *where))
    assert (after["ads"], after["registry"], after["watchers"]) == ("debug", "error", "info")
    assert set(scopes(await run("admin", "log", "--level", "warning", *where)).values()) >= {"warning"}
    assert scopes(await run("admin", "log", "--reset", *where)) == before


async def test_what_is_none_is_told_and_changes_nothing(server: Server) -> None:
    where = ("--address", server.monitoring)
    for level, reason in (("ads:loud", "'loud' is no level"), ("nothing:debug", "'nothing' is no scope")):
        wrong = await run("admin", "log", "--level", level, *where)
        assert (wrong.code, reason in wrong.err) == (2, True), wrong.err
    nobody = await run("admin", "log", "istiod-x", *where)
    assert (nobody.code, "no replica is called istiod-x" in nobody.err) == (1, True), nobody.err


async def test_who_silences_the_log_is_told_of_in_it(server: Server) -> None:
    assert (await run("admin", "log", "--level", "error", "--address", server.monitoring)).code == 0
    told = await server.event("admin.log_level_asked_for", scope="all", output_level="error")
    assert told["level"] == "warning"


async def test_a_web_page_of_elsewhere_cannot_set_it(server: Server) -> None:
    async with aiohttp.ClientSession(f"http://{server.monitoring}") as session:
        for headers, body, status in (
            ({"Content-Type": "text/plain"}, '{"output_level": "debug"}', 415),
            ({"Content-Type": "application/json", "Host": "evil.example.com"}, '{"output_level": "debug"}', 403),
            ({"Content-Type": "application/json"}, "[]", 400),
            ({"Content-Type": "application/json"}, "{", 400),
        ):
            async with session.put("/debug/scopej/ads", data=body, headers=headers) as response:
                assert response.status == status, await response.text()
