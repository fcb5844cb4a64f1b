"""What commands print that need nothing beside them: the examples of ``docs/reference/alone.txt``.

``--update-golden`` writes them anew. The first lines of ``serve`` are here too: it ends once it serves.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import sys

import pytest

from bench.subject import free_port
from docs.reference.commands import ALONE, blocks
from tests.cli.command import ROOT
from tests.patience import in_time

pytestmark = pytest.mark.slow

SERVES = "app.serving"


def same_each_time(text: str) -> str:
    """Return what a command printed, with what is another each time or on another machine as in the examples."""
    text = re.sub(r"iptables(?:-nft|-legacy)?-restore", "iptables-restore", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "2026-03-01T12:00:00Z", text)
    return re.sub(r'"milliseconds": [\d.]+', '"milliseconds": 1.2', text)


async def printed(command: str) -> str:
    """Run a command of the examples in their folder; of ``| head -n N`` take the first lines."""
    words, _, most = command.partition(" | head -n ")
    program, *arguments = shlex.split(words)
    assert program == "controlplane"
    ports = {"15010": free_port(), "15014": free_port()} if arguments[0] == "serve" else {}
    given = [
        *arguments,
        *(f"--{name}-port={ports[number]}" for name, number in (("xds", "15010"), ("monitoring", "15014")) if ports),
    ]
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("CONTROLPLANE_", "FORCE_COLOR"))}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "controlplane", *given),
        cwd=ROOT / "docs" / "examples",
        env=ours | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        text = await in_time(_until_it_serves(process) if ports else _whole(process))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    for number, ours_now in ports.items():
        text = text.replace(f":{ours_now}", f":{number}")
    lines = [f"{line.rstrip()}\n" for line in same_each_time(text).splitlines()]
    return "".join(lines[: int(most)] if most else lines)


async def _whole(process: asyncio.subprocess.Process) -> str:
    out, err = await process.communicate()
    return out.decode() + err.decode()


async def _until_it_serves(process: asyncio.subprocess.Process) -> str:
    assert process.stderr is not None
    text = ""
    while SERVES not in text:
        line = (await process.stderr.readline()).decode()
        assert line, text
        if '"event": "app.' not in line or SERVES in line:  # a busy machine may be told of, too
            text += line
    process.send_signal(signal.SIGTERM)
    await process.communicate()
    return text


async def test_an_example_says_what_the_command_says(request: pytest.FixtureRequest) -> None:
    examples = blocks(f"```console\n{ALONE.read_text(encoding='utf-8')}```\n")
    assert examples
    found = [(command, await printed(command)) for command, _ in examples]
    if request.config.getoption("--update-golden"):
        ALONE.write_text("".join(f"$ {command}\n{text}" for command, text in found), encoding="utf-8")
    assert found == blocks(f"```console\n{ALONE.read_text(encoding='utf-8')}```\n")
