"""What is told of an object that is only tried: the plan in short, in time, and never a refusal."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from controlplane.compiler.compiler import Compiler
from controlplane.model.objects import ChangeSet
from controlplane.model.proxy import Proxy
from controlplane.plan.short import LONGEST, MOST_PROBLEMS, short_lines
from controlplane.registry.store import Registry
from controlplane.webhooks.advice import BUSY, LARGEST, LATE, MOST_AT_ONCE, TOO_LARGE, Advisor
from controlplane.webhooks.review import Request, answer, request_of
from controlplane.webhooks.validation import validate
from controlplane.wiring.advice import planned
from controlplane.wiring.forking import Take
from controlplane.wiring.questions import Around, Questions
from tests.feature.objects import Json, service, to, virtual_service
from tests.wiring.test_analysis import parsed

WEB = Proxy("sidecar", "web.shop", ("10.0.0.9",), "shop", "shop.svc.cluster.local", {})


def review(obj: Json, **fields: Any) -> bytes:
    """Return a review as Kubernetes' API server writes it."""
    request = {
        "uid": "u",
        "kind": {"group": "networking.istio.io", "version": "v1", "kind": obj["kind"]},
        "operation": "CREATE",
        "namespace": "shop",
        "object": obj,
        "dryRun": True,
    }
    held = {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request | fields}
    return json.dumps(held, separators=(",", ":")).encode()


async def shop() -> Questions:
    """Return what answers for a mesh with one Service and one proxy."""
    compiler = Compiler(Registry())
    await compiler.apply(ChangeSet(tuple(parsed(raw) for raw in service("cart", 1))))
    await compiler.open(WEB, lambda: None)
    return Questions(compiler, Around(lambda: {"web.shop-1": WEB}, lambda _: None, tuple, lambda changes: changes))


async def warnings(body: bytes, questions: Questions) -> list[str]:
    answered = answer(json.loads(body), validate)

    async def advise(request: Request) -> tuple[str, ...]:
        return await planned(questions.plan, request)

    await Advisor(advise, 60.0).add(answered, body)
    assert answered["response"]["allowed"] is True
    return list(answered["response"].get("warnings", ()))


async def test_an_object_that_is_tried_is_planned() -> None:
    questions = await shop()
    told = await warnings(review(virtual_service({"route": [to("v9")]})), questions)
    assert told[0].startswith("plan: 1 of 1 proxies of the replica that was asked: RDS ")
    assert any(
        line.startswith("plan: Error [IST0101] VirtualService shop/cart spec.http[0].route[0].destination.subset: ")
        for line in told
    )
    other = virtual_service({"route": [to("")]}, hosts=["nobody.example.com"], gateways=["shop/none"])
    told = await warnings(review(other), questions)
    assert told[0] == "plan: none of 1 proxies would be sent anything"


async def test_a_whole_plan_never_comes_to_who_serves_proxies() -> None:
    """It may have millions of lines, and reading them would hold up all proxies."""
    questions, pieces = await shop(), list[bytes]()

    async def plan(read: Callable[[], Awaitable[bytes]], take: Take) -> None:
        async def noted(piece: bytes) -> None:
            pieces.append(piece)
            await take(piece)

        await questions.plan(read, noted)

    asked = request_of(json.loads(review(virtual_service({"route": [to("v9")]}))))
    told = await planned(plan, asked)
    assert told[0].startswith("plan: 1 of 1 proxies")
    assert json.loads(b"".join(pieces)) == list(told)


@pytest.mark.parametrize(
    "fields", [{"dryRun": False}, {"operation": "DELETE"}, {"object": None, "operation": "DELETE"}]
)
async def test_nothing_is_told_of_what_is_written_or_goes(fields: Json) -> None:
    assert await warnings(review(virtual_service({"route": [to("v9")]}), **fields), await shop()) == []


async def test_a_plan_that_takes_too_long_or_fails_is_no_reason_to_wait_or_refuse() -> None:
    body = review(virtual_service({"route": [to("")]}))
    answered = answer(json.loads(body), validate)

    async def endless(_request: Request) -> tuple[str, ...]:
        await asyncio.Event().wait()
        raise AssertionError

    await Advisor(endless, 0.0).add(answered, body)
    assert answered["response"]["warnings"] == [LATE]

    async def broken(_request: Request) -> tuple[str, ...]:
        raise ZeroDivisionError

    answered = answer(json.loads(body), validate)
    with capture_logs() as logs:
        await Advisor(broken).add(answered, body)
    assert [each["event"] for each in logs] == ["webhooks.advice_failed"]
    assert answered["response"] == {"uid": "u", "allowed": True}


async def test_objects_are_advised_on_one_at_a_time_and_not_too_often(monkeypatch: pytest.MonkeyPatch) -> None:
    body = review(virtual_service({"route": [to("")]}))
    asked = 0
    begun, end = asyncio.Event(), asyncio.Event()

    async def advise(_request: Request) -> tuple[str, ...]:
        nonlocal asked
        asked += 1
        begun.set()
        await end.wait()
        return ("good",)

    advisor = Advisor(advise, 60.0)

    async def tried(text: bytes = body) -> list[str]:
        answered = answer(json.loads(text), validate)
        await advisor.add(answered, text)
        return list(answered["response"].get("warnings", ()))

    first = asyncio.create_task(tried())
    await begun.wait()
    assert await tried() == [BUSY]
    end.set()
    assert await first == ["good"]
    written = review(virtual_service({"route": [to("")]}), dryRun=False)
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: 1e9)
    assert [await tried() for _ in range(MOST_AT_ONCE + 2)] == [["good"]] * MOST_AT_ONCE + [[BUSY]] * 2
    assert await tried(written) == []
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: 1e9 + 1)
    assert [await tried() for _ in range(2)] == [["good"], [BUSY]]
    assert asked == 1 + MOST_AT_ONCE + 1


async def test_what_is_too_large_is_not_read_for_advice() -> None:
    async def advise(_request: Request) -> tuple[str, ...]:
        raise AssertionError

    obj = virtual_service({"route": [to("")]})
    for dry_run, told in ((True, [TOO_LARGE]), (False, [])):
        body = review({**obj, "metadata": {**obj["metadata"], "annotations": {"a": "x" * LARGEST}}}, dryRun=dry_run)
        answered = answer(json.loads(body), validate)
        await Advisor(advise).add(answered, body)
        assert answered["response"].get("warnings", []) == told


def test_a_long_plan_is_cut() -> None:
    problem = {
        "level": "Warning",
        "code": "C203",
        "object": {"kind": "EnvoyFilter", "namespace": "a", "name": "b"},
        "path": "spec",
        "reason": "x" * 999,
    }
    totals = {"proxies": 0, "bytes": {}, "drained": {"listeners": 0}}
    asked = {"objects": [], "refused": [], "solved": [], "proxyCount": 3, "totals": totals}
    told = short_lines({**asked, "problems": [problem] * (MOST_PROBLEMS + 5)})
    assert len(told) == MOST_PROBLEMS + 2
    assert max(map(len, told)) == LONGEST
    assert told[-1].startswith("plan: and 5 problems more")
    assert short_lines({**asked, "problems": []}) == ("plan: nothing would change",)
