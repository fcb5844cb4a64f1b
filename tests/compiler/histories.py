"""Random histories of edits, small enough that edits meet, wide enough that every kind depends on every other."""

from __future__ import annotations

import random
from typing import Any

from controlplane.model.objects import ChangeSet, Object, ObjectKey
from controlplane.model.parse import Parsed
from controlplane.model.proxy import Locality, Proxy
from controlplane.watchers.kinds import parse

NAMESPACES = ("default", "shop", "istio-system")
NAMES = ("web", "cart", "db")
ZONES = ("r1/z1/a", "r1/z2/b", "r2/z1/c")


def parsed(raw: dict[str, Any]) -> Object:
    """Parse an object that is meant to be good."""
    result = parse(raw, "test")
    assert isinstance(result, Parsed), result
    return result.object


def manifest(api: str, kind: str, namespace: str, name: str, **fields: Any) -> dict[str, Any]:
    """Return a raw object; ``labels`` and ``annotations`` go to its metadata."""
    meta = {"name": name, "namespace": namespace}
    for part in ("labels", "annotations", "creationTimestamp"):
        if part in fields:
            meta[part] = fields.pop(part)
    return {"apiVersion": api, "kind": kind, "metadata": meta, **fields}


def service(rng: random.Random, namespace: str, name: str) -> dict[str, Any]:
    ports = [{"name": rng.choice(["http", "grpc", "tcp-x", "x"]), "port": 80, "targetPort": 8080}]
    if rng.random() < 0.4:
        ports.append({"name": "admin", "port": rng.choice([443, 9000])})
    spec: dict[str, Any] = {"ports": ports, "selector": {"app": name}}
    spec["clusterIP"] = rng.choice([f"10.0.{NAMESPACES.index(namespace)}.{NAMES.index(name) + 1}", "None"])
    if spec["clusterIP"] != "None" and rng.random() < 0.3:
        spec["clusterIPs"] = [spec["clusterIP"], f"fd00::{NAMESPACES.index(namespace)}:{NAMES.index(name) + 1}"]
    if rng.random() < 0.15:
        target = rng.choice(["web.shop.svc.cluster.local", "cart.default.svc.cluster.local", "api.example.com"])
        spec = {"type": "ExternalName", "externalName": target, "ports": rng.choice([ports, []])}
    annotations = {"networking.istio.io/exportTo": rng.choice([".", "shop"])} if rng.random() < 0.2 else {}
    if rng.random() < 0.2:
        spec["trafficDistribution"] = "PreferClose"
    if rng.random() < 0.1:
        spec["internalTrafficPolicy"] = "Local"
    labels, more = {}, {}
    if rng.random() < 0.1:
        labels["topology.istio.io/network"] = rng.choice(["n1", "n2"])
        ports.append({"name": "tls", "port": 15443})
        more = {"status": {"loadBalancer": {"ingress": [{"ip": f"1.1.1.{rng.randint(1, 3)}"}]}}}
    return manifest("v1", "Service", namespace, name, spec=spec, labels=labels, annotations=annotations, **more)


def endpoint_slice(rng: random.Random, namespace: str, name: str) -> dict[str, Any]:
    endpoints = [
        {
            "addresses": [f"10.1.{NAMESPACES.index(namespace)}.{n}"],
            "conditions": {"ready": rng.random() < 0.8, "serving": True, "terminating": rng.random() < 0.2},
            **({"targetRef": _pod_of(rng, name, n)} if rng.random() < 0.7 else {}),
        }
        for n in rng.sample(range(1, 5), rng.randint(0, 3))
    ]
    return manifest(
        "discovery.k8s.io/v1",
        "EndpointSlice",
        namespace,
        f"{name}-s",
        labels={"kubernetes.io/service-name": name},
        addressType="IPv4",
        ports=[{"name": rng.choice(["http", "tcp-x", "x"]), "port": 8080, "protocol": "TCP"}],
        endpoints=endpoints,
    )


def _pod_of(rng: random.Random, name: str, number: int) -> dict[str, str]:
    elsewhere = {"namespace": rng.choice(NAMESPACES)} if rng.random() < 0.2 else {}
    return {"kind": "Pod", "name": f"{name}-{number}", **elsewhere}


def pod(rng: random.Random, namespace: str, name: str) -> dict[str, Any]:
    n = rng.randint(1, 4)
    labels = {"app": name, "version": rng.choice(["v1", "v2"])}
    if rng.random() < 0.6:
        labels["security.istio.io/tlsMode"] = "istio"
    if rng.random() < 0.2:
        labels["topology.istio.io/network"] = rng.choice(["n1", "n2"])
    return manifest(
        "v1",
        "Pod",
        namespace,
        f"{name}-{n}",
        labels=labels,
        spec={"nodeName": rng.choice(["n1", "n2"]), "serviceAccountName": rng.choice(["a", "b"]), "containers": []},
        status={
            "podIP": f"10.1.{NAMESPACES.index(namespace)}.{n}",
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    )


def node(rng: random.Random, _namespace: str, _name: str) -> dict[str, Any]:
    region, zone, _ = rng.choice(ZONES).split("/")
    labels = {"topology.kubernetes.io/region": region, "topology.kubernetes.io/zone": zone}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": rng.choice(["n1", "n2"]), "labels": labels}}


def _host(rng: random.Random) -> str:
    name, namespace = rng.choice(NAMES), rng.choice(NAMESPACES)
    return rng.choice([f"{name}.{namespace}.svc.cluster.local", name, "api.example.com", "*.example.com"])


def destination_rule(rng: random.Random, namespace: str, name: str) -> dict[str, Any]:
    policy: dict[str, Any] = {}
    if rng.random() < 0.4:
        policy["outlierDetection"] = {"consecutive5xxErrors": rng.randint(1, 9)}
    if rng.random() < 0.4:
        policy["loadBalancer"] = rng.choice(
            [
                {"simple": "ROUND_ROBIN"},
                {"simple": "PASSTHROUGH"},
                {"consistentHash": {"httpHeaderName": "x"}},
                {"localityLbSetting": {"failoverPriority": ["version"]}},
                {"zoneAwareLbSetting": {"failoverPriority": ["app"]}},
            ]
        )
    if rng.random() < 0.3:
        policy["tls"] = {"mode": rng.choice(["DISABLE", "ISTIO_MUTUAL", "SIMPLE"])}
    spec: dict[str, Any] = {"host": _host(rng), "subsets": [{"name": "v1", "labels": {"version": "v1"}}]}
    if policy:
        spec["trafficPolicy"] = policy
    if rng.random() < 0.2:
        spec["exportTo"] = ["."]
    if rng.random() < 0.15:
        spec["workloadSelector"] = {"matchLabels": {"app": "web"}}
    return manifest("networking.istio.io/v1", "DestinationRule", namespace, name, spec=spec)


def virtual_service(rng: random.Random, namespace: str, name: str) -> dict[str, Any]:
    route: dict[str, Any] = {"route": [{"destination": {"host": _host(rng).replace("*.", "a.")}}]}
    if rng.random() < 0.5:
        route["route"][0]["destination"]["subset"] = "v1"
    match = rng.choice([{}, {"uri": {"prefix": "/a"}}, {"sourceLabels": {"app": "web"}}, {"port": 80}])
    http = [{**route, "match": [match]}] if match else [route]
    if rng.random() < 0.3:
        http[0]["timeout"] = f"{rng.randint(1, 5)}s"
    spec = {"hosts": [_host(rng)], "http": http}
    if rng.random() < 0.2:
        spec["exportTo"] = ["."]
    if rng.random() < 0.4:
        spec["gateways"] = rng.choice([["web"], ["mesh", "shop/web"]])
    return manifest("networking.istio.io/v1", "VirtualService", namespace, name, spec=spec)


def service_entry(rng: random.Random, namespace: str, name: str) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "hosts": [rng.choice(["api.example.com", "b.example.com", "web.shop.svc.cluster.local"])],
        "ports": [{"number": rng.choice([80, 443]), "name": "p", "protocol": rng.choice(["HTTP", "TLS", "TCP"])}],
        "resolution": rng.choice(["STATIC", "DNS", "NONE"]),
        "location": rng.choice(["MESH_EXTERNAL", "MESH_INTERNAL"]),
    }
    if spec["resolution"] == "STATIC":
        if rng.random() < 0.4:
            spec["workloadSelector"] = {"labels": {"app": name}}
        else:
            spec["endpoints"] = [{"address": "10.9.0.1", "labels": {"version": "v1"}, "locality": rng.choice(ZONES)}]
    if rng.random() < 0.3:
        spec["addresses"] = ["10.8.0.1"]
    return manifest("networking.istio.io/v1", "ServiceEntry", namespace, name, spec=spec)


def every_host(_rng: random.Random, namespace: str, name: str) -> dict[str, Any]:
    """Return a ServiceEntry for hosts that are resolved when a request names them."""
    ports = [{"number": 80, "name": "p", "protocol": "HTTP"}]
    spec = {"hosts": ["*.example.com"], "ports": ports, "resolution": "DYNAMIC_DNS"}
    return manifest("networking.istio.io/v1", "ServiceEntry", namespace, f"{name}-every", spec=spec)


def workload_entry(rng: random.Random, namespace: str, name: str) -> dict[str, Any]:
    spec = {
        "address": f"10.7.0.{rng.choice([8, 9])}",
        "labels": {"app": name},
        "ports": {"http": rng.choice([7000, 7001])},
    }
    checked = {"proxy.istio.io/health-checks-enabled": "true"} if rng.random() < 0.5 else {}
    status = {"conditions": [{"type": "Healthy", "status": rng.choice(["True", "False"])}]}
    return manifest(
        "networking.istio.io/v1", "WorkloadEntry", namespace, name, spec=spec, annotations=checked, status=status
    )


def sidecar(rng: random.Random, namespace: str, name: str) -> dict[str, Any]:
    hosts = rng.choice([["./*"], ["*/*"], ["shop/*", "~/db.shop.svc.cluster.local"], ["~/*"]])
    spec: dict[str, Any] = {"egress": [{"hosts": hosts}]}
    if rng.random() < 0.4:
        spec["workloadSelector"] = {"labels": {"app": "web"}}
    if rng.random() < 0.3:
        spec["outboundTrafficPolicy"] = {"mode": "REGISTRY_ONLY"}
    return manifest("networking.istio.io/v1", "Sidecar", namespace, name, spec=spec)


def gateway(rng: random.Random, namespace: str, name: str) -> dict[str, Any]:
    server: dict[str, Any] = {
        "port": {"number": rng.choice([80, 8080]), "name": "http", "protocol": rng.choice(["HTTP", "TCP"])},
        "hosts": [rng.choice(["*", "api.example.com", "*.svc.cluster.local"])],
    }
    if rng.random() < 0.2:
        server["port"]["protocol"], server["tls"] = "TLS", {"mode": "AUTO_PASSTHROUGH"}
    return manifest(
        "networking.istio.io/v1", "Gateway", namespace, name, spec={"selector": {"istio": "gw"}, "servers": [server]}
    )


def ingress(rng: random.Random, namespace: str, name: str) -> dict[str, Any]:
    port = rng.choice([{"number": 80}, {"name": "admin"}])
    path = {"path": rng.choice(["/", "/a"]), "pathType": "Prefix", "backend": {"service": {"name": name, "port": port}}}
    spec: dict[str, Any] = {"rules": [{"host": rng.choice(["", "api.example.com"]), "http": {"paths": [path]}}]}
    if rng.random() < 0.4:
        spec["tls"] = [{"hosts": ["api.example.com"], "secretName": name}]
    annotations = {"kubernetes.io/ingress.class": rng.choice(["istio", "istio", "nginx"])}
    return manifest("networking.k8s.io/v1", "Ingress", namespace, name, spec=spec, annotations=annotations)


def peer_authentication(rng: random.Random, namespace: str, name: str) -> dict[str, Any]:
    spec: dict[str, Any] = {"mtls": {"mode": rng.choice(["STRICT", "DISABLE", "PERMISSIVE"])}}
    if rng.random() < 0.4 and namespace != "istio-system":
        spec["selector"] = {"matchLabels": {"app": "web"}}
    return manifest("security.istio.io/v1", "PeerAuthentication", namespace, name, spec=spec)


def envoy_filter(rng: random.Random, namespace: str, name: str) -> dict[str, Any]:
    """Return one with patches of each kind; some of them fail, some make what Envoy would refuse."""
    spec: dict[str, Any] = {"configPatches": rng.choices(_PATCHES, k=rng.randint(1, 3)), "priority": rng.choice([0, 1])}
    if rng.random() < 0.4:
        spec["workloadSelector"] = {"labels": {"app": "web"}}
    return manifest("networking.istio.io/v1alpha3", "EnvoyFilter", namespace, name, spec=spec)


_LIMIT = {"@type": "type.googleapis.com/envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit"}
_CHANGES: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("CLUSTER", "MERGE", {}, {"connect_timeout": "7s"}),
    ("CLUSTER", "MERGE", {"cluster": {"portNumber": 80}}, {"alt_stat_name": "x"}),
    ("CLUSTER", "MERGE", {"cluster": {"subset": "v1"}}, {"name": "renamed"}),
    ("CLUSTER", "REMOVE", {"cluster": {"service": "web.shop.svc.cluster.local"}}, {}),
    ("CLUSTER", "ADD", {}, {"name": "added", "type": "STATIC", "connect_timeout": "1s"}),
    ("LISTENER", "MERGE", {"listener": {"portNumber": 80}}, {"traffic_direction": "OUTBOUND"}),
    ("LISTENER", "REMOVE", {"listener": {"name": "0.0.0.0_443"}}, {}),
    (
        "LISTENER",
        "ADD",
        {},
        {
            "name": "l",
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 6000}},
            "filter_chains": [{}],
        },
    ),
    (
        "NETWORK_FILTER",
        "INSERT_FIRST",
        {},
        {"name": "limit", "typed_config": {**_LIMIT, "stat_prefix": "a", "max_connections": 3}},
    ),
    ("NETWORK_FILTER", "INSERT_FIRST", {}, {"name": "limit", "typed_config": _LIMIT}),
    ("HTTP_FILTER", "MERGE", {}, {"name": "renamed", "typed_config": _LIMIT}),
    ("ROUTE_CONFIGURATION", "MERGE", {}, {"request_headers_to_remove": ["x"]}),
    ("VIRTUAL_HOST", "REMOVE", {"routeConfiguration": {"vhost": {"name": "allow_any"}}}, {}),
    ("HTTP_ROUTE", "MERGE", {"routeConfiguration": {"name": "80"}}, {"route": {"timeout": "9s"}}),
    ("EXTENSION_CONFIG", "ADD", {}, {"name": "e", "typed_config": {**_LIMIT, "stat_prefix": "a"}}),
]
_PATCHES: list[dict[str, Any]] = [
    {
        "applyTo": apply_to,
        "match": {"context": context, **match},
        "patch": {"operation": operation, **({"value": value} if value else {})},
    }
    for apply_to, operation, match, value in _CHANGES
    for context in ("ANY", "SIDECAR_OUTBOUND", "SIDECAR_INBOUND", "GATEWAY")
]


def mesh(rng: random.Random, _namespace: str, _name: str) -> dict[str, Any]:
    text = rng.choice(
        [
            "{}",
            "outboundTrafficPolicy: {mode: REGISTRY_ONLY}",
            "connectTimeout: 3s",
            "enableAutoMtls: false",
            "accessLogFile: /dev/stdout",
            "ingressSelector: gw",
            "ingressSelector: gw",
            "outboundTrafficPolicy: {mode: ALLOW_ANY_DYNAMIC_DNS}",
            "zoneAwareLbSetting: {minClusterSize: 2}",
        ]
    )
    networks = rng.choice(
        [
            "",
            "networks: {n1: {endpoints: [{fromRegistry: Kubernetes}], gateways: [{address: 2.2.2.2, port: 443}]}}",
            "networks: {n2: {endpoints: [{fromCidr: 10.1.1.0/24}]}}",
        ]
    )
    return manifest("v1", "ConfigMap", "istio-system", "istio", data={"mesh": text, "meshNetworks": networks})


MAKERS = (
    service, service, endpoint_slice, endpoint_slice, pod, pod, node, destination_rule, virtual_service,
    virtual_service, envoy_filter, envoy_filter,
    service_entry, every_host, workload_entry, sidecar, gateway, ingress, peer_authentication, mesh,
)  # fmt: skip


def edit(rng: random.Random, held: dict[ObjectKey, Object]) -> ChangeSet:
    """Return one random change: objects made anew, changed, or dropped."""
    if held and rng.random() < 0.25:
        key = rng.choice(sorted(held))
        del held[key]
        return ChangeSet(deletes=(key,))
    made = [
        parsed(rng.choice(MAKERS)(rng, rng.choice(NAMESPACES), rng.choice(NAMES))) for _ in range(rng.randint(1, 3))
    ]
    unique = {obj.key: obj for obj in made}
    held.update(unique)
    return ChangeSet(upserts=tuple(unique.values()))


PROXIES = (
    Proxy("sidecar", "web-1.shop", ("10.1.1.1",), "shop", "shop.svc.cluster.local", {"app": "web"}),
    Proxy("sidecar", "cart-2.default", ("10.1.0.2",), "default", "default.svc.cluster.local", {"app": "cart"},
          locality=Locality("r1", "z1", "a"), istio_version="1.32.0", network="n1"),
    Proxy("sidecar", "x.default", ("10.7.0.9",), "default", "default.svc.cluster.local",
          metadata={"INTERCEPTION_MODE": "NONE", "HTTP_PROXY_PORT": "15080"}),
    Proxy("sidecar", "y.shop", ("10.7.0.8",), "shop", "shop.svc.cluster.local", metadata={"DNS_CAPTURE": True},
          network="n2"),
    Proxy("sidecar", "z.default", ("10.7.0.7", "fd00::7"), "default", "default.svc.cluster.local",
          metadata={"DNS_CAPTURE": True, "PROXY_CONFIG": {"proxyMetadata": {"ISTIO_DUAL_STACK": "true"}}}),
    Proxy("router", "gw.istio-system", ("10.7.0.1",), "istio-system", "istio-system.svc.cluster.local",
          {"istio": "gw"}, network="n1", metadata={"REQUESTED_NETWORK_VIEW": "n1"}),
)  # fmt: skip
