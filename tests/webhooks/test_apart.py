"""Large objects, which are checked in a process of their own."""

from __future__ import annotations

import json
import ssl
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from structlog.testing import capture_logs

from controlplane.limits import Limits
from controlplane.webhooks.apart import Apart
from controlplane.webhooks.review import NotAReviewError, Request, Response, Webhook
from controlplane.webhooks.server import LARGE, WebhookServer
from controlplane.webhooks.validation import validate
from tests.webhooks.tls import Root

pytestmark = pytest.mark.slow


def review(routes: int = 500, **fields: Any) -> bytes:
    route = [{"destination": {"host": "a.test"}}]
    http = [{"match": [{"uri": {"prefix": f"/{number}x"}}], "route": route} for number in range(routes)]
    spec = {"hosts": ["a.test"], "http": http} | fields
    obj = {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "x"}, "spec": spec}
    request = {
        "uid": "u1",
        "operation": "CREATE",
        "kind": {"group": "networking.istio.io", "kind": "VirtualService"},
        "resource": {"group": "networking.istio.io", "version": "v1", "resource": "virtualservices"},
        "namespace": "shop",
        "object": obj,
    }
    body = json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}).encode()
    assert len(body) > LARGE
    return body


@asynccontextmanager
async def apart(work: timedelta = timedelta(minutes=5)) -> AsyncIterator[Apart]:
    made = Apart(work)
    try:
        yield made
    finally:
        await made.stop()


async def test_a_large_object_is_answered_over_https_as_a_small_one_is(tmp_path: Path) -> None:
    root, context = Root.new(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    told: list[tuple[tuple[str, str, str], str]] = []
    root.load(context, tmp_path)
    limits = Limits(max_review_work=timedelta(minutes=5))
    webhook = Webhook(validate, told_apart=lambda request, response: told.append((request.resource, response.failure)))
    server = WebhookServer(context, {"validate": webhook}, limits=limits)
    url = f"https://127.0.0.1:{await server.start('127.0.0.1', 0)}/validate"
    trusted = aiohttp.TCPConnector(ssl=ssl.create_default_context(cadata=root.pem))
    answers = []
    try:
        async with aiohttp.ClientSession(connector=trusted) as session:
            for body in (review(), review(timeout=3), b"[" + b" " * LARGE + b"]"):
                async with session.post(url, data=body, headers={"Content-Type": "application/json"}) as got:
                    answers.append((got.status, await got.text()))
    finally:
        await server.stop()
    good, bad, nonsense = answers
    assert (good[0], json.loads(good[1])["response"]) == (200, {"uid": "u1", "allowed": True})
    assert (bad[0], json.loads(bad[1])["response"]["allowed"]) == (200, False)
    assert "spec.timeout: unknown field" in bad[1]
    assert nonsense == (400, "the body is not an AdmissionReview\n")
    resource = ("networking.istio.io", "v1", "virtualservices")
    assert told == [(resource, ""), (resource, "invalid_resource")]


async def test_an_object_that_takes_too_much_work_is_refused_with_that_reason() -> None:
    failures: list[str] = []

    def told(_request: Request, response: Response) -> None:
        failures.append(response.failure)

    async with apart(timedelta(milliseconds=1)) as reviewer:
        for _ in range(2):
            answered = await reviewer.review(review(2000), told)
            assert answered["response"]["uid"] == "u1"
            message = answered["response"]["status"]["message"]
            assert message.endswith("the object takes more than 0.001 seconds of processor time to check")
    assert set(failures) <= {"invalid_resource"}


async def test_what_is_refused_is_logged_on_this_side() -> None:
    async with apart() as reviewer:
        with capture_logs() as logged:
            await reviewer.review(review(timeout=3), lambda *_: None)
    assert [(each["event"], each["object"]) for each in logged] == [("webhooks.refused", "VirtualService shop/x")]


async def test_a_process_that_is_gone_is_started_again() -> None:
    async with apart() as reviewer:
        await reviewer.review(review(), lambda *_: None)
        process = reviewer._process  # noqa: SLF001 - which nobody else needs to know
        assert process is not None
        process.kill()
        await process.wait()
        answered = await reviewer.review(review(), lambda *_: None)
        assert answered["response"]["allowed"]
        with pytest.raises(NotAReviewError, match="line 1: Expecting value"):
            await reviewer.review(b"x", lambda *_: None)


class Dying(Apart):
    """Its first processes are killed as soon as they have begun, as by a kernel that is short of memory."""

    def __init__(self, times: int) -> None:
        super().__init__(timedelta(minutes=5))
        self.times = times

    async def _started(self) -> Process:
        process = await super()._started()
        if self.times:
            self.times -= 1
            process.kill()
        return process


async def test_a_review_whose_process_dies_is_tried_once_more() -> None:
    reviewer, told = Dying(1), list[str]()
    try:
        answered = await reviewer.review(review(), lambda _, response: told.append(response.failure))
    finally:
        await reviewer.stop()
    assert (answered["response"], told) == ({"uid": "u1", "allowed": True}, [""])


async def test_a_review_of_which_two_processes_die_is_refused_with_that_reason() -> None:
    reviewer, told = Dying(2), list[tuple[tuple[str, str, str], str]]()
    try:
        with capture_logs() as logged:
            answered = await reviewer.review(review(), lambda *each: told.append((each[0].resource, each[1].failure)))
        message = answered["response"]["status"]["message"]
        assert (answered["response"]["uid"], answered["response"]["allowed"]) == ("u1", False)
        assert message == "configuration is invalid: the process that checks large objects died of it, twice"
        assert told == [(("networking.istio.io", "v1", "virtualservices"), "invalid_resource")]
        assert [each["event"] for each in logged] == ["webhooks.worker_died"]
        assert (await reviewer.review(review(), lambda *_: None))["response"]["allowed"], "the next one has a new one"
    finally:
        await reviewer.stop()


async def test_a_process_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONINTMAXSTRDIGITS", "wrong")  # no Python starts with that
    async with apart() as reviewer:
        with pytest.raises(OSError, match="does not start"):
            await reviewer.review(review(), lambda *_: None)
