"""The sample that newcomers run first."""

from __future__ import annotations

import asyncio
import sys


async def test_make_run_once_holds_every_promise() -> None:
    """``make run ARGS=--once`` as a person would run it: it ends by itself, and every expectation held."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "samples.run", "--once", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output = (await asyncio.wait_for(process.communicate(), timeout=120))[0].decode()
    assert process.returncode == 0, output
    assert "FAILED" not in output
    for shown in (
        "route canary",
        "route testers",
        "route broken",
        "route moved",
        "/new/page",
        "ingressgateway.default",
    ):
        assert shown in output, output
