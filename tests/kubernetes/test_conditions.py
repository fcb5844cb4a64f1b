"""The condition ``Reconciled`` at a real API server, written by what reads it there."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient

from controlplane.apis.kinds import KINDS
from controlplane.controllers.conditions import WRITTEN_KINDS, Conditions, Inputs, Pace
from controlplane.model.objects import ObjectKey
from controlplane.registry.findings import findings
from controlplane.watchers.kubernetes.source import ClusterOptions
from tests.apis.rule_tables import GOOD
from tests.cluster.api_server import ApiServer
from tests.kubernetes import rights
from tests.kubernetes.rights import Right
from tests.watchers.kubernetes.following import Followed, followed

ROOT = Path(__file__).parents[2]
SYSTEM, ACCOUNT = "istio-system", "istiod"
QUICK = Pace(scan=0.05, first_pause=0.05, longest_pause=0.2)
SETTLED_SECONDS = 0.5


@pytest.fixture(scope="module")
def cluster(kube_binaries: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:  # noqa: ARG001
    """An API server of this module's own with everything of ``deploy/``, and an audit log."""
    folder = tmp_path_factory.mktemp("kube")
    server = ApiServer(folder, options=rights.audit_options(folder))
    try:
        server.start()
        server.kubectl("apply", "-k", str(ROOT / "deploy"))
        server.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        yield server
    finally:
        server.stop()


@pytest.fixture
def shop(cluster: ApiServer) -> Iterator[str]:
    """A namespace of the module's API server."""
    name = f"shop-{secrets.token_hex(3)}"
    cluster.kubectl("create", "namespace", name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


class Leader:
    """What the program is, as far as conditions are concerned: a source, a registry and the writer of conditions."""

    def __init__(self, follower: Followed, client: ApiClient, pace: Pace) -> None:
        self.follower = follower
        self.conditions = Conditions(
            client,
            Inputs(
                received=follower.source.received,
                find=follower.source.find,
                objects=follower.registry.objects,
                findings=lambda: follower.registry.memo.get(findings, ()) or (),
                changed=follower.source.statuses,
            ),
            pace,
        )

    async def applied(self) -> None:
        """Tell of changes that are in force, as the program does after it has applied them."""
        seen = 0
        while True:
            await asyncio.sleep(0.02)
            if len(self.follower.batches) > seen:
                seen = len(self.follower.batches)
                self.follower.source.statuses.set()

    async def settled(self) -> None:
        """Wait until nothing has been written for a while."""
        async with asyncio.timeout(30):
            before = None
            while before != (before := self.conditions.counts.written) or self.follower.source.statuses.is_set():
                await asyncio.sleep(SETTLED_SECONDS)


@asynccontextmanager
async def leading(cluster: ApiServer, namespace: str, folder: Path, pace: Pace = QUICK) -> AsyncIterator[Leader]:
    """Run the conditions of one namespace with the rights of the control plane's service account."""
    token = (await kubectl(cluster, "-n", SYSTEM, "create", "token", ACCOUNT)).strip()
    path = str(cluster.write_kubeconfig(folder / "kubeconfig", token))
    options = ClusterOptions(kubeconfig=path, namespaces=(namespace,))
    async with AsyncExitStack() as stack:
        follower = await stack.enter_async_context(followed(options))
        client = await stack.enter_async_context(await config.new_client_from_config(path))
        leader = Leader(follower, client, pace)
        tasks = [asyncio.create_task(work) for work in (follow(leader), leader.conditions.run())]
        try:
            yield leader
            assert not any(task.done() for task in tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def follow(leader: Leader) -> None:
    """Invalidate what a change makes stale; the memo of the follower's registry does not by itself."""
    await leader.applied()


async def test_accepted_rejected_and_fixed(cluster: ApiServer, shop: str, tmp_path: Path) -> None:
    await apply(cluster, shop, virtual_service("cart"))
    async with leading(cluster, shop, tmp_path) as leader:
        first = await until(cluster, shop, "cart", "Accepted")
        assert (first["status"], first["observedGeneration"]) == ("True", 1)
        await apply(cluster, shop, virtual_service("cart", rules=[{"route": [{"destination": {"host": "*"}}]}]))
        bad = await until(cluster, shop, "cart", "Rejected")
        assert (bad["status"], bad["observedGeneration"]) == ("False", 2)
        assert "spec.http[0].route[0].destination.host" in bad["message"]
        assert bad["message"].endswith("; the version before it stays in force")
        assert (await status(cluster, shop, "cart"))["observedGeneration"] == 2
        await apply(cluster, shop, virtual_service("cart", hosts=["cart", "basket"]))
        good = await until(cluster, shop, "cart", "Accepted")
        assert (good["status"], good["observedGeneration"]) == ("True", 3)
        await leader.settled()
        assert leader.conditions.counts.written == 3


async def test_a_conflict_says_who_won(cluster: ApiServer, shop: str, tmp_path: Path) -> None:
    await apply(cluster, shop, virtual_service("older"))
    await asyncio.sleep(1.1)  # ages are compared in whole seconds
    await apply(cluster, shop, virtual_service("newer"))
    async with leading(cluster, shop, tmp_path):
        lost = await until(cluster, shop, "newer", "Conflict")
        assert lost["status"] == "False"
        assert f"spec.hosts[0]: VirtualService {shop}/older has cart.{shop}.svc.cluster.local too" in lost["message"]
        assert (await until(cluster, shop, "older", "Accepted"))["status"] == "True"
        await kubectl(cluster, "-n", shop, "delete", "virtualservice", "older")
        assert (await until(cluster, shop, "newer", "Accepted"))["status"] == "True"


async def test_what_only_requests_meet_is_a_warning(cluster: ApiServer, shop: str, tmp_path: Path) -> None:
    rule = {"route": [{"destination": {"host": "cart", "subset": "v1"}}]}
    await apply(cluster, shop, virtual_service("cart", rules=[rule]))
    async with leading(cluster, shop, tmp_path):
        said = await until(cluster, shop, "cart", "Warning")
        assert said["status"] == "True"
        assert said["message"].startswith("spec.http[0].route[0].destination.subset: no DestinationRule")


async def test_what_somebody_else_wrote_stays(cluster: ApiServer, shop: str, tmp_path: Path) -> None:
    """Also when it is written while ours is: then ours waits for the newer version."""
    theirs = {"type": "Healthy", "status": "True", "message": "0", "lastProbeTime": "2026-01-01T00:00:00Z"}
    await apply(cluster, shop, virtual_service("cart"))
    await write(cluster, shop, {"status": {"conditions": [theirs], "validationMessages": [{"level": "INFO"}]}})
    async with leading(cluster, shop, tmp_path) as leader:
        await until(cluster, shop, "cart", "Accepted")
        held = await status(cluster, shop, "cart")
        assert held["conditions"][0] == theirs
        assert held["validationMessages"] == [{"level": "INFO"}]
        for number in range(1, 9):
            await apply(cluster, shop, virtual_service("cart", hosts=["cart", f"x{number}.test"]))
            held = await status(cluster, shop, "cart")
            held["conditions"][0]["message"] = str(number)
            await write(cluster, shop, {"status": {"conditions": held["conditions"]}})
        await leader.settled()
        held = await status(cluster, shop, "cart")
        assert held["conditions"][0] == theirs | {"message": "8"}
        assert [each["type"] for each in held["conditions"]] == ["Healthy", "Reconciled"]
        assert held["conditions"][1]["observedGeneration"] == held["observedGeneration"] == 9


async def test_ours_is_put_back_where_somebody_takes_it_away(cluster: ApiServer, shop: str, tmp_path: Path) -> None:
    await apply(cluster, shop, virtual_service("cart"))
    async with leading(cluster, shop, tmp_path):
        await until(cluster, shop, "cart", "Accepted")
        await write(cluster, shop, {"status": {"conditions": []}})
        await until(cluster, shop, "cart", "Accepted")


async def test_nothing_is_written_where_nothing_changes(cluster: ApiServer, shop: str, tmp_path: Path) -> None:
    """Not by us after a restart, nor because somebody's labels or conditions are others."""
    for name in ("cart", "basket"):
        await apply(cluster, shop, virtual_service(name, hosts=[name]))
    async with leading(cluster, shop, tmp_path) as leader:
        await until(cluster, shop, "cart", "Accepted")
        await until(cluster, shop, "basket", "Accepted")
        await leader.settled()
        assert leader.conditions.counts.written == 2
    before, versions = await patches(cluster), await resource_versions(cluster, shop)
    async with leading(cluster, shop, tmp_path) as leader:
        await leader.settled()
        assert leader.conditions.counts.written == 0
        assert await resource_versions(cluster, shop) == versions
        assert await patches(cluster) == before
        await kubectl(cluster, "-n", shop, "label", "virtualservice", "cart", "a=b")
        await leader.settled()
        assert await patches(cluster) == before + 1  # the label
        assert leader.conditions.counts.written == 0


async def test_our_writes_change_no_object(cluster: ApiServer, shop: str, tmp_path: Path) -> None:
    """What comes back through the watch makes no change set, so nothing is compiled, a WorkloadEntry's neither."""
    every = [(kind, GOOD[kind][0]) for kind in sorted(WRITTEN_KINDS)]
    for kind, spec in every:
        await apply(cluster, shop, manifest(kind, kind.lower(), spec))
    async with leading(cluster, shop, tmp_path) as leader:
        for kind, _ in every:
            await until(cluster, shop, kind.lower(), "", kind=kind)
        await leader.settled()
        assert leader.conditions.counts.written == len(every)
        assert leader.follower.batches == []
        assert leader.conditions.counts.conflicts == leader.conditions.counts.refused == 0


async def test_five_hundred_at_once_stay_within_the_rate(cluster: ApiServer, shop: str, tmp_path: Path) -> None:
    pace = Pace(per_second=60, burst=30, scan=0.2)
    several = [virtual_service(f"v{number}", hosts=[f"v{number}.test"]) for number in range(500)]
    await apply(cluster, shop, {"apiVersion": "v1", "kind": "List", "items": several})
    before = await patches(cluster)
    begun = time.monotonic()
    async with leading(cluster, shop, tmp_path, pace) as leader:
        counts: list[tuple[float, int]] = []
        while leader.conditions.counts.written < 500:
            assert time.monotonic() < begun + 60
            counts.append((time.monotonic(), leader.conditions.counts.written))
            await asyncio.sleep(0.1)
        for at, written in counts:
            later = [number - written for since, number in counts if at < since <= at + 1.0]
            assert max(later, default=0) <= pace.per_second + pace.burst + 1
        await leader.settled()
        assert leader.conditions.counts.written == 500
        assert leader.conditions.counts.conflicts == 0
    assert await patches(cluster) == before + 500
    assert time.monotonic() - begun > (500 - pace.burst) / pace.per_second


async def test_an_object_that_goes_meanwhile_is_no_error(cluster: ApiServer, shop: str, tmp_path: Path) -> None:
    """The writer learns of it from the API server before the watch tells, and goes on."""
    await apply(cluster, shop, virtual_service("gone", hosts=["a"]))
    await apply(cluster, shop, virtual_service("kept", hosts=["b"]))
    async with leading(cluster, shop, tmp_path, Pace(per_second=1.0, burst=1)) as leader:
        source = leader.follower.source
        last = source.find(ObjectKey("VirtualService", shop, "gone"))
        assert last is not None
        await kubectl(cluster, "-n", shop, "delete", "virtualservice", "gone", "--wait=true")
        await leader.follower.until(lambda: not leader.follower.has("VirtualService", "gone", shop))
        await until(cluster, shop, "kept", "Accepted")
        assert leader.conditions.counts.refused == 0


async def test_only_the_rights_that_are_granted_are_used(cluster: ApiServer, shop: str, tmp_path: Path) -> None:
    """After one object of each kind, nothing was refused, and the right to patch each status was used."""
    for kind in sorted(WRITTEN_KINDS):
        await apply(cluster, shop, manifest(kind, kind.lower(), GOOD[kind][0]))
    async with leading(cluster, shop, tmp_path) as leader:
        for kind in sorted(WRITTEN_KINDS):
            await until(cluster, shop, kind.lower(), "", kind=kind)
        await leader.settled()
    wanted = {Right("patch", KINDS[kind].group, f"{KINDS[kind].plural}/status") for kind in WRITTEN_KINDS}
    granted = {right for right in rights.granted(cluster, SYSTEM, ACCOUNT) if right.resource.endswith("/status")}
    assert granted == wanted
    assert not {right for right in rights.refused(cluster, SYSTEM, ACCOUNT) if right.resource.endswith("/status")}
    assert not wanted & rights.unused(cluster, SYSTEM, ACCOUNT)


def manifest(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    declared = KINDS[kind]
    return {
        "apiVersion": f"{declared.group}/{declared.versions[0]}",
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    }


def virtual_service(name: str, hosts: Any = ("cart",), rules: Any = None) -> dict[str, Any]:
    rules = rules or [{"route": [{"destination": {"host": "cart"}}]}]
    return manifest("VirtualService", name, {"hosts": list(hosts), "http": rules})


async def kubectl(cluster: ApiServer, *arguments: str, text: str | None = None) -> str:
    return await asyncio.to_thread(lambda: cluster.kubectl(*arguments, text=text))


async def apply(cluster: ApiServer, namespace: str, obj: dict[str, Any]) -> None:
    await kubectl(cluster, "-n", namespace, "apply", "-f", "-", text=json.dumps(obj))


async def write(cluster: ApiServer, namespace: str, patch: dict[str, Any]) -> None:
    """Write a status as another controller would."""
    where = ("-n", namespace, "patch", "virtualservice", "cart", "--subresource=status", "--type=merge")
    await kubectl(cluster, *where, "-p", json.dumps(patch))


async def status(cluster: ApiServer, namespace: str, name: str, kind: str = "VirtualService") -> Any:
    resource = f"{KINDS[kind].plural}.{KINDS[kind].group}"
    obj = json.loads(await kubectl(cluster, "-n", namespace, "get", resource, name, "-o", "json"))
    return obj.get("status", {})


async def until(cluster: ApiServer, namespace: str, name: str, reason: str, kind: str = "VirtualService") -> Any:
    """Wait for our condition with a reason, or with any; return it."""
    held: list[Any] = []
    for _ in range(100):
        held = (await status(cluster, namespace, name, kind)).get("conditions", [])
        for each in held:
            if each["type"] == "Reconciled" and (not reason or each["reason"] == reason):
                return each
        await asyncio.sleep(0.1)
    pytest.fail(f"{kind} {name} is not {reason}: {held}")


async def resource_versions(cluster: ApiServer, namespace: str) -> dict[str, str]:
    listed = json.loads(await kubectl(cluster, "-n", namespace, "get", "virtualservices", "-o", "json"))["items"]
    return {obj["metadata"]["name"]: obj["metadata"]["resourceVersion"] for obj in listed}


async def patches(cluster: ApiServer) -> int:
    """Return how many patches of VirtualServices and their status the API server has had."""
    text = await kubectl(cluster, "get", "--raw", "/metrics")
    lines = [line for line in text.splitlines() if line.startswith("apiserver_request_total{")]
    ours = [line for line in lines if 'resource="virtualservices"' in line and 'verb="PATCH"' in line]
    return sum(int(float(re.split(r"\s+", line)[-1])) for line in ours)
