"""What a DestinationRule's policies become on clusters and on the load assignments beside them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.extensions.load_balancing_policies.client_side_weighted_round_robin.v3 import (
    client_side_weighted_round_robin_pb2 as weighted_pb2,
)
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict
from google.protobuf.unknown_fields import UnknownFieldSet

from controlplane.model.proxy import Locality, Proxy
from controlplane.snapshots import ResourceType
from tests.envoy.validate import validate
from tests.translate.clusters.world import addresses, clusters, snapshot
from tests.translate.listeners.world import gateway, sidecar

DB = "outbound|80||db.com"
BUDGET = "{retryBudget: {percent: 10, budgetInterval: 1.5s}}"
PLACED = sidecar(locality=Locality("r1", "z1"), metadata={"CLUSTER_ID": "Kubernetes"})
ENTRY = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db, namespace: default}
spec:
  hosts: [db.com]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints:
  - {address: 10.1.0.1, locality: r1/z1, labels: {version: v1, security.istio.io/tlsMode: istio}}
  - {address: 10.1.0.2, locality: r1/z2}
  - {address: 10.1.0.3, locality: r2/z1}
  - {address: 10.1.0.4, locality: r3/z1}
"""


def rule(policy: str, subsets: str = "[]") -> str:
    return f"""{ENTRY}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: db, namespace: default}}
spec: {{host: db.com, trafficPolicy: {policy}, subsets: {subsets}}}
"""


def shown(cluster: Cluster, field: str) -> Any:
    return MessageToDict(cluster, preserving_proto_field_name=True).get(field)


@pytest.mark.parametrize(
    ("stated", "percent", "minimum"),
    [
        pytest.param("{}", 20, 3, id="defaults"),
        pytest.param("{percent: 50, minRetryConcurrency: 7}", 50, 7, id="stated"),
        pytest.param("{percent: 0}", 0, 3, id="none-but-the-minimum"),
    ],
)
def test_retry_budget(stated: str, percent: float, minimum: int) -> None:
    threshold = clusters(rule(f"{{retryBudget: {stated}}}"))[DB].circuit_breakers.thresholds[0]
    assert threshold.retry_budget.budget_percent.value == percent
    assert threshold.retry_budget.min_retry_concurrency.value == minimum


def test_the_interval_of_a_retry_budget() -> None:
    """The messages we have do not know the field yet: it is what is left of them that they do not know."""
    rest = UnknownFieldSet(clusters(rule(BUDGET))[DB].circuit_breakers.thresholds[0].retry_budget)
    assert [rest[index].field_number for index in range(len(rest))] == [3]
    assert Duration.FromString(rest[0].data).ToTimedelta() == timedelta(seconds=1.5)
    assert validate(snapshot(rule(BUDGET), Proxy("sidecar", "a.default", ("10.0.0.1",), "default", "d"))) is None


@pytest.mark.parametrize(
    ("balancer", "priorities"),
    [
        pytest.param("{zoneAwareLbSetting: {}}", [0, 0, 1, 1], id="own-region-together"),
        pytest.param("{zoneAwareLbSetting: {failover: [{from: r1, to: r3}]}}", [0, 0, 2, 1], id="failover"),
        pytest.param("{zoneAwareLbSetting: {enabled: false}}", [0, 0, 0, 0], id="disabled"),
        pytest.param("{zoneAwareLbSetting: {failoverPriority: [version]}}", [2, 0, 1, 1], id="labels-first"),
        pytest.param("{localityLbSetting: {failoverPriority: [version]}}", [0, 0, 0, 0], id="locality-needs-outlier"),
    ],
)
def test_priorities(balancer: str, priorities: list[int]) -> None:
    """Endpoints are in the client's zone, in another of its region, and in two other regions."""
    found = addresses(rule(f"{{loadBalancer: {balancer}}}"), PLACED)[DB]
    assert [found[f"10.1.0.{number}:80"] for number in (1, 2, 3, 4)] == priorities


def test_of_two_failover_rules_of_a_region_the_first_counts() -> None:
    setting = "{localityLbSetting: {failover: [{from: r1, to: r3}, {from: r1, to: r2}]}}"
    found = addresses(rule(f"{{loadBalancer: {setting}, outlierDetection: {{}}}}"), PLACED)[DB]
    assert list(found.values()) == [0, 1, 3, 2]


def test_labels_that_the_client_lacks_count_as_empty() -> None:
    """An endpoint with the label is then the worse match, not an equal one."""
    policy = "{outlierDetection: {}, loadBalancer: {localityLbSetting: {failoverPriority: [version]}}}"
    assert addresses(rule(policy))[DB] == {"10.1.0.1:80": 1, "10.1.0.2:80": 0, "10.1.0.3:80": 0, "10.1.0.4:80": 0}


@pytest.mark.parametrize("setting", ["localityLbSetting", "zoneAwareLbSetting"])
def test_labels_of_the_client_are_compared(setting: str) -> None:
    """The endpoint that has the client's version is its first choice."""
    policy = f"{{outlierDetection: {{}}, loadBalancer: {{{setting}: {{failoverPriority: [version]}}}}}}"
    client = sidecar(locality=Locality("r1", "z1"), labels={"version": "v1"})
    found = addresses(rule(policy), client)[DB]
    assert found["10.1.0.1:80"] == 0
    assert min(priority for address, priority in found.items() if address != "10.1.0.1:80") > 0


@pytest.mark.parametrize(
    ("balancer", "expected"),
    [
        pytest.param("{zoneAwareLbSetting: {minClusterSize: 4}}", {"min_cluster_size": "4"}, id="size"),
        pytest.param("{zoneAwareLbSetting: {enabled: false}}", {"routing_enabled": {}}, id="disabled"),
        pytest.param("{simple: ROUND_ROBIN}", None, id="not-asked-for"),
    ],
)
def test_zone_aware_cluster(balancer: str, expected: dict[str, Any] | None) -> None:
    found = shown(clusters(rule(f"{{loadBalancer: {balancer}}}"))[DB], "common_lb_config")
    assert found.get("zone_aware_lb_config") == expected
    assert "locality_weighted_lb_config" not in found


def test_zone_awareness_of_the_mesh() -> None:
    mesh = (
        "---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: istio, namespace: istio-system},"
        " data: {mesh: 'zoneAwareLbSetting: {minClusterSize: 2}'}}\n"
    )
    found = clusters(ENTRY + mesh)[DB].common_lb_config.zone_aware_lb_config
    assert found.min_cluster_size.value == 2
    stated = clusters(rule("{loadBalancer: {localityLbSetting: {enabled: true}}}") + mesh)[DB]
    assert not stated.common_lb_config.HasField("zone_aware_lb_config"), "the rule's locality setting goes before it"


def test_weights_by_reported_load() -> None:
    """Envoy takes such a policy only without the locality settings that belong to the older ones."""
    stated = "{weightStabilizationPeriod: 5s, weightUpdatePeriod: 2s, errorUtilizationPenaltyPercent: 150}"
    yaml = rule(
        f"{{outlierDetection: {{}}, loadBalancer: {{backendUtilization: {stated},"
        " localityLbSetting: {failoverPriority: [version]}}}"
    )
    cluster = clusters(yaml)[DB]
    (policy,) = cluster.load_balancing_policy.policies
    config = weighted_pb2.ClientSideWeightedRoundRobin.FromString(policy.typed_extension_config.typed_config.value)
    assert (config.blackout_period.seconds, config.weight_update_period.seconds) == (5, 2)
    assert config.error_utilization_penalty.value == 1.5
    assert validate(snapshot(yaml, Proxy("sidecar", "a.default", ("10.0.0.1",), "default", "d"))) is None


@pytest.mark.parametrize(
    ("policy", "subset", "kinds", "secure"),
    [
        pytest.param("{simple: PASSTHROUGH}", "", ("direct", "direct"), ("", "mutual"), id="inherited"),
        pytest.param("{simple: PASSTHROUGH}", "simple: RANDOM", ("direct", "direct"), ("", "mutual"), id="overridden"),
        pytest.param("{simple: RANDOM}", "simple: PASSTHROUGH", ("eds", "direct"), ("auto", ""), id="only-the-subset"),
    ],
)
def test_subsets_of_a_host_reached_directly(
    policy: str, subset: str, kinds: tuple[str, str], secure: tuple[str, str]
) -> None:
    """A subset is direct with its host; only its own policy makes it as careful with mutual TLS."""
    more = f", trafficPolicy: {{loadBalancer: {{{subset}}}}}" if subset else ""
    yaml = rule(f"{{loadBalancer: {policy}}}", f"[{{name: v1, labels: {{version: v1}}{more}}}]")
    found = [clusters(yaml)[name] for name in (DB, "outbound|80|v1|db.com")]
    assert tuple("direct" if held.type == Cluster.ORIGINAL_DST else "eds" for held in found) == kinds
    assert (
        tuple(
            "auto" if held.transport_socket_matches else "mutual" if held.HasField("transport_socket") else ""
            for held in found
        )
        == secure
    )
    assert set(addresses(yaml)) == ({DB} if kinds[0] == "eds" else set())


def test_ports_of_one_name_share_endpoints() -> None:
    """Served as a load assignment, a port has the endpoints of every ServiceEntry of the host that names it alike."""
    other = ENTRY.replace("name: db,", "name: more,").replace("number: 80", "number: 81").replace("10.1.0.", "10.2.0.")
    found = addresses(f"{ENTRY}\n---\n{other}")
    assert set(found[DB]) == set(found["outbound|81||db.com"])
    assert {"10.1.0.1:80", "10.2.0.1:81"} <= set(found[DB])


@pytest.mark.parametrize(
    ("annotations", "status", "kept"),
    [
        pytest.param("{}", "{}", True, id="unchecked"),
        pytest.param("{proxy.istio.io/health-checks-enabled: 'true'}", "{}", False, id="not-yet"),
        pytest.param(
            "{proxy.istio.io/health-checks-enabled: 'true'}",
            "{conditions: [{type: Healthy, status: 'True'}]}",
            True,
            id="healthy",
        ),
        pytest.param(
            "{proxy.istio.io/health-checks-enabled: 'true'}",
            "{conditions: [{type: Healthy, status: 'False'}]}",
            False,
            id="unhealthy",
        ),
    ],
)
def test_health_of_workload_entries(annotations: str, status: str, kept: bool) -> None:  # noqa: FBT001 - a table
    entry = f"""
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: vm, namespace: default}}
spec:
  hosts: [db.com]
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  workloadSelector: {{labels: {{app: vm}}}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: vm, namespace: default, annotations: {annotations}}}
spec: {{address: 10.3.0.1, labels: {{app: vm}}}}
status: {status}
"""
    assert list(addresses(entry)[DB]) == (["10.3.0.1:80"] if kept else [])


PORT_ONLY = "portLevelSettings: [{port: {number: 80}, connectionPool: {tcp: {maxConnections: 1}}}]"
PORT_MUTUAL = "portLevelSettings: [{port: {number: 80}, tls: {mode: ISTIO_MUTUAL}}]"


@pytest.mark.parametrize(
    ("policy", "subset", "modes"),
    [
        pytest.param("{tls: {mode: DISABLE}}", "", ("", ""), id="off"),
        pytest.param("{tls: {mode: ISTIO_MUTUAL}}", "", ("istio", "istio"), id="on"),
        pytest.param(f"{{tls: {{mode: DISABLE}}, {PORT_ONLY}}}", "", ("", ""), id="port-says-nothing"),
        pytest.param(f"{{tls: {{mode: DISABLE}}, {PORT_MUTUAL}}}", "", ("istio", "istio"), id="port"),
        pytest.param("{tls: {mode: DISABLE}}", "tls: {mode: ISTIO_MUTUAL}", ("", "istio"), id="subset"),
        pytest.param(f"{{{PORT_MUTUAL}}}", "tls: {mode: SIMPLE}", ("istio", ""), id="subset-before-port"),
        pytest.param("{loadBalancer: {simple: RANDOM}}", "", ("istio", "istio"), id="unstated"),
    ],
)
def test_endpoints_called_with_mutual_tls(policy: str, subset: str, modes: tuple[str, str]) -> None:
    """An endpoint that can do it is marked so where the rule asks for it, or says nothing at all."""
    more = f", trafficPolicy: {{{subset}}}" if subset else ""
    held = snapshot(rule(policy, f"[{{name: v1, labels: {{version: v1}}{more}}}]")).of(ResourceType.ENDPOINT)
    found = []
    for name in (DB, "outbound|80|v1|db.com"):
        first = ClusterLoadAssignment.FromString(held[name].body).endpoints[0].lb_endpoints[0]
        found.append(first.metadata.filter_metadata["envoy.transport_socket_match"].fields["tlsMode"].string_value)
    assert tuple(found) == modes


def test_ciphers_and_curves_of_the_mesh() -> None:
    """They are for TLS as users state it, and never name what Envoy would refuse."""
    defaults = (
        "{ecdhCurves: [P-256], cipherSuites: [ECDHE-RSA-AES128-GCM-SHA256, NONSENSE], minProtocolVersion: TLSV1_3}"
    )
    mesh = (
        "---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: istio, namespace: istio-system},"
        f" data: {{mesh: 'tlsDefaults: {defaults}'}}}}\n"
    )
    found = {}
    for mode in ("SIMPLE", "ISTIO_MUTUAL"):
        cluster = clusters(rule(f"{{tls: {{mode: {mode}}}}}") + mesh)[DB]
        context = UpstreamTlsContext.FromString(cluster.transport_socket.typed_config.value)
        found[mode] = MessageToDict(context.common_tls_context.tls_params, preserving_proto_field_name=True)
    versions = {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"}
    suites = ["ECDHE-RSA-AES128-GCM-SHA256"]
    assert found == {
        "SIMPLE": {**versions, "ecdh_curves": ["P-256"], "cipher_suites": suites},
        "ISTIO_MUTUAL": versions,
    }


NAMED = ENTRY.replace("STATIC", "DNS").split("  endpoints:")[0].replace("default}", "default, labels: {version: v1}}")


def test_a_host_that_stands_for_itself_has_no_labels() -> None:
    """What the ServiceEntry is labelled with is not the endpoint's, so no subset with labels has one."""
    subsets = "[{name: v1, labels: {version: v1}}, {name: all}]"
    made = rule("{loadBalancer: {simple: RANDOM}}", subsets).replace(ENTRY, NAMED)
    assert {name for name in clusters(made) if "db.com" in name} == {DB, "outbound|80|all|db.com"}


def test_names_of_servers_under_every_alias() -> None:
    """A workload's name is good in each trust domain of the mesh, other names as they are stated."""
    names = "[spiffe://far/ns/a/sa/b, 'spiffe://far/other', db.com]"
    mesh = (
        "---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: istio, namespace: istio-system},"
        " data: {mesh: 'trustDomainAliases: [old]'}}\n"
    )
    cluster = clusters(ENTRY.replace("resolution:", f"subjectAltNames: {names}\n  resolution:") + mesh)[DB]
    socket = next(each.transport_socket for each in cluster.transport_socket_matches if "istio" in each.name)
    context = UpstreamTlsContext.FromString(socket.typed_config.value).common_tls_context
    found = [
        name.exact for name in context.combined_validation_context.default_validation_context.match_subject_alt_names
    ]
    assert found == ["db.com", "spiffe://far/ns/a/sa/b", "spiffe://far/other", "spiffe://old/ns/a/sa/b"]


SLICE = """
---
apiVersion: v1
kind: Service
metadata: {name: bare, namespace: default}
spec: {clusterIP: 10.0.0.7, ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: bare-1, namespace: default, labels: {kubernetes.io/service-name: bare}}
addressType: IPv4
ports: [{name: http, port: 80}]
endpoints: [{addresses: [10.1.0.9]}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: bare, namespace: default}
spec:
  host: bare
  subsets:
  - {name: here, labels: {topology.istio.io/cluster: Kubernetes}}
  - {name: there, labels: {topology.istio.io/cluster: elsewhere}}
"""


def test_endpoints_without_a_pod_are_known_by_their_cluster() -> None:
    found = addresses(SLICE)
    assert found["outbound|80|here|bare.default.svc.cluster.local"] == {"10.1.0.9:80": 0}
    assert found["outbound|80|there|bare.default.svc.cluster.local"] == {}


ALL_HIDDEN = "applyToSidecars: true, defaultVisibility: NONE"
TEAM_A = "matchingRules: [{namespaceSelector: {matchLabels: {team: a}}}]"
TEAM_B = "matchingRules: [{namespaceSelector: {matchExpressions: [{key: team, operator: NotIn, values: [a]}]}}]"
BOTH_TEAMS = f"{TEAM_A[:-1]}, {TEAM_B.removeprefix('matchingRules: [')}"
DEFAULT_IS_OF_TEAM_A = "---\n{apiVersion: v1, kind: Namespace, metadata: {name: default, labels: {team: a}}}\n"


@pytest.mark.parametrize(
    ("visibility", "export_to", "seen"),
    [
        pytest.param("applyToSidecars: true, defaultVisibility: NAMESPACE", "['*']", ("default",), id="namespace"),
        pytest.param("applyToSidecars: true, defaultVisibility: NAMESPACE", "[other]", (), id="not-at-home"),
        pytest.param("applyToSidecars: true, defaultVisibility: NONE", "['*']", (), id="none"),
        pytest.param("applyToSidecars: true, defaultVisibility: PUBLIC", "[other]", ("other",), id="never-widens"),
        pytest.param("defaultVisibility: NONE", "['*']", ("default", "other"), id="not-for-sidecars"),
        pytest.param(
            f"{ALL_HIDDEN}, policies: [{{visibility: PUBLIC, {TEAM_A}}}]",
            "['*']",
            ("default", "other"),
            id="a-policy-fits",
        ),
        pytest.param(
            f"{ALL_HIDDEN}, policies: [{{visibility: NAMESPACE, {TEAM_A}}}, {{visibility: PUBLIC}}]",
            "['*']",
            ("default",),
            id="the-first-policy-that-fits",
        ),
        pytest.param(f"{ALL_HIDDEN}, policies: [{{visibility: PUBLIC, {TEAM_B}}}]", "['*']", (), id="none-fits"),
        pytest.param(
            f"{ALL_HIDDEN}, policies: [{{visibility: PUBLIC, {TEAM_B}}}, {{visibility: NAMESPACE}}]",
            "['*']",
            ("default",),
            id="no-rules-fit-all",
        ),
        pytest.param(
            f"{ALL_HIDDEN}, policies: [{{visibility: PUBLIC, matchingRules: [{{}}]}}]",
            "['*']",
            (),
            id="a-rule-without-a-condition-fits-nothing",
        ),
        pytest.param(f"{ALL_HIDDEN}, policies: [{{visibility: PUBLIC, {BOTH_TEAMS}}}]", "['*']", (), id="all-must-fit"),
    ],
)
def test_visibility_of_service_entries(visibility: str, export_to: str, seen: tuple[str, ...]) -> None:
    mesh = (
        "---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: istio, namespace: istio-system},"
        f" data: {{mesh: 'serviceEntryVisibility: {{{visibility}}}'}}}}\n"
    )
    yaml = ENTRY.replace("hosts: [db.com]", f"hosts: [db.com]\n  exportTo: {export_to}") + mesh + DEFAULT_IS_OF_TEAM_A
    assert tuple(ns for ns in ("default", "other") if DB in clusters(yaml, sidecar(ns))) == seen


UNSTATED = """
apiVersion: v1
kind: Service
metadata: {name: a, namespace: default}
spec: {clusterIP: 10.0.0.1, ports: [{port: 80}]}
"""


@pytest.mark.parametrize(
    ("proxy", "options"),
    [
        pytest.param(sidecar(), {"http_protocol_options": {}, "http2_protocol_options": {}}, id="sidecar"),
        pytest.param(gateway(), None, id="gateway"),
    ],
)
def test_only_sidecars_speak_as_the_client_does_where_no_protocol_is_stated(
    proxy: Proxy, options: dict[str, Any] | None
) -> None:
    """A gateway offers HTTP/2 to every client, and the server may not speak it."""
    cluster = clusters(UNSTATED, proxy)["outbound|80||a.default.svc.cluster.local"]
    held = shown(cluster, "typed_extension_protocol_options") or {}
    found = [dict(value).get("use_downstream_protocol_config") for value in held.values()]
    assert found == ([options] if options is not None else [])


LOCAL = """
apiVersion: v1
kind: Service
metadata: {name: a, namespace: default}
spec: {clusterIP: 10.0.0.1, internalTrafficPolicy: Local, ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: a-1, namespace: default, labels: {kubernetes.io/service-name: a}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.1.0.1], nodeName: n1}, {addresses: [10.1.0.2], nodeName: n2}]
"""


@pytest.mark.parametrize(
    ("node", "reached"),
    [
        pytest.param("", {"10.1.0.1:8080": 0, "10.1.0.2:8080": 0}, id="a-proxy-of-no-node"),
        pytest.param("n1", {}, id="a-proxy-of-a-node"),
    ],
)
def test_the_node_of_an_endpoint_is_its_pods(node: str, reached: dict[str, int]) -> None:
    """An endpoint without a pod is on no node, whatever its slice says."""
    proxy = sidecar(metadata={"NODE_NAME": node})
    assert addresses(LOCAL, proxy)["outbound|80||a.default.svc.cluster.local"] == reached
