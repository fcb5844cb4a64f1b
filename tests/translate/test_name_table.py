"""The DNS name table, as a sidecar that captures DNS gets it, and the listeners that go with it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from envoy.config.listener.v3.listener_pb2 import Listener

from controlplane.compiler.compiler import Compiler
from controlplane.messages.name_table_pb2 import NameTable
from controlplane.model.objects import ChangeSet
from controlplane.model.proxy import Proxy
from controlplane.registry.store import Registry
from controlplane.snapshots import ResourceType, Snapshot
from tests.compiler.histories import manifest, parsed
from tests.envoy.validate import validate


def client(*ips: str, capture: bool = True, namespace: str = "shop", **metadata: Any) -> Proxy:
    return Proxy(
        "sidecar",
        f"c.{namespace}",
        ips or ("10.9.0.1",),
        namespace,
        f"{namespace}.svc.cluster.local",
        network=metadata.pop("network", ""),
        metadata={"DNS_CAPTURE": capture, **metadata},
    )


def service(name: str, ip: str, **spec: Any) -> dict[str, Any]:
    ports = [{"name": "tcp", "port": 80}]
    return manifest("v1", "Service", "shop", name, spec={"clusterIP": ip, "ports": ports, **spec})


def entry(name: str, host: str, **spec: Any) -> dict[str, Any]:
    ports = [{"name": "tcp", "number": 80, "protocol": "TCP"}]
    spec = {"hosts": [host], "ports": ports, "resolution": "STATIC", **spec}
    return manifest("networking.istio.io/v1", "ServiceEntry", "shop", name, spec=spec)


def slice_of(name: str, *endpoints: dict[str, Any]) -> dict[str, Any]:
    return manifest(
        "discovery.k8s.io/v1",
        "EndpointSlice",
        "shop",
        f"{name}-1",
        labels={"kubernetes.io/service-name": name},
        addressType="IPv4",
        ports=[{"name": "tcp", "port": 8080}],
        endpoints=list(endpoints),
    )


def pod(name: str, ip: str, **spec: Any) -> dict[str, Any]:
    labels = {"topology.istio.io/network": spec.pop("network")} if "network" in spec else {}
    return manifest("v1", "Pod", "shop", name, labels=labels, spec=spec, status={"podIP": ip})


def at(pod_name: str, ip: str, *, ready: bool = True) -> dict[str, Any]:
    conditions = {"ready": ready, "serving": ready, "terminating": False}
    return {"addresses": [ip], "targetRef": {"kind": "Pod", "name": pod_name}, "conditions": conditions}


def snapshot_of(proxy: Proxy, *raw: dict[str, Any]) -> Snapshot:
    async def build() -> Snapshot:
        compiler = Compiler(Registry())
        await compiler.apply(ChangeSet(upserts=tuple(parsed(obj) for obj in raw)))
        return (await compiler.open(proxy, lambda: None)).snapshot

    return asyncio.run(build())


def table_of(proxy: Proxy, *raw: dict[str, Any]) -> dict[str, tuple[list[str], str, str, str]]:
    resource = snapshot_of(proxy, *raw).of(ResourceType.NAME_TABLE)[""]
    return {
        host: (list(info.ips), info.registry, info.shortname, info.namespace)
        for host, info in NameTable.FromString(resource.body).table.items()
    }


def test_services_by_virtual_ip() -> None:
    found = table_of(
        client(),
        service("web", "10.0.0.1"),
        service("gone", "", type="ExternalName", externalName="web.shop.svc.cluster.local"),
        entry("vip", "vip.com", addresses=["1.2.3.4", "10.0.0.0/8"]),
        entry("auto", "auto.com"),
        entry("none", "none.com", resolution="NONE"),
    )
    assert found == {
        "web.shop.svc.cluster.local": (["10.0.0.1"], "Kubernetes", "web", "shop"),
        "vip.com": (["1.2.3.4"], "External", "", ""),
        "auto.com": (["240.240.0.1"], "External", "", ""),
    }


@pytest.mark.parametrize(
    ("ips", "expected"),
    [
        pytest.param(("10.9.0.1",), ["240.240.0.1"], id="ipv4"),
        pytest.param(("fd00::9",), ["2001:2::1"], id="ipv6"),
        pytest.param(("10.9.0.1", "fd00::9"), ["240.240.0.1", "2001:2::1"], id="dual"),
    ],
)
def test_automatic_addresses_by_family(ips: tuple[str, ...], expected: list[str]) -> None:
    assert table_of(client(*ips), entry("auto", "auto.com"))["auto.com"][0] == expected


HEADLESS = (
    service("db", "None"),
    slice_of("db", at("db-0", "10.1.0.1"), at("db-1", "10.1.0.2", ready=False), at("db-2", "10.1.0.3")),
    pod("db-0", "10.1.0.1", hostname="db-0", subdomain="db"),
    pod("db-1", "10.1.0.2", hostname="db-1", subdomain="db"),
    pod("db-2", "10.1.0.3", network="far"),
)


def test_a_headless_service_is_its_ready_pods() -> None:
    assert table_of(client(network="near"), *HEADLESS) == {
        "db.shop.svc.cluster.local": (["10.1.0.1"], "Kubernetes", "db", "shop"),
        "db-0.db.shop.svc.cluster.local": (["10.1.0.1"], "Kubernetes", "db-0.db", "shop"),
    }
    assert table_of(client(), *HEADLESS)["db.shop.svc.cluster.local"][0] == ["10.1.0.1", "10.1.0.3"]


def test_a_headless_service_may_publish_pods_that_are_not_ready() -> None:
    found = table_of(client(network="near"), service("db", "None", publishNotReadyAddresses=True), *HEADLESS[1:])
    assert found["db.shop.svc.cluster.local"][0] == ["10.1.0.1", "10.1.0.2"]
    assert found["db-1.db.shop.svc.cluster.local"][0] == ["10.1.0.2"]


def test_entries_of_one_host_put_their_addresses_together_and_kubernetes_wins() -> None:
    one = entry("a", "x.com", addresses=["1.1.1.1"])
    two = entry("b", "x.com", addresses=["2.2.2.2", "1.1.1.1"])
    assert table_of(client(), one, two)["x.com"][0] == ["1.1.1.1", "2.2.2.2"]
    shadow = entry("c", "web.shop.svc.cluster.local", addresses=["3.3.3.3"])
    web = "web.shop.svc.cluster.local"
    assert table_of(client(), shadow, service("web", "10.0.0.1"))[web][0] == ["10.0.0.1"]


def test_only_what_the_sidecar_resource_lets_in() -> None:
    scoped = manifest(
        "networking.istio.io/v1",
        "Sidecar",
        "shop",
        "s",
        spec={"egress": [{"hosts": ["./web.shop.svc.cluster.local"]}]},
    )
    found = table_of(client(), service("web", "10.0.0.1"), service("cart", "10.0.0.2"), scoped)
    assert set(found) == {"web.shop.svc.cluster.local"}


def test_without_dns_capture_there_is_neither_table_nor_address() -> None:
    plain = snapshot_of(client(capture=False), entry("auto", "auto.com"))
    assert not plain.of(ResourceType.NAME_TABLE)
    assert "0.0.0.0_80" in plain.of(ResourceType.LISTENER)


def test_the_listener_is_on_the_automatic_address() -> None:
    snapshot = snapshot_of(client(), entry("auto", "auto.com", endpoints=[{"address": "10.5.0.1"}]))
    assert "240.240.0.1_80" in snapshot.of(ResourceType.LISTENER)
    assert "0.0.0.0_80" not in snapshot.of(ResourceType.LISTENER)
    assert validate(snapshot) is None


@pytest.mark.parametrize("namespaces", [("shop", "shop", "shop"), ("shop", "shop", "other")])
def test_every_address_that_is_told_leads_to_every_port_of_the_host(namespaces: tuple[str, ...]) -> None:
    """Each of several ServiceEntries for a host has an automatic address; a client takes any of them."""
    entries = [
        manifest(
            "networking.istio.io/v1",
            "ServiceEntry",
            namespace,
            f"e{number}",
            spec={
                "hosts": ["api.com"],
                "resolution": "DNS",
                "ports": [{"name": "p", "number": number, "protocol": protocol}],
            },
        )
        for namespace, number, protocol in zip(namespaces, (446, 448, 449), ("TCP", "TLS", "TCP"), strict=True)
    ]
    for ips in (("10.9.0.1",), ("10.9.0.1", "fd00::9")):
        snapshot = snapshot_of(client(*ips), *entries)
        told = NameTable.FromString(snapshot.of(ResourceType.NAME_TABLE)[""].body).table["api.com"].ips
        listening: dict[int, set[str]] = {}
        for resource in snapshot.of(ResourceType.LISTENER).values():
            listener = Listener.FromString(resource.body)
            sockets = [listener.address, *(each.address for each in listener.additional_addresses)]
            for socket in (address.socket_address for address in sockets):
                listening.setdefault(socket.port_value, set()).add(socket.address)
        ports = [446, 448] + [449] * (namespaces[2] == "shop")
        assert len(told) == len(ports) * len(ips)
        for port in ports:
            assert listening[port] == set(told)
        assert validate(snapshot) is None


def test_classes_alike_share_the_table_and_an_endpoint_of_a_service_with_an_ip_does_not_touch_it() -> None:
    async def check() -> None:
        compiler = Compiler(Registry())
        objects = (service("web", "10.0.0.1"), slice_of("web"), pod("web-0", "10.1.0.1"))
        await compiler.apply(ChangeSet(upserts=tuple(parsed(obj) for obj in objects)))
        sessions = [await compiler.open(client(namespace=name), lambda: None) for name in ("one", "two")]
        first, second = (session.snapshot.of(ResourceType.NAME_TABLE)[""] for session in sessions)
        assert first is second
        runs = compiler.registry.memo.runs["_name_table"]
        await compiler.apply(ChangeSet(upserts=(parsed(slice_of("web", at("web-0", "10.1.0.1"))),)))
        assert compiler.registry.memo.runs["_name_table"] == runs

    asyncio.run(check())
