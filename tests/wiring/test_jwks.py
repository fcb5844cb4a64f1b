"""Keys that the registry wants, fetched, and back in the registry."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from controlplane import metrics
from controlplane.model.objects import ChangeSet
from controlplane.registry.jwks import JWKS
from controlplane.registry.store import Registry
from controlplane.security.jwks_fetcher import AddressRules
from controlplane.watchers.reading import read
from controlplane.wiring.jwks import JwksResolver

POLICY = """
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: r, namespace: shop}
spec: {jwtRules: [{issuer: i, jwksUri: "%s/keys"}, {issuer: stated, jwks: '{"keys": []}'}]}
"""


@asynccontextmanager
async def issuer() -> AsyncIterator[str]:
    async def keys(_request: web.Request) -> web.Response:
        return web.json_response({"keys": []})

    application = web.Application()
    application.router.add_get("/keys", keys)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


class World:
    """A registry and the keys that it wants."""

    def __init__(self, rules: AddressRules | None, **environment: str) -> None:
        self.registry = Registry()
        self.keys = JwksResolver(self.registry, self.apply, environment, rules)

    def apply(self, changes: ChangeSet) -> None:
        self.registry.memo.invalidate(self.registry.apply(changes))

    def write(self, yaml: str) -> None:
        reading = read(yaml.encode(), "world.yaml")
        assert not reading.rejections
        self.apply(ChangeSet(upserts=tuple(reading.objects.values())))
        self.keys.changed()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.keys.run())
        try:
            await self.keys.first()
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


def fetches() -> tuple[float, float]:
    """Return how often keys were asked for and had, and not had."""
    values = {each.name: each.value for family in metrics.REGISTRY.collect() for each in family.samples}
    had, not_had = (f"pilot_jwks_resolver_network_fetch_{how}_total" for how in ("success", "fail"))
    return values[had], values[not_had]


async def test_what_a_policy_names_is_fetched_and_kept_as_an_object() -> None:
    had, not_had = fetches()
    async with issuer() as address:
        world = World(AddressRules(own=True))
        world.write(POLICY % address)
        async with world.running():
            (key,) = world.registry.keys(JWKS)
            assert key.name == f"{address}/keys"
            assert world.registry.objects[key].spec.jwks == '{"keys":[]}'
            assert world.keys.problems == ()
            assert fetches() == (had + 1, not_had)


async def test_this_machine_is_not_asked_and_that_is_said() -> None:
    had, not_had = fetches()
    async with issuer() as address:
        world = World(None)
        world.write(POLICY % address)
        async with world.running():
            assert world.registry.keys(JWKS) == ()
            assert world.keys.problems == (f"keys of tokens from {address}/keys: 127.0.0.1 is this machine's",)
            again = fetches()
            assert again[0] == had
            assert again[1] > not_had
