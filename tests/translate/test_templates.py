"""What is joined from pieces that were encoded once equals, byte for byte, what is made by its fields."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import yaml
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_components_pb2 import LbEndpoint, LocalityLbEndpoints
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment

from controlplane.compiler.compiler import Compiler
from controlplane.model.objects import ChangeSet, Object
from controlplane.model.service import Endpoint, Health
from controlplane.registry.store import Registry
from controlplane.snapshots import ResourceType
from controlplane.translate import endpoint_bytes
from controlplane.translate.clusters import outbound
from controlplane.translate.routes import virtual_hosts
from controlplane.translate.templates import Template
from controlplane.watchers.reading import read
from tests.translate.listeners.world import gateway, sidecar

NAMES = ("outbound|80||a.b", "x" * 127, "y" * 128, "z" * 20_000, "\u00fcber")
PORTS = [
    {"name": f"{protocol}-{number}", "port": number, "targetPort": number + 8000}
    for number, protocol in enumerate(("http", "http2", "grpc", "https", "tls", "tcp", "mongo", "redis", "other"), 80)
]
ADDRESSES = ("10.1.2.3", "::1", "2001:db8:1:2:3:4:5:6", "a" * 100, "b" * 101, "")
KEPT = {"istio.io/persistent-session": "cookie"}
OWN_FILES = {"TLS_CLIENT_CERT_CHAIN": "/c/chain", "TLS_CLIENT_KEY": "/c/key", "TLS_CLIENT_ROOT_CERT": "/c/root"}
PROXIES = {
    "istio": sidecar(),
    "stock": sidecar(istio=False),
    "gateway": gateway(),
    "own-files": sidecar(metadata=OWN_FILES),
    "other-namespace": sidecar("plain"),
    "header-case": sidecar(
        metadata={
            "PROXY_CONFIG": {"proxyHeaders": {"preserveHttp1HeaderCase": True, "attemptCount": {"disabled": True}}}
        }
    ),
}
MESHES: dict[str, dict[str, Any]] = {
    "default": {},
    "plain-text": {"enableAutoMtls": False},
    "aliases": {"trustDomainAliases": ["old.domain", "older.domain"]},
    "settings": {"h2UpgradePolicy": "UPGRADE", "connectTimeout": "3s", "tcpKeepalive": {"time": "9s"}},
    "pools": {"defaultTrafficPolicy": {"connectionPool": {"tcp": {"maxConnections": 11}}}},
    "ejection": {"defaultTrafficPolicy": {"outlierDetection": {"consecutive5xxErrors": 9}}},
    "places": {"localityLbSetting": {"enabled": True, "failover": [{"from": "r1", "to": "r2"}]}},
    "statistics": {"outboundClusterStatName": "%SERVICE%_%SERVICE_PORT%"},
    "retries": {"defaultHttpRetryPolicy": {"attempts": 1, "perTryTimeout": "6s"}},
}


def test_a_template_is_filled_as_the_message_would_be() -> None:
    """At any depth, however long the texts are, and with fields of every kind beside them."""
    marks = ("mark-one", "mark-two")

    def message(one: str, two: str) -> bytes:
        made = Cluster(name=one, alt_stat_name=two)
        made.connect_timeout.FromMilliseconds(1500)
        made.outlier_detection.consecutive_5xx.value = 7
        made.round_robin_lb_config.slow_start_config.min_weight_percent.value = 10.0
        fields = made.metadata.filter_metadata["istio"].fields
        fields["services"].list_value.values.add().struct_value.fields["host"].string_value = two
        fields["share"].number_value = 0.5
        return encoded(made)

    template = Template.of(message(*marks), marks)
    for one in NAMES:
        for two in NAMES[:4]:
            assert template.filled((one, two)) == message(one, two)
    assert template == Template.of(message(*marks), marks)


def test_a_mark_within_a_longer_text_is_an_error() -> None:
    with pytest.raises(ValueError, match="a piece of a longer text"):
        Template.of(Cluster(name="about mark-one").SerializeToString(), ("mark-one",))


@pytest.mark.parametrize("port", [0, 1, 127, 128, 8080, 65535, 70_000])
@pytest.mark.parametrize("further", [(), ("::2", "10.0.0.9")])
def test_an_endpoint_is_encoded_as_the_message_would_be(port: int, further: tuple[str, ...]) -> None:
    for address in ADDRESSES:
        for health, weight, mode in (
            (Health.HEALTHY, 1, "istio"),
            (Health.UNKNOWN, 300, ""),
            (Health.DRAINING, 0, "x"),
        ):
            made = LbEndpoint(health_status=int(health))
            made.load_balancing_weight.value = weight
            made.metadata.filter_metadata["istio"].fields["workload"].string_value = "a;b;c;;"
            if mode:
                made.metadata.filter_metadata["envoy.transport_socket_match"].fields["tlsMode"].string_value = mode
            if port:
                place = made.endpoint.address.socket_address
                place.address, place.port_value = address, port
                for each in further:
                    more = made.endpoint.additional_addresses.add().address.socket_address
                    more.address, more.port_value = each, port
            else:
                made.endpoint.address.pipe.path = address
            rest = endpoint_bytes.without_address(health, weight, "a;b;c;;", mode)
            assert endpoint_bytes.address(Endpoint(address, port, ""), further) + rest == encoded(made)


def test_a_load_assignment_is_encoded_as_the_message_would_be() -> None:
    first = LbEndpoint()
    first.endpoint.address.socket_address.port_value = 1
    for place in (("", "", ""), ("r", "z", "s")):
        for weight, priority in ((0, 0), (1, 0), (300, 2)):
            part = LocalityLbEndpoints(priority=priority, lb_endpoints=[first, first])
            part.locality.region, part.locality.zone, part.locality.sub_zone = place
            if weight:
                part.load_balancing_weight.value = weight
            held = endpoint_bytes.locality(place, weight, priority, [encoded(first)] * 2)
            assert held == encoded(part)
            made = ClusterLoadAssignment(cluster_name="n" * 200, endpoints=[part, part])
            assert endpoint_bytes.assignment("n" * 200, [held, held]) == encoded(made)


def encoded(message: Any) -> bytes:
    return bytes(message.SerializeToString(deterministic=True))


@pytest.mark.parametrize("mesh", MESHES)
def test_what_is_joined_equals_what_is_made_by_its_fields(mesh: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clusters and routes of services of all kinds, for all kinds of clients, with whatever settings of the mesh."""
    objects = world(MESHES[mesh])
    joined, shapes = asyncio.run(built(objects))
    assert shapes > len(PORTS)
    monkeypatch.setattr(outbound, "_MOST_ACCOUNTS", -1)
    monkeypatch.setattr(virtual_hosts, "_are_plain", lambda _name, _domains: False)
    by_fields, none = asyncio.run(built(objects))
    assert none == 0
    for proxy, held in by_fields.items():
        assert held == joined[proxy], proxy


async def built(objects: tuple[Object, ...]) -> tuple[dict[str, dict[Any, Any]], int]:
    """Return bytes and references of clusters and routes by the name of the proxy, and the number of shapes."""
    compiler = Compiler(Registry())
    await compiler.apply(ChangeSet(upserts=objects))
    found = {}
    for name, proxy in PROXIES.items():
        held = (await compiler.open(proxy, lambda: None)).snapshot
        found[name] = {
            (type_, resource.name): (resource.body, resource.refs)
            for type_ in (ResourceType.CLUSTER, ResourceType.ROUTE)
            for resource in held.of(type_).values()
        }
    return found, compiler.registry.memo.runs.get("shaped_clusters", 0)


def world(mesh: dict[str, Any]) -> tuple[Object, ...]:
    """Return services with one of each kind of port, of which each has something else."""
    stated: tuple[tuple[str, str, dict[str, Any], dict[str, Any]], ...] = (
        ("web", "default", {}, {"clusterIP": "10.96.0.1"}),
        ("kept", "default", {"labels": KEPT}, {"clusterIP": "10.96.0.2"}),
        ("near", "default", {}, {"clusterIP": "10.96.0.3", "trafficDistribution": "PreferClose"}),
        ("headless", "default", {}, {"clusterIP": "None"}),
        ("web", "plain", {}, {"clusterIP": "10.96.0.4"}),
        ("l" * 63, "n" * 63, {}, {"clusterIP": "10.96.0.5"}),
    )
    objects = [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": namespace, **more},
            "spec": {"selector": {"app": name}, "ports": PORTS, **spec},
        }
        for name, namespace, more, spec in stated
    ]
    for number, (location, resolution) in enumerate(
        (location, resolution) for location in ("MESH_EXTERNAL", "MESH_INTERNAL") for resolution in ("STATIC", "NONE")
    ):
        spec = {
            "hosts": [f"e{number}.com", f"*.w{number}.com", f"{'d' * 63}.{'d' * 63}.{'d' * 63}.e{number}.com"],
            "location": location,
            "resolution": resolution,
            "ports": [{"number": 80, "name": "http", "protocol": "HTTP", "targetPort": 81}],
            "subjectAltNames": [f"spiffe://cluster.local/ns/a/sa/{sa}" for sa in range(number * 4)],
        }
        objects.append(networking("ServiceEntry", f"e{number}", spec))
    objects.append(networking("PeerAuthentication", "off", {"mtls": {"mode": "DISABLE"}}, "plain", "security.istio.io"))
    settings = {"mesh": yaml.safe_dump({"defaultConfig": {}, **mesh})}
    meta = {"name": "istio", "namespace": "istio-system"}
    objects.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": settings})
    reading = read(yaml.safe_dump_all(objects).encode(), "world.yaml")
    assert not reading.rejections, reading.rejections
    return tuple(reading.objects.values())


def networking(
    kind: str, name: str, spec: dict[str, Any], namespace: str = "default", group: str = "networking.istio.io"
) -> dict[str, Any]:
    meta = {"name": name, "namespace": namespace}
    return {"apiVersion": f"{group}/v1", "kind": kind, "metadata": meta, "spec": spec}
