"""What statuses of a real API server decide: addresses of ServiceEntries, and which WorkloadEntries get traffic."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, CoreV1Api, CustomObjectsApi

from controlplane.apis.kinds import KINDS
from controlplane.controllers.addresses import Addresses
from controlplane.controllers.leader import ADDRESSES
from controlplane.controllers.status_writer import Pace
from controlplane.model import kinds
from controlplane.model.objects import ChangeSet, ObjectKey
from controlplane.registry.endpoints import endpoints
from controlplane.registry.services import services_of
from controlplane.registry.store import Registry
from controlplane.watchers.kubernetes.source import ClusterOptions, KubernetesSource
from tests.cluster.api_server import ApiServer
from tests.kubernetes import rights
from tests.kubernetes.leading import ACCOUNT, SETTLED_SECONDS, SYSTEM, TIMEOUT_SECONDS, Leader, leading
from tests.patience import patience, until
from tests.watchers.kubernetes.following import followed

DEPLOY = Path(__file__).parents[2] / "deploy"
MERGE = "application/merge-patch+json"
QUICK = Pace(scan=0.05, first_pause=0.05, longest_pause=0.2)
OPTS_OUT = {"networking.istio.io/enable-autoallocate-ip": "false"}
Pairs = list[tuple[str, str]]


@pytest.fixture(scope="module")
def cluster(kube_binaries: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:  # noqa: ARG001
    """An API server of this module's own with everything of ``deploy/``, and an audit log."""
    folder = tmp_path_factory.mktemp("kube")
    server = ApiServer(folder, options=rights.audit_options(folder))
    try:
        server.start()
        server.kubectl("apply", "-k", str(DEPLOY))
        server.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=120s")
        yield server
    finally:
        server.stop()


class Shop:
    """A namespace, and somebody with every right in it."""

    def __init__(self, client: ApiClient, namespace: str) -> None:
        self.namespace = namespace
        self.core = CoreV1Api(client)
        self._objects = CustomObjectsApi(client)

    async def apply(self, kind: str, name: str, spec: Any, **metadata: Any) -> None:
        """Create an object, or replace its spec."""
        obj = {"apiVersion": f"{KINDS[kind].group}/{KINDS[kind].versions[0]}", "kind": kind, "spec": spec}
        await self._objects.patch_namespaced_custom_object(
            *self._place(kind, name),
            obj | {"metadata": {"name": name, **metadata}},
            field_manager="somebody",
            force=True,
            _content_type="application/apply-patch+yaml",
        )

    async def entry(self, name: str, *hosts: str, labels: dict[str, str] | None = None, **spec: Any) -> None:
        """Apply a ServiceEntry."""
        ports = [{"number": 443, "name": "tls", "protocol": "TLS"}]
        body = {"hosts": list(hosts), "ports": ports, "resolution": "DNS", **spec}
        await self.apply("ServiceEntry", name, body, labels=labels or {})

    async def delete(self, kind: str, name: str) -> None:
        await self._objects.delete_namespaced_custom_object(*self._place(kind, name))

    async def write_status(self, kind: str, name: str, **status: Any) -> None:
        """Write a status as another controller would."""
        await self._objects.patch_namespaced_custom_object_status(
            *self._place(kind, name), {"status": status}, _content_type=MERGE
        )

    async def status(self, name: str) -> dict[str, Any]:
        found = await self._objects.get_namespaced_custom_object(*self._place("ServiceEntry", name))
        status: dict[str, Any] = found.get("status") or {}
        return status

    async def allocated(self, name: str) -> Pairs:
        return [(each["host"], each["value"]) for each in (await self.status(name)).get("addresses", [])]

    async def until(self, name: str, *pairs: tuple[str, str]) -> None:
        """Wait until the status of a ServiceEntry says this."""
        end = time.monotonic() + TIMEOUT_SECONDS
        while (found := await self.allocated(name)) != list(pairs):
            assert time.monotonic() < end, f"{name}: {found}"
            await asyncio.sleep(0.05)

    async def clean(self) -> None:
        """Leave nothing for the next test."""
        for kind in ("ServiceEntry", "WorkloadEntry"):
            await self._objects.delete_collection_namespaced_custom_object(*self._place(kind, "")[:-1])
        await self.core.delete_namespace(self.namespace)

    def _place(self, kind: str, name: str) -> tuple[str, str, str, str, str]:
        return KINDS[kind].group, KINDS[kind].versions[0], self.namespace, KINDS[kind].plural, name


@pytest.fixture
async def shop(cluster: ApiServer) -> AsyncIterator[Shop]:
    """A namespace of the module's API server."""
    name = f"shop-{secrets.token_hex(3)}"
    async with await config.new_client_from_config(str(cluster.kubeconfig)) as client:
        shop = Shop(client, name)
        await shop.core.create_namespace({"metadata": {"name": name}})
        yield shop
        await shop.clean()


def writer(client: ApiClient, registry: Registry, source: KubernetesSource, changed: asyncio.Event) -> Addresses:
    return Addresses(client, registry, source.find, changed, QUICK)


def pair(host: str, number: int) -> Pairs:
    """Return what a host has that was the first, second ... to get addresses."""
    return [(host, f"240.240.0.{number}"), (host, f"2001:2::{number:x}")]


def used(leader: Leader, shop: Shop, name: str) -> tuple[str, ...]:
    """Return the automatic addresses that proxies are told."""
    (service, *_) = leader.registry.memo.get(services_of, ObjectKey(kinds.SERVICE_ENTRY, shop.namespace, name))
    return service.auto_addresses


async def test_each_host_gets_addresses_one_after_the_other(cluster: ApiServer, shop: Shop, tmp_path: Path) -> None:
    """Wildcards and those who opt out, state addresses, or resolve to nothing do not."""
    await shop.entry("a", "a.test", "*.a.test", "A2.test", resolution="STATIC")
    await shop.entry("opted-out", "o.test", labels=OPTS_OUT)
    await shop.entry("stated", "s.test", addresses=["10.1.1.1"])
    await shop.entry("nowhere", "n.test", resolution="NONE")
    async with leading(cluster, tmp_path, writer) as leader:
        assert used(leader, shop, "a") == ()
        await shop.until("a", *pair("a.test", 1), *pair("A2.test", 2))
        await shop.entry("b", "b.test")
        await shop.until("b", *pair("b.test", 3))
        await leader.settled(2)
        await until(lambda: used(leader, shop, "a") == ("240.240.0.1", "2001:2::1"))
        await until(lambda: used(leader, shop, "b") == ("240.240.0.3", "2001:2::3"))
        for name in ("opted-out", "stated", "nowhere"):
            assert await shop.status(name) == {}
        assert leader.counts.written == 2
        assert leader.counts.refused == leader.counts.conflicts == 0


async def test_addresses_outlive_edits_and_restarts_and_are_not_given_on_at_once(
    cluster: ApiServer, shop: Shop, tmp_path: Path
) -> None:
    await shop.entry("a", "a.test")
    async with leading(cluster, tmp_path, writer) as leader:
        await shop.until("a", *pair("a.test", 1))
        await shop.entry("b", "b.test")
        await shop.until("b", *pair("b.test", 2))
        await shop.delete("ServiceEntry", "a")
        await leader.settled()
        await shop.entry("c", "c.test")
        await shop.until("c", *pair("c.test", 3))
        await shop.entry("b", "first.test", "b.test")
        await shop.until("b", *pair("first.test", 4), *pair("b.test", 2))
        await leader.settled()
    async with leading(cluster, tmp_path, writer) as leader:
        assert used(leader, shop, "c") == ("240.240.0.3", "2001:2::3")
        await leader.settled()
        assert leader.counts.written == 0
        await shop.entry("d", "d.test")
        await shop.until("d", *pair("d.test", 1))


async def test_who_may_have_none_any_more_loses_them_and_other_statuses_stay(
    cluster: ApiServer, shop: Shop, tmp_path: Path
) -> None:
    theirs = [{"type": "Other", "status": "True"}]
    await shop.entry("a", "a.test")
    await shop.write_status("ServiceEntry", "a", conditions=theirs)
    async with leading(cluster, tmp_path, writer) as leader:
        await shop.until("a", *pair("a.test", 1))
        assert (await shop.status("a"))["conditions"] == theirs
        await shop.entry("a", "a.test", labels=OPTS_OUT)
        await shop.until("a")
        await until(lambda: used(leader, shop, "a") == ())
        assert (await shop.status("a"))["conditions"] == theirs
        await shop.write_status("ServiceEntry", "a", addresses=[{"host": "a.test", "value": "240.240.9.9"}])
        await shop.until("a")


async def test_of_two_with_one_address_the_older_keeps_it_and_what_a_user_states_is_nobodys(
    cluster: ApiServer, shop: Shop, tmp_path: Path
) -> None:
    """Such a conflict is left by a leader that was cut off, or by somebody who restores a backup."""
    await shop.entry("older", "older.test")
    await shop.entry("moved", "moved.test")
    for name, number in (("older", 7), ("moved", 1)):
        values = [{"host": host, "value": value} for host, value in pair(f"{name}.test", number)]
        await shop.write_status("ServiceEntry", name, addresses=values)
    await asyncio.sleep(1.1)  # ages are compared in whole seconds
    await shop.entry("newer", "newer.test")
    values = [{"host": host, "value": value} for host, value in pair("newer.test", 7)]
    await shop.write_status("ServiceEntry", "newer", addresses=values)
    await shop.entry("stated", "stated.test", addresses=["240.240.0.1"])
    async with leading(cluster, tmp_path, writer) as leader:
        await shop.until("newer", ("newer.test", "240.240.0.3"), ("newer.test", "2001:2::2"))
        await shop.until("moved", ("moved.test", "240.240.0.2"), ("moved.test", "2001:2::1"))
        await leader.settled(2)
        assert await shop.allocated("older") == pair("older.test", 7)
        assert leader.counts.written == 2


async def test_two_replicas_give_each_its_own(cluster: ApiServer, shop: Shop, tmp_path: Path) -> None:
    """Only the leader writes; who takes over goes on from what is written."""
    async with leading(cluster, tmp_path, writer, (ADDRESSES, "second")) as second:
        async with leading(cluster, tmp_path, writer, (ADDRESSES, "first")) as first:
            await asyncio.gather(*(shop.entry(f"e{number}", f"e{number}.test") for number in range(20)))
            await asyncio.gather(*(shop_has(shop, f"e{number}") for number in range(20)))
            assert sorted((first.counts.written, second.counts.written)) == [0, 20]
        await shop.entry("late", "late.test")
        await shop_has(shop, "late")
        found = [value for name in (*(f"e{n}" for n in range(20)), "late") for _, value in await shop.allocated(name)]
        assert len(set(found)) == len(found) == 42


async def shop_has(shop: Shop, name: str) -> None:
    """Wait until a ServiceEntry has addresses."""
    async with patience():
        while len(await shop.allocated(name)) < 2:
            await asyncio.sleep(SETTLED_SECONDS / 5)


async def test_only_the_rights_that_are_granted_are_used(cluster: ApiServer, shop: Shop, tmp_path: Path) -> None:
    await shop.entry("a", "a.test")
    async with leading(cluster, tmp_path, writer):
        await shop_has(shop, "a")
    assert rights.refused(cluster, SYSTEM, ACCOUNT) == set()


async def test_an_unhealthy_workload_gets_no_traffic(cluster: ApiServer, shop: Shop) -> None:
    """Where health checks are on: until it is told to be healthy, and once it is told not to be."""
    checked = {"proxy.istio.io/health-checks-enabled": "true"}
    ports = [{"number": 80, "name": "http", "protocol": "HTTP"}]
    selector = {"labels": {"app": "vm"}}
    await shop.entry("vms", "vms.test", resolution="STATIC", ports=ports, workloadSelector=selector)
    await shop.apply("WorkloadEntry", "checked", {"address": "10.9.0.1", "labels": {"app": "vm"}}, annotations=checked)
    await shop.apply("WorkloadEntry", "unchecked", {"address": "10.9.0.2", "labels": {"app": "vm"}})
    await shop.write_status("WorkloadEntry", "unchecked", conditions=[{"type": "Healthy", "status": "False"}])
    async with followed(ClusterOptions(kubeconfig=str(cluster.kubeconfig), namespaces=(shop.namespace,))) as follower:

        def addresses() -> set[str]:
            registry = Registry()
            registry.apply(ChangeSet(upserts=tuple(follower.objects.values())))
            return {each.address for each in registry.memo.get(endpoints, ("vms.test", shop.namespace))}

        assert addresses() == {"10.9.0.2"}
        await shop.write_status("WorkloadEntry", "checked", conditions=[{"type": "Healthy", "status": "True"}])
        await follower.until(lambda: addresses() == {"10.9.0.1", "10.9.0.2"})
        await shop.write_status("WorkloadEntry", "checked", conditions=[{"type": "Healthy", "status": "False"}])
        await follower.until(lambda: addresses() == {"10.9.0.2"})
