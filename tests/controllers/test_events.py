"""Which Events are written, and what happens when the API server refuses or is away; ``tests/kubernetes`` has one."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio.client import ApiClient, Configuration
from structlog.testing import capture_logs

from controlplane.analysis.codes import Level
from controlplane.backoff import Backoff
from controlplane.controllers import events
from controlplane.controllers.events import LONGEST_MESSAGE, ObjectEvents, Told, event_of
from controlplane.model import kinds
from controlplane.model.objects import ObjectKey
from controlplane.model.problems import Problem, Sort
from controlplane.model.status import Received, Written
from tests.patience import until

KEY = ObjectKey(kinds.VIRTUAL_SERVICE, "shop", "reviews")
DELEGATE = Problem(KEY, Sort.FINDING, Level.ERROR, "there is no VirtualService shop/x", "spec.http[0].delegate", "C204")
REFUSED = Problem(KEY, Sort.REFUSED, Level.ERROR, "spec.hosts: is required")
RECEIVED = Received(KEY, "v1", "7", 2, Written(), uid="5e1f")


@dataclass
class Cluster:
    """An API server that holds Events and answers as it is told."""

    answers: list[int] = field(default_factory=list)
    held: dict[str, Any] = field(default_factory=dict)
    patched: list[str] = field(default_factory=list)
    asked: int = 0
    problems: tuple[Problem, ...] = ()
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def now(self, *problems: Problem) -> None:
        self.problems = problems
        self.changed.set()

    def each(self) -> Iterable[Problem]:
        return self.problems

    async def create(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        event = await request.json()
        name = event["metadata"]["name"]
        answer = self.answers.pop(0) if self.answers else 409 if name in self.held else 201
        if answer == 201:
            self.held[name] = event
        return web.json_response(event, status=answer)

    async def patch(self, request: web.Request) -> web.StreamResponse:
        assert request.content_type == "application/merge-patch+json"
        self.patched.append(request.match_info["name"])
        return web.json_response(self.held[self.patched[-1]] | await request.json())

    @property
    def messages(self) -> list[str]:
        return [each["message"] for each in self.held.values()]


@asynccontextmanager
async def running(cluster: Cluster) -> AsyncIterator[None]:
    app = web.Application()
    app.router.add_post("/api/v1/namespaces/{namespace}/events", cluster.create)
    app.router.add_patch("/api/v1/namespaces/shop/events/{name}", cluster.patch)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    async with ApiClient(Configuration(host=f"http://{host}:{port}")) as client:
        told = Told(cluster.each, {KEY: RECEIVED}.get, cluster.changed)
        task = asyncio.create_task(ObjectEvents(client, told, backoff=Backoff(0.001, 0.002)).run())
        try:
            yield
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await runner.cleanup()


async def eventually(condition: Callable[[], bool]) -> None:
    await until(condition, "what is expected of the Events")


async def test_each_problem_has_one_event_and_a_new_leader_renews_it() -> None:
    cluster = Cluster()
    cluster.now(DELEGATE)
    async with running(cluster):
        await eventually(lambda: len(cluster.held) == 1)
        cluster.now(DELEGATE, REFUSED)
        await eventually(lambda: len(cluster.held) == 2)
        assert cluster.asked == 2  # what is known is not told again
    async with running(cluster):
        cluster.changed.set()
        await eventually(lambda: len(cluster.patched) == 2)
        assert sorted(cluster.patched) == sorted(cluster.held)
    assert cluster.messages == [
        "spec.http[0].delegate: there is no VirtualService shop/x [C204]",
        "spec.hosts: is required",
    ]


async def test_what_has_gone_is_told_when_it_comes_back() -> None:
    cluster = Cluster()
    cluster.now(DELEGATE)
    async with running(cluster):
        await eventually(lambda: len(cluster.held) == 1)
        cluster.now()
        await eventually(lambda: not cluster.changed.is_set())
        cluster.now(DELEGATE)
        await eventually(lambda: len(cluster.patched) == 1)


@pytest.mark.parametrize(
    ("answers", "log", "held"),
    [
        pytest.param([500, 429, 503], "events.waiting", 2, id="away"),
        pytest.param([403], "events.refused", 1, id="refused"),
    ],
)
async def test_a_server_that_is_away_is_waited_for_and_one_that_refuses_is_not(
    answers: list[int], log: str, held: int
) -> None:
    cluster = Cluster(answers=list(answers))
    cluster.now(DELEGATE, REFUSED)
    with capture_logs() as logs:
        async with running(cluster):
            await eventually(lambda: len(cluster.held) == held)
    assert [each["event"] for each in logs] == [log]
    assert cluster.asked == len(answers) + held


async def test_a_namespace_with_many_problems_does_not_keep_others_waiting() -> None:
    def problem(namespace: str, reason: str) -> Problem:
        key = ObjectKey(kinds.VIRTUAL_SERVICE, namespace, "reviews")
        return Problem(key, Sort.FINDING, Level.ERROR, reason, code="C204")

    cluster = Cluster()
    cluster.now(*(problem("a", f"a {n}") for n in range(9)), problem("b", "b"), problem("c", "c"))
    async with running(cluster):
        await eventually(lambda: len(cluster.held) == 11)
        assert [message[0] for message in cluster.messages[:4]] == ["a", "b", "c", "a"]


async def test_others_have_their_turns_while_all_problems_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_BUSY_SECONDS", -1.0)
    loop, turns, seen = asyncio.get_running_loop(), list[int](), list[int]()

    class Many(Cluster):
        def each(self) -> Iterator[Problem]:
            for problem in (DELEGATE, REFUSED):
                seen.append(len(turns))
                loop.call_soon(turns.append, 1)
                yield problem

    cluster = Many()
    cluster.now(DELEGATE)
    async with running(cluster):
        await eventually(lambda: len(cluster.held) == 2)
    assert seen[:2] == [0, 1]


async def test_the_next_of_very_many_problems_is_found_without_a_look_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Turns(Counter[str]):
        def __getitem__(self, namespace: str) -> int:
            asked.append(namespace)
            return super().__getitem__(namespace)

    monkeypatch.setattr(events, "Counter", Turns)
    spaces = ("a", "b", "c")
    keys = [ObjectKey(kinds.VIRTUAL_SERVICE, space, f"v{n}") for space in spaces for n in range(3_500)]
    cluster = Cluster()
    cluster.now(*(Problem(key, Sort.REFUSED, Level.ERROR, "x") for key in keys))
    async with running(cluster):
        await eventually(lambda: len(cluster.held) >= 20)
    assert len(asked) <= len(spaces) * (cluster.asked + 1)


def test_a_long_name_ends_as_names_may() -> None:
    key = ObjectKey(kinds.VIRTUAL_SERVICE, "shop", "a" * 199 + ".b")
    event = event_of(Problem(key, Sort.REFUSED, Level.ERROR, "x"), None, datetime(2026, 3, 1, tzinfo=UTC))
    assert event["metadata"]["name"].startswith("a" * 199 + ".")
    assert ".." not in event["metadata"]["name"]


def test_an_event_names_its_object_so_that_kubectl_finds_it() -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    event = event_of(DELEGATE, RECEIVED, now)
    assert event["involvedObject"] == {
        "kind": "VirtualService",
        "namespace": "shop",
        "name": "reviews",
        "apiVersion": "networking.istio.io/v1",
        "uid": "5e1f",
        "resourceVersion": "7",
        "fieldPath": "spec.http[0].delegate",
    }
    assert (event["type"], event["reason"]) == ("Warning", "DelegateNotFound")
    assert (event["firstTimestamp"], event["metadata"]["namespace"]) == ("2026-03-01T00:00:00Z", "shop")
    assert event["metadata"]["name"].startswith("reviews.")
    secret = ObjectKey(kinds.SECRET, "shop", "web")
    core = event_of(Problem(secret, Sort.WARNING, Level.WARNING, "x"), replace(RECEIVED, key=secret), now)
    assert core["involvedObject"]["apiVersion"] == "v1"
    long = Problem(KEY, Sort.FINDING, Level.INFO, "x" * 3000, code="IST0118")
    told = event_of(long, None, now)
    assert len(told["message"]) <= LONGEST_MESSAGE
    assert told["message"].endswith(" ... [IST0118]")
    assert told["type"] == "Normal"
