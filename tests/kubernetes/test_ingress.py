"""Ingresses and IngressClasses of a real API server: read, and told where they are reached."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, CoreV1Api, NetworkingV1Api

from controlplane.controllers.ingress_status import IngressStatus
from controlplane.controllers.leader import INGRESS
from controlplane.controllers.status_writer import Pace
from controlplane.frontends.ingress import ingress_gateways, ingress_virtual_services
from controlplane.registry.mesh import MESH_KEY
from controlplane.registry.store import Registry
from controlplane.watchers.kubernetes.source import KubernetesSource
from tests.cluster.api_server import ApiServer
from tests.kubernetes import rights
from tests.kubernetes.leading import ACCOUNT, SETTLED_SECONDS, SYSTEM, TIMEOUT_SECONDS, leading
from tests.kubernetes.objects import no_signals
from tests.kubernetes.rights import Right
from tests.patience import until

DEPLOY = Path(__file__).parents[2] / "deploy"
MERGE = "application/merge-patch+json"
QUICK = Pace(scan=0.05, first_pause=0.05, longest_pause=0.2)
GATEWAY = "istio-ingressgateway"
STATUS_RIGHT = Right("patch", "networking.k8s.io", "ingresses/status")


@pytest.fixture(scope="module")
def cluster(kube_binaries: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:  # noqa: ARG001
    """An API server of this module's own with everything of ``deploy/``, and an audit log."""
    folder = tmp_path_factory.mktemp("kube")
    server = ApiServer(folder, options=rights.audit_options(folder))
    try:
        server.start()
        server.kubectl("apply", "-k", str(DEPLOY))
        yield server
    finally:
        server.stop()


class Shop:
    """A namespace with Ingresses, the gateway of the mesh, and somebody with every right."""

    def __init__(self, client: ApiClient, namespace: str) -> None:
        self.namespace = namespace
        self.core = CoreV1Api(client)
        self._ingresses = NetworkingV1Api(client)

    async def classes(self) -> None:
        """Create one IngressClass of ours and one of somebody else."""
        for name, controller in (("istio", "istio.io/ingress-controller"), ("other", "example.com/other")):
            await self._ingresses.create_ingress_class({"metadata": {"name": name}, "spec": {"controller": controller}})

    async def ingress(self, name: str, of: str = "istio", **metadata: Any) -> None:
        """Create an Ingress of a class."""
        backend = {"service": {"name": "web", "port": {"number": 80}}}
        path = {"path": "/shop", "pathType": "Prefix", "backend": backend}
        rules = [{"host": f"{name}.test", "http": {"paths": [path]}}]
        spec = {"ingressClassName": of, "rules": rules}
        body = {"metadata": {"name": name, **metadata}, "spec": spec}
        await self._ingresses.create_namespaced_ingress(self.namespace, body)

    async def gateway(self, *entries: dict[str, str], **spec: Any) -> None:
        """Create the Service of the gateway, or change where it is reached and what its spec says besides."""
        body = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": GATEWAY},
            "spec": {"type": "LoadBalancer", "ports": [{"port": 80}], **spec},
        }
        apply = {"field_manager": "somebody", "force": True, "_content_type": "application/apply-patch+yaml"}
        await self.core.patch_namespaced_service(GATEWAY, SYSTEM, body, **apply)
        status = {"status": {"loadBalancer": {"ingress": list(entries)}}}
        await self.core.patch_namespaced_service_status(GATEWAY, SYSTEM, status, _content_type=MERGE)

    async def mesh(self, text: str) -> None:
        """Change the mesh configuration."""
        await self.core.patch_namespaced_config_map("istio", SYSTEM, {"data": {"mesh": text}}, _content_type=MERGE)

    async def reached(self, name: str) -> list[dict[str, str]]:
        """Return what the status of an Ingress says."""
        found = (await self._ingresses.read_namespaced_ingress(name, self.namespace)).status.load_balancer.ingress
        return [{"ip": each.ip} if each.ip else {"hostname": each.hostname} for each in found or ()]

    async def until(self, name: str, *entries: dict[str, str]) -> None:
        """Wait until the status of an Ingress says this."""
        end = time.monotonic() + TIMEOUT_SECONDS
        while (found := await self.reached(name)) != list(entries):
            assert time.monotonic() < end, f"{name}: {found}"
            await asyncio.sleep(0.05)

    async def write(self, name: str, *entries: dict[str, str]) -> None:
        """Write a status as another controller would."""
        body = {"status": {"loadBalancer": {"ingress": list(entries)}}}
        await self._ingresses.patch_namespaced_ingress_status(name, self.namespace, body, _content_type=MERGE)

    async def resource_version(self, name: str) -> str:
        found = await self._ingresses.read_namespaced_ingress(name, self.namespace)
        version: str = found.metadata.resource_version
        return version

    async def clean(self) -> None:
        """Leave nothing for the next test."""
        await self._ingresses.delete_collection_namespaced_ingress(self.namespace)
        await self.core.delete_namespace(self.namespace)
        for listed in (await self._ingresses.list_ingress_class()).items:
            await self._ingresses.delete_ingress_class(listed.metadata.name)
        for service in (await self.core.list_namespaced_service(SYSTEM)).items:
            if service.metadata.name == GATEWAY:
                await self.core.delete_namespaced_service(GATEWAY, SYSTEM)
        await self.mesh("")


@pytest.fixture
async def shop(cluster: ApiServer) -> AsyncIterator[Shop]:
    """A namespace of the module's API server, with both classes."""
    name = f"shop-{secrets.token_hex(3)}"
    async with await config.new_client_from_config(str(cluster.kubeconfig)) as client:
        shop = Shop(client, name)
        await shop.core.create_namespace({"metadata": {"name": name}})
        await shop.classes()
        yield shop
        await shop.clean()


def writer(client: ApiClient, registry: Registry, source: KubernetesSource, changed: asyncio.Event) -> IngressStatus:
    return IngressStatus(client, registry, source.find, changed, pace=QUICK, signals=no_signals)


async def test_ingresses_of_a_cluster_become_gateways_and_routes(
    cluster: ApiServer, shop: Shop, tmp_path: Path
) -> None:
    await shop.ingress("a")
    await shop.ingress("b", of="other")
    async with leading(cluster, tmp_path, writer) as leader:
        memo = leader.registry.memo
        names = [obj.meta.name for obj in memo.get(ingress_gateways, ())]
        assert names == [f"a-istio-autogenerated-k8s-ingress-{shop.namespace}"]
        (route,) = memo.get(ingress_virtual_services, ()).by_key.values()
        assert route.spec.hosts == ("a.test",)
        assert route.spec.http[0].route[0].destination.host == f"web.{shop.namespace}.svc.cluster.local"


async def test_the_addresses_of_the_gateway_are_written_and_follow_it(
    cluster: ApiServer, shop: Shop, tmp_path: Path
) -> None:
    """Sorted, names last; what is not ours stays as it is; nothing is compiled because of our own writes."""
    await shop.gateway({"hostname": "lb.test"}, {"ip": "192.0.2.9"}, externalIPs=["192.0.2.1"])
    await shop.ingress("a")
    await shop.ingress("b", of="other")
    async with leading(cluster, tmp_path, writer) as leader:
        await shop.until("a", {"ip": "192.0.2.1"}, {"ip": "192.0.2.9"}, {"hostname": "lb.test"})
        await leader.settled()
        assert leader.batches == []
        assert await shop.reached("b") == []
        moved = ({"ip": "192.0.2.1"}, {"ip": "192.0.2.5"})
        await shop.gateway({"ip": "192.0.2.5"}, externalIPs=["192.0.2.1"])
        await shop.until("a", *moved)
        await shop.write("a", {"ip": "192.0.2.77"})
        await shop.until("a", *moved)
        await shop.ingress("late")
        await shop.until("late", *moved)
        await shop.core.delete_namespaced_service(GATEWAY, SYSTEM)
        await shop.until("a")
        await shop.until("late")
        await leader.settled(6)
        assert leader.counts.written == 6
        assert leader.counts.refused == 0


async def test_nothing_is_written_where_nothing_differs(cluster: ApiServer, shop: Shop, tmp_path: Path) -> None:
    """Not after a restart, nor when the Service changes in other ways, nor where there is no address yet."""
    await shop.gateway()
    await shop.ingress("a")
    async with leading(cluster, tmp_path, writer) as leader:
        await leader.settled()
        assert leader.counts.written == 0
        await shop.gateway({"ip": "192.0.2.9"})
        await shop.until("a", {"ip": "192.0.2.9"})
        await leader.settled(1)
        assert leader.counts.written == 1
    version = await shop.resource_version("a")
    async with leading(cluster, tmp_path, writer) as leader:
        await shop.gateway({"ip": "192.0.2.9"}, selector={"istio": "ingressgateway"})
        await leader.settled()
        assert leader.counts.written == 0
        assert await shop.resource_version("a") == version


async def test_another_service_of_the_mesh_configuration(cluster: ApiServer, shop: Shop, tmp_path: Path) -> None:
    await shop.gateway({"ip": "192.0.2.9"})
    body = {"metadata": {"name": "edge"}, "spec": {"type": "ExternalName", "externalName": "edge.test"}}
    await shop.core.create_namespaced_service(SYSTEM, body)
    await shop.ingress("a")
    async with leading(cluster, tmp_path, writer) as leader:
        await shop.until("a", {"ip": "192.0.2.9"})
        await shop.mesh("ingressService: edge")
        await shop.until("a", {"hostname": "edge.test"})
        await shop.mesh("ingressControllerMode: 'OFF'")
        await until(lambda: "OFF" in leader.registry.objects[MESH_KEY].spec.data["mesh"])
        await leader.settled()
        await shop.write("a", {"ip": "192.0.2.77"})
        await asyncio.sleep(1)
        assert await shop.reached("a") == [{"ip": "192.0.2.77"}]
    await shop.core.delete_namespaced_service("edge", SYSTEM)


async def test_without_a_service_the_nodes_of_the_gateway_are_told(
    cluster: ApiServer, shop: Shop, tmp_path: Path
) -> None:
    """External addresses of nodes that run a pod that ``ingressSelector`` selects."""
    for name, address in (("n1", "192.0.2.21"), ("n2", "192.0.2.22")):
        await shop.core.create_node({"metadata": {"name": name}})
        addresses = [{"type": "InternalIP", "address": "10.0.0.1"}, {"type": "ExternalIP", "address": address}]
        await shop.core.patch_node_status(name, {"status": {"addresses": addresses}}, _content_type=MERGE)
    await shop.mesh("ingressService: ''\ningressSelector: edge\n")
    await shop.ingress("a")
    async with leading(cluster, tmp_path, writer):
        spec = {"nodeName": "n2", "containers": [{"name": "c", "image": "x"}]}
        body = {"metadata": {"name": "gw", "labels": {"istio": "edge"}}, "spec": spec}
        await shop.core.create_namespaced_pod(SYSTEM, body)
        status = {"status": {"phase": "Running", "podIP": "10.1.1.1", "podIPs": [{"ip": "10.1.1.1"}]}}
        await shop.core.patch_namespaced_pod_status("gw", SYSTEM, status, _content_type=MERGE)
        await shop.until("a", {"ip": "192.0.2.22"})
        await shop.core.delete_namespaced_pod("gw", SYSTEM, grace_period_seconds=0)
        await shop.until("a")
        assert STATUS_RIGHT not in rights.refused(cluster, SYSTEM, ACCOUNT)
    for name in ("n1", "n2"):
        await shop.core.delete_node(name)


async def test_only_the_leader_writes(cluster: ApiServer, shop: Shop, tmp_path: Path) -> None:
    await shop.gateway({"ip": "192.0.2.9"})
    async with (
        leading(cluster, tmp_path, writer, (INGRESS, "first")) as first,
        leading(cluster, tmp_path, writer, (INGRESS, "second")) as second,
    ):
        await shop.ingress("a")
        await shop.until("a", {"ip": "192.0.2.9"})
        await until(lambda: first.counts.written + second.counts.written > 0)
        await asyncio.sleep(SETTLED_SECONDS)
        assert first.counts.written + second.counts.written == 1


async def test_only_the_rights_that_are_granted_are_used(cluster: ApiServer, shop: Shop, tmp_path: Path) -> None:
    await shop.gateway({"ip": "192.0.2.9"})
    await shop.ingress("a")
    async with leading(cluster, tmp_path, writer):
        await shop.until("a", {"ip": "192.0.2.9"})
    assert rights.refused(cluster, SYSTEM, ACCOUNT) == set()
    assert STATUS_RIGHT not in rights.unused(cluster, SYSTEM, ACCOUNT)
