"""Proxies with addresses of both IP families: what ``ISTIO_DUAL_STACK`` adds, and where it may be said."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener

from controlplane.compiler.compiler import Compiler
from controlplane.model.objects import ChangeSet
from controlplane.model.proxy import Proxy
from controlplane.registry.store import Registry
from controlplane.snapshots import ResourceType, Snapshot
from tests.compiler.histories import manifest, parsed
from tests.envoy.validate import validate

BOTH = ("10.9.0.1", "fd00::9")
ON = {"PROXY_CONFIG": {"proxyMetadata": {"ISTIO_DUAL_STACK": "true"}}}
OFF = {"PROXY_CONFIG": {"proxyMetadata": {"ISTIO_DUAL_STACK": "false"}}}
WORLD = (
    manifest(
        "v1",
        "Service",
        "shop",
        "db",
        spec={
            "clusterIPs": ["fd00::5", "10.0.0.5"],
            "selector": {"app": "c"},
            "ports": [{"name": "tcp", "port": 5432}],
        },
    ),
    manifest("v1", "Service", "shop", "web", spec={"clusterIP": "10.0.0.6", "ports": [{"name": "http", "port": 80}]}),
    manifest(
        "networking.istio.io/v1",
        "ServiceEntry",
        "shop",
        "ext",
        spec={
            "hosts": ["ext.com"],
            "resolution": "DNS",
            "ports": [{"name": "tls", "number": 443, "protocol": "TLS"}],
        },
    ),
    manifest(
        "networking.istio.io/v1",
        "Gateway",
        "shop",
        "gw",
        spec={
            "selector": {"app": "c"},
            "servers": [{"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}],
        },
    ),
)


def mesh(**config: Any) -> dict[str, Any]:
    return manifest("v1", "ConfigMap", "istio-system", "istio", data={"mesh": str(config)})


def snapshot(proxy: Proxy, *more: dict[str, Any], environment: str = "") -> Snapshot:
    async def build() -> Snapshot:
        variables = {"ISTIO_DUAL_STACK": environment} if environment else {}
        compiler = Compiler(Registry(environment=variables))
        await compiler.apply(ChangeSet(upserts=tuple(parsed(obj) for obj in (*WORLD, *more))))
        return (await compiler.open(proxy, lambda: None)).snapshot

    return asyncio.run(build())


def client(metadata: dict[str, Any], ips: tuple[str, ...] = BOTH, kind: str = "sidecar") -> Proxy:
    return Proxy(kind, "c.shop", ips, "shop", "shop.svc.cluster.local", labels={"app": "c"}, metadata=metadata)


def addresses(found: Snapshot) -> dict[str, list[str]]:
    """Return the addresses of each listener, by its name."""
    result = {}
    for name, resource in found.of(ResourceType.LISTENER).items():
        listener = Listener.FromString(resource.body)
        held = [listener.address, *(each.address for each in listener.additional_addresses)]
        result[name] = [address.socket_address.address for address in held]
    return result


def cluster(found: Snapshot, name: str) -> Cluster:
    return Cluster.FromString(found.of(ResourceType.CLUSTER)[name].body)


def test_listeners_of_both_families() -> None:
    found = snapshot(client({**ON, "DNS_CAPTURE": "true", "HTTP_PROXY_PORT": "3128"}))
    assert addresses(found) == {
        "virtualOutbound": ["0.0.0.0", "::"],
        "virtualInbound": ["0.0.0.0", "::"],
        "0.0.0.0_80": ["0.0.0.0", "::"],
        "fd00::5_5432": ["fd00::5", "10.0.0.5"],
        "240.240.0.1_443": ["240.240.0.1", "2001:2::1"],
        "127.0.0.1_3128": ["127.0.0.1", "::1"],
    }
    assert cluster(found, "outbound|443||ext.com").dns_lookup_family == Cluster.ALL
    (extra,) = cluster(found, "inbound|5432||").upstream_bind_config.extra_source_addresses
    assert extra.address.address == "::6"
    assert validate(found) is None
    gateway = snapshot(client(ON, kind="router"))
    assert addresses(gateway) == {"0.0.0.0_80": ["0.0.0.0", "::"]}
    assert validate(gateway) is None


def slice_of(family: str, *addresses: str) -> dict[str, Any]:
    return manifest(
        "discovery.k8s.io/v1",
        "EndpointSlice",
        "shop",
        f"db-{family.lower()}",
        labels={"kubernetes.io/service-name": "db"},
        addressType=family,
        ports=[{"name": "tcp", "port": 5432}],
        endpoints=[
            {"addresses": [address], "targetRef": {"kind": "Pod", "name": f"db-{number}"}}
            for number, address in enumerate(addresses)
        ],
    )


def pod(number: int, *ips: str) -> dict[str, Any]:
    status = {"podIP": ips[0], "podIPs": [{"ip": ip} for ip in ips]}
    return manifest("v1", "Pod", "shop", f"db-{number}", labels={"app": "db"}, spec={"containers": []}, status=status)


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        pytest.param(ON, [["10.1.0.2"], ["fd00::1:1", "10.1.0.1"]], id="both"),
        pytest.param(OFF, [["10.1.0.1"], ["10.1.0.2"], ["fd00::1:1"]], id="not-wanted"),
    ],
)
def test_a_pod_is_one_endpoint_with_all_its_addresses(metadata: dict[str, Any], expected: list[list[str]]) -> None:
    pods = (pod(0, "fd00::1:1", "10.1.0.1"), pod(1, "10.1.0.2"))
    found = snapshot(client(metadata), *pods, slice_of("IPv4", "10.1.0.1", "10.1.0.2"), slice_of("IPv6", "fd00::1:1"))
    resource = found.of(ResourceType.ENDPOINT)["outbound|5432||db.shop.svc.cluster.local"]
    (locality,) = ClusterLoadAssignment.FromString(resource.body).endpoints
    assert [
        [held.endpoint.address.socket_address.address]
        + [each.address.socket_address.address for each in held.endpoint.additional_addresses]
        for held in locality.lb_endpoints
    ] == expected
    assert locality.load_balancing_weight.value == len(expected)
    assert validate(found) is None


@pytest.mark.parametrize(
    ("metadata", "ips", "mesh_says", "environment", "both"),
    [
        pytest.param({}, BOTH, "", "", False, id="nobody-says"),
        pytest.param(ON, BOTH, "", "", True, id="proxy"),
        pytest.param({}, BOTH, "", "true", True, id="control-plane"),
        pytest.param({}, BOTH, "true", "", True, id="mesh"),
        pytest.param(OFF, BOTH, "true", "true", False, id="proxy-says-no"),
        pytest.param({"PROXY_CONFIG": {}}, BOTH, "", "true", True, id="proxy-says-nothing"),
        pytest.param(ON, BOTH[:1], "", "true", False, id="one-family"),
    ],
)
def test_who_says_it(
    metadata: dict[str, Any], ips: tuple[str, ...], mesh_says: str, environment: str, *, both: bool
) -> None:
    """The proxy's ProxyConfig decides, which starts from the mesh's; then the control plane's environment."""
    more = [mesh(defaultConfig={"proxyMetadata": {"ISTIO_DUAL_STACK": mesh_says}})] if mesh_says else []
    found = addresses(snapshot(client(metadata, ips), *more, environment=environment))
    assert found["virtualOutbound"] == (["0.0.0.0", "::"] if both else ["0.0.0.0"])
    assert found.get("fd00::5_5432" if len(ips) > 1 else "10.0.0.5_5432") is not None
    assert (["fd00::5", "10.0.0.5"] in found.values()) == both
