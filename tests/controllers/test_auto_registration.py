"""Who may register a machine, tell how one is, and how many; ``tests/kubernetes/test_machines.py`` has real parts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio.client import ApiClient, Configuration

from controlplane.ads.credential import Credential
from controlplane.ads.fair import Gate
from controlplane.ads.refusal import Refusal, StreamRefused
from controlplane.controllers.auto_registration import AutoRegistration, RegistrationError, RegistrationOptions
from controlplane.controllers.workload_entries import CONNECTED, DISCONNECTED, GROUP, HEALTH_CHECKS
from controlplane.limits import Limits, unheard
from controlplane.metrics import LIMITS_REACHED
from controlplane.model.objects import Object, ObjectKey
from controlplane.model.parse import Parsed, parse
from controlplane.model.proxy import Proxy
from controlplane.wiring.machines import RegisteredMachines
from tests.patience import PATIENCE_SECONDS, in_time, until

API = "/apis/networking.istio.io/{version}/namespaces/{namespace}"
PROBED = {HEALTH_CHECKS: "true"}


@dataclass
class Cluster:
    """An API server that keeps what it is given; ``held_up`` makes it wait, ``changed`` is what was changed in it."""

    entries: dict[str, dict[str, Any]] = field(default_factory=dict)
    objects: dict[ObjectKey, Object] = field(default_factory=dict)
    changed: list[tuple[str, Any]] = field(default_factory=list)
    free: asyncio.Event = field(default_factory=asyncio.Event)
    asked: int = 0
    overtaken: int = 0
    """So many changes come after somebody else's."""

    def put(self, kind: str, name: str, annotations: Mapping[str, str], spec: dict[str, Any]) -> None:
        """Have somebody write an object."""
        metadata = {"name": name, "namespace": "bank", "resourceVersion": "1", "annotations": dict(annotations)}
        raw = {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": metadata, "spec": spec}
        found = parse(kind, raw)
        assert isinstance(found, Parsed), found
        self.objects[found.object.key] = found.object
        if kind == "WorkloadEntry":
            self.entries[name] = raw

    async def group(self, _: web.Request) -> web.StreamResponse:
        self.asked += 1
        await self.free.wait()
        return web.json_response({"metadata": {"uid": "u"}})

    async def create(self, request: web.Request) -> web.StreamResponse:
        entry = await request.json()
        name = entry["metadata"]["name"]
        if name in self.entries:
            return web.json_response({}, status=409)
        self.put("WorkloadEntry", name, entry["metadata"]["annotations"], entry["spec"])
        return web.json_response({}, status=201)

    async def read(self, request: web.Request) -> web.StreamResponse:
        found = self.entries.get(request.match_info["name"])
        return web.json_response(found or {}, status=404 if found is None else 200)

    async def patch(self, request: web.Request) -> web.StreamResponse:
        if self.overtaken:
            self.overtaken -= 1
            return web.json_response({}, status=409)
        body = await request.json()
        self.changed.append((request.match_info["name"], body.get("status") or body["metadata"]["annotations"]))
        return web.json_response({})

    @asynccontextmanager
    async def registering(self, most: int = 64, **options: Any) -> AsyncIterator[AutoRegistration]:
        """Serve it, and run what registers in it."""
        app = web.Application()
        app.router.add_get(f"{API}/workloadgroups/{{name}}", self.group)
        app.router.add_post(f"{API}/workloadentries", self.create)
        app.router.add_get(f"{API}/workloadentries/{{name}}", self.read)
        app.router.add_patch(f"{API}/workloadentries/{{name}}", self.patch)
        app.router.add_patch(f"{API}/workloadentries/{{name}}/status", self.patch)
        runner = web.AppRunner(app, shutdown_timeout=0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        try:
            async with ApiClient(Configuration(host=f"http://{host}:{port}")) as client:
                found = AutoRegistration(client, self.objects.get, "cp-1", RegistrationOptions(most, **options))
                running = asyncio.create_task(found.run())
                try:
                    yield found
                finally:
                    running.cancel()
                    await asyncio.gather(running, return_exceptions=True)
        finally:
            self.free.set()
            await runner.cleanup()


@pytest.fixture
async def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """One with a group for the service account ``vm``, whose answers are waited for on a slow machine, too."""
    monkeypatch.setattr("controlplane.controllers.auto_registration._TIMEOUT", PATIENCE_SECONDS)
    found = Cluster()
    found.free.set()
    found.put("WorkloadGroup", "vms", {}, {"template": {"serviceAccount": "vm"}})
    return found


def proxy(ip: str = "10.0.0.5", **metadata: str) -> Proxy:
    return Proxy("sidecar", f"vm-{ip}.bank", (ip,), "bank", "bank.svc.cluster.local", metadata=metadata)


def of_group(ip: str = "10.0.0.5") -> Proxy:
    return proxy(ip, AUTO_REGISTER_GROUP="vms")


def healths(cluster: Cluster) -> list[tuple[str, list[str]]]:
    return [
        (name, [each["status"] for each in told["conditions"]])
        for name, told in cluster.changed
        if "conditions" in told
    ]


@pytest.mark.parametrize(
    ("annotations", "caller", "reason"),
    [
        (PROBED, (None, ""), "it has proved no identity, which a port with TLS asks for"),
        (PROBED, ("bank", "other"), "its identity is bank/other, the entry is for bank/db"),
        (PROBED, ("shop", "db"), "its identity is shop/db, the entry is for bank/db"),
        ({**PROBED, GROUP: "vms"}, ("bank", "db"), "WorkloadEntry bank/db-1 is of a machine that registers itself"),
    ],
)
async def test_nobody_tells_of_an_entry_that_is_another_s(
    cluster: Cluster, annotations: Mapping[str, str], caller: tuple[str | None, str], reason: str
) -> None:
    cluster.put("WorkloadEntry", "db-1", annotations, {"address": "10.0.0.9", "serviceAccount": "db"})
    async with cluster.registering() as registration:
        with pytest.raises(RegistrationError, match=f"failed: {reason}$"):
            await registration.joined(proxy(WORKLOAD_ENTRY="db-1"), *caller)


async def test_its_machine_tells_of_an_entry_and_another_beside_it_does_not(cluster: Cluster) -> None:
    cluster.put("WorkloadEntry", "db-1", PROBED, {"address": "10.0.0.9", "serviceAccount": "db"})
    mine, stranger = proxy(WORKLOAD_ENTRY="db-1"), proxy(WORKLOAD_ENTRY="db-1")
    async with cluster.registering() as registration:
        await registration.joined(mine, "bank", "db")
        with pytest.raises(RegistrationError):
            await registration.joined(stranger, "bank", "other")
        registration.told_health(mine, "")
        await until(lambda: len(cluster.changed) == 1)
        registration.told_health(stranger, "down")
        registration.left(stranger)
        registration.left(mine)
        await until(lambda: len(cluster.changed) == 2)
    assert healths(cluster) == [("db-1", ["True"]), ("db-1", [])]


async def test_an_entry_without_health_checks_has_none_written_whoever_names_it(cluster: Cluster) -> None:
    cluster.put("WorkloadEntry", "plain", {}, {"address": "10.0.0.9", "serviceAccount": "db"})
    cluster.put("WorkloadEntry", "probed", PROBED, {"address": "10.0.0.8"})
    anybody, machine = proxy(WORKLOAD_ENTRY="plain"), proxy(WORKLOAD_ENTRY="probed")
    async with cluster.registering() as registration:
        await registration.joined(anybody, None, "")
        await registration.joined(machine, "bank", "any")
        registration.told_health(anybody, "down")
        registration.told_health(machine, "down")
        await until(lambda: bool(cluster.changed))
        registration.left(anybody)
        registration.left(machine)
        await until(lambda: len(cluster.changed) == 2)
    assert healths(cluster) == [("probed", ["False"]), ("probed", [])]


async def test_who_names_the_entry_of_a_machine_is_not_taken_for_it(cluster: Cluster) -> None:
    """The end of the machine is written though another stream named its entry before it registered itself."""
    machine, other = of_group(), proxy(WORKLOAD_ENTRY="vms-10.0.0.5")
    cluster.put("WorkloadEntry", "vms-10.0.0.5", PROBED, {"address": "10.0.0.5"})
    async with cluster.registering() as registration:
        await registration.joined(other, "bank", "any")
        del cluster.entries["vms-10.0.0.5"]
        await registration.joined(machine, "bank", "vm")
        registration.told_health(other, "down")
        registration.left(machine)
        await until(lambda: bool(cluster.changed))
    ((name, told),) = cluster.changed
    assert (name, set(told)) == ("vms-10.0.0.5", {CONNECTED, DISCONNECTED})


@pytest.mark.parametrize(
    ("address", "word"),
    [
        ("127.0.0.1", "loopback"),
        ("169.254.169.254", "link-local"),
        ("0.0.0.0", "unspecified"),
        ("224.0.0.1", "multicast"),
        ("255.255.255.255", "reserved"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
    ],
)
async def test_an_address_that_is_no_machine_s_is_not_registered(cluster: Cluster, address: str, word: str) -> None:
    async with cluster.registering() as registration:
        with pytest.raises(RegistrationError, match=f"its address {address} is {word}"):
            await registration.joined(of_group(address), "bank", "vm")
    assert (cluster.asked, cluster.entries) == (0, {})


async def test_a_machine_is_registered_though_somebody_else_changes_its_entry(cluster: Cluster) -> None:
    async with cluster.registering() as registration:
        await registration.joined(of_group(), "bank", "vm")
        cluster.overtaken = 3
        await registration.joined(of_group(), "bank", "vm")
        ((name, told),) = cluster.changed
    assert (name, told[DISCONNECTED], cluster.overtaken) == ("vms-10.0.0.5", None, 0)


async def test_one_identity_registers_so_many_machines_until_entries_are_removed(cluster: Cluster) -> None:
    cluster.put("WorkloadGroup", "vms", {}, {"template": {}})
    first, second, third = (of_group(f"10.0.0.{number}") for number in (1, 2, 3))
    async with cluster.registering(most=2) as registration:
        for each in (first, second, replace(first)):
            await registration.joined(each, "bank", "vm")
        with pytest.raises(
            RegistrationError, match="bank/vm has registered 2 machines here, and may not have more"
        ) as no:
            await registration.joined(third, "bank", "vm")
        assert (no.value.temporary, no.value.limit) == (True, "max_machines_per_identity")
        await registration.joined(replace(third), "bank", "other")
        registration.left(second)
        await until(lambda: bool(cluster.changed))
        with pytest.raises(RegistrationError):  # its entry is still there
            await registration.joined(third, "bank", "vm")
        (key,) = (key for key in cluster.objects if key.name == "vms-10.0.0.2")
        del cluster.objects[key]
        await until(joins(registration, third))


def joins(registration: AutoRegistration, machine: Proxy) -> Callable[[], Any]:
    async def joined() -> bool:
        try:
            await registration.joined(machine, "bank", "vm")
        except RegistrationError:
            return False
        return True

    return joined


async def test_the_stream_over_the_limit_is_refused_and_counted(cluster: Cluster) -> None:
    machines = RegisteredMachines()
    caller = Credential()
    caller.namespace, caller.service_account = "bank", "vm"
    counted = LIMITS_REACHED.labels(limit="max_machines_per_identity")
    before = counted._value.get()  # noqa: SLF001 - there is no other way to read it
    async with cluster.registering(most=0) as machines.registration:
        with pytest.raises(StreamRefused) as refused:
            await machines.joined(of_group(), caller)
    assert refused.value.kind is Refusal.TOO_MANY
    assert counted._value.get() == before + 1  # noqa: SLF001 - as above


async def test_streams_of_one_machine_wait_for_each_other_no_longer_than_for_the_api_server(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second gives up while the first holds the machine's lock."""
    async with cluster.registering() as registration:
        cluster.free.clear()
        first = asyncio.create_task(registration.joined(of_group(), "bank", "vm"))
        await until(lambda: cluster.asked == 1)
        monkeypatch.setattr("controlplane.controllers.auto_registration._TIMEOUT", 0)
        with pytest.raises(RegistrationError) as late:
            await in_time(registration.joined(of_group(), "bank", "vm"))
        assert (late.value.temporary, cluster.asked, first.done()) == (True, 1, False)
        cluster.free.set()
        await first


async def test_those_of_an_identity_that_registers_many_wait_behind_each_other(cluster: Cluster) -> None:
    cluster.put("WorkloadGroup", "vms", {}, {"template": {}})
    gate = Gate(1, ("max_waiting_calls", Limits().max_waiting_calls), unheard)
    async with cluster.registering(place=gate.entered) as registration:
        cluster.free.clear()
        callers = [*(("many", f"10.0.0.{number}") for number in range(1, 6)), ("one", "10.0.1.1")]
        joining = [asyncio.create_task(registration.joined(of_group(ip), "bank", name)) for name, ip in callers]
        await until(lambda: cluster.asked == 1)
        cluster.free.set()
        await asyncio.gather(*joining)
    order = list(cluster.entries)
    assert order.index("vms-10.0.1.1") <= 2
