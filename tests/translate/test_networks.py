"""Several networks: which endpoints a client is told, and the gateways that stand for those in other networks."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import yaml
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment

from controlplane.compiler.compiler import Compiler
from controlplane.model.objects import ChangeSet, Object
from controlplane.model.proxy import Locality, Proxy
from controlplane.registry.resolved_names import found_addresses
from controlplane.registry.store import Registry
from controlplane.snapshots import ResourceType
from controlplane.watchers.reading import read
from tests.compiler.scratch import assert_as_from_scratch
from tests.envoy.validate import validate
from tests.translate.clusters.world import clusters, snapshot
from tests.translate.listeners.world import gateway, sidecar

WEB = "outbound|80||web.default.svc.cluster.local"
VM = "outbound|80||vm.com"
GATEWAY_PORTS = "[{name: tls, port: 15443}]"


def pod(number: int, network: str, *, mutual: bool = True, place: str = "r1/z1") -> str:
    labels = {"app": "web", "topology.istio.io/locality": place.replace("/", ".")}
    if network:
        labels["topology.istio.io/network"] = network
    if mutual:
        labels["security.istio.io/tlsMode"] = "istio"
    return f"""
---
apiVersion: v1
kind: Pod
metadata: {{name: p{number}, namespace: default, labels: {yaml.safe_dump(labels, default_flow_style=True).strip()}}}
spec: {{containers: []}}
status: {{podIP: 10.1.0.{number}}}
"""


def web(*pods: str) -> str:
    addresses = "".join(
        f"\n- {{addresses: [10.1.0.{number}], targetRef: {{kind: Pod, name: p{number}}}}}"
        for number in range(1, len(pods) + 1)
    )
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: default}}
spec: {{clusterIP: 10.0.0.1, selector: {{app: web}}, ports: [{{name: http, port: 80}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: web-1, namespace: default, labels: {{kubernetes.io/service-name: web}}}}
addressType: IPv4
ports: [{{name: http, port: 8080}}]
endpoints:{addresses}
{"".join(pods)}
"""


def edge(network: str, *addresses: str, name: str = "edge", ports: str = GATEWAY_PORTS, more: str = "") -> str:
    """Return a Service that is the gateway of a network."""
    ingress = ", ".join(
        f"{{{'ip' if part[:1].isdigit() or ':' in part else 'hostname'}: {part}}}" for part in addresses
    )
    return f"""
---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: istio-system, labels: {{topology.istio.io/network: {network}{more}}}}}
spec: {{type: LoadBalancer, clusterIP: 10.0.9.9, ports: {ports}}}
status: {{loadBalancer: {{ingress: [{ingress}]}}}}
"""


def stated(networks: str, mesh: str = "") -> str:
    """Return the ConfigMap of the mesh with these networks."""
    data = {"meshNetworks": f"networks: {networks}" if networks else "", "mesh": mesh}
    meta = {"name": "istio", "namespace": "istio-system"}
    return "---\n" + yaml.safe_dump({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data})


def of(network: str, **more: Any) -> Proxy:
    return sidecar(network=network, **more)


def told(yaml_text: str, proxy: Proxy, name: str = WEB) -> dict[str, int]:
    """Return the endpoints that a proxy is told of a cluster, each with its weight."""
    resource = snapshot(yaml_text, proxy).of(ResourceType.ENDPOINT)[name]
    return weights(ClusterLoadAssignment.FromString(resource.body))


def weights(assignment: ClusterLoadAssignment) -> dict[str, int]:
    found = {}
    for group in assignment.endpoints:
        for each in group.lb_endpoints:
            socket = each.endpoint.address.socket_address
            found[f"{socket.address}:{socket.port_value}"] = each.load_balancing_weight.value
    return found


HERE, THERE, BARE = "10.1.0.1:8080", "10.1.0.2:8080", "10.1.0.3:8080"
THREE = web(pod(1, "n1"), pod(2, "n2"), pod(3, ""))
E2 = edge("n2", "1.1.1.1")
PORT_443 = ", networking.istio.io/gatewayPort: '443'"
RANGES = "{n2: {endpoints: [{fromCidr: 10.1.0.0/16}]}, n1: {endpoints: [{fromCidr: 10.1.0.3/32}]}}"
SYSTEM_IN_N2 = """
---
apiVersion: v1
kind: Namespace
metadata: {name: istio-system, labels: {topology.istio.io/network: n2}}
"""


@pytest.mark.parametrize(
    ("objects", "proxy", "expected"),
    [
        pytest.param(THREE, of("n1"), {HERE: 1, THERE: 1, BARE: 1}, id="no-gateways-no-networks"),
        pytest.param(THREE + E2, of("n1"), {HERE: 1, BARE: 1, "1.1.1.1:15443": 1}, id="through-the-gateway"),
        pytest.param(THREE + E2, of("n2"), {HERE: 1, THERE: 1, BARE: 1}, id="own-network-and-one-without-gateway"),
        pytest.param(THREE + E2, of("n3"), {HERE: 1, BARE: 1, "1.1.1.1:15443": 1}, id="from-a-third-network"),
        pytest.param(THREE + E2, of(""), {HERE: 1, BARE: 1, "1.1.1.1:15443": 1}, id="from-no-network"),
        pytest.param(
            THREE + edge("n2", "1.1.1.1", "1.1.1.2"),
            of("n1"),
            {HERE: 2, BARE: 2, "1.1.1.1:15443": 1, "1.1.1.2:15443": 1},
            id="gateways-share-the-weight",
        ),
        pytest.param(
            web(pod(1, "n1"), pod(2, "n2"), pod(3, "n2")) + E2 + edge("n1", "2.2.2.1", "2.2.2.2", "2.2.2.3", name="e"),
            of("n1"),
            {HERE: 3, "1.1.1.1:15443": 6},
            id="a-gateway-has-the-weight-of-all-behind-it",
        ),
        pytest.param(
            web(pod(1, "n1"), pod(2, "n2", mutual=False)) + E2, of("n1"), {HERE: 1}, id="only-with-mutual-tls"
        ),
        pytest.param(
            THREE + edge("n2", "1.1.1.1", ports="[{name: tls, port: 443}]", more=PORT_443),
            of("n1"),
            {HERE: 1, BARE: 1, "1.1.1.1:443": 1},
            id="port-by-label",
        ),
        pytest.param(
            THREE + edge("n2", "1.1.1.1", ports="[{name: x, port: 80}]"),
            of("n1"),
            {HERE: 1, THERE: 1, BARE: 1},
            id="no-gateway-without-its-port",
        ),
        pytest.param(
            THREE + edge("n2", "1.1.1.1", ports="[{name: hbone, port: 15008}]"),
            of("n1"),
            {HERE: 1, BARE: 1},
            id="a-gateway-without-mutual-tls-leads-nowhere",
        ),
        pytest.param(THREE + edge("n2", "fd00::1"), of("n1"), {HERE: 1, BARE: 1}, id="of-another-ip-family"),
        pytest.param(
            THREE + edge("n2", "fd00::1"),
            of("n1", ip="fd00::9"),
            {HERE: 1, BARE: 1, "fd00::1:15443": 1},
            id="of-the-ip-family",
        ),
        pytest.param(THREE + edge("n2", "a.com"), of("n1"), {HERE: 1, THERE: 1, BARE: 1}, id="name-not-resolved"),
        pytest.param(
            THREE + E2 + stated("", "enableAutoMtls: true"),
            of("n1", metadata={"REQUESTED_NETWORK_VIEW": "n1"}),
            {HERE: 1, BARE: 1},
            id="sees-its-own-network",
        ),
        pytest.param(
            THREE,
            of("n1", metadata={"REQUESTED_NETWORK_VIEW": "n2, n3"}),
            {THERE: 1, BARE: 1},
            id="sees-others-without-gateways",
        ),
        pytest.param(
            THREE + stated("{n2: {gateways: [{address: 9.9.9.9, port: 444}]}}"),
            of("n1"),
            {HERE: 1, BARE: 1, "9.9.9.9:444": 1},
            id="stated-address",
        ),
        pytest.param(
            THREE
            + edge("n2", "1.1.1.1").replace("labels: {topology.istio.io/network: n2}", "labels: {}")
            + stated(
                "{n2: {endpoints: [{fromRegistry: Kubernetes}],"
                " gateways: [{registryServiceName: edge.istio-system.svc.cluster.local, port: 444}]}}"
            ),
            of("n1"),
            {HERE: 1, "1.1.1.1:444": 2},
            id="stated-service-and-the-cluster's-network",
        ),
        pytest.param(
            THREE + E2 + stated(RANGES),
            of("n1"),
            {HERE: 1, "1.1.1.1:15443": 2},
            id="by-address-the-widest-range-first",
        ),
        pytest.param(
            THREE + E2 + SYSTEM_IN_N2,
            of("n1"),
            {HERE: 1, "1.1.1.1:15443": 2},
            id="the-network-of-the-system-namespace",
        ),
    ],
)  # fmt: skip
def test_endpoints(objects: str, proxy: Proxy, expected: dict[str, int]) -> None:
    assert told(objects, proxy) == expected


NODE_PORT = """
---
apiVersion: v1
kind: Service
metadata:
  name: edge
  namespace: istio-system
  labels: {topology.istio.io/network: n2}
  annotations: {traffic.istio.io/nodeSelector: '{"edge": "yes"}'}
spec: {type: NodePort, clusterIP: 10.0.9.9, externalIPs: [8.8.8.8], ports: [{name: tls, port: 15443, nodePort: 30001}]}
---
apiVersion: v1
kind: Node
metadata: {name: a, labels: {edge: 'yes'}}
status: {addresses: [{type: InternalIP, address: 10.9.9.1}, {type: ExternalIP, address: 5.5.5.1}]}
---
apiVersion: v1
kind: Node
metadata: {name: b}
status: {addresses: [{type: ExternalIP, address: 5.5.5.2}]}
"""


def test_nodes_are_gateways_where_a_service_selects_them() -> None:
    assert told(THREE + NODE_PORT, of("n1")) == {HERE: 2, BARE: 2, "5.5.5.1:30001": 1, "8.8.8.8:30001": 1}


def test_what_a_gateway_is_told_to_be() -> None:
    """It takes mutual TLS, and telemetry is told its cluster alone."""
    (group,) = ClusterLoadAssignment.FromString(
        snapshot(web(pod(1, "n2")) + E2, of("n1")).of(ResourceType.ENDPOINT)[WEB].body
    ).endpoints
    (gate,) = group.lb_endpoints
    metadata = gate.metadata.filter_metadata
    assert metadata["envoy.transport_socket_match"]["tlsMode"] == "istio"
    assert metadata["istio"]["workload"] == ";;;;Kubernetes"
    assert gate.health_status == 0
    assert (group.locality.region, group.locality.zone) == ("r1", "z1")
    assert group.load_balancing_weight.value == 1


def test_a_place_whose_endpoints_cannot_be_reached_stays_empty() -> None:
    held = snapshot(web(pod(1, "n1"), pod(2, "n2", mutual=False, place="r2/z2")) + E2, of("n1", istio=False))
    near, far = ClusterLoadAssignment.FromString(held.of(ResourceType.ENDPOINT)[WEB].body).endpoints
    assert len(near.lb_endpoints) == 1
    assert (len(far.lb_endpoints), far.HasField("load_balancing_weight")) == (0, False)
    assert validate(held) is None


FAILOVER = """
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: default}
spec:
  host: web
  trafficPolicy:
    outlierDetection: {consecutive5xxErrors: 3}
    loadBalancer: {localityLbSetting: {failoverPriority: [topology.istio.io/network]}}
"""


def test_gateways_of_other_networks_come_last() -> None:
    held = snapshot(THREE + E2 + FAILOVER, of("n1", locality=Locality("r1", "z1")))
    assignment = ClusterLoadAssignment.FromString(held.of(ResourceType.ENDPOINT)[WEB].body)
    places = {
        each.endpoint.address.socket_address.address: group.priority
        for group in assignment.endpoints
        for each in group.lb_endpoints
    }
    assert places == {"10.1.0.1": 0, "10.1.0.3": 1, "1.1.1.1": 1}


ENTRY = """
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: vm, namespace: default}}
spec:
  hosts: [vm.com]
  location: MESH_INTERNAL
  resolution: {resolution}
  ports: [{{name: http, number: 80, protocol: HTTP}}]
  endpoints:
  - {{network: n2, serviceAccount: vm, labels: {{security.istio.io/tlsMode: istio}}, weight: 3}}
  - {{address: 10.5.0.1, network: n2}}
  - {{address: 10.5.0.2, network: n1}}
  - {{address: 10.5.0.3, labels: {{topology.istio.io/network: n2}}}}
"""
SELECTED = """
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: vm, namespace: default}
spec:
  hosts: [vm.com]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{name: http, number: 80, protocol: HTTP}]
  workloadSelector: {labels: {app: vm}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm, namespace: default}
spec: {network: n2, serviceAccount: vm, labels: {app: vm}}
"""


@pytest.mark.parametrize(
    ("objects", "proxy", "expected"),
    [
        pytest.param(ENTRY.format(resolution="STATIC") + E2, of("n1"),
                     {"10.5.0.2:80": 1, "10.5.0.3:80": 1, "1.1.1.1:15443": 3}, id="behind-the-gateway"),
        pytest.param(ENTRY.format(resolution="STATIC") + E2, of("n2"),
                     {"10.5.0.1:80": 1, "10.5.0.2:80": 1, "10.5.0.3:80": 1}, id="inside"),
        pytest.param(ENTRY.format(resolution="STATIC"), of("n1"),
                     {"10.5.0.1:80": 1, "10.5.0.2:80": 1, "10.5.0.3:80": 1}, id="no-gateway"),
        pytest.param(SELECTED + E2, of("n1"), {"1.1.1.1:15443": 1}, id="workload-entry"),
    ],
)  # fmt: skip
def test_workloads_of_which_only_the_network_is_known(objects: str, proxy: Proxy, expected: dict[str, int]) -> None:
    """Of a ServiceEntry's endpoint the stated network counts; a label is for locality alone."""
    assert told(objects, proxy, VM) == expected


@pytest.mark.parametrize("address", ["a.com", "1.1.1.1"])
def test_a_client_that_resolves_names_is_told_those_of_gateways(address: str) -> None:
    found = clusters(ENTRY.format(resolution="DNS") + edge("n2", address), of("n1"))[VM]
    assert weights(found.load_assignment) == {"10.5.0.2:80": 1, "10.5.0.3:80": 1, f"{address}:15443": 3}


HIDDEN = "serviceSettings: [{settings: {clusterLocal: true}, hosts: ['*.default.svc.cluster.local']}]"


@pytest.mark.parametrize(
    ("settings", "cluster", "seen"),
    [
        ("", "remote", True),
        (HIDDEN, "remote", False),
        (HIDDEN, "Kubernetes", True),
        (HIDDEN, "", True),
        (HIDDEN.replace("*.default", "*.other"), "remote", True),
        (HIDDEN[:-1] + ", {settings: {clusterLocal: false}, hosts: [web.default.svc.cluster.local]}]", "remote", True),
    ],
)
def test_cluster_local_hosts(settings: str, cluster: str, *, seen: bool) -> None:
    """Endpoints of a host that is local to its cluster are no endpoints for clients of another one."""
    metadata = {"CLUSTER_ID": cluster} if cluster else {}
    found = told(THREE + stated("", settings), sidecar(metadata=metadata))
    assert bool(found) is seen


@pytest.mark.parametrize(("discovery", "seen"), [("istiod.istio-system.svc:15012", True), ("web.default.svc:1", False)])
def test_the_control_plane_is_local_to_its_cluster(discovery: str, *, seen: bool) -> None:
    mesh = f"defaultConfig: {{discoveryAddress: '{discovery}'}}"
    assert bool(told(THREE + stated("", mesh), sidecar(metadata={"CLUSTER_ID": "remote"}))) is seen


def objects_of(text: str) -> tuple[Object, ...]:
    reading = read(text.encode(), "world.yaml")
    assert not reading.rejections, reading.rejections
    return tuple(reading.objects.values())


def test_changes_reach_clients_as_from_scratch() -> None:
    """Gateways come, are resolved and go; only load assignments are built for it."""

    async def changes() -> list[dict[str, int]]:
        compiler = Compiler(Registry())
        await compiler.apply(ChangeSet(upserts=objects_of(THREE)))
        sessions = [await compiler.open(proxy, lambda: None) for proxy in (of("n1"), of("n2"), gateway(network="n1"))]
        (edge_service,) = objects_of(edge("n2", "a.com"))
        seen = []
        for change in (
            ChangeSet(upserts=(edge_service,)),
            ChangeSet(upserts=(found_addresses("a.com", ["3.3.3.3", "4.4.4.4"]),)),
            ChangeSet(upserts=(found_addresses("a.com", ["4.4.4.4"]),)),
            ChangeSet(upserts=objects_of(pod(3, "n2"))),
            ChangeSet(deletes=(edge_service.key,)),
        ):
            before = sessions[0].snapshot
            await compiler.apply(change)
            if edge_service.key not in (*(each.key for each in change.upserts), *change.deletes):
                for type_ in (ResourceType.LISTENER, ResourceType.CLUSTER, ResourceType.ROUTE):
                    assert sessions[0].snapshot.of(type_) is before.of(type_)
            await assert_as_from_scratch(compiler, sessions)
            assignment = sessions[0].snapshot.of(ResourceType.ENDPOINT)[WEB]
            seen.append(weights(ClusterLoadAssignment.FromString(assignment.body)))
        return seen

    assert asyncio.run(changes()) == [
        {HERE: 1, THERE: 1, BARE: 1},
        {HERE: 2, BARE: 2, "3.3.3.3:15443": 1, "4.4.4.4:15443": 1},
        {HERE: 1, BARE: 1, "4.4.4.4:15443": 1},
        {HERE: 1, "4.4.4.4:15443": 2},
        {HERE: 1, THERE: 1, BARE: 1},
    ]


FORWARDING = """
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: cross, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 15443, name: tls, protocol: TLS}, hosts: ['*.local'], tls: {mode: AUTO_PASSTHROUGH}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: default}
spec:
  host: web
  trafficPolicy: {connectionPool: {tcp: {maxConnections: 7}}, tls: {mode: ISTIO_MUTUAL}}
  subsets: [{name: v1, labels: {app: web}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: far, namespace: default}
spec: {hosts: [far.local], location: MESH_EXTERNAL, resolution: DNS, ports: [{name: http, number: 80, protocol: HTTP}]}
"""
PASSED = "outbound_.80_._.web.default.svc.cluster.local"


def test_a_gateway_passes_mutual_tls_through_to_workloads_that_take_it() -> None:
    text = web(pod(1, "n1"), pod(2, "n1", mutual=False), pod(3, "n2")) + E2 + FORWARDING
    proxy = gateway(network="n1", metadata={"REQUESTED_NETWORK_VIEW": "n1"}, istio=False)
    held = snapshot(text, proxy)
    found = clusters(text, proxy)
    (passed,) = (each for name, each in found.items() if name == PASSED)
    assert sorted(name for name in found if name.startswith("outbound_.")) == sorted(
        ("outbound_.15443_._.edge.istio-system.svc.cluster.local", PASSED, PASSED.replace("_._.", "_.v1_."))
    )
    assert not passed.HasField("transport_socket")
    assert not passed.transport_socket_matches
    assert passed.circuit_breakers.thresholds[0].max_connections.value == 7
    assert passed.alt_stat_name == f"{PASSED};"
    for name in (PASSED, PASSED.replace("_._.", "_.v1_.")):
        assert weights(ClusterLoadAssignment.FromString(held.of(ResourceType.ENDPOINT)[name].body)) == {HERE: 1}
    for listener in held.of(ResourceType.LISTENER).values():
        assert listener.named(ResourceType.CLUSTER) - {"BlackHoleCluster"} <= held.of(ResourceType.CLUSTER).keys()
    assert validate(held) is None


def test_other_gateways_have_no_clusters_for_it() -> None:
    assert not [name for name in clusters(THREE + E2, gateway()) if name.startswith("outbound_.")]
