"""No screen and no answer of the API holds the event loop for long: see ``tests/admin/test_loop.py``."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from dataclasses import replace

import pytest

from bench.turns import Turns
from controlplane.admin.sources import AdminSources
from controlplane.apis.virtual_service import VirtualService
from controlplane.model import kinds
from controlplane.model.delivery import Delivery
from controlplane.model.events import Event, Happened
from controlplane.model.objects import Meta, Object
from controlplane.model.problems import Problem, Sort
from tests.admin import world
from tests.admin.test_loop import MOST_SECONDS, OBJECTS, TRIES, large, read
from tests.api.test_api import PARTS

pytestmark = pytest.mark.slow
PAGES = [
    "/api/v1/overview",
    "/api/v1/proxies?limit=500",
    "/api/v1/proxies/client-7",
    "/api/v1/proxies/client-7/resources?type=LDS&limit=500",
    "/api/v1/proxies/client-7/resource?type=RDS&name=80",
    "/api/v1/comparison?one=client-7&other=client-8",
    "/api/v1/objects?limit=500",
    "/api/v1/objects/VirtualService/shop/vs-7",
    "/api/v1/findings?limit=500",
    "/api/v1/services?limit=500",
    "/api/v1/services/shop/svc-7.shop.svc.cluster.local",
    "/api/v1/topology",
    "/api/v1/events",
    "/api/v1/tasks",
    "/api/v1/openapi.json",
    "/ui",
    "/ui/proxies?limit=500",
    "/ui/proxies/client-7",
    "/ui/proxies/client-7/resource?type=RDS&name=80",
    "/ui/objects?limit=500",
    "/ui/objects/VirtualService/shop/vs-7",
    "/ui/problems?limit=500",
    "/ui/services?limit=500",
    "/ui/services/shop/svc-7.shop.svc.cluster.local",
    "/ui/topology",
    "/ui/changes",
    "/ui/plan?object=VirtualService/shop/vs-7",
    "/ui/compare?one=client-7&other=client-8",
    "/ui/compare/resource?one=client-7&other=client-8&type=RDS&name=80",
]


def objects() -> list[Object]:
    """Return as many VirtualServices, each of which leads a part of one service's traffic to another."""
    found = []
    for number in range(OBJECTS):
        route = [
            {"destination": {"host": f"svc-{number}"}, "weight": 90},
            {"destination": {"host": f"svc-{number + 1}"}, "weight": 10},
        ]
        spec = VirtualService.model_validate({"hosts": [f"svc-{number}"], "http": [{"route": route}] * 5})
        found.append(Object(kinds.VIRTUAL_SERVICE, Meta("shop", f"vs-{number}"), spec))
    return found


@pytest.fixture(scope="module")
def asked() -> Iterator[AdminSources]:
    held = objects()
    by_key = {each.key: each for each in held}
    problems = [Problem(each.key, Sort.FINDING, "Warning", "it is lost", "spec.hosts[0]") for each in held]
    known = replace(large(), objects=lambda: iter(held), object=by_key.get, problems=lambda: iter(problems))
    sent = Delivery()
    for number in range(4_000):
        sent.sent(1000)
        sent.answered(number / 1000)
    names, authors = tuple(f"VirtualService shop/vs-{n}" for n in range(10)), ("kubectl-client-side-apply",) * 10
    for number in range(500):
        known.timeline.add(Event(Happened.PUSHED, 10, changed=names, authors=authors, delivery=sent))
        assert known.timeline.last == number + 1
    gc.collect()
    gc.freeze()
    gc.disable()
    yield known
    gc.enable()
    gc.unfreeze()


@pytest.mark.parametrize("path", PAGES)
async def test_a_screen_holds_the_loop_for_a_moment_only(asked: AdminSources, path: str) -> None:
    async with world.serving(asked, parts=PARTS) as address:
        await asyncio.to_thread(read, address, path)  # templates are read once
        longest: list[float] = []
        while len(longest) < TRIES and min(longest, default=1.0) >= MOST_SECONDS:
            turns = Turns()
            turns.begin()
            size = await asyncio.to_thread(read, address, path)
            turns.end()
            assert size > 0
            longest.append(turns.longest)
    assert min(longest) < MOST_SECONDS
