"""The rules through the webhook's port: HTTPS, AdmissionReviews, every row of the tables."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator
from copy import deepcopy
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bench.growth import OBJECTS
from controlplane.apis.kinds import KINDS
from controlplane.webhooks.review import Webhook
from controlplane.webhooks.server import WebhookServer
from controlplane.webhooks.validation import validate
from tests.apis.rule_tables import BAD, GOOD, WARNED
from tests.webhooks.tls import Root

Answer = tuple[bool, str, list[str]]
"""Whether it is allowed, the message, and the warnings."""


class Client:
    """The API server's side."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session = session
        self.url = url
        self.failed: list[int] = []

    async def post(self, body: bytes, content_type: str = "application/json") -> tuple[int, str]:
        async with self.session.post(f"{self.url}/validate", data=body, headers={"Content-Type": content_type}) as got:
            return got.status, await got.text()

    async def review(self, obj: Any, *, operation: str = "CREATE", path: str = "/validate", **request: Any) -> Answer:
        kind, api_version = obj.get("kind", ""), obj.get("apiVersion", "")
        named = {"group": api_version.rpartition("/")[0], "version": "v1", "kind": kind}
        asked = {"uid": "u1", "operation": operation, "kind": named, "namespace": "shop", "object": obj} | request
        review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": asked}
        body = BytesIO(json.dumps(review).encode())
        headers = {"Content-Type": "application/json"}
        async with self.session.post(self.url + path, data=body, headers=headers) as response:
            assert response.status == 200, await response.text()
            answered = await response.json()
        assert (answered["apiVersion"], answered["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
        given = answered["response"]
        assert given["uid"] == "u1"
        return given["allowed"], given.get("status", {}).get("message", ""), given.get("warnings", [])


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    root, context = Root.new(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    root.load(context, tmp_path)
    failed: list[int] = []
    server = WebhookServer(context, {"validate": Webhook(validate)}, failed.append)
    port = await server.start("127.0.0.1", 0)
    trusted = aiohttp.TCPConnector(ssl=ssl.create_default_context(cadata=root.pem))
    try:
        async with aiohttp.ClientSession(connector=trusted) as session:
            client = Client(session, f"https://127.0.0.1:{port}")
            client.failed = failed
            yield client
    finally:
        await server.stop()


def manifest(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    declared = KINDS[kind]
    version = f"{declared.group}/{declared.versions[0]}"
    metadata = {"name": "x", "namespace": "default"}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": deepcopy(spec)}


@pytest.mark.parametrize("kind", KINDS)
async def test_every_row_that_passes(client: Client, kind: str) -> None:
    for spec in GOOD[kind]:
        allowed, message, _ = await client.review(manifest(kind, spec))
        assert allowed, (spec, message)


@pytest.mark.parametrize("kind", KINDS)
async def test_every_row_that_is_refused(client: Client, kind: str) -> None:
    for name, (spec, problem) in BAD[kind].items():
        allowed, message, warnings = await client.review(manifest(kind, spec), operation="UPDATE")
        start = f"configuration is invalid: {kind} default/x: "
        assert (allowed, warnings) == (False, []), name
        assert message.startswith(start), name
        assert any(each.startswith(problem) for each in message.removeprefix(start).split("; ")), (name, message)


@pytest.mark.parametrize("kind", WARNED)
async def test_every_row_that_is_warned_of(client: Client, kind: str) -> None:
    for name, (spec, warning) in WARNED[kind].items():
        allowed, message, warnings = await client.review(manifest(kind, spec))
        assert (allowed, message) == (True, ""), name
        assert any(each.startswith(f"{kind} default/x: {warning}") for each in warnings), (name, warnings)


def rule(**metadata: Any) -> dict[str, Any]:
    made = manifest("DestinationRule", {"host": "a"})
    made["metadata"] |= metadata
    return made


@pytest.mark.parametrize(
    ("obj", "message"),
    [
        pytest.param(rule() | {"data": 1}, "data: unknown field", id="top-level-field"),
        pytest.param(rule() | {"spec": {"hots": "a"}}, "spec.hots: unknown field", id="unknown-field"),
        pytest.param(rule() | {"spec": {"host": 1}}, "spec.host", id="type"),
        pytest.param(rule() | {"apiVersion": "networking.istio.io/v7"}, "apiVersion: ", id="version"),
        pytest.param(
            rule(annotations={"internal.istio.io/webhook-always-reject": "true"}),
            "metadata.annotations.internal.istio.io/webhook-always-reject: is reserved",
            id="always-reject",
        ),
        pytest.param(
            rule(annotations={"internal.istio.io/parent-namespace": "x"}),
            "metadata.annotations.internal.istio.io/parent-namespace: is reserved",
            id="parent-namespace",
        ),
        pytest.param(
            rule(annotations={"internal.istio.io/parents": "x"}),
            "metadata.annotations.internal.istio.io/parents: is reserved",
            id="parents",
        ),
        pytest.param(
            rule(annotations={"istio.io/dry-run": "true"}),
            "metadata.annotations.istio.io/dry-run: is only for an AuthorizationPolicy",
            id="dry-run-of-another-kind",
        ),
        pytest.param(
            manifest("AuthorizationPolicy", {}) | {"metadata": {"name": "x", "annotations": {"istio.io/dry-run": "x"}}},
            "metadata.annotations.istio.io/dry-run: must be true or false",
            id="dry-run-value",
        ),
    ],
)
async def test_refused_whatever_the_spec(client: Client, obj: dict[str, Any], message: str) -> None:
    allowed, got, _ = await client.review(obj)
    assert not allowed
    assert message in got


@pytest.mark.parametrize(
    "obj",
    [
        pytest.param(rule(annotations={"note": "x"}), id="annotation"),
        pytest.param(rule() | {"apiVersion": "networking.istio.io/v1alpha3", "status": {"x": 1}}, id="older-version"),
        pytest.param(
            manifest("AuthorizationPolicy", {})
            | {"metadata": {"name": "x", "annotations": {"istio.io/dry-run": "true"}}},
            id="dry-run",
        ),
        pytest.param(rule(name="") | {"metadata": {"generateName": "a-"}}, id="generated-name"),
    ],
)
async def test_allowed(client: Client, obj: dict[str, Any]) -> None:
    assert await client.review(obj) == (True, "", [])


async def test_a_message_has_every_problem_with_path_and_value(client: Client) -> None:
    spec = {"hosts": ["a"], "http": [{"timeout": "0s", "route": [{"destination": {"host": "*"}}]}]}
    _, message, _ = await client.review(manifest("VirtualService", spec))
    assert message == (
        "configuration is invalid: VirtualService default/x: "
        "spec.http[0].timeout: must be a valid duration greater than 1ms (got '0s'); "
        "spec.http[0].route[0].destination.host: '*' is not a host name"
    )


async def test_the_namespace_of_the_request_counts(client: Client) -> None:
    """An object without a namespace gets that of the request, which decides what may be exported."""
    obj = rule(namespace="") | {"spec": {"host": "a", "exportTo": [".", "shop"]}}
    allowed, message, _ = await client.review(obj)
    assert not allowed
    assert "DestinationRule shop/x: spec.exportTo[1]" in message


@pytest.mark.parametrize("operation", ["DELETE", "CONNECT"])
async def test_other_operations_pass(client: Client, operation: str) -> None:
    bad = manifest("DestinationRule", {})
    assert await client.review(bad, operation=operation) == (True, "", [])


async def test_an_object_that_is_being_deleted_can_go(client: Client) -> None:
    """One that got in while nobody was asked must be able to lose its finalizers."""
    bad = manifest("DestinationRule", {})
    assert not (await client.review(bad, operation="UPDATE"))[0]
    bad["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert await client.review(bad, operation="UPDATE") == (True, "", [])


@pytest.mark.parametrize(
    ("group", "kind"),
    [("gateway.networking.k8s.io", "Gateway"), ("networking.istio.io", "Service"), ("", "Pod")],
)
async def test_an_unknown_kind_is_refused(client: Client, group: str, kind: str) -> None:
    allowed, message, _ = await client.review({"apiVersion": f"{group}/v1", "kind": kind})
    assert (allowed, message) == (False, f"unrecognized type {kind}.{group}")


async def test_paths_below(client: Client) -> None:
    assert (await client.review(rule(), path="/validate/inject/anything"))[0]
    async with client.session.get(f"{client.url}/ready") as response:
        assert response.status == 200
    async with client.session.post(f"{client.url}/other", json={}) as response:
        assert response.status == 404


async def test_the_older_review_is_answered_in_its_version(client: Client) -> None:
    review = {
        "apiVersion": "admission.k8s.io/v1beta1",
        "kind": "AdmissionReview",
        "request": {"uid": "7", "operation": "DELETE"},
    }
    status, text = await client.post(json.dumps(review).encode())
    assert (status, json.loads(text)["apiVersion"]) == (200, "admission.k8s.io/v1beta1")
    assert json.loads(text)["response"] == {"uid": "7", "allowed": True}


@pytest.mark.parametrize(
    ("body", "content_type", "status", "reason"),
    [
        pytest.param(b"{}", "text/plain", 415, "Content-Type must be application/json", id="content-type"),
        pytest.param(b"", "application/json", 400, "the body is empty", id="empty"),
        pytest.param(b"{", "application/json", 400, "Expecting property name", id="no-json"),
        pytest.param(b"[]", "application/json", 400, "not an AdmissionReview", id="no-review"),
        pytest.param(b"[" * 100000, "application/json", 400, "nested deeper", id="deep"),
        pytest.param(
            b'{"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v2"}',
            "application/json",
            400,
            "apiVersion: 'admission.k8s.io/v2' is none of",
            id="version",
        ),
        pytest.param(
            b'{"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1"}',
            "application/json",
            400,
            "request: is required",
            id="no-request",
        ),
    ],
)
async def test_what_is_no_review(client: Client, body: bytes, content_type: str, status: int, reason: str) -> None:
    got, text = await client.post(body, content_type)
    assert got == status
    assert reason in text
    assert client.failed == [status]


async def test_an_object_of_a_megabyte(client: Client) -> None:
    text = "x" * 1_000_000
    allowed, _, _ = await client.review(rule(annotations={"note": text}), oldObject=rule(annotations={"note": text}))
    assert allowed


async def test_a_newer_certificate_is_shown_to_the_next_connection(tmp_path: Path) -> None:
    old, new, context = Root.new(), Root.new(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    old.load(context, tmp_path)
    server = WebhookServer(context, {"validate": Webhook(validate)})
    port = await server.start("127.0.0.1", 0)
    try:
        for root in (old, new):
            root.load(context, tmp_path)
            trusted = aiohttp.TCPConnector(ssl=ssl.create_default_context(cadata=root.pem))
            async with aiohttp.ClientSession(connector=trusted) as session:
                assert (await Client(session, f"https://127.0.0.1:{port}").review(rule()))[0]
    finally:
        await server.stop()


@pytest.mark.slow
async def test_a_large_review_holds_nobody_up(client: Client) -> None:
    """The loop serves proxies meanwhile; what one call of a library takes at a time is all that it waits.

    Measured in processor time, of the loop's thread and of all, which other programs do not lengthen.
    """
    gaps: list[float] = []

    async def heartbeat() -> None:
        last = time.thread_time()
        while True:
            await asyncio.sleep(0.001)
            now = time.thread_time()
            gaps.append(now - last)
            last = now

    review = asyncio.create_task(client.review(OBJECTS["routes"](8000)))
    begun, beating = time.process_time(), asyncio.create_task(heartbeat())
    allowed, _, _ = await review
    beating.cancel()
    assert allowed
    assert max(gaps) < (time.process_time() - begun) / 2
