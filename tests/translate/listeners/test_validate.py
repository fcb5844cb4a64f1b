"""A stock Envoy takes every kind of listener made here."""

from __future__ import annotations

from typing import Any

import pytest

from tests.envoy.validate import validate
from tests.translate.listeners.test_gateway import (
    BOUND,
    DB,
    HTTP80,
    HTTPS_A,
    HTTPS_B,
    TO_DB,
    gateway_resource,
    routed,
    server,
    tls,
)
from tests.translate.listeners.test_inbound import INGRESS, POLICY, WEB, WORKLOAD_POLICY
from tests.translate.listeners.test_outbound import (
    CIDR_ENTRY,
    RULE,
    SNI_ENTRY,
    entry,
    service,
    sidecar_resource,
    slice_of,
    virtual_service,
)
from tests.translate.listeners.world import World, gateway, sidecar

pytestmark = pytest.mark.slow

MESH = """
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    accessLogFile: /dev/stdout
    accessLogEncoding: %s
    protocolDetectionTimeout: 5s
    defaultProviders: {metrics: [prometheus]}
    defaultConfig: {gatewayTopology: {numTrustedProxies: 1, proxyProtocol: {}}}
    meshMTLS: {minProtocolVersion: TLSV1_3}
    tlsDefaults: {minProtocolVersion: TLSV1_2, ecdhCurves: [P-256]}
    trustDomainAliases: [old.example]
"""
OUTBOUND = (
    service("web", "{name: http, port: 80}, {port: 9000}, {name: grpc-web, port: 7000}, {name: mongo, port: 27017}")
    + service("db", "{name: tcp, port: 5432}", ip="None")
    + slice_of("db", "tcp", 5432, "10.2.0.1", "10.2.0.2")
    + entry("a", SNI_ENTRY)
    + entry("b", CIDR_ENTRY % "10.1.2.3/16")
    + RULE
    + virtual_service(
        "hosts: [db], tcp: [{route: [{destination: {host: db}, weight: 80}, {destination: {host: web}, weight: 20}]}]"
    )
)
TO_DB_TOO = "], route: [{destination: {host: db}}]}]"
EGRESS = sidecar_resource(
    "egress: [{port: {number: 9080, protocol: HTTP, name: h}, captureMode: NONE, hosts: ['*/*']},"
    " {port: {number: 0, protocol: HTTP, name: u}, bind: 'unix:///tmp/x', captureMode: NONE, hosts: ['*/*']},"
    " {hosts: ['*/*']}]"
)
CLASHING = (
    entry("a", SNI_ENTRY)
    + entry("b", SNI_ENTRY.replace("api", "b"))
    + entry("c", (CIDR_ENTRY % "10.1.2.3/16").replace("5432", "443"))
    + virtual_service(
        "hosts: [api.ext.com, b.ext.com], tls: [{match: [{sniHosts: [api.ext.com, b.ext.com]}" + TO_DB_TOO
    )
    + virtual_service("hosts: ['*.ext.com'], tls: [{match: [{sniHosts: [b.ext.com, c.ext.com]}" + TO_DB_TOO, name="w")
    + virtual_service(
        "hosts: [cidr.ext], tcp: [{match: [{destinationSubnets: [10.2.0.0/16, 10.1.0.0/16]}" + TO_DB_TOO, name="x"
    )
)
CLASHING_GATEWAYS = (
    gateway_resource(server(443, "HTTPS", "hosts: [x/a.com, x/b.com]", name="a", more=tls("SIMPLE")))
    + gateway_resource(server(443, "HTTPS", "hosts: [y/b.com, y/c.com]", name="b", more=tls("SIMPLE")), name="gx")
    + gateway_resource(server(443, "TLS", "hosts: ['*.com']", name="c", more=tls("PASSTHROUGH", "")), name="gy")
    + routed(f"hosts: ['*.com'], tls: [{{match: [{{sniHosts: [a.com, d.com]}}], {TO_DB}}}]", gateways="gy")
)
GATEWAYS = (
    DB
    + gateway_resource(
        HTTP80,
        HTTPS_A,
        HTTPS_B,
        server(81, "HTTP", more=BOUND),
        server(3306, "TCP"),
        server(4443, "TLS", more=tls("ISTIO_MUTUAL", "")),
        server(5443, "TLS", "hosts: [c.com]", more=tls("PASSTHROUGH", "")),
        server(6443, "HTTPS", "hosts: [d.com]", more=tls("MUTUAL", "credentialName: x, subjectAltNames: [y.com]")),
        server(7443, "HTTPS", more=tls("OPTIONAL_MUTUAL", "serverCertificate: /c, privateKey: /k, caCertificates: /a")),
        server(15443, "TLS", "hosts: ['*.local']", more=tls("AUTO_PASSTHROUGH", "")),
    )
    + routed(f"hosts: ['*'], tcp: [{{{TO_DB}}}]")
    + routed(f"hosts: [c.com], tls: [{{match: [{{sniHosts: [c.com]}}], {TO_DB}}}]", name="tls")
)


@pytest.mark.parametrize(
    ("yaml", "proxy"),
    [
        pytest.param(OUTBOUND, {}, id="outbound"),
        pytest.param(OUTBOUND + MESH % "TEXT", {"metadata": {"HTTP10": "1", "IDLE_TIMEOUT": "5s"}}, id="mesh-text"),
        pytest.param(OUTBOUND + MESH % "JSON", {"metadata": {"OUTBOUND_LISTENER_EXACT_BALANCE": "1"}}, id="mesh-json"),
        pytest.param(OUTBOUND + EGRESS, {}, id="sidecar-egress"),
        pytest.param(CLASHING, {}, id="names-and-ranges-in-common"),
        pytest.param(OUTBOUND, {"metadata": {"INTERCEPTION_MODE": "NONE", "HTTP_PROXY_PORT": "15080"}}, id="none"),
        pytest.param(OUTBOUND, {"metadata": {"INTERCEPTION_MODE": "TPROXY"}}, id="tproxy"),
        pytest.param(OUTBOUND, {"ip": "fd00::9"}, id="ipv6"),
        pytest.param(WEB % "grpc" + WORKLOAD_POLICY, {"labels": {"app": "web"}}, id="inbound-ports"),
        pytest.param(WEB % "foo" + POLICY % "STRICT" + MESH % "TEXT", {"labels": {"app": "web"}}, id="inbound-strict"),
        pytest.param(WEB % "foo" + POLICY % "DISABLE", {"labels": {"app": "web"}}, id="inbound-disable"),
        pytest.param(WEB % "http" + "---" + INGRESS, {"labels": {"app": "web"}}, id="inbound-sidecar"),
    ],
)
def test_sidecar(yaml: str, proxy: dict[str, Any]) -> None:
    resources = World(yaml).resources(sidecar("ns1", istio=False, **proxy))
    assert len(resources) >= 2
    assert validate(resources.values()) is None


@pytest.mark.parametrize("mesh", ["", MESH % "TEXT"], ids=["default", "mesh"])
def test_gateway(mesh: str) -> None:
    resources = World(GATEWAYS + mesh).resources(gateway(istio=False))
    assert len(resources) == 9
    assert validate(resources.values()) is None


def test_gateway_servers_with_names_in_common() -> None:
    resources = World(CLASHING_GATEWAYS).resources(gateway(istio=False))
    assert list(resources) == ["0.0.0.0_443"]
    assert validate(resources.values()) is None
