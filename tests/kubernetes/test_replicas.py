"""Replicas as processes, with the times of production: who writes, who takes over and how soon, and what they serve."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count, groupby
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from controlplane.controllers.leader import STATUS
from tests.cluster.api_server import ApiServer
from tests.cluster.daemon import Daemon
from tests.feature.client import Held, Variant, connected
from tests.kubernetes import rights
from tests.kubernetes.objects import Writer, virtual_service
from tests.patience import until

ROOT = Path(__file__).parents[2]
SYSTEM, ACCOUNT = "istio-system", "istiod"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/istio-system/leases"
ROUTES = "/apis/networking.istio.io/v1/namespaces/shop/virtualservices"
WRITTEN_OBJECTS = 30
MESH = """\
apiVersion: v1
kind: Service
metadata: {name: cart}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: cart-1, labels: {kubernetes.io/service-name: cart}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.1.0.1]}, {addresses: [10.1.0.2]}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: outside}
spec:
  hosts: [one.test, two.test]
  ports: [{number: 443, name: tls, protocol: TLS}]
  resolution: DNS
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: cart}
spec: {host: cart, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}}
"""
_NO_HOST = "*"  # as a destination


@pytest.fixture(scope="module")
def cluster(kube_binaries: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:  # noqa: ARG001
    """An API server of this module's own with everything of ``deploy/``, a namespace to serve, and an audit log."""
    folder = tmp_path_factory.mktemp("kube")
    server = ApiServer(folder, options=rights.audit_options(folder))
    try:
        server.start()
        server.kubectl("apply", "-k", str(ROOT / "deploy"))
        server.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=120s")
        server.kubectl("create", "namespace", "shop")
        server.kubectl("-n", "shop", "apply", "-f", "-", text=MESH)
        yield server
    finally:
        server.stop()


@dataclass(frozen=True)
class Replica:
    """One process. ``identity`` is its name in leases, ``token`` the id of the token that it shows."""

    process: Daemon
    identity: str
    token: str
    xds: str
    monitoring: str

    async def counted(self, name: str) -> int:
        """Return the value of a counter."""
        async with aiohttp.ClientSession() as session, session.get(f"http://{self.monitoring}/metrics") as response:
            page = await response.text()
        return next(int(float(line.split()[1])) for line in page.splitlines() if line.startswith(f"{name} "))

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, and return at once."""
        assert self.process.pid is not None
        os.kill(self.process.pid, number)


@asynccontextmanager
async def running(cluster: ApiServer, folder: Path, name: str, *, pod: bool = True) -> AsyncIterator[Replica]:
    """Run a replica, as in a Pod or by hand, from when it is ready; afterwards it is ended by force."""
    token = (await asyncio.to_thread(cluster.kubectl, "-n", SYSTEM, "create", "token", ACCOUNT)).strip()
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    path = cluster.write_kubeconfig(folder / name, token)
    ports = ("--xds-bind=127.0.0.1", "--xds-port=0", "--secure-port=0", "--webhook-port=0", "--monitoring-port=0")
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"} | ({"POD_NAME": name} if pod else {})
    command = (sys.executable, "-m", "controlplane", "serve", "--kubeconfig", str(path), *ports)
    process = Daemon(name, command, folder, environment=environment)
    process.start()
    try:
        identity = name if pod else f"{socket.gethostname()}-{process.pid}"
        await until(lambda: _serving(process) is not None, "the replica serves")
        ports_of = _serving(process)
        assert ports_of is not None
        yield Replica(process, identity, claims["jti"], ports_of["xds"], ports_of["monitoring"])
    finally:
        process.stop()


def _serving(process: Daemon) -> Mapping[str, str] | None:
    """Return what a process logged when it was ready."""
    events = map(json.loads, process.log_path.read_text().splitlines())
    return next((event for event in events if event["event"] == "app.serving"), None)


class Shop:
    """Somebody who writes VirtualServices, some of them wrong, and sees what is said of them."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._turns = count()

    async def holder(self) -> str:
        """Return who has the lease of the writer of conditions."""
        lease = await self._writer.request("GET", f"{LEASES}/{STATUS}", accepted=(404,))
        return str(lease.get("spec", {}).get("holderIdentity", ""))

    async def led_by_another(self, leader: Replica) -> bool:
        """Whether another replica than this one leads."""
        return await self.holder() not in ("", leader.identity)

    async def renewed(self) -> None:
        """Wait until the leader renews its lease: the next moment is the worst to be killed."""
        before = await self._renewal()

        async def is_renewed() -> bool:
            return await self._renewal() != before

        await until(is_renewed)

    async def _renewal(self) -> str:
        return str((await self._writer.request("GET", f"{LEASES}/{STATUS}"))["spec"]["renewTime"])

    async def write_all(self) -> None:
        """Write each object once, and none wrong."""
        for _ in range(WRITTEN_OBJECTS):
            await self.write(wrong=False)

    async def write(self, *, wrong: bool = True) -> str:
        """Write the next object; each is right and wrong in turns, unless none is to be. Return its name."""
        turn, number = divmod(next(self._turns), WRITTEN_OBJECTS)
        name = f"route-{number}"
        obj = virtual_service(name, f"{name}.test")
        host = _NO_HOST if wrong and (number + turn) % 3 == 0 else "cart"
        obj["spec"]["http"] = [{"name": f"turn-{turn}", "route": [{"destination": {"host": host}}]}]
        await self._writer.create(ROUTES, obj)
        await self._writer.request("PATCH", f"{ROUTES}/{name}", obj)
        return name

    async def keep_writing(self) -> None:
        """Write for ever, about ten times a second."""
        while True:
            await self.write()
            await asyncio.sleep(0.1)

    async def said(self, name: str) -> bool:
        """Whether the condition of an object is that of its last generation."""
        return right(await self._writer.request("GET", f"{ROUTES}/{name}"))

    async def all_said(self) -> bool:
        """Whether that is so of every object."""
        return all(map(right, (await self._writer.request("GET", ROUTES))["items"]))


def right(obj: Mapping[str, Any]) -> bool:
    """Whether the one condition of an object is about its last generation, and true."""
    host = obj["spec"]["http"][0]["route"][0]["destination"]["host"]
    wanted = ("Rejected" if host == _NO_HOST else "Accepted", obj["metadata"]["generation"])
    held = obj.get("status", {}).get("conditions", [])
    return [(each["reason"], each["observedGeneration"]) for each in held] == [wanted]


@asynccontextmanager
async def writing(shop: Shop) -> AsyncIterator[None]:
    task = asyncio.create_task(shop.keep_writing())
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def handed_over(shop: Shop, leader: Replica, number: signal.Signals) -> None:
    """End a leader while objects change, and wait until another one writes; none of the changes is missed.

    One that can gives the lease back before it ends, so that nobody waits until it runs out.
    """
    async with writing(shop):
        leader.signal(number)
        if number is signal.SIGTERM:
            await until(lambda: leader.process.pid is None, "the leader ends")
            assert await shop.holder() != leader.identity
        await until(partial(shop.led_by_another, leader), "another one leads")
        name = await shop.write()
        await until(partial(shop.said, name), f"the condition of {name}")
    await until(shop.all_said, "all conditions")


async def served(replica: Replica) -> dict[Variant, Held]:
    """Return everything that a sidecar holds of a replica, with versions, by each form of the protocol."""
    found = {}
    for variant in Variant:
        async with connected(replica.xds, variant) as client:
            assert all(client.held.values())
            found[variant] = client.copy()
    return found


def _follows(holder: str, replica: Replica) -> bool:
    return replica.identity != holder


async def test_replicas(cluster: ApiServer, tmp_path: Path) -> None:
    """One leader leaves and the next is killed: each time another one goes on, and all serve the same bytes."""
    async with AsyncExitStack() as stack:
        shop = Shop(await stack.enter_async_context(Writer(cluster)))
        start = [stack.enter_async_context(running(cluster, tmp_path, name)) for name in ("first", "second")]
        replicas = list(await asyncio.gather(*start))
        await shop.write_all()
        await until(shop.all_said, "all conditions")
        replicas.sort(key=partial(_follows, await shop.holder()))
        first, second = replicas
        assert sum([await each.counted("galley_validation_config_updates") for each in replicas]) > 0
        assert await second.counted("controlplane_conditions_written_total") == 0
        await handed_over(shop, first, signal.SIGTERM)
        await shop.write_all()  # what is wrong stays as it was with those that know how it was
        await until(shop.all_said, "all conditions")
        third = await stack.enter_async_context(running(cluster, tmp_path, "third", pod=False))
        assert await served(third) == await served(second)
        await shop.renewed()
        await handed_over(shop, second, signal.SIGKILL)
        assert await shop.holder() == third.identity
        writers = rights.writers(cluster, "virtualservices/status")
        assert await third.counted("controlplane_conditions_written_total") == writers.count(third.token)
    wrote = [token for token, _ in groupby(writers)]
    assert wrote == [first.token, second.token, third.token]
