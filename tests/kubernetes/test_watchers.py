"""The source against a real API server: after anything that happens, what is in force equals a fresh list."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from structlog.testing import capture_logs

from controlplane.apis.kinds import KINDS
from controlplane.model.feeds import Feed, Standing
from controlplane.model.objects import ObjectKey
from controlplane.watchers.kubernetes.source import ClusterOptions, KubernetesSource
from controlplane.watchers.kubernetes.timing import Timing
from tests.cluster.api_server import ApiServer
from tests.kubernetes.objects import DEFINITIONS, ISTIO_KINDS, Writer, definition, service, virtual_service
from tests.kubernetes.relay import Relay
from tests.watchers.kubernetes.following import Followed, followed, fresh

QUICK = Timing(first_pause=0.1, longest_pause=1.0, forbidden=0.5, discovery=0.2)
SERVICES = "/api/v1/namespaces/{}/services"
VIRTUAL_SERVICES = "/apis/networking.istio.io/v1/namespaces/{}/virtualservices"
SPACES = ("red", "blue")


@pytest.fixture(scope="module")
def watched(kube_binaries: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:  # noqa: ARG001
    """An API server of this file's own, with all of Istio's definitions; tests break it and mend it."""
    server = ApiServer(tmp_path_factory.mktemp("watched"))
    try:
        server.start()
        definitions = {"apiVersion": "v1", "kind": "List", "items": [definition(kind) for kind in ISTIO_KINDS]}
        server.kubectl("apply", "--server-side", "-f", "-", text=json.dumps(definitions))
        server.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
        for name in SPACES:
            server.kubectl("create", "namespace", name)
        yield server
    finally:
        server.stop()


@pytest.fixture
def options(watched: ApiServer) -> ClusterOptions:
    return ClusterOptions(kubeconfig=str(watched.kubeconfig))


@pytest.fixture
async def writer(watched: ApiServer) -> AsyncIterator[Writer]:
    async with Writer(watched) as client:
        yield client


async def settle(follower: Followed, options: ClusterOptions) -> None:
    """Wait until what is in force equals a fresh list, and stays so."""
    async with asyncio.timeout(60):
        while dict(follower.objects) != dict(await fresh(options, QUICK)):
            await asyncio.sleep(0.2)


def feed(source: KubernetesSource, resource: str) -> Feed:
    return next(each for each in source.feeds if each.resource == resource)


async def edit(writer: Writer, rng: random.Random) -> None:
    """Create, change or delete something."""
    name, space = f"e{rng.randrange(12)}", rng.choice(SPACES)
    if rng.random() < 0.5:
        path, body = SERVICES.format(space), service(name, rng.randrange(1, 9), color=rng.choice("abc"))
    else:
        path, body = VIRTUAL_SERVICES.format(space), virtual_service(name, rng.choice("abc"))
    match rng.randrange(3):
        case 0:
            await writer.request("DELETE", f"{path}/{name}", accepted=(404,))
        case 1:
            await writer.request("PATCH", f"{path}/{name}", body, accepted=(404,))
        case _:
            await writer.create(path, body)


async def restart(cluster: ApiServer, away_seconds: float = 0.0) -> None:
    """Kill the API server and start it again."""
    cluster.api.stop()
    await asyncio.sleep(away_seconds)
    cluster.api.start()
    await asyncio.to_thread(cluster.wait_ready)


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
        assert places == {tuple(key) for key in follower.objects if key.kind in {"Service", "VirtualService"}}
        assert all(each.lists == 1 for each in follower.source.feeds)


async def test_the_server_is_killed_and_restarted_under_change(
    watched: ApiServer, writer: Writer, options: ClusterOptions
) -> None:
    rng = random.Random(2)
    changing = True

    async def change() -> None:
        while changing:
            try:
                await edit(writer, rng)
            except (aiohttp.ClientError, RuntimeError):  # the server is away, or not quite back
                await asyncio.sleep(0.05)

    async with followed(options, QUICK) as follower:
        edits = asyncio.create_task(change())
        for _ in range(2):
            await asyncio.sleep(0.5)
            before = dict(follower.objects)
            await restart(watched, away_seconds=1.0)
            assert before.keys() & follower.objects.keys()
        changing = False
        await edits
        await settle(follower, options)
        assert follower.source.away_since is None


async def test_while_it_is_away_what_was_read_stays_and_nothing_else_comes_back(
    watched: ApiServer, writer: Writer, options: ClusterOptions
) -> None:
    await writer.create(SERVICES.format("red"), service("kept"))
    async with followed(options, QUICK) as follower:
        before = dict(follower.objects)
        watched.api.stop()
        try:
            await follower.until(lambda: follower.source.away_since is not None)
            assert feed(follower.source, "pods").lag_seconds > 0
            assert dict(follower.objects) == before
        finally:
            watched.api.start()
            await asyncio.to_thread(watched.wait_ready)
        await follower.until(lambda: all(each.standing is Standing.CURRENT for each in follower.source.feeds[:6]))
        await settle(follower, options)
        assert follower.batches == []


async def test_a_compacted_history_is_read_again_and_only_the_difference_told(
    watched: ApiServer, writer: Writer, options: ClusterOptions, tmp_path: Path
) -> None:
    for number in range(20):
        await writer.create(SERVICES.format("red"), service(f"c{number}"))
    async with Relay(watched.addresses.api_port) as relay:
        through = _through(relay, watched, tmp_path)
        async with followed(through, QUICK) as follower:
            await settle(follower, options)
            del follower.batches[:]
            relay.open.clear()
            await writer.request("PATCH", f"{SERVICES.format('red')}/c3", service("c3", port=99))
            await compact(watched)
            await restart(watched)  # its watch cache begins anew
            await relay.cut()
            relay.open.set()
            key = ObjectKey("Service", "red", "c3")
            await follower.until(lambda: follower.objects[key].spec.ports[0].number == 99)
            await follower.until(lambda: feed(follower.source, "services").lists == 2)
            assert [obj.key for batch in follower.batches for obj in batch.upserts] == [key]
            assert not any(batch.deletes for batch in follower.batches)
            await settle(follower, options)


async def test_etcd_is_restored_to_an_older_state(watched: ApiServer, writer: Writer, options: ClusterOptions) -> None:
    data, backup = watched.folder / "etcd", watched.folder / "backup"
    await writer.create(SERVICES.format("red"), service("old"))
    await writer.create(SERVICES.format("red"), service("changed"))
    _stop(watched)
    shutil.copytree(data, backup)
    await _start(watched)
    async with followed(options, QUICK) as follower:
        await writer.create(SERVICES.format("red"), service("new"))
        await writer.request("PATCH", f"{SERVICES.format('red')}/changed", service("changed", port=99))
        await writer.request("DELETE", f"{SERVICES.format('red')}/old")
        for number in range(50):
            await writer.request(
                "PATCH", f"{SERVICES.format('red')}/changed", {"metadata": {"labels": {"n": f"{number}"}}}
            )
        await settle(follower, options)
        _stop(watched)
        shutil.rmtree(data)
        backup.rename(data)
        await _start(watched)
        await follower.until(lambda: follower.has("Service", "old", "red"))
        await settle(follower, options)
        assert not follower.has("Service", "new", "red")


async def test_a_network_that_stalls(
    watched: ApiServer, writer: Writer, options: ClusterOptions, tmp_path: Path
) -> None:
    """The stall is longer than all patience: connections are given up, also new ones, until it ends."""
    patience = Timing(first_pause=0.1, longest_pause=0.5, discovery=0.2, silence=1.0, answer=1.0, connect=1.0)
    async with (
        Relay(watched.addresses.api_port) as relay,
        followed(_through(relay, watched, tmp_path), patience) as follower,
    ):
        relay.open.clear()
        await writer.create(SERVICES.format("red"), service("stalled"))
        await follower.until(lambda: follower.source.away_since is not None)
        await asyncio.sleep(3.0)
        assert not follower.has("Service", "stalled", "red")
        relay.open.set()
        await follower.until(lambda: follower.has("Service", "stalled", "red"))
        await settle(follower, options)


async def test_an_object_of_a_megabyte(writer: Writer, options: ClusterOptions) -> None:
    async with followed(options, QUICK) as follower:
        await writer.create(VIRTUAL_SERVICES.format("blue"), virtual_service("big", "a", "x" * 1_000_000))
        await follower.until(lambda: follower.has("VirtualService", "big", "blue"))
        await settle(follower, options)
        assert all(each.lists == 1 for each in follower.source.feeds)
    await writer.request("DELETE", f"{VIRTUAL_SERVICES.format('blue')}/big")


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
    kind, key = KINDS["Sidecar"], ObjectKey("Sidecar", "red", "s")
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
        async with asyncio.timeout(30):
            while (await writer.request("PATCH", f"{path.format('v1')}/s", change, (404, 429)))["kind"] != "Sidecar":
                await asyncio.sleep(0.1)
        await follower.until(lambda: follower.objects[key].spec.egress[0].hosts == ("*/*",))
        assert (await fresh(options, QUICK))[key].meta.source == "Kubernetes networking.istio.io/v1"
        assert not any(batch.deletes for batch in follower.batches)


async def test_missing_permissions_are_named_and_found_when_they_are_given(
    watched: ApiServer, writer: Writer, tmp_path: Path
) -> None:
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
        async with asyncio.timeout(30):
            while not (len(source.waiting) == 1 and "may not" in source.waiting[0]):
                await asyncio.sleep(0.1)
        await asyncio.sleep(1.5)
        assert not loading.done()
        await writer.request("PATCH", f"{role}/reader", {"rules": everything})
        async with asyncio.timeout(30):
            await loading
    await source.close()
    (error,) = [entry for entry in logs if entry["event"] == "watchers.forbidden"]
    assert (error["verb"], error["resource"], error["group"]) == ("watch", "pods", "")
    assert "system:serviceaccount:red:default" in error["reason"]


async def created(writer: Writer, kind: str, *served: str) -> None:
    """Install a definition, once a former one is gone."""
    async with asyncio.timeout(30):
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


async def compact(cluster: ApiServer) -> None:
    """Forget all history in etcd, as happens each five minutes by itself."""
    etcd = f"http://{cluster.addresses.etcd}:{cluster.addresses.etcd_port}/v3"
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{etcd}/maintenance/status", json={}) as response:
            revision = (await response.json(content_type=None))["header"]["revision"]
        async with session.post(f"{etcd}/kv/compaction", json={"revision": revision, "physical": True}) as response:
            assert response.status == 200


def _through(relay: Relay, cluster: ApiServer, folder: Path) -> ClusterOptions:
    text = cluster.kubeconfig.read_text().replace(f":{cluster.addresses.api_port}", f":{relay.port}")
    path = folder / "through-relay"
    path.write_text(text)
    return ClusterOptions(kubeconfig=str(path))


def _stop(cluster: ApiServer) -> None:
    cluster.api.stop()
    cluster.etcd.stop()


async def _start(cluster: ApiServer) -> None:
    cluster.etcd.start()
    cluster.api.start()
    await asyncio.to_thread(cluster.wait_ready)
