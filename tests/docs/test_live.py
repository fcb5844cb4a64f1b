"""What commands say beside a control plane that runs: the examples of ``docs/reference/live.txt``.

``--update-golden`` writes them anew. Times, ports and the name of the replica are others each time.
"""

from __future__ import annotations

import re
import shlex
import shutil
import socket
from pathlib import Path

import pytest

from docs.reference.commands import LIVE, blocks
from tests.cli.command import Result, run
from tests.feature.client import Variant, connected
from tests.feature.server import serving
from tests.patience import until

pytestmark = pytest.mark.slow

BOOKSHOP = LIVE.parents[1] / "examples" / "bookshop"
NODE = "sidecar~198.18.0.2~productpage-0.shop~shop.svc.cluster.local"
ADDRESS = "127.0.0.1:15014"


def same_each_time(text: str, monitoring: str, folder: Path) -> str:
    """Return what a command printed, with what is another each time as it stands in the examples."""
    text = text.replace(monitoring, ADDRESS).replace(f"{folder}/", "mesh/")
    text = re.sub(rf"{re.escape(socket.gethostname())}-\d+", "istiod-0", text)
    text = re.sub(r"127\.0\.0\.1:(?!15014\b)\d+", "127.0.0.1:40000", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "2026-03-01T12:00:00Z", text)
    return re.sub(r"\((?:\d+[dhms])+\)", "(3s)", text)


def told(result: Result) -> str:
    """Return the lines of both streams as a person reads them, the answer first."""
    lines = [*result.out.splitlines(), *result.err.splitlines()]
    return "".join(f"{line.rstrip()}\n" for line in lines)


def without_width(text: str) -> list[str]:
    """Return the words of each line: columns are as wide as what is in them."""
    return [" ".join(line.split()) for line in text.splitlines()]


async def test_an_example_beside_a_control_plane_says_what_the_command_says(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    mesh = tmp_path / "mesh"
    mesh.mkdir()
    for file in BOOKSHOP.glob("*.yaml"):
        shutil.copy(file, mesh)
    examples = blocks(f"```console\n{LIVE.read_text(encoding='utf-8')}```\n")
    assert examples
    found = []
    with serving(mesh) as server:
        async with connected(server.xds, Variant.DELTA, NODE):

            async def rests() -> bool:
                (_, overview), (_, findings) = [
                    await server.get(f"/api/v1/{name}") for name in ("overview", "findings")
                ]
                return overview["proxies"] == {"SYNCED": 1} and bool(findings["items"])

            await until(rests, "the proxy has everything, and what is wrong is known")
            for command, _ in examples:
                program, *arguments = shlex.split(command)
                assert program == "controlplane"
                places = {"report.tar.gz": str(tmp_path / "report.tar.gz"), ADDRESS: server.monitoring}
                given = [places.get(each, each) for each in arguments]
                result = await run(*given, environment={"CONTROLPLANE_ADDRESS": server.monitoring, "NO_COLOR": "1"})
                text = same_each_time(told(result).replace(f"{tmp_path}/report", "report"), server.monitoring, mesh)
                found.append((command, text))
    if request.config.getoption("--update-golden"):
        LIVE.write_text("".join(f"$ {command}\n{text}" for command, text in found), encoding="utf-8")
    assert [(command, without_width(text)) for command, text in found] == [
        (command, without_width(text))
        for command, text in blocks(f"```console\n{LIVE.read_text(encoding='utf-8')}```\n")
    ]
