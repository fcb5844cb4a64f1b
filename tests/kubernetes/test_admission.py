"""The CustomResourceDefinitions and the validating webhook at a real API server."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config
from kubernetes.aio import config as aio_config
from kubernetes.aio.client import ApiClient, ApiException

from controlplane.apis.kinds import KINDS
from controlplane.compiler.compiler import Compiler
from controlplane.controllers.webhook_config import Identity, WebhookConfiguration
from controlplane.model.objects import ChangeSet
from controlplane.model.proxy import Proxy
from controlplane.registry.store import Registry
from controlplane.webhooks import review
from controlplane.webhooks.server import WebhookServer
from controlplane.webhooks.validation import validate
from controlplane.wiring.advice import planned
from controlplane.wiring.questions import Around, Questions
from tests.apis.rule_tables import GOOD
from tests.cluster import build
from tests.cluster.api_server import ApiServer
from tests.feature.objects import service as mesh_service
from tests.feature.objects import to, virtual_service
from tests.kubernetes.objects import no_signals
from tests.patience import PATIENCE_SECONDS
from tests.webhooks.tls import Root
from tests.wiring.test_analysis import parsed

CRDS = Path(__file__).parents[2] / "crds"
NAME = "validator"
TIMEOUT_SECONDS = PATIENCE_SECONDS
PROXY = Proxy("sidecar", "web.shop", ("10.0.0.9",), "shop", "shop.svc.cluster.local", {})
BAD = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "VirtualService",
    "metadata": {"name": "bad"},
    "spec": {"hosts": ["a"], "http": [{"route": [{"destination": {"host": "*"}}]}]},
}
DOUBTFUL = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "DestinationRule",
    "metadata": {"name": "doubtful"},
    "spec": {"host": "a", "trafficPolicy": {"outlierDetection": {"consecutiveErrors": 5}}},
}


@pytest.fixture(scope="module")
def cluster(kube_binaries: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:  # noqa: ARG001
    """An API server with the definitions; nothing else runs."""
    server = ApiServer(tmp_path_factory.mktemp("kube"), controllers=())
    try:
        server.start()
        server.kubectl("apply", "-k", str(CRDS))
        server.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=120s")
        server.kubectl("create", "namespace", "istio-system")
        yield server
    finally:
        server.stop()


def test_the_definitions_are_accepted_as_they_are(cluster: ApiServer) -> None:
    """No structural problem is noted, and the server changes nothing that would differ next time."""
    definitions = json.loads(cluster.kubectl("get", "crd", "-o", "json"))["items"]
    assert len(definitions) == len(KINDS)
    for definition in definitions:
        conditions = {each["type"]: each["status"] for each in definition["status"]["conditions"]}
        assert conditions == {"NamesAccepted": "True", "Established": "True"}, definition["metadata"]["name"]
    assert cluster.kubectl("diff", "-k", str(CRDS)) == ""


@pytest.mark.parametrize("kind", KINDS)
def test_what_goes_in_comes_out_unchanged(cluster: ApiServer, kind: str) -> None:
    """In every version, with unknown fields refused; read in every other version."""
    declared = KINDS[kind]
    with config.new_client_from_config(config_file=str(cluster.kubeconfig)) as api:
        objects = client.CustomObjectsApi(api)
        for number, spec in enumerate(GOOD[kind]):
            for version in declared.versions:
                name = f"x{number}-{version}"
                obj = {"apiVersion": f"{declared.group}/{version}", "kind": kind, "metadata": {"name": name}}
                where = (declared.group, version, "default", declared.plural)
                objects.create_namespaced_custom_object(*where, obj | {"spec": spec}, field_validation="Strict")
                for other in declared.versions:
                    read = objects.get_namespaced_custom_object(declared.group, other, "default", declared.plural, name)
                    assert read["spec"] == spec


@pytest.mark.parametrize(
    ("kind", "spec", "message"),
    [
        pytest.param(
            "VirtualService", {"http": [{"timeout": "1us"}]}, "valid duration greater than 1ms", id="duration"
        ),
        pytest.param(
            "WorkloadGroup", {"template": {}, "probe": {"grpc": {}, "exec": {"command": []}}}, "oneOf", id="one-of"
        ),
        pytest.param("ServiceEntry", {"hosts": ["*"]}, "hostname cannot be wildcard", id="item"),
        pytest.param("WorkloadEntry", {}, "Address is required", id="object"),
        pytest.param("WorkloadEntry", {"address": "a", "ports": {"a_": 1}}, "port name must be valid", id="key"),
        pytest.param("WorkloadEntry", {"address": "a", "ports": {"a": 0}}, "between 1-65535", id="port"),
        pytest.param("ProxyConfig", {"selector": {"matchLabels": {"a": "*"}}}, "wildcard not allowed", id="label"),
        pytest.param("Gateway", {"servers": [{"hosts": ["a"]}]}, "servers[0].port: Required value", id="required"),
    ],
)
def test_the_server_applies_the_rules(cluster: ApiServer, kind: str, spec: dict[str, Any], message: str) -> None:
    declared = KINDS[kind]
    manifest = {"apiVersion": f"{declared.group}/{declared.versions[0]}", "kind": kind, "metadata": {"name": "bad"}}
    with pytest.raises(RuntimeError, match="is invalid") as refused:
        cluster.kubectl("create", "-f", "-", text=json.dumps(manifest | {"spec": spec}))
    assert message in str(refused.value)


def test_columns(cluster: ApiServer) -> None:
    """What ``kubectl get`` shows, by the short name and by category."""
    cluster.kubectl("create", "-f", "-", text=json.dumps(DOUBTFUL | {"metadata": {"name": "columns"}}))
    header, row, *_ = (line.split() for line in cluster.kubectl("get", "dr", "columns").splitlines())
    assert header == ["NAME", "HOST", "AGE"]
    assert row[:2] == ["columns", "a"]
    assert "destinationrule.networking.istio.io/columns" in cluster.kubectl("get", "istio-io", "-o", "name")


RIGHTS = f"""
apiVersion: v1
kind: ServiceAccount
metadata: {{name: istiod, namespace: istio-system}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: istiod}}
rules:
- {{apiGroups: [admissionregistration.k8s.io], resources: [validatingwebhookconfigurations], resourceNames: [{NAME}],
   verbs: [list, watch, patch]}}
- {{apiGroups: [networking.istio.io], resources: [gateways], verbs: [create]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: istiod}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: istiod}}
subjects: [{{kind: ServiceAccount, name: istiod, namespace: istio-system}}]
"""


class Webhook:
    """A webhook, its configuration in the cluster, and the controller that keeps it."""

    def __init__(self, cluster: ApiServer, folder: Path, controller: WebhookConfiguration, roots: list[Root]) -> None:
        self.cluster = cluster
        self.folder = folder
        self.controller = controller
        self.roots = roots
        self.told: list[str] = []
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        roots[0].load(self.context, folder)
        self.server = WebhookServer(self.context, {"validate": review.Webhook(validate)})
        self.port = 0

    async def start(self) -> None:
        self.port = await self.server.start("127.0.0.1", self.port)

    async def apply(self, **fields: Any) -> None:
        webhook = {
            "name": "validation.istio.io",
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "clientConfig": {"url": f"https://127.0.0.1:{self.port}/validate"},
        }
        configuration = {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": NAME, "labels": {"istio.io/rev": "default"}},
            "webhooks": [webhook | fields],
        }
        await self.kubectl("apply", "-f", "-", text=json.dumps(configuration))

    async def kubectl(self, *arguments: str, text: str | None = None) -> str:
        return await asyncio.to_thread(self.cluster.kubectl, *arguments, text=text)

    async def create(self, obj: dict[str, Any]) -> str:
        """Try to create an object; return the refusal, empty where there is none."""
        try:
            await self.kubectl("create", "--dry-run=server", "-f", "-", text=json.dumps(obj))
        except RuntimeError as error:
            return str(error)
        return ""

    async def read(self) -> dict[str, Any]:
        made: dict[str, Any] = json.loads(
            await self.kubectl("get", "validatingwebhookconfiguration", NAME, "-o", "json")
        )
        return made

    async def policy(self) -> str:
        return str((await self.read())["webhooks"][0]["failurePolicy"])


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    end = time.monotonic() + TIMEOUT_SECONDS
    while not await holds():
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.1)


@asynccontextmanager
async def running(controller: WebhookConfiguration) -> AsyncIterator[None]:
    task = asyncio.create_task(controller.run())
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def webhook(cluster: ApiServer, tmp_path: Path) -> AsyncIterator[Webhook]:
    """One whose configuration has neither rules nor a bundle yet, and whose controller does not run."""
    roots = [Root.new()]
    async with await aio_config.new_client_from_config(config_file=str(cluster.kubeconfig)) as api:
        told: list[str] = []
        controller = WebhookConfiguration(api, lambda: roots[0].pem, Identity(), told.append, signals=no_signals)
        made = Webhook(cluster, tmp_path, controller, roots)
        made.told = told
        await made.start()
        await made.apply()
        try:
            yield made
        finally:
            await made.kubectl("delete", "validatingwebhookconfiguration", NAME)
            await made.server.stop()


async def test_trying_an_object_tells_what_it_would_change(webhook: Webhook) -> None:
    """``kubectl apply --dry-run=server`` prints it as warnings; what is really written is not planned."""
    compiler = Compiler(Registry())
    await compiler.apply(ChangeSet(tuple(parsed(raw) for raw in mesh_service("cart", 1))))
    await compiler.open(PROXY, lambda: None)
    around = Around(lambda: {"web.shop-1": PROXY}, lambda _: None, tuple, lambda changes: changes)
    questions = Questions(compiler, around)
    await webhook.server.stop()
    webhook.server = WebhookServer(
        webhook.context, {"validate": review.Webhook(validate, advise=partial(planned, questions.plan))}
    )
    webhook.port = 0
    await webhook.start()
    await webhook.apply()
    async with running(webhook.controller):
        await eventually(lambda: insists(webhook))
        command = [build.binary("kubectl"), "--kubeconfig", str(webhook.cluster.kubeconfig)]
        process = await asyncio.create_subprocess_exec(
            *command, "apply", "--dry-run=server", "-f", "-",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        tried = json.dumps(virtual_service({"route": [to("v9")]}) | {"metadata": {"name": "cart"}})
        said, _ = await process.communicate(tried.encode())
    assert process.returncode == 0, said.decode()
    told = said.decode()
    assert "Warning: plan: " in told
    assert "virtualservice.networking.istio.io/cart created (server dry run)" in told
    assert "Warning: plan: Error [IST0101] VirtualService default/cart spec.http[0].route[0].destination" in told


async def insists(webhook: Webhook) -> bool:
    return await webhook.policy() == "Fail" and "denied" in await webhook.create(BAD)


async def test_it_is_relied_on_once_it_has_refused(webhook: Webhook) -> None:
    assert await webhook.create(BAD) == ""  # nobody asks it, and nobody is kept from anything
    async with running(webhook.controller):
        await eventually(lambda: insists(webhook))
        refusal = await webhook.create(BAD)
        assert (
            'admission webhook "validation.istio.io" denied the request: configuration is invalid: '
            "VirtualService default/bad: spec.http[0].route[0].destination.host: '*' is not a host name" in refusal
        )
        assert await webhook.create(DOUBTFUL) == ""
        await webhook.server.stop()
        assert "failed calling webhook" in await webhook.create(DOUBTFUL)


async def test_nobody_is_kept_from_writing_before_it_works(webhook: Webhook) -> None:
    await webhook.server.stop()
    async with running(webhook.controller):

        async def is_asked() -> bool:
            return bool((await webhook.read())["webhooks"][0].get("rules"))

        await eventually(is_asked)
        await asyncio.sleep(1)  # several attempts
        assert await webhook.policy() == "Ignore"
        assert await webhook.create(BAD) == ""
        await webhook.start()
        await eventually(lambda: insists(webhook))


async def test_a_manifest_that_is_applied_again(webhook: Webhook) -> None:
    """Nothing that was added goes; what the manifest itself says is corrected again."""
    async with running(webhook.controller):
        await eventually(lambda: insists(webhook))
        before = (await webhook.read())["webhooks"]
        await webhook.apply()
        assert (await webhook.read())["webhooks"] == before
        await webhook.apply(failurePolicy="Ignore")
        await eventually(lambda: insists(webhook))


async def test_a_new_root_is_trusted(webhook: Webhook) -> None:
    async with running(webhook.controller):
        await eventually(lambda: insists(webhook))
        before = (await webhook.read())["webhooks"][0]["clientConfig"]["caBundle"]
        webhook.roots[0] = Root.new()
        webhook.controller.bundle_changed()

        async def changed() -> bool:
            return bool((await webhook.read())["webhooks"][0]["clientConfig"]["caBundle"] != before)

        await eventually(changed)
        webhook.roots[0].load(webhook.context, webhook.folder)
        await webhook.server.stop()  # the server keeps connections, which know the old certificate
        await webhook.start()
        await eventually(lambda: insists(webhook))


async def test_nothing_is_written_where_nothing_differs(webhook: Webhook) -> None:
    async with running(webhook.controller):
        await eventually(lambda: insists(webhook))
    before = (await webhook.read())["metadata"]["resourceVersion"]
    assert await webhook.controller.reconcile()
    assert webhook.told == ["", ""]  # the bundle with the rules, then the policy
    assert (await webhook.read())["metadata"]["resourceVersion"] == before


async def test_without_roots_nothing_is_touched(cluster: ApiServer, webhook: Webhook) -> None:
    before = deepcopy(await webhook.read())
    async with await aio_config.new_client_from_config(config_file=str(cluster.kubeconfig)) as api:
        assert not await WebhookConfiguration(api, str, Identity(), signals=no_signals).reconcile()
        assert await WebhookConfiguration(api, lambda: "x", Identity(revision="canary"), signals=no_signals).reconcile()
        assert await WebhookConfiguration(api, lambda: "x", Identity(name="another"), signals=no_signals).reconcile()
    assert await webhook.read() == before


@asynccontextmanager
async def limited(webhook: Webhook, folder: Path) -> AsyncIterator[ApiClient]:
    """A client with the rights of an account."""
    token = (await webhook.kubectl("-n", "istio-system", "create", "token", "istiod")).strip()
    path = str(webhook.cluster.write_kubeconfig(folder / "limited", token))
    async with await aio_config.new_client_from_config(config_file=path) as api:
        yield api


async def test_a_patch_that_is_refused_is_told(webhook: Webhook, tmp_path: Path) -> None:
    await webhook.kubectl("apply", "-f", "-", text=RIGHTS.replace("list, watch, patch", "list, watch"))
    told: list[str] = []
    async with limited(webhook, tmp_path) as api:
        controller = WebhookConfiguration(
            api, lambda: webhook.roots[0].pem, Identity(name=NAME), told.append, signals=no_signals
        )
        with pytest.raises(ApiException, match="Forbidden"):
            await controller.reconcile()
    assert told == ["Forbidden"]


async def test_a_name_is_all_that_rights_must_cover(webhook: Webhook, tmp_path: Path) -> None:
    """With a name, listing and watching need no right to configurations of others."""
    await webhook.kubectl("apply", "-f", "-", text=RIGHTS)
    async with limited(webhook, tmp_path) as api:
        everything = WebhookConfiguration(api, lambda: webhook.roots[0].pem, Identity(), signals=no_signals)
        with pytest.raises(ApiException, match="Forbidden"):
            await everything.reconcile()
        async with running(
            WebhookConfiguration(api, lambda: webhook.roots[0].pem, Identity(name=NAME), signals=no_signals)
        ):
            await eventually(lambda: insists(webhook))
