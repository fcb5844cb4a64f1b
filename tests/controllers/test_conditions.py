"""How conditions are written when the API server refuses or is away; ``tests/kubernetes`` has a real one."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio.client import ApiClient, Configuration
from structlog.testing import capture_logs

from controlplane.analysis.findings import Finding
from controlplane.apis.virtual_service import VirtualService
from controlplane.controllers.conditions import Conditions, Inputs
from controlplane.controllers.status_writer import Outcome, Pace
from controlplane.model import kinds
from controlplane.model.objects import Meta, Object, ObjectKey
from controlplane.model.status import Received, Written, written
from tests.patience import PATIENCE_SECONDS, patience

FAST = Pace(per_second=1000, burst=10, scan=0.01, again=60, first_pause=0.01, longest_pause=0.05, tries=3)
TIMEOUT_SECONDS = PATIENCE_SECONDS
SETTLED_SECONDS = 0.3


def key(name: str) -> ObjectKey:
    return ObjectKey(kinds.VIRTUAL_SERVICE, "shop", name)


@dataclass
class Cluster:
    """An API server that answers as it is told, and otherwise takes patches of a status; and what is known of it."""

    answers: list[int | Callable[[], web.StreamResponse]] = field(default_factory=list)
    asked: list[tuple[str, Any]] = field(default_factory=list)
    received: dict[ObjectKey, Received] = field(default_factory=dict)
    objects: dict[ObjectKey, Object] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    echo: bool = True
    scans: int = 0
    scan_seconds: float = 0.0

    def put(self, name: str, version: str = "1", **fields: Any) -> None:
        """An object comes, or its newer version does."""
        held = self.received.get(key(name), Received(key(name), "v1", version, 1, Written()))
        self.received[key(name)] = held = replace(held, resource_version=version, **fields)
        spec = VirtualService(hosts=("a",))
        self.objects[key(name)] = Object(kinds.VIRTUAL_SERVICE, Meta("shop", name, generation=held.generation), spec)
        self.changed.set()

    def every(self) -> tuple[Received, ...]:
        """Return everything, and count how often that is asked for."""
        self.scans += 1
        time.sleep(self.scan_seconds)
        return tuple(self.received.values())

    async def patch(self, request: web.Request) -> web.StreamResponse:
        """Answer one patch; a good one comes back as through a watch."""
        name, operations = request.match_info["name"], await request.json()
        self.asked.append((name, operations))
        assert request.content_type == "application/json-patch+json"
        answer = self.answers.pop(0) if self.answers else 200
        if callable(answer):
            return answer()
        if answer != 200:
            return web.json_response({"kind": "Status", "message": f"no: {answer}"}, status=answer)
        if self.echo:
            held = self.received[key(name)]
            status = next(each["value"] for each in operations if each["path"] == "/status")
            self.put(name, str(int(held.resource_version) + 1), written=written(status))
        return web.json_response({})

    @property
    def names(self) -> list[str]:
        """What was asked for, in order."""
        return [name for name, _ in self.asked]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with patience():
            while not condition():
                await asyncio.sleep(0.01)


@pytest.fixture
async def cluster() -> Cluster:
    return Cluster()


@asynccontextmanager
async def running(cluster: Cluster, pace: Pace = FAST) -> AsyncIterator[Conditions]:
    """Run the writer against the cluster."""
    app = web.Application()
    path = "/apis/networking.istio.io/v1/namespaces/shop/virtualservices/{name}/status"
    app.router.add_patch(path, cluster.patch)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    outcomes: list[Outcome] = []
    inputs = Inputs(
        received=cluster.every,
        find=cluster.received.get,
        in_force=cluster.objects.get,
        findings=lambda: cluster.findings,
        changed=cluster.changed,
    )
    async with ApiClient(Configuration(host=f"http://{host}:{port}")) as client:
        writer = Conditions(client, inputs, pace, outcomes.append)
        task = asyncio.create_task(writer.run())
        try:
            yield writer
            assert not task.done()
            await cluster.until(lambda: len(outcomes) == len(cluster.asked))  # no answer is under way
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await runner.cleanup()
    answers = Counter(outcomes)
    assert writer.counts == replace(
        writer.counts,
        written=answers[Outcome.WRITTEN],
        conflicts=answers[Outcome.CONFLICT],
        gone=answers[Outcome.GONE],
        refused=answers[Outcome.REFUSED],
    )
    assert answers.total() == len(cluster.asked)  # nothing else, but those without an answer


async def test_what_is_written_is_not_written_again(cluster: Cluster) -> None:
    """Not before it comes back, nor then."""
    cluster.echo = False
    cluster.put("a")
    async with running(cluster) as writer:
        for _ in range(5):
            await asyncio.sleep(SETTLED_SECONDS / 5)
            cluster.changed.set()
        assert cluster.names == ["a"]
        status = next(each["value"] for each in cluster.asked[0][1] if each["path"] == "/status")
        cluster.put("a", "2", written=written(status))
        await asyncio.sleep(SETTLED_SECONDS)
        assert cluster.names == ["a"]
        assert writer.counts.written == 1


async def test_bad_news_comes_first_and_other_kinds_never(cluster: Cluster) -> None:
    cluster.put("a")
    cluster.put("z", problems=("spec.hosts: is required",))
    ingress = ObjectKey(kinds.INGRESS, "shop", "t")
    cluster.received[ingress] = replace(cluster.received[key("z")], key=ingress)
    async with running(cluster):
        await cluster.until(lambda: len(cluster.asked) == 2)
        await asyncio.sleep(SETTLED_SECONDS)
        assert cluster.names == ["z", "a"]


async def test_a_finding_that_comes_and_goes(cluster: Cluster) -> None:
    cluster.put("a")
    async with running(cluster):
        await cluster.until(lambda: reason(cluster, "a") == "Accepted")
        cluster.findings = (Finding(key("a"), "spec.hosts[0]", "shop/b has it", key("b")),)
        cluster.received[key("a")] = replace(cluster.received[key("a")], written=Written())
        cluster.changed.set()
        await cluster.until(lambda: reason(cluster, "a") == "Conflict")


async def test_a_refused_object_is_given_up_until_it_is_newer(cluster: Cluster) -> None:
    """The others go on, and the log says it once."""
    cluster.put("a")
    cluster.put("b")
    cluster.answers = [403, 200, 403, 403]
    with capture_logs() as logs:
        async with running(cluster) as writer:
            await cluster.until(lambda: writer.counts.given_up == {key("a")})
            cluster.changed.set()
            await asyncio.sleep(SETTLED_SECONDS)
            assert cluster.names == ["a", "b", "a", "a"]
            assert (writer.counts.written, writer.counts.refused) == (1, 3)
            cluster.put("a", "7")
            await cluster.until(lambda: reason(cluster, "a") == "Accepted")
            assert not writer.counts.given_up
    (entry,) = [each for each in logs if each["event"] == "status.refused"]
    assert (entry["status"], entry["reason"], entry["object"]) == (403, "no: 403", "VirtualService shop/a")


async def test_a_long_look_is_not_taken_all_the_time(cluster: Cluster) -> None:
    """However often somebody changes something: one of 50 ms each half second."""
    cluster.scan_seconds = 0.05
    cluster.put("a")
    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with running(cluster):
        for _ in range(100):
            cluster.changed.set()
            await asyncio.sleep(0.015)
    assert 2 <= cluster.scans <= 3 + (loop.time() - begun) / 0.4  # many times that without a pause


async def test_what_was_given_up_is_tried_again_after_a_time(cluster: Cluster) -> None:
    cluster.put("a")
    cluster.answers = [422]
    async with running(cluster, replace(FAST, tries=1, again=0.5)) as writer:
        await cluster.until(lambda: reason(cluster, "a") == "Accepted")
        assert (len(cluster.asked), writer.counts.refused) == (2, 1)


async def test_what_is_refused_and_no_longer_wanted_is_forgotten(cluster: Cluster) -> None:
    """It is not tried again, nor is everything looked at again because it was to be."""
    cluster.put("a")
    async with running(cluster, replace(FAST, first_pause=1.0, longest_pause=1.0)) as writer:
        await cluster.until(lambda: reason(cluster, "a") == "Accepted")
        cluster.answers = [422]
        cluster.findings = (Finding(key("a"), "spec.hosts[0]", "shop/b has it", key("b")),)
        cluster.changed.set()
        await cluster.until(lambda: writer.counts.refused == 1)
        cluster.findings = ()
        await asyncio.sleep(1.0 + SETTLED_SECONDS)
        scans = cluster.scans
        await asyncio.sleep(SETTLED_SECONDS)
        assert cluster.scans == scans
        assert cluster.names == ["a", "a"]


@pytest.mark.parametrize("code", [404, 409])
async def test_an_object_that_is_not_as_known_waits_for_the_watch(cluster: Cluster, code: int) -> None:
    cluster.put("a")
    cluster.answers = [code]
    async with running(cluster) as writer:
        await asyncio.sleep(SETTLED_SECONDS)
        cluster.changed.set()
        await asyncio.sleep(SETTLED_SECONDS)
        assert cluster.names == ["a"]
        cluster.put("a", "2")
        await cluster.until(lambda: writer.counts.written == 1)
        assert (writer.counts.conflicts + writer.counts.gone, writer.counts.refused) == (1, 0)


def cut() -> web.StreamResponse:
    """Answer with nothing: the connection breaks."""
    raise asyncio.CancelledError


@pytest.mark.parametrize("answer", [503, 500, 401, 429, cut])
async def test_an_api_server_that_is_away_is_nobodys_fault(cluster: Cluster, answer: Any) -> None:
    """However often it fails, no object is given up, and all are written in the end; the log says it once."""
    cluster.put("a")
    cluster.put("b")
    cluster.answers = [answer] * 6
    with capture_logs() as logs:
        async with running(cluster) as writer:
            await cluster.until(lambda: writer.counts.written == 2)
            assert writer.counts.refused == 0
    assert [each["event"] for each in logs if each["log_level"] != "debug"] == ["status.waiting"]


async def test_the_server_says_how_long_to_wait(cluster: Cluster) -> None:
    cluster.put("a")
    cluster.answers = [lambda: web.Response(status=429, headers={"Retry-After": "1"})]
    async with running(cluster) as writer:
        begun = asyncio.get_running_loop().time()
        await cluster.until(lambda: writer.counts.written == 1)
        assert asyncio.get_running_loop().time() - begun >= 0.9


async def test_an_object_is_written_as_it_is_by_then(cluster: Cluster) -> None:
    """Not as it was when it was found to differ, which may be long ago where many are."""
    for name in "abc":
        cluster.put(name)

    def meanwhile() -> web.StreamResponse:
        cluster.put("c", "2", problems=("spec.hosts: is required",))
        del cluster.received[key("b")]
        return web.json_response({})

    cluster.answers = [meanwhile]
    async with running(cluster):
        await cluster.until(lambda: reason(cluster, "c") == "Rejected")
        assert cluster.names == ["a", "c"]


def reason(cluster: Cluster, name: str) -> str:
    said = cluster.received[key(name)].written.condition
    return said.reason if said is not None else ""
