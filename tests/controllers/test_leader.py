"""How a lease is taken and given back when requests of it meet others; ``tests/kubernetes`` has a real API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio.client import ApiClient, Configuration

from controlplane.controllers.leader import Leadership, LeaseTimes
from tests.patience import PATIENCE_SECONDS, patience

TIMEOUT_SECONDS = PATIENCE_SECONDS
PATH = "/apis/coordination.k8s.io/v1/namespaces/istio-system/leases"


@dataclass
class Leases:
    """An API server that knows one lease, ``None`` before there is one, and notes each write.

    The next replacement meets ``meanwhile``, if there is any: a newer lease. ``answering`` holds up answers to writes.
    """

    lease: dict[str, Any] | None = None
    version: int = 0
    meanwhile: list[dict[str, Any]] = field(default_factory=list)
    holders: list[str] = field(default_factory=list)
    answering: asyncio.Event = field(default_factory=asyncio.Event)
    written: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    @property
    def holder(self) -> str:
        return self.lease["spec"].get("holderIdentity", "") if self.lease is not None else ""

    def store(self, lease: dict[str, Any]) -> None:
        self.version += 1
        self.lease = {"metadata": {"name": "l", "resourceVersion": str(self.version)}, "spec": lease["spec"]}

    async def read(self, _request: web.Request) -> web.Response:
        return web.json_response(self.lease, status=200 if self.lease is not None else 404)

    async def write(self, request: web.Request) -> web.Response:
        """Store a lease, unless it was made of an older version."""
        given = await request.json()
        if self.meanwhile and request.method == "PUT":
            self.store(self.meanwhile.pop(0))
        if given["metadata"].get("resourceVersion", str(self.version)) != str(self.version):
            return web.json_response({"message": "the object has been modified"}, status=409)
        self.store(given)
        self.holders.append(self.holder)
        self.written.set()
        await self.answering.wait()
        return web.json_response(self.lease)


@pytest.fixture
async def leases() -> AsyncIterator[Leases]:
    leases = Leases()
    leases.answering.set()
    app = web.Application()
    app.router.add_get(f"{PATH}/l", leases.read)
    app.router.add_put(f"{PATH}/l", leases.write)
    app.router.add_post(PATH, leases.write)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    leases.url = "http://{}:{}".format(*runner.addresses[0][:2])
    yield leases
    leases.answering.set()
    await runner.cleanup()


def held(holder: str, seconds: int) -> dict[str, Any]:
    spec = {"holderIdentity": holder, "leaseDurationSeconds": seconds, "renewTime": "2026-01-01T00:00:00.000000Z"}
    return {"spec": spec}


async def work() -> None:
    await asyncio.Event().wait()


def candidate(api: ApiClient, times: LeaseTimes | None = None) -> Leadership:
    return Leadership(api, ("istio-system", "l"), "me", work, times)


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


async def until_leading(leadership: Leadership) -> None:
    async with patience():
        while not leadership.leads:
            await asyncio.sleep(0.01)


async def test_it_is_given_back_although_a_renewal_came_in_between(leases: Leases) -> None:
    """One that was on its way when the program was told to stop."""
    async with ApiClient(Configuration(host=leases.url)) as api:
        leadership = candidate(api)
        running = asyncio.create_task(leadership.run())
        await until_leading(leadership)
        assert leadership.holder == "me"
        leases.meanwhile = [held("me", 30)]
        await ended(running)
        assert leadership.holder == ""
    assert leases.holders == ["me", ""]
    assert leases.meanwhile == []


@pytest.mark.parametrize("there", [None, held("", 1)], ids=["new", "given-back"])
async def test_it_is_given_back_although_nobody_knew_that_it_was_taken(
    leases: Leases, there: dict[str, Any] | None
) -> None:
    """The program was told to stop before the API server answered."""
    if there is not None:
        leases.store(there)
    leases.answering.clear()
    async with ApiClient(Configuration(host=leases.url)) as api:
        running = asyncio.create_task(candidate(api).run())
        async with patience():
            await leases.written.wait()
        leases.answering.set()
        await ended(running)
    assert leases.holders == ["me", ""]


async def test_that_of_another_stays(leases: Leases) -> None:
    """Also where this one had it before: then it stops at once."""
    async with ApiClient(Configuration(host=leases.url)) as api:
        leadership = candidate(api, LeaseTimes(retry=timedelta(seconds=0.05)))
        running = asyncio.create_task(leadership.run())
        await until_leading(leadership)
        leases.store(held("other", 30))
        async with patience():  # the deadline is later
            while leadership.leads:
                await asyncio.sleep(0.01)
        assert leadership.holder == "other"
        await ended(running)
    assert leases.holder == "other"
    assert "" not in leases.holders


async def test_one_that_runs_out_between_two_attempts_is_taken_then(leases: Leases) -> None:
    leases.store(held("dead", 1))
    loop = asyncio.get_running_loop()
    async with ApiClient(Configuration(host=leases.url)) as api:
        leadership = candidate(api, LeaseTimes(retry=timedelta(seconds=30)))
        begun = loop.time()
        running = asyncio.create_task(leadership.run())
        await until_leading(leadership)
        assert loop.time() - begun >= 1
        await ended(running)
    assert leases.holders == ["me", ""]


@pytest.mark.parametrize("lost", [False, True])
async def test_work_that_fails_as_it_is_ended_is_told(leases: Leases, *, lost: bool) -> None:
    """By the end of ``run``, and not by a task that nobody waits for; the lease is given back all the same."""

    async def stubborn() -> None:
        try:
            await work()
        finally:
            raise OSError("cannot be closed")

    async with ApiClient(Configuration(host=leases.url)) as api:
        leadership = Leadership(api, ("istio-system", "l"), "me", stubborn, LeaseTimes(retry=timedelta(seconds=0.05)))
        running = asyncio.create_task(leadership.run())
        await until_leading(leadership)
        if lost:
            leases.store(held("another", 30))
        else:
            running.cancel()
        await asyncio.wait([running])
        assert isinstance(running.exception(), OSError)
        assert leases.holder == ("another" if lost else "")
