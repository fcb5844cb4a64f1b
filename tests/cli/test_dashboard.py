"""``dashboard``: the address of the page, and a browser that is told it."""

from __future__ import annotations

from pathlib import Path

from tests.admin import world
from tests.api.test_api import PARTS
from tests.cli.command import run


async def test_the_browser_is_told_the_address_that_is_printed(tmp_path: Path) -> None:
    browser, told = tmp_path / "browser", tmp_path / "told"
    browser.write_text(f'#!/bin/sh\necho "$1" > {told}\n')
    browser.chmod(0o755)
    async with world.serving(world.sources(), parts=PARTS) as address:
        result = await run("dashboard", "--address", address, environment={"BROWSER": str(browser)})
    assert (result.code, result.out, result.err) == (0, f"http://{address}/ui\n", "")
    assert told.read_text() == f"http://{address}/ui\n"


async def test_without_a_browser_the_address_is_printed(tmp_path: Path) -> None:
    browser = tmp_path / "none"
    async with world.serving(world.sources(), parts=PARTS) as address:
        result = await run("dashboard", "--address", address, "--no-browser", environment={"BROWSER": str(browser)})
    assert (result.code, result.out, result.err) == (0, f"http://{address}/ui\n", "")


async def test_a_control_plane_that_does_not_answer_is_told_at_once() -> None:
    result = await run("dashboard", "--address", "127.0.0.1:1")
    assert result.code == 1
    assert "The control plane at 127.0.0.1:1 cannot be reached" in result.err


async def test_a_control_plane_without_a_page_is_told() -> None:
    async with world.serving(world.sources()) as address:
        result = await run("dashboard", "--address", address)
    assert result.code == 1
    assert "answered 404" in result.err
