"""``/debug/configz``: the objects in force, in the shape in which Kubernetes has them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import aiohttp

from tests.admin import world
from tests.compiler.histories import manifest, parsed

NETWORKING = "networking.istio.io/v1beta1"


def rule(name: str, **spec: Any) -> dict[str, Any]:
    return manifest(NETWORKING, "DestinationRule", "shop", name, labels={"team": "a"}, spec={"host": name, **spec})


async def test_objects_in_force() -> None:
    """Each has the newest version of its kind and, of its spec, what was stated; durations as istiod writes them."""
    web = rule("web", trafficPolicy={"outlierDetection": {"interval": "5m"}})
    asked = replace(world.sources(), objects=lambda: [parsed(web), parsed(rule("cart"))])
    async with world.serving(asked) as address, aiohttp.ClientSession() as session:
        async with session.get(f"http://{address}/debug/configz") as response:
            found = await response.json()
        async with session.get(f"http://{address}/debug/configz?limit=1") as response:
            first, link = await response.json(), response.headers["Link"]
    meta = {"namespace": "shop", "labels": {"team": "a"}}
    assert found == [
        {
            "kind": "DestinationRule",
            "apiVersion": "networking.istio.io/v1",
            "metadata": {"name": name, **meta},
            "spec": {"host": name, **spec},
        }
        for name, spec in (("cart", {}), ("web", {"trafficPolicy": {"outlierDetection": {"interval": "300s"}}}))
    ]
    assert (first, "after=" in link) == (found[:1], True)
