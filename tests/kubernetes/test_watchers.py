"""The source against a real API server: after anything that happens, what is in force equals a fresh list."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from controlplane.apis.kinds import KINDS
from controlplane.model import kinds
from controlplane.model.feeds import Standing
from controlplane.model.objects import ObjectKey
from controlplane.watchers.kubernetes.source import ClusterOptions, KubernetesSource
from tests.cluster.api_server import ApiServer
from tests.kubernetes.objects import DEFINITIONS, Writer, definition, service
from tests.kubernetes.watching import QUICK, SERVICES, SLICES, edit, endpoint_slice, feed, settle
from tests.patience import patience
from tests.watchers.kubernetes.following import followed, fresh


@pytest.fixture
def options(watched: ApiServer) -> ClusterOptions:
    return ClusterOptions(kubeconfig=str(watched.kubeconfig))


@pytest.fixture
async def writer(watched: ApiServer) -> AsyncIterator[Writer]:
    async with Writer(watched) as client:
        yield client


async def test_what_is_written_is_followed(writer: Writer, options: ClusterOptions, watched: ApiServer) -> None:
    rng = random.Random(1)
    async with followed(options, QUICK) as follower:
        for _ in range(150):
            await edit(writer, rng)
        await settle(follower, options)
        listed = await asyncio.to_thread(watched.kubectl, "get", "svc,virtualservices", "-A", "-o", "json")
        places = {
            (raw["kind"], raw["metadata"]["namespace"], raw["metadata"]["name"]) for raw in json.loads(listed)["items"]
        }
        found = {key for key in follower.objects if key.kind in {kinds.SERVICE, kinds.VIRTUAL_SERVICE}}
        assert places == {(key.kind.name, key.namespace, key.name) for key in found}
        assert all(each.lists == 1 for each in follower.source.feeds)


async def test_an_endpoint_that_changes_is_one_target(writer: Writer, options: ClusterOptions) -> None:
    path = f"{SLICES.format('red')}/one-x"
    await writer.create(SERVICES.format("red"), {**service("one"), "spec": {"ports": [{"name": "http", "port": 80}]}})
    await writer.create(SLICES.format("red"), endpoint_slice("one", 1))
    async with followed(options, QUICK) as follower:
        for number in range(2, 6):
            builds, batches = follower.compiler.builds, len(follower.batches)
            await writer.request("PATCH", path, {"endpoints": endpoint_slice("one", number)["endpoints"]})
            await follower.until(lambda: len(follower.batches) > batches)  # noqa: B023
            await settle(follower, options)
            assert follower.compiler.builds == builds + 1
        await writer.request("PATCH", path, {"metadata": {"annotations": {"read": "by nobody"}}})
        await settle(follower, options)
        assert follower.compiler.builds == builds + 1


async def test_a_definition_comes_and_goes(writer: Writer, options: ClusterOptions) -> None:
    kind = KINDS["WasmPlugin"]
    name = f"{kind.plural}.{kind.group}"
    body = {
        "apiVersion": "extensions.istio.io/v1alpha1",
        "kind": "WasmPlugin",
        "metadata": {"name": "w"},
        "spec": {"url": "oci://x/y"},
    }
    async with followed(options, QUICK) as follower:
        assert feed(follower.source, name).standing is Standing.CURRENT
        for _ in range(2):
            await writer.create("/apis/extensions.istio.io/v1alpha1/namespaces/red/wasmplugins", body)
            await follower.until(lambda: follower.has("WasmPlugin", "w", "red"))
            await writer.request("DELETE", f"{DEFINITIONS}/{name}")
            await follower.until(lambda: not follower.has("WasmPlugin", "w", "red"))
            await follower.until(lambda: feed(follower.source, name).standing is Standing.ABSENT)
            await created(writer, kind.name)
            await follower.until(lambda: feed(follower.source, name).standing is Standing.CURRENT)


async def test_the_version_that_is_served_is_read(writer: Writer, options: ClusterOptions) -> None:
    kind, key = KINDS["Sidecar"], ObjectKey(kinds.SIDECAR, "red", "s")
    path = "/apis/networking.istio.io/{}/namespaces/red/sidecars"
    await writer.request("DELETE", f"{DEFINITIONS}/{kind.plural}.{kind.group}")
    await created(writer, kind.name, "v1alpha3")
    body = {"apiVersion": "networking.istio.io/v1alpha3", "kind": "Sidecar", "metadata": {"name": "s"}}
    await writer.create(path.format("v1alpha3"), {**body, "spec": {"egress": [{"hosts": ["./*"]}]}})
    async with followed(options, QUICK) as follower:
        assert follower.objects[key].meta.source == "Kubernetes networking.istio.io/v1alpha3"
        spec = definition(kind, ("v1alpha3", "v1"))["spec"]
        spec["versions"][0]["served"] = False
        await writer.request("PATCH", f"{DEFINITIONS}/{kind.plural}.{kind.group}", {"spec": spec})
        change = {"spec": {"egress": [{"hosts": ["*/*"]}]}}
        async with patience():
            while (await writer.request("PATCH", f"{path.format('v1')}/s", change, (404, 429)))["kind"] != "Sidecar":
                await asyncio.sleep(0.1)
        await follower.until(lambda: follower.objects[key].spec.egress[0].hosts == ("*/*",))
        assert (await fresh(options, QUICK))[key].meta.source == "Kubernetes networking.istio.io/v1"
        assert not any(batch.deletes for batch in follower.batches)


async def test_missing_permissions_are_named_and_found_when_they_are_given(
    watched: ApiServer, writer: Writer, tmp_path: Path
) -> None:
    """Nothing is served without pods; Secrets can be done without."""
    everything = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"]}]
    but_pods = [
        {"apiGroups": [""], "resources": ["namespaces", "nodes", "services", "configmaps"], "verbs": ["list", "watch"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
        {
            "apiGroups": ["discovery.k8s.io", "networking.k8s.io", *{kind.group for kind in KINDS.values()}],
            "resources": ["*"],
            "verbs": ["list", "watch"],
        },
    ]
    role = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
    await writer.create(role, {"metadata": {"name": "reader"}, "rules": but_pods})
    await writer.create(
        f"{role.removesuffix('s')}bindings",
        {
            "metadata": {"name": "reader"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "reader"},
            "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "red"}],
        },
    )
    token = (await asyncio.to_thread(watched.kubectl, "create", "token", "default", "-n", "red")).strip()
    limited = ClusterOptions(kubeconfig=str(watched.write_kubeconfig(tmp_path / "limited", token)))
    source = KubernetesSource(limited, QUICK)
    with capture_logs() as logs:
        loading = asyncio.create_task(source.load())
        async with patience():
            while not (len(source.waiting) == 1 and "may not" in source.waiting[0]):
                await asyncio.sleep(0.1)
        await asyncio.sleep(1.5)
        assert not loading.done()
        await writer.request("PATCH", f"{role}/reader", {"rules": everything})
        async with patience():
            await loading
    await source.close()
    errors = [entry for entry in logs if entry["event"] == "watchers.forbidden"]
    told = {(error["verb"], error["resource"], error["group"]) for error in errors}
    assert told == {("watch", "pods", ""), ("list", "secrets", "")}
    assert all("system:serviceaccount:red:default" in error["reason"] for error in errors)


async def created(writer: Writer, kind: str, *served: str) -> None:
    """Install a definition, once a former one is gone."""
    async with patience():
        while True:
            answer = await writer.create(DEFINITIONS, definition(KINDS[kind], served or None))
            if answer["kind"] == "CustomResourceDefinition":
                break
            await asyncio.sleep(0.1)
        name = answer["metadata"]["name"]
        while True:
            answer = await writer.request("GET", f"{DEFINITIONS}/{name}")
            conditions = {each["type"]: each["status"] for each in answer["status"]["conditions"] or ()}
            if conditions.get("Established") == "True":
                return
            await asyncio.sleep(0.1)
