"""The webhook that injects pods, over HTTPS."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from controlplane.injector.injected import injected
from controlplane.injector.settings import InjectorConfig, Settings
from controlplane.webhooks import server
from controlplane.webhooks.injection import injection, variables
from controlplane.webhooks.review import Webhook
from controlplane.webhooks.server import WebhookServer
from tests.injector.patched import patched
from tests.webhooks.tls import Root

TEMPLATES = {
    "broken": "{{ index .Spec.Containers 9 }}",
    "slow": "{{ range until 9999 }}{{ range until 9999 }}{{ end }}{{ end }}",
}
SETTINGS = Settings(config=InjectorConfig.parse(json.dumps({"templates": TEMPLATES})))
POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web", "labels": {"app": "web"}, "annotations": {"note": "1"}},
    "spec": {"containers": [{"name": "app", "image": "app:1"}]},
}


class Client:
    """Asks a webhook server."""

    def __init__(self, session: aiohttp.ClientSession, port: int) -> None:
        self.session = session
        self.url = f"https://127.0.0.1:{port}"

    async def post(self, body: bytes, path: str = "", content_type: str = "application/json") -> tuple[int, Any]:
        headers = {"Content-Type": content_type}
        async with self.session.post(f"{self.url}/inject{path}", data=body, headers=headers) as got:
            text = await got.text()
            return got.status, json.loads(text) if got.status == 200 else text

    async def review(self, pod: Any, path: str = "", **request: Any) -> dict[str, Any]:
        asked = {"uid": "u1", "operation": "CREATE", "kind": {"version": "v1", "kind": "Pod"}, "namespace": "shop"}
        review = {
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": asked | {"object": pod} | request,
        }
        status, answer = await self.post(json.dumps(review).encode(), path)
        assert status == 200
        response: dict[str, Any] = answer["response"]
        return response


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    root, context = Root.new(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    root.load(context, tmp_path)
    reviewer = injection(lambda namespace: replace(SETTINGS, namespace=namespace))
    webhook = Webhook(reviewer, is_slow=True, answers_nonsense=True)
    server = WebhookServer(context, {"inject": webhook})
    port = await server.start("127.0.0.1", 0)
    trusted = aiohttp.TCPConnector(ssl=ssl.create_default_context(cadata=root.pem))
    try:
        async with aiohttp.ClientSession(connector=trusted) as session:
            yield Client(session, port)
    finally:
        await server.stop()


def annotated(**annotations: str) -> dict[str, Any]:
    return {**POD, "metadata": {**POD["metadata"], "annotations": annotations}}


async def test_a_pod_is_patched(client: Client) -> None:
    response = await client.review(POD)
    assert (response["uid"], response["allowed"], response["patchType"]) == ("u1", True, "JSONPatch")
    operations = json.loads(base64.b64decode(response["patch"]))
    assert patched(POD, operations) == injected(POD, replace(SETTINGS, namespace="shop"))


@pytest.mark.parametrize("annotation", ["x" * 2000, {"a": [[]] * 100}, dict.fromkeys(map(str, range(50)), 1)])
async def test_what_no_api_server_sends_is_not_read(
    client: Client, annotation: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "json_value", None)
    monkeypatch.setattr(server, "LARGEST_HERE", 2000)
    monkeypatch.setattr(server, "MOST_PARTS", 100)
    response = await client.review(annotated(a=annotation))
    assert not response["allowed"]
    assert response["status"]["message"].startswith("the review has more than ")


async def test_the_path_sets_variables(client: Client) -> None:
    response = await client.review(POD, "/cluster/west/net/n--slash--1")
    found = patched(POD, json.loads(base64.b64decode(response["patch"])))
    environment = {each["name"]: each.get("value") for each in found["spec"]["containers"][1]["env"]}
    assert environment["ISTIO_META_CLUSTER_ID"] == "west"
    assert environment["ISTIO_META_NETWORK"] == "n/1"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", {}),
        ("cluster", {}),
        ("cluster/a--slash--b/net", {"ISTIO_META_CLUSTER_ID": "a/b"}),
        ("my_var/1/", {"MY_VAR": "1"}),
        (":ENV:cluster=a=b:ENV:net=:ENV:none:ENV:=x", {"ISTIO_META_CLUSTER_ID": "a=b", "ISTIO_META_NETWORK": ""}),
    ],
)
def test_variables(path: str, expected: dict[str, str]) -> None:
    assert variables(path) == expected


async def test_a_pod_that_is_left_alone(client: Client) -> None:
    alone = {**POD, "metadata": {"labels": {"sidecar.istio.io/inject": "false"}}}
    assert await client.review(alone) == {"uid": "u1", "allowed": True}
    assert await client.review(POD, namespace="kube-system") == {"uid": "u1", "allowed": True}


async def test_a_word_that_says_nothing_is_warned_of(client: Client) -> None:
    response = await client.review({**POD, "metadata": {"labels": {"sidecar.istio.io/inject": "yes"}}})
    assert "patch" in response
    assert "'yes' is neither true nor false" in response["warnings"][0]


@pytest.mark.parametrize(
    ("pod", "reason"),
    [
        (
            annotated(**{"sidecar.istio.io/proxyCPU": "much"}),
            "invalid value 'much' for annotation 'sidecar.istio.io/proxyCPU'",
        ),
        (annotated(**{"inject.istio.io/templates": "nope"}), 'requested template "nope" not found'),
        (annotated(**{"inject.istio.io/templates": "broken"}), "index out of range: 9"),
        (annotated(**{"inject.istio.io/templates": "slow"}), "steps"),
        ({**POD, "spec": {"containers": 1}}, "spec.containers: must be a list"),
        ({**POD, "spec": []}, "spec: must be a map"),
        ({"kind": "Pod", "metadata": "x"}, "metadata: must be a map"),
        (None, "no Pod"),
        ([], "no Pod"),
    ],
)
async def test_what_cannot_be_injected_is_refused(client: Client, pod: Any, reason: str) -> None:
    response = await client.review(pod)
    assert not response["allowed"]
    assert reason in response["status"]["message"]
    assert "patch" not in response


@pytest.mark.parametrize(
    "body",
    [
        b'{"kind":"Pod","apiVersion":"v1"}',
        b"{",
        b"[]",
        b"\xff",
        b"[" * 200_000,
        b'{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v3"}',
        b'{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"}',
        b'{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":1}}',
    ],
)
async def test_what_is_no_review_is_refused_in_one(client: Client, body: bytes) -> None:
    status, answer = await client.post(body)
    assert (status, answer["response"]["allowed"]) == (200, False)
    assert answer["response"]["status"]["message"]


async def test_other_content_types_and_empty_bodies(client: Client) -> None:
    assert (await client.post(b"{}", content_type="application/json; charset=utf-8"))[0] == 415
    assert (await client.post(b""))[0] == 400


async def test_a_review_without_uid(client: Client) -> None:
    asked = {"operation": "CREATE", "namespace": "shop", "object": POD}
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": asked}
    status, answer = await client.post(json.dumps(review).encode())
    assert (status, answer["response"]["uid"], answer["response"]["allowed"]) == (200, "", True)


async def test_a_pod_of_a_megabyte(client: Client) -> None:
    large = {**POD, "metadata": {**POD["metadata"], "annotations": {"note": "x" * 1_000_000}}}
    response = await client.review(large)
    assert patched(large, json.loads(base64.b64decode(response["patch"])))["metadata"]["annotations"]["note"]


@pytest.mark.slow
async def test_many_at_once(client: Client) -> None:
    bad = annotated(**{"inject.istio.io/templates": "slow"})
    answers = await asyncio.gather(*(client.review(bad if at % 10 == 0 else POD) for at in range(40)))
    assert [each["allowed"] for each in answers] == [at % 10 != 0 for at in range(40)]
