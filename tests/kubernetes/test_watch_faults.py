"""What may happen between the API server and the watches. In the end nothing is lost.

What is in force equals a fresh list, and what a proxy is served equals what is built of that: ``settle`` waits for it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import aiohttp
import pytest

from controlplane.model import kinds
from controlplane.model.feeds import Standing
from controlplane.model.objects import ObjectKey
from controlplane.snapshots import ResourceType
from controlplane.watchers.kubernetes.source import ClusterOptions
from controlplane.watchers.kubernetes.timing import Timing
from tests.cluster.api_server import ApiServer
from tests.kubernetes.faults import Storage, compact, restart, through
from tests.kubernetes.objects import Writer, service, virtual_service
from tests.kubernetes.relay import Relay
from tests.kubernetes.watching import QUICK, SERVICES, VIRTUAL_SERVICES, edit, feed, settle
from tests.patience import PATIENCE_SECONDS, patience
from tests.watchers.kubernetes.following import followed

STALL_SECONDS = 30.0
LEVELS = "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations"
FLOWS = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas"
ROLE_BINDINGS = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"


@pytest.fixture
def options(watched: ApiServer) -> ClusterOptions:
    return ClusterOptions(kubeconfig=str(watched.kubeconfig))


@pytest.fixture
async def writer(watched: ApiServer) -> AsyncIterator[Writer]:
    async with Writer(watched) as client:
        yield client


@pytest.fixture(scope="module", autouse=True)
def stalled(kube_cluster: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Future[None]]:
    """A stall of half a minute, on an API server that nobody breaks, while the other tests of this file run."""
    folder = tmp_path_factory.mktemp("stalled")
    with ThreadPoolExecutor(1) as thread:
        yield thread.submit(lambda: asyncio.run(_stall(kube_cluster, folder)))


async def _stall(cluster: ApiServer, folder: Path) -> None:
    """Follow with the times that are real; no byte comes through for ``STALL_SECONDS``."""
    options, path = ClusterOptions(kubeconfig=str(cluster.kubeconfig)), SERVICES.format("default")
    async with Relay(cluster.addresses.api_port) as relay, Writer(cluster) as writer:
        await writer.create(path, service("before"))
        async with followed(through(relay, cluster, folder), Timing()) as follower:
            lists = sum(each.lists for each in follower.source.feeds)
            relay.open.clear()
            begun = time.time()
            await writer.create(path, service("during"))
            await writer.request("DELETE", f"{path}/before")
            await asyncio.sleep(STALL_SECONDS)
            away_since = follower.source.away_since
            assert away_since is not None
            assert begun - 20 < away_since < begun + 20
            assert follower.has("Service", "before", "default")
            assert follower.batches == []
            relay.open.set()
            await follower.until(lambda: follower.has("Service", "during", "default"))
            await settle(follower, options)
            assert follower.source.away_since is None
            assert sum(each.lists for each in follower.source.feeds) == lists  # the watches went on where they were
        await writer.request("DELETE", f"{path}/during")


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
        before, served, builds = dict(follower.objects), follower.contents, follower.compiler.builds
        watched.api.stop()
        try:
            await follower.until(lambda: follower.source.away_since is not None)
            assert feed(follower.source, "pods").lag_seconds > 0
            assert dict(follower.objects) == before
            assert follower.contents == served
        finally:
            watched.api.start()
            await asyncio.to_thread(watched.wait_ready)
        await follower.until(
            lambda: all(each.standing in {Standing.CURRENT, Standing.ABSENT} for each in follower.source.feeds)
        )
        await settle(follower, options)
        assert follower.batches == []
        assert follower.compiler.builds == builds


async def test_a_compacted_history_is_read_again_and_only_the_difference_told(
    watched: ApiServer, writer: Writer, options: ClusterOptions, tmp_path: Path
) -> None:
    for number in range(20):
        await writer.create(SERVICES.format("red"), service(f"c{number}"))
    async with (
        Relay(watched.addresses.api_port) as relay,
        followed(through(relay, watched, tmp_path), QUICK) as follower,
    ):
        await settle(follower, options)
        del follower.batches[:]
        served = follower.contents[ResourceType.CLUSTER]
        relay.open.clear()
        await writer.request("PATCH", f"{SERVICES.format('red')}/c3", service("c3", port=99))
        await compact(watched)
        await restart(watched)  # its watch cache begins anew
        await relay.cut()
        relay.open.set()
        key = ObjectKey(kinds.SERVICE, "red", "c3")
        await follower.until(lambda: follower.objects[key].spec.ports[0].number == 99)
        await follower.until(lambda: feed(follower.source, "services").lists == 2)
        await settle(follower, options)
        assert [obj.key for batch in follower.batches for obj in batch.upserts] == [key]
        assert not any(batch.deletes for batch in follower.batches)
        now = follower.contents[ResourceType.CLUSTER]
        assert {name.split("|")[-1] for name in now.keys() ^ served.keys()} == {"c3.red.svc.cluster.local"}


async def test_etcd_is_restored_to_an_older_state(watched: ApiServer, writer: Writer, options: ClusterOptions) -> None:
    storage = Storage(watched)
    await writer.create(SERVICES.format("red"), service("old"))
    await writer.create(SERVICES.format("red"), service("changed"))
    await storage.keep()
    async with followed(options, QUICK) as follower:
        await writer.create(SERVICES.format("red"), service("new"))
        await writer.request("PATCH", f"{SERVICES.format('red')}/changed", service("changed", port=99))
        await writer.request("DELETE", f"{SERVICES.format('red')}/old")
        for number in range(50):
            await writer.request(
                "PATCH", f"{SERVICES.format('red')}/changed", {"metadata": {"labels": {"n": f"{number}"}}}
            )
        await settle(follower, options)
        await storage.restore()
        await follower.until(lambda: follower.has("Service", "old", "red"))
        await settle(follower, options)
        assert not follower.has("Service", "new", "red")


async def test_a_watch_that_is_cut_within_a_line(
    watched: ApiServer, writer: Writer, options: ClusterOptions, tmp_path: Path
) -> None:
    """The line is of a megabyte, and the connection ends after a third of it."""
    path = VIRTUAL_SERVICES.format("blue")
    async with (
        Relay(watched.addresses.api_port) as relay,
        followed(through(relay, watched, tmp_path), QUICK) as follower,
    ):
        before = [each.lists for each in follower.source.feeds]
        relay.cut_after = 330_000
        await writer.create(path, virtual_service("long", "a", random.Random(3).randbytes(500_000).hex()))
        await follower.until(lambda: follower.has("VirtualService", "long", "blue"))
        assert relay.cuts == 1
        await settle(follower, options)
        assert [each.lists for each in follower.source.feeds] == before  # it went on where it was
    await writer.request("DELETE", f"{path}/long")


async def test_a_network_that_stalls_for_longer_than_all_timeouts(
    watched: ApiServer, writer: Writer, options: ClusterOptions, tmp_path: Path
) -> None:
    """Connections are given up, also new ones, until it ends."""
    timing = Timing(first_pause=0.1, longest_pause=0.5, discovery=0.2, silence=1.0, answer=1.0, probe=1.0, connect=1.0)
    async with (
        Relay(watched.addresses.api_port) as relay,
        followed(through(relay, watched, tmp_path), timing) as follower,
    ):
        relay.open.clear()
        await writer.create(SERVICES.format("red"), service("stalled"))
        await follower.until(lambda: follower.source.away_since is not None)
        await asyncio.sleep(3.0)
        assert not follower.has("Service", "stalled", "red")
        relay.open.set()
        await follower.until(lambda: follower.has("Service", "stalled", "red"))
        await settle(follower, options)


async def test_too_many_requests(watched: ApiServer, writer: Writer, options: ClusterOptions, tmp_path: Path) -> None:
    """The API server refuses nearly all that this reader asks, as it does with who asks too much; then no more."""
    everything = {"kind": "ServiceAccount", "name": "default", "namespace": "blue"}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    await writer.create(ROLE_BINDINGS, {"metadata": {"name": "hurried"}, "roleRef": role, "subjects": [everything]})
    token = (await asyncio.to_thread(watched.kubectl, "create", "token", "default", "-n", "blue")).strip()
    kubeconfig = watched.write_kubeconfig(tmp_path / "hurried", token)
    async with Relay(watched.addresses.api_port) as relay:
        text = kubeconfig.read_text().replace(f":{watched.addresses.api_port}", f":{relay.port}")
        kubeconfig.write_text(text)
        async with followed(ClusterOptions(kubeconfig=str(kubeconfig)), QUICK) as follower:
            await refuse_all(writer)
            rng, refused = random.Random(4), 0
            async with patience():  # it takes the server a moment to do so
                while refused < 3:
                    await relay.cut()
                    await edit(writer, rng)
                    await asyncio.sleep(0.5)
                    refused += any("429" in each.problem for each in follower.source.feeds)
            await writer.create(SERVICES.format("red"), service("late"))
            await follower.until(lambda: follower.source.away_since is None)  # it does answer
            await writer.request("DELETE", f"{FLOWS}/hurried")
            await follower.until(lambda: follower.has("Service", "late", "red"))
            await settle(follower, options)
            await follower.until(lambda: not any(each.problem for each in follower.source.feeds))
    await writer.request("DELETE", f"{LEVELS}/none")
    await writer.request("DELETE", f"{ROLE_BINDINGS}/hurried")


async def refuse_all(writer: Writer) -> None:
    """Give the requests of one service account the least share of the server's time."""
    limited = {
        "nominalConcurrencyShares": 0,
        "lendablePercent": 0,
        "borrowingLimitPercent": 0,
        "limitResponse": {"type": "Reject"},
    }
    await writer.create(LEVELS, {"metadata": {"name": "none"}, "spec": {"type": "Limited", "limited": limited}})
    who = {"kind": "ServiceAccount", "serviceAccount": {"name": "default", "namespace": "blue"}}
    rule = {
        "subjects": [who],
        "resourceRules": [
            {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": True}
        ],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
    }
    spec = {"priorityLevelConfiguration": {"name": "none"}, "matchingPrecedence": 2, "rules": [rule]}
    await writer.create(FLOWS, {"metadata": {"name": "hurried"}, "spec": spec})


async def test_an_object_of_a_megabyte(writer: Writer, options: ClusterOptions) -> None:
    async with followed(options, QUICK) as follower:
        before = [each.lists for each in follower.source.feeds]
        await writer.create(VIRTUAL_SERVICES.format("blue"), virtual_service("big", "a", "x" * 1_000_000))
        await follower.until(lambda: follower.has("VirtualService", "big", "blue"))
        await settle(follower, options)
        assert [each.lists for each in follower.source.feeds] == before
    await writer.request("DELETE", f"{VIRTUAL_SERVICES.format('blue')}/big")


def test_a_network_that_stalls_for_half_a_minute(stalled: Future[None]) -> None:
    stalled.result(timeout=STALL_SECONDS + 3 * PATIENCE_SECONDS)
