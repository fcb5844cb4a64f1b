"""MeshConfig: each field that is served, changed while the control plane runs, and put back."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest
import yaml
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf.json_format import MessageToDict

from controlplane.apis.mesh import MeshConfig
from controlplane.apis.mesh_fields import stated_fields
from controlplane.compiler.compiler import Compiler
from controlplane.frontends import FRONTENDS
from controlplane.model.objects import ChangeSet, Object
from controlplane.model.proxy import Locality, Proxy
from controlplane.registry.store import Registry
from controlplane.snapshots import ResourceType, Snapshot
from tests.compiler.histories import manifest, parsed
from tests.envoy.validate import validate
from tests.feature.test_untranslated import MESH_PATHS, mesh_named

MESSAGES = {
    ResourceType.CLUSTER: Cluster,
    ResourceType.ENDPOINT: ClusterLoadAssignment,
    ResourceType.LISTENER: Listener,
    ResourceType.ROUTE: RouteConfiguration,
}
NETWORKING = "networking.istio.io/v1"
WORLD = (
    manifest(
        "v1",
        "Service",
        "shop",
        "web",
        spec={
            "clusterIP": "10.0.0.1",
            "selector": {"app": "web"},
            "ports": [{"name": "http", "port": 80}, {"name": "tcp", "port": 90}, {"name": "auto", "port": 70}],
        },
    ),
    manifest("v1", "Service", "other", "far", spec={"clusterIP": "10.0.0.2", "ports": [{"name": "http", "port": 80}]}),
    manifest(
        "discovery.k8s.io/v1",
        "EndpointSlice",
        "shop",
        "web-1",
        labels={"kubernetes.io/service-name": "web"},
        addressType="IPv4",
        ports=[{"name": "http", "port": 80}],
        endpoints=[{"addresses": [f"10.1.0.{n}"], "targetRef": {"kind": "Pod", "name": f"p{n}"}} for n in (1, 2)],
    ),
    *(
        manifest(
            "v1",
            "Pod",
            "shop",
            f"p{n}",
            labels={"app": "web", "istio": "ingressgateway", "topology.istio.io/locality": f"r{n}.z"},
            spec={},
            status={"podIP": f"10.1.0.{n}"},
        )
        for n in (1, 2)
    ),
    manifest(
        NETWORKING,
        "ServiceEntry",
        "shop",
        "dns",
        spec={"hosts": ["dns.com"], "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}], "resolution": "DNS"},
    ),
    manifest(
        NETWORKING,
        "VirtualService",
        "other",
        "far",
        spec={"hosts": ["far.other.svc.cluster.local"], "http": [{"name": "stated", "redirect": {"uri": "/x"}}]},
    ),
    manifest(
        NETWORKING,
        "DestinationRule",
        "other",
        "far",
        spec={"host": "far.other.svc.cluster.local", "trafficPolicy": {"loadBalancer": {"simple": "RANDOM"}}},
    ),
    manifest(
        NETWORKING,
        "Sidecar",
        "roots",
        "all",
        spec={"egress": [{"hosts": ["shop/*"]}], "outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}},
    ),
    manifest(
        NETWORKING,
        "Gateway",
        "shop",
        "gw",
        spec={
            "selector": {"app": "web"},
            "servers": [
                {
                    "port": {"number": 443, "name": "https", "protocol": "HTTPS"},
                    "hosts": ["*"],
                    "tls": {"mode": "SIMPLE", "credentialName": "c"},
                }
            ],
        },
    ),
    manifest(
        "networking.k8s.io/v1",
        "Ingress",
        "shop",
        "in",
        annotations={"kubernetes.io/ingress.class": "istio"},
        spec={"defaultBackend": {"service": {"name": "web", "port": {"number": 80}}}},
    ),
    manifest(
        NETWORKING,
        "ServiceEntry",
        "shop",
        "secure",
        spec={
            "hosts": ["secure.com"],
            "ports": [{"number": 443, "name": "https", "protocol": "HTTP"}],
            "location": "MESH_EXTERNAL",
            "resolution": "STATIC",
            "endpoints": [{"address": "10.5.0.1", "labels": {"tier": "a"}}, {"address": "10.5.0.2"}],
        },
    ),
    manifest(
        NETWORKING,
        "DestinationRule",
        "shop",
        "secure",
        spec={"host": "secure.com", "trafficPolicy": {"tls": {"mode": "SIMPLE"}, "outlierDetection": {}}},
    ),
    manifest(
        NETWORKING,
        "VirtualService",
        "shop",
        "gw",
        spec={"hosts": ["*"], "gateways": ["gw"], "http": [{"route": [{"destination": {"host": "web"}}]}]},
    ),
)
PROXIES = tuple(
    Proxy(
        kind,
        "p1.shop",
        ("10.1.0.1",),
        "shop",
        "shop.svc.cluster.local",
        {"app": "web", "istio": "ingressgateway"},
        locality=Locality("r1", "z"),
        istio_version=version,
    )
    for kind, version in (("sidecar", ""), ("router", ""), ("sidecar", "1.32.0"))
)
NAMES = ("sidecar", "router", "istio")


def mesh(fields: dict[str, Any]) -> Object:
    meta = {"name": "istio", "namespace": "istio-system"}
    data = {"mesh": yaml.safe_dump(fields)}
    return parsed({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data})


def text_of(snapshots: tuple[Snapshot, ...]) -> str:
    """Return all resources as lines: type and name, a space, JSON with nested messages unpacked."""
    return "\n".join(
        f"{kind}/{type_.name}/{name} "
        + json.dumps(MessageToDict(MESSAGES[type_].FromString(resource.body)), sort_keys=True)
        for kind, snapshot in zip(NAMES, snapshots, strict=True)
        for type_, resources in snapshot.resources.items()
        if type_ in MESSAGES
        for name, resource in sorted(resources.items())
    )


WEB = "outbound|80||web.shop.svc.cluster.local"
SECURE = r"outbound\|443\|\|secure.com"
UNTOLD = {
    "namespaceSelector": {
        "matchLabels": {},
        "matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["b"]}],
    }
}
"""What fits every namespace without labels."""
FIELDS = [
    ({"proxyListenPort": 15101}, r'sidecar/LISTENER/virtualOutbound .*"portValue": 15101'),
    ({"proxyInboundListenPort": 15106}, r'sidecar/LISTENER/virtualInbound .*"portValue": 15106'),
    ({"proxyHttpPort": 15200}, r"sidecar/LISTENER/127.0.0.1_15200 .*allowAbsoluteUrl"),
    ({"connectTimeout": "3s"}, rf'CLUSTER/{re.escape(WEB)} .*"connectTimeout": "3s"'),
    ({"protocolDetectionTimeout": "2s"}, r'sidecar/LISTENER/0.0.0.0_80 .*"listenerFiltersTimeout": "2s"'),
    ({"tcpKeepalive": {"time": "9s", "probes": 4}}, rf'CLUSTER/{re.escape(WEB)} .*"keepaliveProbes": 4'),
    ({"enableTracing": False}, None),
    ({"accessLogFile": "/dev/stdout"}, r'LISTENER/virtualOutbound .*"path": "/dev/stdout"'),
    ({"accessLogFile": "/dev/null", "accessLogFormat": "mine"}, r'"inlineString": "mine\\n"'),
    ({"accessLogFile": "/dev/null", "accessLogEncoding": "JSON"}, r'"jsonFormat": '),
    ({"enableEnvoyAccessLogService": True}, r"envoy.access_loggers.http_grpc"),
    ({"outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}}, r'sidecar/ROUTE/80 .*"name": "block_all"'),
    ({"inboundTrafficPolicy": {"mode": "LOCALHOST"}}, r'CLUSTER/inbound\|80\|\| .*"address": "127.0.0.1"'),
    ({"enableAutoMtls": False}, None),
    ({"trustDomain": "own.domain"}, r"spiffe://own.domain/"),
    ({"trustDomainAliases": ["old.domain"]}, r"spiffe://old.domain/"),
    ({"caCertificates": [{"pem": "x", "trustDomains": ["far.domain"]}]}, r"spiffe://far.domain/"),
    ({"defaultServiceExportTo": ["."]}, None),
    ({"defaultVirtualServiceExportTo": ["."]}, None),
    ({"defaultDestinationRuleExportTo": ["."]}, None),
    ({"rootNamespace": "roots"}, r'sidecar/ROUTE/80 .*"name": "block_all"'),
    ({"localityLbSetting": {"enabled": True, "distribute": [{"from": "r1/*", "to": {"r1/*": 80, "r2/*": 20}}]}},
     rf'ENDPOINT/{re.escape(WEB)} .*"loadBalancingWeight": 20'),
    ({"dnsRefreshRate": "7s"}, r'CLUSTER/outbound\|80\|\|dns.com .*"dnsRefreshRate": "7s"'),
    ({"h2UpgradePolicy": "UPGRADE"}, rf"CLUSTER/{re.escape(WEB)} .*http2ProtocolOptions"),
    ({"outboundClusterStatName": "%SERVICE%_%SERVICE_PORT%"}, r'"altStatName": "web.shop_80;"'),
    ({"inboundClusterStatName": "%SERVICE_FQDN%_x"}, r"sidecar/LISTENER/virtualInbound .*web.shop.svc.cluster.local_x"),
    ({"defaultProviders": {"accessLogging": ["envoy"]}}, r'"path": "/dev/stdout"'),
    ({"extensionProviders": [{"name": "f", "envoyFileAccessLog": {"path": "/dev/null"}}],
      "defaultProviders": {"accessLogging": ["f"]}}, r'"path": "/dev/null"'),
    ({"inboundClusterStatName": "%SERVICE%_%TARGET_PORT%"}, r'CLUSTER/inbound.90.*"altStatName": "web.shop_90;"'),
    ({"pathNormalization": {"normalization": "MERGE_SLASHES"}}, r'LISTENER/0.0.0.0_80 .*"mergeSlashes": true'),
    ({"pathNormalization": {"normalization": "NONE"}}, r'LISTENER/0.0.0.0_80 .*"normalizePath": false'),
    ({"pathNormalization": {"normalization": "DECODE_AND_MERGE_SLASHES"}}, r"UNESCAPE_AND_FORWARD"),
    ({"defaultHttpRetryPolicy": {"attempts": 7, "retryOn": "5xx"}}, r'sidecar/ROUTE/80 .*"numRetries": 7'),
    ({"defaultInboundHttpRetryPolicy": {"attempts": 0}}, None),
    ({"defaultTrafficPolicy": {"connectionPool": {"tcp": {"maxConnections": 11}}}}, r'"maxConnections": 11'),
    ({"defaultTrafficPolicy": {"outlierDetection": {"consecutive5xxErrors": 9}}}, r'"consecutive5xx": 9'),
    ({"meshMTLS": {"minProtocolVersion": "TLSV1_3"}},
     r'sidecar/LISTENER/virtualInbound .*"tlsMinimumProtocolVersion": "TLSv1_3"'),
    ({"meshMTLS": {"cipherSuites": ["ECDHE-RSA-AES256-GCM-SHA384"]}},
     r'"cipherSuites": \["ECDHE-RSA-AES256-GCM-SHA384"\]'),
    ({"tlsDefaults": {"minProtocolVersion": "TLSV1_3"}},
     r'router/LISTENER/0.0.0.0_443 .*"tlsMinimumProtocolVersion": "TLSv1_3"'),
    ({"tcpKeepalive": {"interval": "8s"}}, rf'CLUSTER/{re.escape(WEB)} .*"keepaliveInterval": 8'),
    ({"ingressClass": "other"}, None),
    ({"ingressControllerMode": "OFF"}, None),
    ({"ingressSelector": "other"}, None),
    ({"ingressService": "other"}, None),
    ({"disableEnvoyListenerLog": True}, None),
    ({"outboundTrafficPolicy": {"mode": "ALLOW_ANY_DYNAMIC_DNS"}}, r"sidecar/CLUSTER/AllowAnyDynamicDNSCluster"),
    ({"caCertificates": [{"pem": "x", "trustDomains": ["far.domain"]}]},
     r'sidecar/LISTENER/virtualInbound .*"prefix": "spiffe://far.domain/"'),
    ({"localityLbSetting": {"enabled": True, "failover": [{"from": "r1", "to": "r2"}]}},
     rf"CLUSTER/{SECURE} .*localityWeightedLbConfig"),
    ({"localityLbSetting": {"enabled": True, "failoverPriority": ["tier"]}},
     rf"CLUSTER/{SECURE} .*localityWeightedLbConfig"),
    ({"zoneAwareLbSetting": {"enabled": True, "minClusterSize": 2, "failoverPriority": ["tier"]}},
     rf'CLUSTER/{re.escape(WEB)} .*"zoneAwareLbConfig": {{"minClusterSize": "2"}}'),
    ({"zoneAwareLbSetting": {"failover": [{"from": "r1", "to": "r2"}]}},
     rf'ENDPOINT/{re.escape(WEB)} .*"priority": 1'),
    ({"defaultProviders": {"metrics": ["prometheus"]}}, r"istio/LISTENER/0.0.0.0_80 .*istio.stats"),
    ({"defaultProviders": {"tracing": ["z"]},
      "extensionProviders": [{"name": "z", "zipkin": {"service": "web.shop.svc.cluster.local", "port": 80}}]},
     r"LISTENER/0.0.0.0_80 .*envoy.tracers.zipkin"),
    ({"defaultHttpRetryPolicy": {"attempts": 1, "perTryTimeout": "6s"}}, r'sidecar/ROUTE/80 .*"perTryTimeout": "6s"'),
    ({"defaultHttpRetryPolicy": {"attempts": 1, "backoff": "4s"}}, r'sidecar/ROUTE/80 .*"baseInterval": "4s"'),
    ({"defaultHttpRetryPolicy": {"attempts": 1, "retryRemoteLocalities": True}},
     r"sidecar/ROUTE/80 .*retry_priorities.previous_priorities"),
    ({"defaultHttpRetryPolicy": {"attempts": 1, "retryIgnorePreviousHosts": False}}, None),
    ({"defaultInboundHttpRetryPolicy": {"attempts": 4, "retryOn": "5xx", "backoff": "3s"}},
     r'virtualInbound .*"numRetries": 4, "retryBackOff": {"baseInterval": "3s"}, "retryOn": "5xx"'),
    *(({"defaultTrafficPolicy": {"connectionPool": {"tcp": {"maxConnections": 12}}}},
       rf'CLUSTER/{re.escape(name)} .*"maxConnections": 12')
      for name in ("PassthroughCluster", "InboundPassthroughCluster", "inbound|80||", "outbound|443||secure.com")),
    ({"defaultTrafficPolicy": {"connectionPool": {"http": {"http2MaxRequests": 13}}}}, r'"maxRequests": 13'),
    ({"tlsDefaults": {"cipherSuites": ["AES128-SHA", "UNKNOWN"]}},
     rf'CLUSTER/{SECURE} .*"cipherSuites": \["AES128-SHA"\]'),
    ({"tlsDefaults": {"cipherSuites": ["AES128-SHA"]}},
     r'router/LISTENER/0.0.0.0_443 .*"cipherSuites": \["AES128-SHA"\]'),
    ({"tlsDefaults": {"ecdhCurves": ["P-256"]}}, rf'CLUSTER/{SECURE} .*"ecdhCurves": \["P-256"\]'),
    ({"tlsDefaults": {"ecdhCurves": ["P-256"]}}, r'router/LISTENER/0.0.0.0_443 .*"ecdhCurves": \["P-256"\]'),
    ({"serviceEntryVisibility": {"applyToSidecars": True, "defaultVisibility": "NONE"}}, None),
    ({"serviceEntryVisibility": {"applyToSidecars": True,
                                 "policies": [{"visibility": "NONE", "matchingRules": [UNTOLD]}]}}, None),
    ({"defaultConfig": {"tracing": {"sampling": 12}}}, r'"randomSampling": {"value": 12.0}'),
]  # fmt: skip
GONE = {
    "ingressClass": r"router/LISTENER/0.0.0.0_80 ",
    "ingressControllerMode": r"router/LISTENER/0.0.0.0_80 ",
    "ingressSelector": r"router/LISTENER/0.0.0.0_80 ",
    "ingressService": r"router/LISTENER/0.0.0.0_80 ",
    "defaultHttpRetryPolicy": r"retry_host_predicates.previous_hosts",
    "disableEnvoyListenerLog": r'"NR"',
    "serviceEntryVisibility": r"CLUSTER/outbound\|443\|\|secure.com",
    "enableTracing": r'"tracing": {',
    "enableAutoMtls": r"tlsMode-istio",
    "defaultServiceExportTo": r"CLUSTER/outbound\|80\|\|far.other",
    "defaultVirtualServiceExportTo": r'"name": "stated"',
    "defaultDestinationRuleExportTo": r'"lbPolicy": "RANDOM"',
    "defaultInboundHttpRetryPolicy": r"reset-before-request",
}
"""What is no longer there with the field, where the field takes something away."""


@pytest.mark.slow
@pytest.mark.parametrize(("fields", "pattern"), FIELDS, ids=[json.dumps(fields)[:60] for fields, _ in FIELDS])
def test_a_field_shows_while_it_is_there(fields: dict[str, Any], pattern: str | None) -> None:
    async def check() -> tuple[str, str, str]:
        compiler = Compiler(Registry(frontends=FRONTENDS))
        await compiler.apply(ChangeSet(upserts=(*map(parsed, WORLD), mesh({}))))
        sessions = [await compiler.open(proxy, lambda: None) for proxy in PROXIES]
        shown = []
        without = {"accessLogFile": "/dev/null"} if "disableEnvoyListenerLog" in fields else {}
        for stated in (without, without | fields, without):
            await compiler.apply(ChangeSet(upserts=(mesh(stated),)))
            shown.append(text_of(tuple(session.snapshot for session in sessions)))
            if stated is not without:
                assert [validate(session.snapshot) for session in sessions[:2]] == [None, None]
        return shown[0], shown[1], shown[2]

    before, during, after = asyncio.run(check())
    assert after == before
    if pattern is None:
        gone = GONE[next(iter(fields))]
        assert re.search(gone, before)
        assert not re.search(gone, during)
    else:
        assert not re.search(pattern, before)
        assert re.search(pattern, during)


ELSEWHERE = (
    "mesh.defaultConfig.",  # test_proxy_settings
    "mesh.extensionProviders.",  # listeners/test_access_log, listeners/test_tracing
    "mesh.defaultTrafficPolicy.connectionPool.",  # as of a DestinationRule
    "mesh.defaultTrafficPolicy.outlierDetection.",
    "mesh.serviceSettings",  # test_networks: it is about other clusters
    "mesh.caCertificates.certSigners",  # tests/security/test_kubernetes_signer
    "mesh.caCertificates.spiffeBundleUrl",  # tests/wiring/test_trust_bundle
)


def test_every_field_that_is_translated_is_shown() -> None:
    shown = {f"mesh.{path}" for fields, _ in FIELDS for path in stated_fields(MeshConfig, yaml.safe_dump(fields))[0]}
    left = {path.replace("[]", "") for path, _ in MESH_PATHS if path.startswith("mesh.") and not mesh_named(path)}
    left -= {path.replace("[]", "") for path in shown}
    assert {path for path in left if not path.startswith(ELSEWHERE)} == set()
