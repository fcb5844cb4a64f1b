"""The injecting webhook at a real API server: whom it is called for, what is stored, and who keeps it trusted."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.aio import config as aio_config

from controlplane.controllers.injection_config import MANAGER, InjectionConfiguration
from controlplane.injector.settings import Settings
from controlplane.injector.webhooks import Injector, webhook_configuration
from controlplane.webhooks import review
from controlplane.webhooks.injection import injection
from controlplane.webhooks.server import WebhookServer
from tests.cli.command import run
from tests.cluster.api_server import ApiServer
from tests.kubernetes.objects import no_signals
from tests.patience import PATIENCE_SECONDS
from tests.webhooks.tls import Root

NAME = "istio-sidecar-injector"
TIMEOUT_SECONDS = PATIENCE_SECONDS


@pytest.fixture(scope="module")
def cluster(kube_binaries: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:  # noqa: ARG001
    """An API server that makes pods, which nothing runs; ``inside`` is a namespace of the mesh, ``outside`` is none."""
    server = ApiServer(tmp_path_factory.mktemp("kube"), controllers=("serviceaccount-controller",))
    try:
        server.start()
        for namespace in ("inside", "outside"):
            server.kubectl("create", "namespace", namespace)
        server.kubectl("label", "namespace", "inside", "istio-injection=enabled")
        yield server
    finally:
        server.stop()


def pod(**metadata: Any) -> dict[str, Any]:
    probe = {"httpGet": {"path": "/ready", "port": "http"}}
    containers = [
        {"name": "app", "image": "app:1", "ports": [{"name": "http", "containerPort": 8080}], "readinessProbe": probe}
    ]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "web-", "labels": {"app": "web"}, **metadata},
        "spec": {"containers": containers, "automountServiceAccountToken": False},
    }


class World:
    """The webhook, its configuration in the cluster, and the controller that keeps it trusted."""

    def __init__(
        self, cluster: ApiServer, controller: InjectionConfiguration, server: WebhookServer, port: int
    ) -> None:
        self.cluster = cluster
        self.controller = controller
        self.server = server
        self.port = port

    async def kubectl(self, *arguments: str, text: str | None = None) -> str:
        return await asyncio.to_thread(self.cluster.kubectl, *arguments, text=text)

    async def apply(self) -> None:
        configuration = webhook_configuration(Injector())
        for each in configuration["webhooks"]:
            each["clientConfig"] = {"url": f"https://127.0.0.1:{self.port}/inject"}
        await self.kubectl("apply", "-f", "-", text=json.dumps(configuration))

    async def read(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            await self.kubectl("get", "mutatingwebhookconfiguration", NAME, "-o", "json", "--show-managed-fields")
        )
        return found

    async def is_trusted(self) -> bool:
        return all(each["clientConfig"].get("caBundle") for each in (await self.read())["webhooks"])

    async def create(self, namespace: str, **metadata: Any) -> dict[str, Any]:
        text = await self.kubectl("-n", namespace, "create", "-o", "json", "-f", "-", text=json.dumps(pod(**metadata)))
        made: dict[str, Any] = json.loads(text)
        return made


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    end = time.monotonic() + TIMEOUT_SECONDS
    while not await holds():
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.1)


@pytest.fixture
async def world(cluster: ApiServer, tmp_path: Path) -> AsyncIterator[World]:
    """One whose controller runs."""
    root, context = Root.new(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    root.load(context, tmp_path)
    reviewer = injection(lambda namespace: replace(Settings(), namespace=namespace))
    server = WebhookServer(context, {"inject": review.Webhook(reviewer, is_slow=True, answers_nonsense=True)})
    port = await server.start("127.0.0.1", 0)
    async with await aio_config.new_client_from_config(config_file=str(cluster.kubeconfig)) as api:
        controller = InjectionConfiguration(api, lambda: root.pem, "default", signals=no_signals)
        made = World(cluster, controller, server, port)
        await made.apply()
        task = asyncio.create_task(controller.run())
        try:
            await eventually(made.is_trusted)
            yield made
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await made.kubectl("delete", "mutatingwebhookconfiguration", NAME)
            await server.stop()


def names(of: dict[str, Any]) -> list[str]:
    return [each["name"] for each in of["spec"]["containers"]]


async def test_the_stored_pod_has_its_sidecar(world: World) -> None:
    made = await world.create("inside")
    assert names(made) == ["app", "istio-proxy"]
    assert [each["name"] for each in made["spec"]["initContainers"]] == ["istio-init"]
    assert made["spec"]["containers"][0]["readinessProbe"]["httpGet"]["path"] == "/app-health/app/readyz"
    volumes = {each["name"]: each for each in made["spec"]["volumes"]}
    assert volumes["workload-socket"]["emptyDir"] == {}
    assert {each["name"] for each in made["spec"]["containers"][1]["volumeMounts"]} <= volumes.keys()
    again = await world.create("inside", annotations=made["metadata"]["annotations"], labels=made["metadata"]["labels"])
    assert names(again) == ["app", "istio-proxy"]


async def test_labels_decide(world: World) -> None:
    assert names(await world.create("outside")) == ["app"]
    chosen = {"app": "web", "sidecar.istio.io/inject": "true"}
    assert names(await world.create("outside", labels=chosen)) == ["app", "istio-proxy"]
    assert names(await world.create("inside", labels={**chosen, "sidecar.istio.io/inject": "false"})) == ["app"]


async def test_who_made_a_bad_annotation_reads_why(world: World) -> None:
    with pytest.raises(RuntimeError, match="denied the request") as refused:
        await world.create("inside", annotations={"sidecar.istio.io/proxyMemory": "1 elephant"})
    assert "invalid value '1 elephant' for annotation 'sidecar.istio.io/proxyMemory'" in str(refused.value)


async def test_without_an_answer_only_pods_of_the_mesh_wait(world: World) -> None:
    await world.server.stop()
    with pytest.raises(RuntimeError, match="failed calling webhook"):
        await world.create("inside")
    assert names(await world.create("outside")) == ["app"]
    own = {"app": "istiod", "sidecar.istio.io/inject": "false"}
    assert names(await world.create("inside", labels=own)) == ["app"]


async def test_applying_again_takes_no_trust_away(world: World) -> None:
    await world.apply()
    assert await world.is_trusted()
    managers = {each["manager"]: each for each in (await world.read())["metadata"]["managedFields"]}
    owned = json.dumps(managers[MANAGER]["fieldsV1"])
    assert "f:caBundle" in owned
    assert "f:failurePolicy" not in owned
    assert "f:namespaceSelector" not in owned


async def test_what_somebody_else_changes_is_put_right(world: World) -> None:
    await world.kubectl(
        "patch",
        "mutatingwebhookconfiguration",
        NAME,
        "--type=json",
        "-p",
        '[{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]',
    )
    await eventually(world.is_trusted)


async def test_manifests_get_what_the_cluster_states(cluster: ApiServer) -> None:
    """``kube-inject`` reads the mesh, the values and the templates, as the webhook does, and the nodes' versions."""
    data = {
        "config": "templates: {mine: 'metadata: {labels: {mine: \"1\"}}'}",
        "values": '{"global": {"hub": "theirs"}}',
    }
    objects: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "istio-system"}},
        config_map(NAME, data),
        config_map("istio", {"mesh": "trustDomain: corp.example"}),
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": "one"},
            "status": {"nodeInfo": {"kubeletVersion": "v1.36.0"}},
        },
    ]
    for each in objects:
        await asyncio.to_thread(cluster.kubectl, "create", "-f", "-", text=json.dumps(each))
    given = pod(annotations={"inject.istio.io/templates": "sidecar,mine"})
    named = {"KUBECONFIG": str(cluster.kubeconfig)}
    result = await run("kube-inject", "-f", "-", environment=named, text=json.dumps(given))
    assert (result.code, result.err) == (0, "")
    made = yaml.safe_load(result.out.removesuffix("---\n"))
    assert made["metadata"]["labels"]["mine"] == "1"
    proxy = made["spec"]["initContainers"][1]
    assert (proxy["name"], proxy["restartPolicy"]) == ("istio-proxy", "Always")
    assert proxy["image"].startswith("theirs/")
    assert {"name": "TRUST_DOMAIN", "value": "corp.example"} in proxy["env"]


def config_map(name: str, data: dict[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "istio-system"},
        "data": data,
    }
