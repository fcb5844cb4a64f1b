"""One raw object becomes an object, a refusal with every reason, or nothing of use."""
# A manifest on one line is a row of a table.
# ruff: noqa: E501

from __future__ import annotations

import base64
import random
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from controlplane.model import kinds
from controlplane.model.kubernetes import (
    ConfigMap,
    ContainerPort,
    EndpointSlice,
    Ingress,
    IngressClass,
    IngressPath,
    IngressRule,
    IngressTLS,
    KubeService,
    KubeServicePort,
    Namespace,
    Node,
    Pod,
    Secret,
    ServiceAccount,
    SliceEndpoint,
)
from controlplane.model.objects import Meta, Object, ObjectKey, Rejected
from controlplane.model.parse import Parsed
from controlplane.watchers.kinds import Unused, parse


def raw(text: str) -> dict[str, Any]:
    """Read a manifest; a name and namespace are filled in."""
    obj: dict[str, Any] = yaml.safe_load(text)
    obj["metadata"] = {"name": "cart", "namespace": "shop"} | obj.get("metadata", {})
    obj.setdefault("apiVersion", "v1")
    return obj


def good(obj: object) -> Object:
    """Parse and expect an object without warnings."""
    result = parse(obj, "a.yaml:1")
    assert isinstance(result, Parsed), result
    assert result.warnings == ()
    return result.object


def problems(obj: object) -> tuple[str, ...]:
    """Parse and expect a refusal."""
    result = parse(obj, "a.yaml:1")
    assert isinstance(result, Rejected), result
    assert result.source == "a.yaml:1"
    return result.problems


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        pytest.param("kind: Namespace", Namespace(), id="namespace"),
        pytest.param("kind: Node", Node(), id="node"),
        pytest.param("kind: ServiceAccount", ServiceAccount(), id="service-account"),
        pytest.param("{kind: ConfigMap, data: {mesh: 'a: 1'}}", ConfigMap({"mesh": "a: 1"}), id="config-map"),
        pytest.param(
            "{kind: Secret, type: Opaque, data: {a: AAE=, b: ''}, stringData: {b: text}}",
            Secret("Opaque"),
            id="secret",
        ),
        pytest.param("{kind: Service, spec: null}", KubeService(), id="service-empty"),
        pytest.param(
            """
            kind: Service
            spec:
              clusterIP: 10.0.0.1
              clusterIPs: [10.0.0.1, "fd00::1"]
              selector: {app: cart}
              ports:
              - {port: 80, name: http, targetPort: web, appProtocol: http2, nodePort: 30080}
              - {port: 53, protocol: UDP, targetPort: 5353}
              publishNotReadyAddresses: true
              internalTrafficPolicy: Local
              trafficDistribution: PreferClose
              externalIPs: [192.0.2.1]
            status: {loadBalancer: {ingress: [{ip: 192.0.2.2}, {hostname: lb.example}, {}]}}
            """,
            KubeService(
                cluster_ips=("10.0.0.1", "fd00::1"),
                ports=(
                    KubeServicePort(80, "http", app_protocol="http2", target_port="web", node_port=30080),
                    KubeServicePort(53, protocol="UDP", target_port=5353),
                ),
                selector={"app": "cart"},
                external_ips=("192.0.2.1",),
                load_balancer_ips=("192.0.2.2", "lb.example"),
                publish_not_ready_addresses=True,
                internal_traffic_policy="Local",
                traffic_distribution="PreferClose",
            ),
            id="service",
        ),
        pytest.param("{kind: Service, spec: {clusterIP: None}}", KubeService(cluster_ips=("None",)), id="headless"),
        pytest.param(
            "{kind: Service, spec: {type: ExternalName, externalName: x.example, clusterIP: ''}}",
            KubeService("ExternalName", external_name="x.example"),
            id="external-name",
        ),
        pytest.param(
            """
            kind: EndpointSlice
            apiVersion: discovery.k8s.io/v1
            metadata: {name: cart-x, labels: {kubernetes.io/service-name: cart}}
            addressType: IPv4
            ports: [{name: http, port: 8080}, {port: 9090}, {name: any, port: null}]
            endpoints:
            - addresses: [10.1.0.1]
              conditions: {ready: true, serving: true, terminating: false}
              targetRef: {kind: Pod, name: cart-1, namespace: other}
              nodeName: n1
              hostname: h
            - {addresses: [10.1.0.2], targetRef: {kind: Node, name: n2}, conditions: null}
            """,
            EndpointSlice(
                "cart",
                ports=(("http", 8080), ("", 9090)),
                endpoints=(
                    SliceEndpoint(("10.1.0.1",), True, True, False, "cart-1", "other", "h"),
                    SliceEndpoint(("10.1.0.2",)),
                ),
            ),
            id="endpoint-slice",
        ),
        pytest.param(
            """
            kind: Pod
            metadata: {name: cart-1}
            spec:
              nodeName: n1
              serviceAccountName: cart
              hostname: h
              subdomain: s
              hostNetwork: true
              containers: [{name: a, ports: [{containerPort: 8080, name: web}]}, {name: b}]
              initContainers:
              - {name: once, ports: [{containerPort: 1}]}
              - {name: stays, restartPolicy: Always, ports: [{containerPort: 53, protocol: UDP}]}
            status:
              podIP: 10.1.0.1
              podIPs: [{ip: 10.1.0.1}, {ip: "fd00::1"}]
              conditions: [{type: Initialized, status: "True"}, {type: Ready, status: "True"}]
            """,
            Pod(
                ("10.1.0.1", "fd00::1"),
                "n1",
                "cart",
                ready=True,
                hostname="h",
                subdomain="s",
                workload="cart-1",
                ports=(ContainerPort(8080, "web"), ContainerPort(53, protocol="UDP")),
                host_network=True,
            ),
            id="pod",
        ),
        pytest.param(
            "{kind: Pod, metadata: {deletionTimestamp: '2024-01-01T00:00:00Z'}, status: {podIP: 10.1.0.1}}",
            Pod(("10.1.0.1",), terminating=True, workload="cart"),
            id="pod-terminating",
        ),
        pytest.param(
            "{kind: IngressClass, apiVersion: networking.k8s.io/v1, spec: {controller: c}}",
            IngressClass("c"),
            id="ingress-class",
        ),
        pytest.param(
            "{kind: Ingress, apiVersion: networking.k8s.io/v1, spec: {ingressClassName: i, tls: [{hosts: [a.com], secretName: s}], rules: [{host: '*.a.com'}, {http: {paths: [{path: /a, pathType: Exact, backend: {service: {name: web, port: {name: http}}}}, {backend: {service: {name: web, port: {number: 80}}}}]}}]}}",
            Ingress(
                "i",
                (
                    IngressRule("*.a.com"),
                    IngressRule(
                        "", (IngressPath("/a", "Exact", "web", 0, "http"), IngressPath(service="web", port=80))
                    ),
                ),
                (IngressTLS(("a.com",), "s"),),
            ),
            id="ingress",
        ),
        pytest.param(
            "{kind: Pod, status: {phase: Succeeded, podIP: 10.1.0.1}}", Pod(workload="cart"), id="pod-finished"
        ),
    ],
)
def test_core_kind(text: str, spec: object) -> None:
    """Each field that reaches a proxy is read, the rest is left."""
    assert good(raw(text)).spec == spec


@pytest.mark.parametrize(
    ("owner", "labels", "workload"),
    [
        pytest.param("{kind: ReplicaSet, name: web-5d4f}", {"pod-template-hash": "5d4f"}, "web", id="deployment"),
        pytest.param("{kind: ReplicaSet, name: web-5d4f}", {}, "web-5d4f", id="replica-set"),
        pytest.param("{kind: ReplicaSet, name: web-aa}", {"rollouts-pod-template-hash": "aa"}, "web", id="rollout"),
        pytest.param("{kind: StatefulSet, name: db}", {}, "db", id="stateful-set"),
        pytest.param("{kind: Job, name: back-28433000}", {}, "back", id="cron-job"),
        pytest.param("{kind: Job, name: back-7}", {}, "back-7", id="job"),
        pytest.param("{kind: ReplicationController, name: x-1}", {"deploymentconfig": "x"}, "x", id="openshift"),
    ],
)
def test_workload(owner: str, labels: dict[str, str], workload: str) -> None:
    """A pod's workload is what a person created."""
    other = {"kind": "Other", "name": "other"}
    owners = [other, {"controller": True, **yaml.safe_load(owner)}]
    obj = raw("kind: Pod") | {"metadata": {"name": "p", "labels": labels, "ownerReferences": owners}}
    assert good(obj).spec.workload == workload


def test_metadata() -> None:
    """Metadata is trimmed; the copy that kubectl leaves is no part of it."""
    obj = raw("kind: ServiceAccount")
    obj["metadata"] |= {
        "labels": {"a": "b"},
        "annotations": {"c": "d", "kubectl.kubernetes.io/last-applied-configuration": "{}"},
        "generation": 3,
        "creationTimestamp": "2024-01-01T02:00:00+02:00",
        "managedFields": [{}],
    }
    meta = good(obj).meta
    assert meta == Meta("shop", "cart", "2024-01-01T00:00:00Z", {"a": "b"}, {"c": "d"})
    assert (meta.generation, meta.source) == (3, "a.yaml:1")
    obj["metadata"]["creationTimestamp"] = datetime(2024, 1, 1, tzinfo=UTC)
    assert good(obj).meta.created == "2024-01-01T00:00:00Z"


def test_namespaces() -> None:
    """An object without a namespace is in ``default``, a cluster's own in none."""
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "a"}}
    assert good(account).key == ObjectKey(kinds.SERVICE_ACCOUNT, "default", "a")
    assert good(raw("kind: Node")).key == ObjectKey(kinds.NODE, "", "cart")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param("{kind: Service, spec: {ports: [{port: 70000}]}}", ["spec.ports[0].port: must be between 1 and 65535"], id="port-range"),
        pytest.param("{kind: Service, spec: {ports: [{name: a}, 5]}}", ["spec.ports[1]: expected a mapping, got an integer", "spec.ports[0].port: is required", "spec.ports[1].port: is required"], id="ports"),
        pytest.param("{kind: Service, spec: {ports: {a: 1}, selector: [a], type: 5, clusterIP: nonsense}}", ["spec.type: expected text, got an integer", "spec.clusterIP: expected IPv4 or IPv6 addresses, got 'nonsense'", "spec.ports: expected a list, got a mapping", "spec.selector: expected a mapping, got a list"], id="everything-at-once"),
        pytest.param("{kind: Service, spec: []}", ["spec: expected a mapping, got a list"], id="spec-list"),
        pytest.param("{kind: Secret, data: {key: 'not base64!'}}", ["data.key: is not base64"], id="base64"),
        pytest.param("{kind: ConfigMap, data: {a: 1}}", ["data.a: expected text, got an integer; put it in quotes"], id="unquoted"),
        pytest.param("{kind: Pod, metadata: {labels: {v: true}}}", ["metadata.labels.v: expected text, got a boolean; put it in quotes"], id="label"),
        pytest.param("{kind: Pod, metadata: {name: 5}}", ["metadata.name: expected text, got an integer"], id="name-number"),
        pytest.param("{kind: Pod, metadata: {name: null}}", ["metadata.name: is required"], id="no-name"),
        pytest.param("{kind: Pod, metadata: {name: ''}}", ["metadata.name: is required"], id="empty-name"),
        pytest.param(f"{{kind: Pod, metadata: {{name: {'a' * 300}}}}}", ["metadata.name: must be at most 253 characters long, this has 300"], id="long-name"),
        pytest.param("{kind: Pod, metadata: {creationTimestamp: soon}}", ["metadata.creationTimestamp: expected an RFC 3339 time"], id="time"),
        pytest.param("{kind: EndpointSlice, apiVersion: discovery.k8s.io/v1, metadata: {labels: {kubernetes.io/service-name: a}}, endpoints: [{addresses: [x]}, {}]}", ["endpoints[0].addresses: expected IPv4 addresses, got 'x'", "endpoints[1].addresses: must hold at least one address"], id="slice"),
        pytest.param("{kind: Ingress, apiVersion: networking.k8s.io/v1, spec: {tls: [{hosts: [a_b]}], rules: [{host: 'a.*', http: {paths: [{path: a, pathType: Prefix}, {path: '/a//b?', pathType: Odd}, {path: '/a//b', pathType: ImplementationSpecific}]}}]}}", ["spec.rules[0].host: must be a DNS name, perhaps with '*' as its first label", "spec.rules[0].http.paths[0].path: must begin with '/'", "spec.rules[0].http.paths[1].pathType: must be one of Exact, Prefix, ImplementationSpecific", "spec.rules[0].http.paths[1].path: must not contain '//'", "spec.rules[0].http.paths[1].path: must not contain '?'", "spec.tls[0].hosts[0]: must be a DNS name, perhaps with '*' as its first label"], id="ingress"),
        pytest.param("{kind: EndpointSlice, apiVersion: discovery.k8s.io/v1beta1}", ["apiVersion: EndpointSlice is served as discovery.k8s.io/v1"], id="core-version"),
        pytest.param("{kind: VirtualService, apiVersion: networking.istio.io/v9}", ["apiVersion: VirtualService is served as networking.istio.io/v1 or networking.istio.io/v1beta1 or networking.istio.io/v1alpha3"], id="istio-version"),
    ],
)  # fmt: skip
def test_rejected(text: str, found: list[str]) -> None:
    """Every problem is told at once, each with its path."""
    assert sorted(problems(raw(text))) == sorted(found)


def test_misspelt_istio_kind_is_told() -> None:
    """A kind that Istio's group does not have is a mistake, not somebody else's kind."""
    (problem,) = problems(raw("{kind: VirtualServce, apiVersion: networking.istio.io/v1}"))
    assert problem == "kind: networking.istio.io has no VirtualServce, is VirtualService meant?"


@pytest.mark.parametrize("obj", [None, 5, "text", [], [{}], {}, {"kind": "Pod"}, {"kind": [], "apiVersion": {}}])
def test_no_object_at_all(obj: object) -> None:
    """What is no object is refused with a reason."""
    assert problems(obj)


def test_bad_edit_keeps_its_identity() -> None:
    """The last good version is found by the key of the refusal."""
    result = parse(raw("{kind: Service, spec: 5}"), "x")
    assert isinstance(result, Rejected)
    assert result.key == ObjectKey(kinds.SERVICE, "shop", "cart")


@pytest.mark.parametrize(
    ("text", "kind", "reason"),
    [
        ("{kind: Deployment, apiVersion: apps/v1}", "Deployment.apps", "unknown kind"),
        ("{kind: Gateway, apiVersion: gateway.networking.k8s.io/v1}", "Gateway.gateway.networking.k8s.io", "unknown kind"),
        ("{kind: Service, apiVersion: serving.knative.dev/v1}", "Service.serving.knative.dev", "unknown kind"),
        ("{kind: EndpointSlice, apiVersion: discovery.k8s.io/v1}", "EndpointSlice", "has no label kubernetes.io/service-name"),
    ],
)  # fmt: skip
def test_unused(text: str, kind: str, reason: str) -> None:
    """Group and kind decide together; what nothing reads is no mistake."""
    result = parse(raw(text), "x")
    assert isinstance(result, Unused)
    assert (result.kind, result.reason) == (kind, reason)


@pytest.mark.parametrize("label", ["kubernetes.io/service-name", "multicluster.kubernetes.io/service-name"])
def test_mirrored_slice_is_unused(label: str) -> None:
    """A slice mirrored from another cluster, or of names, serves nothing here."""
    labels = {"kubernetes.io/service-name": "cart", label: "cart"}
    kind = "{kind: EndpointSlice, apiVersion: discovery.k8s.io/v1, addressType: FQDN}"
    obj = raw(kind) | {"metadata": {"name": "a", "labels": labels}}
    assert isinstance(parse(obj, "x"), Unused)


@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha3"])
def test_istio_kind(version: str) -> None:
    """All versions of an Istio kind are one kind; the namespace defaults."""
    obj = {
        "apiVersion": f"networking.istio.io/{version}",
        "kind": "Gateway",
        "metadata": {"name": "edge"},
        "spec": {
            "selector": {"istio": "ingressgateway"},
            "servers": [{"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}],
        },
    }
    found = good(obj)
    assert found.key == ObjectKey(kinds.GATEWAY, "default", "edge")
    assert found.spec.servers[0].port.number == 80


def test_unknown_field_is_a_warning() -> None:
    """A newer field is named, and the rest of the object used."""
    obj = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "cart", "namespace": "shop"},
        "spec": {"hosts": ["cart"], "http": [{"route": [{"destination": {"host": "cart"}}], "retires": {}}]},
    }
    result = parse(obj, "x")
    assert isinstance(result, Parsed)
    assert result.object.spec.hosts
    assert ["retires" in warning for warning in result.warnings] == [True]


def test_istio_object_with_wrong_types_is_rejected() -> None:
    """Problems of the models come with the key of the object."""
    obj = raw("{kind: VirtualService, apiVersion: networking.istio.io/v1, spec: {hosts: 5, http: [[]]}}")
    result = parse(obj, "x")
    assert isinstance(result, Rejected)
    assert result.key == ObjectKey(kinds.VIRTUAL_SERVICE, "shop", "cart")
    assert len(result.problems) >= 2


@pytest.mark.parametrize(
    ("metadata", "annotations"),
    [
        ({"annotations": {"istio.io/dry-run": True}}, {"istio.io/dry-run": "true"}),
        ({"annotations": {"istio.io/dry-run": False}}, {}),
        ({"annotations": {"istio.io/dry-run": "true", "a": 5}}, {"istio.io/dry-run": "true"}),
        ({"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"}, "labels": 5}, {}),
        ({"annotations": "text"}, {}),
        ({"namespace": None, "labels": 5}, {}),
    ],
)
def test_a_refused_policy_that_was_only_to_be_tried_is_only_tried(metadata: Any, annotations: Any) -> None:
    """Also where YAML makes no text of the annotation, which is why it is refused."""
    refused = parse(policy(metadata), "a.yaml:1")
    assert isinstance(refused, Rejected)
    assert refused.stand_in is not None
    assert refused.stand_in.key == refused.key
    assert refused.stand_in.meta.annotations == annotations


@pytest.mark.parametrize("metadata", [{"namespace": 123}, {"namespace": ["shop"]}, {"name": 5}, {"name": ""}])
def test_nothing_is_closed_for_a_policy_of_which_nobody_knows_where_it_is(metadata: Any) -> None:
    """The namespace ``default`` is not that of a policy whose namespace cannot be read."""
    refused = parse(policy(metadata), "a.yaml:1")
    assert isinstance(refused, Rejected)
    assert refused.stand_in is None


def policy(metadata: dict[str, Any]) -> dict[str, Any]:
    named = {"name": "a", "namespace": "shop"} | metadata
    kind = {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy"}
    return {**kind, "metadata": named, "spec": {"action": "DENY", "rules": [{}]}}


def test_secret_is_not_shown() -> None:
    """Neither the value nor a refusal of it shows what a Secret holds."""
    text = base64.b64encode(b"hunter2").decode()
    assert "hunter2" not in repr(good(raw(f"{{kind: Secret, data: {{a: {text}}}}}")))
    assert "hunter2" not in repr(parse(raw("{kind: Secret, data: {a: hunter2!}}"), "x"))


KINDS = ["Namespace", "Secret", "Service", "Pod", "EndpointSlice", "VirtualService", "ServiceEntry", "DestinationRule"]
GROUPS = ["v1", "discovery.k8s.io/v1", "networking.istio.io/v1"]
NAMES = ["metadata", "spec", "status", "ports", "endpoints", "data", "name", "labels", "hosts", "http", "podIPs", "a"]
LEAVES = [
    None,
    True,
    0,
    -1,
    70000,
    10**30,
    0.5,
    "",
    "a",
    "10.0.0.1",
    "\ud800",
    "None",
    b"a",
    datetime(2024, 1, 1, tzinfo=UTC),
]


def anything(rng: random.Random, depth: int = 0) -> object:
    """Return a random value, likelier a plain one the deeper it is."""
    choice = rng.randrange(3 + depth)
    if choice == 0:
        return {rng.choice(NAMES): anything(rng, depth + 1) for _ in range(rng.randrange(5))}
    if choice == 1:
        return [anything(rng, depth + 1) for _ in range(rng.randrange(3))]
    return rng.choice(LEAVES)


@pytest.mark.parametrize("seed", range(10))
def test_nothing_is_raised(seed: int) -> None:
    """Whatever the fields hold, the answer is a value, and not because an exception was caught."""
    rng = random.Random(seed)
    for _ in range(100):
        obj: dict[str, object] = {"metadata": {"name": "a", "labels": {"kubernetes.io/service-name": "a"}}}
        obj |= {rng.choice(NAMES): anything(rng) for _ in range(4)}
        result = parse({"apiVersion": rng.choice(GROUPS), "kind": rng.choice(KINDS), **obj}, "x")
        assert isinstance(result, Parsed | Rejected | Unused)
        assert not (isinstance(result, Rejected) and "cannot be read" in result.problems[0]), (obj, result)


@pytest.mark.parametrize(
    ("status", "conditions"),
    [
        pytest.param({"conditions": [{"type": "Healthy", "status": "True"}]}, {"Healthy": "True"}, id="healthy"),
        pytest.param({"conditions": [{"type": "Healthy"}, 5]}, {}, id="half"),
        pytest.param({"conditions": [{"type": "Reconciled", "status": "True"}]}, {}, id="another"),
        pytest.param({"conditions": [{"type": ["Healthy"], "status": "True"}]}, {}, id="no-type"),
        pytest.param({"conditions": {}}, {}, id="no-list"),
        pytest.param(None, {}, id="none"),
    ],
)
def test_conditions_of_a_workload_entry(status: object, conditions: dict[str, str]) -> None:
    """Endpoints depend on them; nobody writes a status by hand, so what does not fit is left out."""
    obj = raw("{kind: WorkloadEntry, apiVersion: networking.istio.io/v1, spec: {address: 10.0.0.1}}") | {
        "status": status
    }
    assert good(obj).meta.conditions == conditions
