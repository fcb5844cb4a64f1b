"""Commands ask all replicas of a control plane: each proxy is connected to one of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.command import Result, run
from tests.feature.client import NODE_ID, connected
from tests.feature.objects import GOOD, MESH, virtual_service
from tests.feature.server import serving

OTHER = NODE_ID.replace("10.9.0.1", "10.9.0.2").replace("client-1", "client-2")
NOBODY = "127.0.0.1:9"


@pytest.fixture
def addresses(tmp_path: Path) -> Iterator[tuple[list[str], list[str]]]:
    """The xDS and monitoring addresses of two control planes for one mesh."""
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    with serving(folders[0], *MESH, GOOD) as one, serving(folders[1], *MESH, GOOD) as two:
        yield [one.xds, two.xds], [one.monitoring, two.monitoring]


async def test_answers_are_of_the_proxies_of_all(addresses: tuple[list[str], list[str]], tmp_path: Path) -> None:
    xds, monitoring = addresses
    where = ("--address", ",".join(monitoring))
    first, second = (node.split("~")[2] for node in (NODE_ID, OTHER))
    assert first != second
    change = tmp_path / "change.yaml"
    slower = virtual_service({"timeout": "7s", "route": [{"destination": {"host": "cart"}}]})
    change.write_text(yaml.safe_dump(slower))

    async def answer(*command: str) -> Any:
        done: Result = await run(*command, *where, "-o", "json")
        assert done.code in {0, 2}, done.out + done.err
        return json.loads(done.out)

    async with connected(xds[0]), connected(xds[1], node_id=OTHER):
        assert [each["proxy"] for each in await answer("status")] == sorted((first, second))
        assert {each["ID"] for each in (await answer("version"))["dataPlaneVersion"]} == {first, second}
        explained = await answer("explain", "vs/shop/cart")
        assert (explained["proxyCount"], explained["effect"]["proxyCount"]) == (2, 2)
        assert explained["delivery"]["states"] == {"RDS": {"SYNCED": 2}}
        planned = await answer("plan", "-f", str(change))
        assert (planned["proxyCount"], planned["totals"]["proxies"]) == (2, 2)
        assert planned["totals"]["resources"] == {"RDS": {"changed": 1}}
        assert planned["objects"][0]["effect"]["proxyCount"] == 2
        text = await run("plan", "-f", str(change), *where)
        assert text.out.startswith(f"Against 2 replicas (the control plane at {monitoring[0]}, "), text.out + text.err
        for proxy in (first, second):
            held = await run("proxy-config", "cluster", proxy, "--source", "control-plane", *where)
            assert (held.code, "cart.shop" in held.out) == (0, True), held.err
        partly = await run("status", "--address", f"{monitoring[0]},{NOBODY}")
        assert (partly.code, first in partly.out, second in partly.out) == (0, True, False)
        assert f"Warning: the control plane at {NOBODY} did not answer, and its proxies are not counted" in partly.err


async def test_who_is_asked_is_said_once_and_right(tmp_path: Path) -> None:
    """Where no address is given and no cluster is named, what is missing is said."""
    both = await run("status", "--address", NOBODY, "--kubeconfig", str(tmp_path / "config"))
    assert (both.code, "give either an address or a cluster" in both.err) == (2, True)
    gone = await run("status", "--kubeconfig", str(tmp_path / "config"))
    assert gone.code == 1
    assert f"--kubeconfig: there is no file {tmp_path / 'config'}" in gone.err
