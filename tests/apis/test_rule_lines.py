"""Each line of the rules of Istio's kinds, on both sides of where it is drawn: refused, warned of, or neither.

Asked of ``verdict``, which ``validate`` and the webhook answer with. What a refusal says is in ``rule_tables``.
"""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.apis.kinds import KINDS
from controlplane.validation.verdict import verdict
from tests.apis.further_rules import (
    TLS_FILES,
    balancer,
    custom,
    direct,
    env,
    jwt,
    locality,
    match,
    operation,
    patch,
    port,
    redirect,
    set_header,
    source,
    tcp_route,
    tls_route,
    when,
)
from tests.apis.specs import TO_A, egress, entry, https, ingress, policy, route, server

RETRIED = (
    "gateway-error,connect-failure,retriable-4xx,refused-stream,retriable-status-codes,retriable-headers,"
    "envoy-ratelimited,http3-post-connect-failure,cancelled,deadline-exceeded,internal,resource-exhausted,unavailable,reset-before-request"
)
OK, WARNED, REFUSED = "accepted", "warned of", "refused"


def case(expected: str, label: str, kind: str, spec: dict[str, Any], **meta: Any) -> Any:
    return pytest.param(expected, kind, spec, meta, id=f"{kind}-{label.replace(' ', '-')}")


def outcome(kind: str, spec: dict[str, Any], meta: dict[str, Any]) -> str:
    declared = KINDS[kind]
    api_version = f"{declared.group}/{declared.versions[0]}"
    metadata = {"name": "x", "namespace": "default"} | meta
    found = verdict({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec})
    assert found is not None
    return REFUSED if found.errors else WARNED if found.warnings else OK


METADATA = [
    case(
        REFUSED, "always-reject", "Gateway", server(), annotations={"internal.istio.io/webhook-always-reject": "true"}
    ),
    case(REFUSED, "parent-ns", "Gateway", server(), annotations={"internal.istio.io/parent-namespace": "a"}),
    case(REFUSED, "parents", "VirtualService", route(), annotations={"internal.istio.io/parents": "a"}),
    case(OK, "dry-run ALLOW", "AuthorizationPolicy", {"rules": [{}]}, annotations={"istio.io/dry-run": "true"}),
    case(
        OK,
        "dry-run DENY",
        "AuthorizationPolicy",
        {"action": "DENY", "rules": [{}]},
        annotations={"istio.io/dry-run": "false"},
    ),
    case(
        REFUSED,
        "dry-run AUDIT",
        "AuthorizationPolicy",
        {"action": "AUDIT", "rules": [{}]},
        annotations={"istio.io/dry-run": "true"},
    ),
    case(REFUSED, "dry-run CUSTOM", "AuthorizationPolicy", custom({}), annotations={"istio.io/dry-run": "true"}),
    case(REFUSED, "dry-run value", "AuthorizationPolicy", {"rules": [{}]}, annotations={"istio.io/dry-run": "maybe"}),
    case(REFUSED, "dry-run kind", "Gateway", server(), annotations={"istio.io/dry-run": "true"}),
]

PRIMITIVES = [
    case(OK, "label63", "VirtualService", route() | {"hosts": ["a" * 63]}),
    case(REFUSED, "label64", "VirtualService", route() | {"hosts": ["a" * 64]}),
    case(OK, "upper", "VirtualService", route() | {"hosts": ["A.B"]}),
    case(OK, "trailing dot", "VirtualService", route() | {"hosts": ["a.b."]}),
    case(REFUSED, "digits", "DestinationRule", {"host": "a.1"}),
    case(REFUSED, "255", "VirtualService", route() | {"hosts": [".".join(["a" * 63] * 5)]}),
    case(OK, "*-b", "VirtualService", route() | {"hosts": ["*-b.c"]}),
    case(REFUSED, "a*", "VirtualService", route() | {"hosts": ["a*.c"]}),
    case(REFUSED, "inner*", "VirtualService", route() | {"hosts": ["a.*.c"]}),
    case(REFUSED, "port0", "VirtualService", route(route=[{"destination": {"host": "a", "port": {"number": 0}}}])),
    case(OK, "dot legacy", "VirtualService", route() | {"gateways": ["ns/g"]}),
    case(REFUSED, "exportTo ~ DR", "DestinationRule", {"host": "a", "exportTo": ["~"]}),
    case(REFUSED, "exportTo ~ others SE", "ServiceEntry", entry(exportTo=["~", "a"])),
    case(OK, "hdr uri empty prefix", "VirtualService", match(uri={"prefix": ""})),
    case(REFUSED, "scheme empty prefix", "VirtualService", match(scheme={"prefix": ""})),
    case(REFUSED, "method regex long", "VirtualService", match(method={"regex": "a" * 1025})),
    case(REFUSED, "pseudo hdr :foo", "VirtualService", match(headers={":foo": {"exact": "a"}})),
    case(OK, "pseudo hdr :path", "VirtualService", match(headers={":path": {"exact": "a"}})),
    case(REFUSED, "label key", "VirtualService", match(sourceLabels={"a/b/c": "x"})),
    case(REFUSED, "label value64", "VirtualService", match(sourceLabels={"a": "x" * 64})),
    case(REFUSED, "hdr resp authority", "VirtualService", set_header(":authority", side="response")),
    case(OK, "hdr req authority", "VirtualService", set_header(":authority")),
    case(REFUSED, "hdr value %VAR(", "VirtualService", set_header("x", "%VAR(a")),
    case(OK, "tab", "VirtualService", set_header("x", "a\tb")),
]

GATEWAYS = [
    case(REFUSED, "gw name dots", "Gateway", server(), name="a.b"),
    case(OK, "gw name", "Gateway", server(), name="a-b"),
    case(REFUSED, "host empty ns", "Gateway", server(hosts=["/a.b"])),
    case(REFUSED, "host empty name", "Gateway", server(hosts=["ns/"])),
    case(REFUSED, "targetPort", "Gateway", server(port=port(80) | {"targetPort": 8080})),
    case(REFUSED, "istio-mutual cert", "Gateway", https(mode="ISTIO_MUTUAL", serverCertificate="/c")),
    case(REFUSED, "istio-mutual ca", "Gateway", https(mode="ISTIO_MUTUAL", caCertificates="/c")),
    case(REFUSED, "istio-mutual tlscerts", "Gateway", https(mode="ISTIO_MUTUAL", tlsCertificates=[TLS_FILES])),
    case(REFUSED, "istio-mutual names", "Gateway", https(mode="ISTIO_MUTUAL", credentialNames=["a"])),
    case(WARNED, "passthrough cert", "Gateway", https(mode="PASSTHROUGH", serverCertificate="/c")),
    case(WARNED, "auto passthrough ca", "Gateway", https(mode="AUTO_PASSTHROUGH", caCertificates="/c")),
    case(OK, "auto passthrough", "Gateway", https(mode="AUTO_PASSTHROUGH")),
    case(REFUSED, "names+certs", "Gateway", https(mode="SIMPLE", credentialNames=["a"], tlsCertificates=[TLS_FILES])),
    case(REFUSED, "simple no cert", "Gateway", https(mode="SIMPLE", privateKey="/k")),
    case(
        WARNED,
        "old with ciphers none",
        "Gateway",
        https(mode="SIMPLE", credentialName="c", minProtocolVersion="TLSV1_0"),
    ),
    case(REFUSED, "unix rel", "Gateway", server(bind="unix://x", port=port(0))),
    case(REFUSED, "proto missing", "Gateway", server(port={"number": 80, "name": "a"})),
]

VIRTUAL_SERVICES = [
    case(REFUSED, "claim no gateways", "VirtualService", match(headers={"@request.auth.claims.a": {"exact": "x"}})),
    case(
        REFUSED,
        "claim mesh",
        "VirtualService",
        match(headers={"@request.auth.claims.a": {"exact": "x"}}) | {"gateways": ["mesh"]},
    ),
    case(
        REFUSED,
        "outbound host without server names",
        "VirtualService",
        {"hosts": ["outbound_.80_._.a.b"], "gateways": ["ns/g"], "http": [{"route": TO_A}]},
    ),
    case(
        REFUSED,
        "outbound sni host mesh",
        "VirtualService",
        {"hosts": ["outbound_.80_._.a.b"], "http": [{"route": TO_A}]},
    ),
    case(
        REFUSED,
        "* mesh+gw",
        "VirtualService",
        {"hosts": ["*"], "gateways": ["ns/g", "mesh"], "http": [{"route": TO_A}]},
    ),
    case(REFUSED, "direct+route", "VirtualService", route(directResponse={"status": 200})),
    case(REFUSED, "mirror missing dest", "VirtualService", route(mirror={})),
    case(
        REFUSED, "mirrorPercentage neg", "VirtualService", route(mirror={"host": "b"}, mirrorPercentage={"value": -1})
    ),
    case(REFUSED, "redirect 300 ok? 299", "VirtualService", redirect(uri="/", redirectCode=299)),
    case(OK, "redirect 0", "VirtualService", redirect(uri="/", redirectCode=0)),
    case(REFUSED, "redirect 400", "VirtualService", redirect(uri="/", redirectCode=400)),
    case(OK, "direct 200..600 599", "VirtualService", direct(status=599)),
    case(
        REFUSED, "retries rlo with 0", "VirtualService", route(retries={"attempts": 0, "retryRemoteLocalities": True})
    ),
    case(
        OK,
        "retries tokens",
        "VirtualService",
        route(
            retries={
                "attempts": 1,
                "retryOn": RETRIED,
            }
        ),
    ),
    case(REFUSED, "retries 299", "VirtualService", route(retries={"attempts": 1, "retryOn": "299"})),
    case(REFUSED, "cors maxAge", "VirtualService", route(corsPolicy={"maxAge": "0.5s"})),
    case(REFUSED, "cors expose", "VirtualService", route(corsPolicy={"exposeHeaders": ["a b"]})),
    case(REFUSED, "fault http 601", "VirtualService", route(fault={"abort": {"httpStatus": 601}})),
    case(WARNED, "several catch-all", "VirtualService", {"hosts": ["a"], "http": [{"route": TO_A}, {"route": TO_A}]}),
    case(
        WARNED,
        "all dup",
        "VirtualService",
        {"hosts": ["a"], "http": [{"match": [{"uri": {"exact": "/a"}}], "route": TO_A}] * 2},
    ),
    case(
        OK,
        "method differs",
        "VirtualService",
        {
            "hosts": ["a"],
            "http": [
                {"match": [{"uri": {"prefix": "/a"}, "method": {"exact": "POST"}}], "route": TO_A},
                {"match": [{"uri": {"prefix": "/a/b"}, "method": {"exact": "PUT"}}], "route": TO_A},
            ],
        },
    ),
    case(REFUSED, "tls null match", "VirtualService", {"hosts": ["a.b"], "tls": [{"match": [None], "route": TO_A}]}),
    case(REFUSED, "tls missing match", "VirtualService", {"hosts": ["a.b"], "tls": [{"route": TO_A}]}),
    case(
        REFUSED,
        "tls sni wildcard",
        "VirtualService",
        {"hosts": ["a.b"], "tls": [{"match": [{"sniHosts": ["*.b"]}], "route": TO_A}]},
    ),
    case(REFUSED, "tls gateways", "VirtualService", tls_route(gateways=["a/b/c"])),
    case(REFUSED, "tcp label", "VirtualService", tcp_route(sourceLabels={"a b": "c"})),
]

SERVICE_ENTRIES = [
    case(
        WARNED,
        "DNS addresses TLS 2 hosts",
        "ServiceEntry",
        entry(hosts=["a.x", "b.x"], addresses=["10.0.0.1"], ports=[port(443, protocol="TLS")]),
    ),
    case(
        OK,
        "DNS addresses HTTP 2 hosts",
        "ServiceEntry",
        entry(hosts=["a.x", "b.x"], addresses=["10.0.0.1"], ports=[port(80, protocol="HTTP")]),
    ),
    case(
        REFUSED,
        "DYN MESH_INTERNAL waypoint",
        "ServiceEntry",
        entry(hosts=["*.a.x"], resolution="DYNAMIC_DNS", location="MESH_INTERNAL"),
        labels={"istio.io/use-waypoint": "w"},
    ),
    case(
        OK,
        "DYN MESH_INTERNAL",
        "ServiceEntry",
        entry(hosts=["*.a.x"], resolution="DYNAMIC_DNS", location="MESH_INTERNAL"),
    ),
    case(
        OK,
        "DYN MESH_EXTERNAL waypoint",
        "ServiceEntry",
        entry(hosts=["*.a.x"], resolution="DYNAMIC_DNS", location="MESH_EXTERNAL"),
        labels={"istio.io/use-waypoint": "w"},
    ),
    case(OK, "DYN partial", "ServiceEntry", entry(hosts=["*a.x"], resolution="DYNAMIC_DNS")),
    case(WARNED, "partial", "ServiceEntry", entry(hosts=["*a.x"], resolution="NONE")),
    case(
        REFUSED,
        "DNS 2 ep rr",
        "ServiceEntry",
        entry(resolution="DNS_ROUND_ROBIN", endpoints=[{"address": "a.b"}, {"address": "c.d"}]),
    ),
    case(REFUSED, "DNS unix ep", "ServiceEntry", entry(resolution="DNS", endpoints=[{"address": "unix:///x"}])),
    case(REFUSED, "NONE ep", "ServiceEntry", entry(resolution="NONE", endpoints=[{"address": "10.0.0.1"}])),
    case(WARNED, "NONE selector", "ServiceEntry", entry(resolution="NONE", workloadSelector={"labels": {"a": "b"}})),
    case(REFUSED, "257 hosts", "ServiceEntry", entry(hosts=[f"a{i}.x" for i in range(257)])),
    case(REFUSED, "257 ports", "ServiceEntry", entry(ports=[port(i + 1, f"p{i}") for i in range(257)])),
    case(REFUSED, "257 addr", "ServiceEntry", entry(addresses=[f"10.0.{i // 256}.{i % 256}" for i in range(257)])),
    case(
        REFUSED,
        "4097 ep",
        "ServiceEntry",
        entry(
            resolution="STATIC",
            endpoints=[{"address": f"10.{i // 65536}.{i // 256 % 256}.{i % 256}"} for i in range(4097)],
        ),
    ),
    case(WARNED, "tcp no addr", "ServiceEntry", entry(resolution="NONE", ports=[port(1, protocol="TCP")])),
    case(OK, "tcp no addr autoalloc DNS", "ServiceEntry", entry(resolution="DNS", ports=[port(1, protocol="TCP")])),
    case(
        REFUSED,
        "empty selector key",
        "ServiceEntry",
        entry(resolution="STATIC", workloadSelector={"labels": {"": "b"}}),
    ),
    case(REFUSED, "targetPort 0", "ServiceEntry", entry(ports=[port(80) | {"targetPort": -1}])),
]

WORKLOADS_AND_DESTINATIONS = [
    case(WARNED, "WE net", "WorkloadEntry", {"network": "n"}),
    case(REFUSED, "WE nothing", "WorkloadEntry", {}),
    case(REFUSED, "WE portname 63", "WorkloadEntry", {"address": "10.0.0.1", "ports": {"a" * 63: 1}}),
    case(OK, "WE portname 62", "WorkloadEntry", {"address": "10.0.0.1", "ports": {"a" * 62: 1}}),
    case(
        REFUSED, "WE labels 257", "WorkloadEntry", {"address": "10.0.0.1", "labels": {f"a{i}": "b" for i in range(257)}}
    ),
    case(REFUSED, "WG http port", "WorkloadGroup", {"template": {}, "probe": {"httpGet": {"port": 0}}}),
    case(REFUSED, "WG probe none", "WorkloadGroup", {"template": {}, "probe": {"periodSeconds": 1}}),
    case(REFUSED, "SC empty", "Sidecar", {"workloadSelector": {"labels": {"a": "b"}}}),
    case(OK, "SC ep", "Sidecar", ingress(defaultEndpoint=":80")),
    case(OK, "SC ep ::1", "Sidecar", ingress(defaultEndpoint="[::1]:80")),
    case(OK, "SC ep 0", "Sidecar", ingress(defaultEndpoint="0.0.0.0:80")),
    case(REFUSED, "SC ep host", "Sidecar", ingress(defaultEndpoint="localhost:80")),
    case(REFUSED, "SC ep noport", "Sidecar", ingress(defaultEndpoint="127.0.0.1")),
    case(
        REFUSED,
        "SC credNames",
        "Sidecar",
        ingress(port=port(443, protocol="HTTPS"), tls={"mode": "SIMPLE", "credentialNames": ["a"]}),
    ),
    case(REFUSED, "SC AUTO", "Sidecar", ingress(port=port(443, protocol="HTTPS"), tls={"mode": "AUTO_PASSTHROUGH"})),
    case(REFUSED, "egress uds bind", "Sidecar", egress({"port": port(0), "bind": "10.0.0.1", "hosts": ["./*"]})),
    case(
        REFUSED,
        "egressProxy mode",
        "Sidecar",
        {"outboundTrafficPolicy": {"mode": "REGISTRY_ONLY", "egressProxy": {"host": "a.b", "port": {"number": 1}}}},
    ),
    case(
        REFUSED, "DR pool http2 max neg", "DestinationRule", policy(connectionPool={"http": {"http2MaxRequests": -1}})
    ),
    case(REFUSED, "DR tcp connectTimeout", "DestinationRule", policy(connectionPool={"tcp": {"connectTimeout": "0s"}})),
    case(
        REFUSED,
        "DR keepalive timeout only",
        "DestinationRule",
        policy(connectionPool={"http": {"http2KeepAlive": {"timeout": "1s"}}}),
    ),
    case(
        REFUSED,
        "maglev 65536",
        "DestinationRule",
        balancer(consistentHash={"useSourceIp": True, "maglev": {"tableSize": 65536}}),
    ),
    case(REFUSED, "dist to empty", "DestinationRule", locality(distribute=[{"from": "a", "to": {}}])),
    case(REFUSED, "failover to slash", "DestinationRule", locality(failover=[{"from": "a", "to": "b/c"}])),
    case(REFUSED, "warmup pct", "DestinationRule", balancer(warmup={"duration": "1s", "minimumPercent": -1})),
    case(REFUSED, "outlier base", "DestinationRule", policy(outlierDetection={"baseEjectionTime": "0s"})),
    case(REFUSED, "MUTUAL no key", "DestinationRule", policy(tls={"mode": "MUTUAL", "clientCertificate": "/c"})),
    case(
        REFUSED,
        "cred with files",
        "DestinationRule",
        policy(tls={"mode": "MUTUAL", "credentialName": "c", "clientCertificate": "/c"}),
    ),
    case(
        REFUSED, "DR subset policy", "DestinationRule", {"host": "a", "subsets": [{"name": "v", "trafficPolicy": {}}]}
    ),
    case(
        REFUSED,
        "DR ws other ns",
        "DestinationRule",
        {"host": "a", "workloadSelector": {"matchLabels": {"a": "b"}}, "exportTo": ["other"]},
    ),
    case(
        OK,
        "DR ws own ns",
        "DestinationRule",
        {"host": "a", "workloadSelector": {"matchLabels": {"a": "b"}}, "exportTo": ["default"]},
    ),
    case(
        OK,
        "tunnel CONNECT",
        "DestinationRule",
        policy(tunnel={"protocol": "CONNECT", "targetHost": "a.b", "targetPort": 1}),
    ),
]

SECURITY = [
    case(REFUSED, "custom principals", "AuthorizationPolicy", custom({"from": [{"source": {"notPrincipals": ["a"]}}]})),
    case(REFUSED, "empty rules deny", "AuthorizationPolicy", {"action": "DENY"}),
    case(OK, "accounts16", "AuthorizationPolicy", source(serviceAccounts=["a"] * 16)),
    case(REFUSED, "template after {**}", "AuthorizationPolicy", operation(paths=["/a/{**}/{*}"])),
    case(REFUSED, "template twice", "AuthorizationPolicy", operation(paths=["/{**}/{**}"])),
    case(REFUSED, "notIpBlocks", "AuthorizationPolicy", source(notIpBlocks=["x"])),
    case(REFUSED, "not accounts ns", "AuthorizationPolicy", source(serviceAccounts=["a"], notNamespaces=["b"])),
    case(
        WARNED,
        "deny http paths",
        "AuthorizationPolicy",
        {"action": "DENY", "rules": [{"to": [{"operation": {"paths": ["/x"]}}]}]},
    ),
    case(
        OK,
        "deny http + port",
        "AuthorizationPolicy",
        {"action": "DENY", "rules": [{"to": [{"operation": {"paths": ["/x"], "ports": ["80"]}}]}]},
    ),
    case(REFUSED, "when key fmt", "AuthorizationPolicy", when("request.headers[", "a")),
    case(REFUSED, "when auth claims", "AuthorizationPolicy", when("request.auth.claims", "a")),
    case(OK, "when sni", "AuthorizationPolicy", when("connection.sni", "a")),
    case(REFUSED, "RA jwksUri noscheme", "RequestAuthentication", jwt(jwksUri="a/keys")),
    case(REFUSED, "RA both empty", "RequestAuthentication", {"jwtRules": [{"audiences": ["a"]}]}),
    case(
        REFUSED, "PA empty ports", "PeerAuthentication", {"selector": {"matchLabels": {"a": "b"}}, "portLevelMtls": {}}
    ),
    case(
        REFUSED,
        "PA port 0",
        "PeerAuthentication",
        {"selector": {"matchLabels": {"a": "b"}}, "portLevelMtls": {"0": {}}},
    ),
    case(REFUSED, "PA empty selector", "PeerAuthentication", {"selector": {}, "portLevelMtls": {"80": {}}}),
]

EXTENSIONS = [
    case(REFUSED, "tel sampling neg", "Telemetry", {"tracing": [{"randomSamplingPercentage": -1}]}),
    case(REFUSED, "tel header tag", "Telemetry", {"tracing": [{"customTags": {"a": {"header": {"name": ""}}}}]}),
    case(REFUSED, "tel env tag", "Telemetry", {"tracing": [{"customTags": {"a": {"environment": {"name": ""}}}}]}),
    case(REFUSED, "tel metrics provider", "Telemetry", {"metrics": [{"providers": [{"name": ""}]}]}),
    case(REFUSED, "tel log provider", "Telemetry", {"accessLogging": [{"providers": [{"name": ""}]}]}),
    case(REFUSED, "wasm env host value", "WasmPlugin", env({"name": "a", "valueFrom": "HOST", "value": "x"})),
    case(REFUSED, "wasm sha upper", "WasmPlugin", {"url": "x", "sha256": "A" * 64}),
    case(OK, "wasm 253", "WasmPlugin", {"url": "x", "imagePullSecret": "a" * 253, "pluginName": "a" * 256}),
    case(OK, "wasm env 256/2048", "WasmPlugin", env({"name": "a" * 256, "value": "b" * 2048})),
    case(REFUSED, "te wasm sha", "TrafficExtension", {"wasm": {"url": "x", "sha256": "z"}}),
    case(
        REFUSED,
        "te match port",
        "TrafficExtension",
        {"lua": {"inlineCode": "local x"}, "match": [{"ports": [{"number": 0}]}]},
    ),
    case(REFUSED, "pc selector", "ProxyConfig", {"selector": {"matchLabels": {"": "a"}}}),
    case(
        REFUSED,
        "ef selector both",
        "EnvoyFilter",
        {"workloadSelector": {"labels": {"a": "b"}}, "targetRefs": [{"kind": "Service", "name": "a"}]},
    ),
    case(WARNED, "ef cluster ok", "EnvoyFilter", patch()),
]

TARGETS = [
    case(expected, f"target-{name}.{group}", kind, base | {"targetRefs": [{"group": group, "kind": name, "name": "a"}]})
    for kind, base in (
        ("AuthorizationPolicy", {}),
        ("RequestAuthentication", {}),
        ("Telemetry", {}),
        ("WasmPlugin", {"url": "x"}),
        ("TrafficExtension", {"lua": {"inlineCode": "local x"}}),
    )
    for name, group, expected in (
        ("Service", "", OK),
        ("ServiceEntry", "networking.istio.io", OK),
        ("Gateway", "gateway.networking.k8s.io", OK),
        ("GatewayClass", "gateway.networking.k8s.io", OK),
        ("Pod", "", REFUSED),
        ("Gateway", "networking.istio.io", REFUSED),
    )
]
KEYS = [
    case(expected, f"{action}-{key}", "AuthorizationPolicy", spec)
    for key in (
        "source.namespace",
        "source.principal",
        "source.serviceAccount",
        "source.trustDomain",
        "request.auth.principal",
        "request.auth.claims[a]",
    )
    for expected, action, spec in (
        (OK, "allow", when(key, "a")),
        (REFUSED, "custom", custom({"when": [{"key": key, "values": ["a"]}]})),
    )
]


@pytest.mark.parametrize(
    ("expected", "kind", "spec", "meta"),
    [
        *METADATA,
        *PRIMITIVES,
        *GATEWAYS,
        *VIRTUAL_SERVICES,
        *SERVICE_ENTRIES,
        *WORKLOADS_AND_DESTINATIONS,
        *SECURITY,
        *EXTENSIONS,
        *TARGETS,
        *KEYS,
    ],
)
def test_rule(expected: str, kind: str, spec: dict[str, Any], meta: dict[str, Any]) -> None:
    assert outcome(kind, spec, meta) == expected
