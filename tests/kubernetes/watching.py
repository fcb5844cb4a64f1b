"""What tests of watches share: edits of a real cluster, and what is in force in the end."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from controlplane.model.feeds import Feed
from controlplane.watchers.kubernetes.source import ClusterOptions, KubernetesSource
from controlplane.watchers.kubernetes.timing import Timing
from tests.kubernetes.objects import Writer, service, virtual_service
from tests.patience import patience
from tests.watchers.kubernetes.following import Followed, compiled, fresh

QUICK = Timing(first_pause=0.1, longest_pause=1.0, forbidden=0.5, discovery=0.2)
SERVICES = "/api/v1/namespaces/{}/services"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices"
VIRTUAL_SERVICES = "/apis/networking.istio.io/v1/namespaces/{}/virtualservices"
SPACES = ("red", "blue")


async def settle(follower: Followed, options: ClusterOptions) -> None:
    """Wait until what is in force equals a fresh list, and what is served is what would be built of that."""
    async with patience():
        while True:
            now = await fresh(options, QUICK)
            if dict(follower.objects) == dict(now) and follower.contents == await compiled(now):
                return
            await asyncio.sleep(0.2)


def feed(source: KubernetesSource, resource: str) -> Feed:
    """Return how one resource is doing."""
    return next(each for each in source.feeds if each.resource == resource)


def endpoint_slice(name: str, last: int, *, ready: bool = True) -> dict[str, Any]:
    """Return an EndpointSlice of a service, with one address."""
    return {
        "metadata": {"name": f"{name}-x", "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": [f"10.70.0.{last}"], "conditions": {"ready": ready}}],
    }


async def edit(writer: Writer, rng: random.Random) -> None:
    """Create, change or delete something."""
    name, space = f"e{rng.randrange(12)}", rng.choice(SPACES)
    match rng.randrange(3):
        case 0:
            path, body = SERVICES.format(space), service(name, rng.randrange(1, 9), color=rng.choice("abc"))
        case 1:
            path, body = VIRTUAL_SERVICES.format(space), virtual_service(name, rng.choice("abc"))
        case _:
            path, body = SLICES.format(space), endpoint_slice(name, rng.randrange(1, 9), ready=rng.random() < 0.5)
    place = f"{path}/{body['metadata']['name']}"
    match rng.randrange(3):
        case 0:
            await writer.request("DELETE", place, accepted=(404,))
        case 1:
            await writer.request("PATCH", place, body, accepted=(404,))
        case _:
            await writer.create(path, body)
