"""``version``, of this program alone and beside a control plane."""

from __future__ import annotations

import json

from controlplane import ISTIO_VERSION, __version__
from tests.admin import world
from tests.cli.command import run

SERVER = f"{ISTIO_VERSION}-0.1.0-controlplane"
CLIENT = f"client version: {__version__}\n"


async def test_all_three() -> None:
    async with world.serving(world.sources()) as address:
        result = await run("version", "--control-plane", address)
    assert result.out == (
        f"{CLIENT}control plane version: {SERVER}\ndata plane version: 1.27.0 (1 proxy), unknown (1 proxy)\n"
    )
    assert (result.code, result.err) == (0, "")


async def test_json_has_istioctls_shape() -> None:
    async with world.serving(world.sources()) as address:
        result = await run("version", "--address", address, "-o", "json")
    assert json.loads(result.out) == {
        "clientVersion": {"version": __version__},
        "meshVersion": [{"Component": "pilot", "Info": {"version": SERVER}}],
        "dataPlaneVersion": [
            {"ID": "api-1.prod", "IstioVersion": "", "Type": "sidecar"},
            {"ID": "web-1.shop", "IstioVersion": "1.27.0", "Type": "sidecar"},
        ],
    }


async def test_a_control_plane_that_does_not_answer_is_a_problem() -> None:
    """The rest is told nevertheless."""
    result = await run("version", "--control-plane", "127.0.0.1:1")
    assert (result.code, result.out) == (1, CLIENT)
    assert "The control plane at 127.0.0.1:1 cannot be reached" in result.err


async def test_nobody_is_asked_if_it_is_not_wanted() -> None:
    for option in ("--no-remote", "--remote=false"):
        result = await run("version", option, "--control-plane", "127.0.0.1:1")
        assert (result.code, result.out, result.err) == (0, CLIENT, "")
