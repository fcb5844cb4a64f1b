"""Who keeps account of machines hears when each stream begins and ends, and how its workload is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
from google.rpc.status_pb2 import Status

from controlplane.ads.credential import Credential
from controlplane.ads.machines import Machines
from controlplane.ads.refusal import Refusal, StreamRefused
from controlplane.ads.server import AdsServer, Environment
from controlplane.ads.stream import HEALTH_TYPE_URL
from controlplane.ads.watch import CDS, Variant
from controlplane.model.proxy import Proxy
from controlplane.snapshots import Snapshot
from tests.ads.client import Client, OneSnapshot
from tests.patience import until


class Account(Machines):
    """Writes down what it hears; it refuses all while it has a reason."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.reason = ""
        self.slow = asyncio.Event()  # set where machines are registered at once
        self.slow.set()
        self.joining = 0

    async def joined(self, proxy: Proxy, credential: Credential) -> None:
        self.joining += 1
        if proxy.id.startswith("vm"):
            await self.slow.wait()
        if self.reason:
            raise StreamRefused(Refusal.PRECONDITION, self.reason)
        self.heard.append(f"joined {proxy.id} {credential.namespace}")

    def left(self, proxy: Proxy) -> None:
        self.heard.append(f"left {proxy.id}")

    def told_health(self, proxy: Proxy, problem: str) -> None:
        self.heard.append(f"health {proxy.id} {problem}")


@asynccontextmanager
async def served(account: Account) -> AsyncIterator[int]:
    """Serve an empty snapshot to all that may join."""
    server = AdsServer(OneSnapshot(Snapshot(1, {})), environment=Environment(machines=account))
    port = await server.add_port("127.0.0.1", 0)
    await server.start()
    try:
        yield port
    finally:
        await server.stop()


@pytest.mark.parametrize("variant", list(Variant), ids=["sotw", "delta"])
async def test_a_machine_joins_tells_and_leaves(variant: Variant) -> None:
    account = Account()
    async with served(account) as port:
        client = Client(port, variant)
        await client.ask(CDS)
        await client.read()
        await client.ask(HEALTH_TYPE_URL, error_detail=Status(message="no answer"))
        await client.ask(HEALTH_TYPE_URL)
        await until(lambda: len(account.heard) == 3)
        await client.close()
        await until(lambda: len(account.heard) == 4)
    assert account.heard == [
        "joined app.shop None",
        "health app.shop no answer",
        "health app.shop ",
        "left app.shop",
    ]


async def test_a_machine_that_may_not_join_is_told_why_and_has_not_left() -> None:
    account = Account()
    account.reason = "cannot find WorkloadGroup shop/db"
    async with served(account) as port:
        client = Client(port, Variant.DELTA)
        await client.ask(CDS)
        assert await client.ended() == (grpc.StatusCode.FAILED_PRECONDITION, account.reason)
        await client.close()
    assert account.heard == []


async def test_machines_whose_registration_takes_long_keep_no_other_proxy_out() -> None:
    account = Account()
    account.slow.clear()
    async with served(account) as port:
        machines = [
            Client(port, Variant.DELTA, f"sidecar~10.0.1.{n}~vm-{n}.shop~shop.svc.cluster.local") for n in range(8)
        ]
        for each in machines:
            await each.ask(CDS)
        await until(lambda: account.joining == 8)
        other = Client(port, Variant.DELTA)
        await other.ask(CDS)
        await other.read()
        assert account.heard == ["joined app.shop None"]
        account.slow.set()
        for each in machines:
            await each.read()
        for each in (*machines, other):
            await each.close()
        await until(lambda: len(account.heard) == 18)
