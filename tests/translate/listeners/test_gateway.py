"""Gateways: how their servers share ports, and the listeners that come of it."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import CertificateValidationContext, TlsParameters
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import DownstreamTlsContext

from controlplane.registry.gateways import GatewayKey, MergedGateway, merged_gateway, sanitised_hosts
from tests.translate.listeners.test_outbound import entry, service
from tests.translate.listeners.world import World, chains, connection_manager, gateway, leads_to

LABELS = frozenset({("istio", "ingressgateway")})
ANY = "hosts: ['*']"


def gateway_resource(*servers: str, name: str = "gw", selector: str = "istio: ingressgateway") -> str:
    listed = "".join(f"\n  - {{{server}}}" for server in servers)
    return f"""
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: {name}, namespace: default}}
spec:
  selector: {{{selector}}}
  servers:{listed}
"""


def server(number: int, protocol: str, hosts: str = ANY, *, name: str = "", more: str = "") -> str:
    return f"port: {{number: {number}, name: {name or f'p{number}'}, protocol: {protocol}}}, {hosts}{more}"


def tls(mode: str, more: str = "credentialName: cred") -> str:
    return f", tls: {{mode: {mode}{', ' + more if more else ''}}}"


def routed(spec: str, name: str = "vs", gateways: str = "gw") -> str:
    return f"""
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: default}}
spec: {{gateways: [{gateways}], {spec}}}
"""


def merged(yaml: str, labels: frozenset[tuple[str, str]] = LABELS) -> MergedGateway:
    return World(yaml).registry.memo.get(merged_gateway, GatewayKey("default", labels, ()))


HTTP80, TCP80 = server(80, "HTTP"), server(80, "TCP")
HTTPS_A = server(443, "HTTPS", "hosts: [a.com]", name="a", more=tls("SIMPLE"))
HTTPS_B = server(443, "HTTPS", "hosts: [b.com]", name="b", more=tls("SIMPLE"))
HTTPS_A2 = server(443, "HTTPS", "hosts: [a.com]", name="a2", more=tls("SIMPLE"))
BOUND = ", bind: 10.0.0.9"


@pytest.mark.parametrize(
    ("yaml", "routes", "rejected"),
    [
        pytest.param(gateway_resource(HTTP80), ["http.80"], [], id="http"),
        pytest.param(gateway_resource(HTTP80 + BOUND), ["http.80.10.0.0.9"], [], id="http-bound"),
        pytest.param(
            gateway_resource(HTTP80) + gateway_resource(HTTP80, name="gx"), ["http.80", "http.80"], [], id="http-joins"
        ),
        pytest.param(
            gateway_resource(HTTPS_A, HTTPS_B), ["https.443.a.gw.default", "https.443.b.gw.default"], [], id="https"
        ),
        pytest.param(
            gateway_resource(HTTPS_A) + gateway_resource(HTTPS_A2, name="gx"),
            ["https.443.a.gw.default"],
            ["default/gx"],
            id="https-host-taken",
        ),
        pytest.param(
            gateway_resource(TCP80) + gateway_resource(HTTP80, name="gx"), [], ["default/gx"], id="tcp-then-http"
        ),
        pytest.param(
            gateway_resource(HTTP80) + gateway_resource(TCP80, name="gx"),
            ["http.80"],
            ["default/gx"],
            id="http-then-tcp",
        ),
        pytest.param(
            gateway_resource(TCP80) + gateway_resource(TCP80, name="gx"), [], ["default/gx"], id="tcp-then-tcp"
        ),
        pytest.param(
            gateway_resource(HTTP80)
            + gateway_resource(server(80, "HTTPS", "hosts: [a.com]", more=tls("SIMPLE")), name="gx"),
            ["http.80"],
            ["default/gx"],
            id="http-then-https",
        ),
        pytest.param(
            gateway_resource(server(80, "HTTPS", "hosts: [a.com]", more=tls("SIMPLE")))
            + gateway_resource(HTTP80, name="gx"),
            ["https.80.p80.gw.default", "http.80"],
            [],
            id="https-then-http",
        ),
        pytest.param(
            gateway_resource(HTTPS_A, HTTPS_B) + gateway_resource(server(443, "HTTP"), name="gx"),
            ["https.443.a.gw.default", "https.443.b.gw.default"],
            ["default/gx"],
            id="https-twice-then-http",
        ),
        pytest.param(
            gateway_resource(HTTP80) + gateway_resource(TCP80 + BOUND, name="gx"), ["http.80"], [], id="other-address"
        ),
        pytest.param(gateway_resource(HTTP80, selector="istio: other"), [], [], id="not-selected"),
        pytest.param(
            gateway_resource(server(80, "HTTP", more=", tls: {httpsRedirect: true}")), ["http.80"], [], id="redirect"
        ),
    ],
)
def test_merged(yaml: str, routes: list[str], rejected: list[str]) -> None:
    found = merged(yaml)
    assert [route for route, servers in found.servers_by_route.items() for _ in servers] == routes
    assert list(found.rejected) == rejected


def test_chains_of_a_gateway_that_is_made_anew_come_last() -> None:
    """Servers of different protocols share a port in the order of age, also where that is all that changes."""

    def aged(day: int) -> str:
        made = gateway_resource(HTTPS_A)
        return made.replace("metadata: {", f"metadata: {{creationTimestamp: '2026-01-0{day}T00:00:00Z', ")

    through = server(443, "TLS", "hosts: [b.com]", name="b", more=tls("PASSTHROUGH", ""))
    other = gateway_resource(through, name="gx").replace(
        "metadata: {", "metadata: {creationTimestamp: '2026-01-02T00:00:00Z', "
    )
    world, key = World(aged(1) + other), GatewayKey("default", LABELS, ())
    assert [place.protocol for place in world.registry.memo.get(merged_gateway, key).places[443]] == ["HTTPS", "TLS"]
    world.apply(aged(3))
    assert [place.protocol for place in world.registry.memo.get(merged_gateway, key).places[443]] == ["TLS", "HTTPS"]


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        (("a.com",), ("a.com",)),
        (("./a.com",), ("ns/a.com",)),
        (("*/a.com",), ("a.com",)),
        (("other/a.com",), ("other/a.com",)),
        (("a.com", "*/*"), ("*",)),
    ],
)
def test_sanitised_hosts(hosts: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert sanitised_hosts(hosts, "ns") == expected


def listeners(yaml: str, **proxy: Any) -> dict[str, Listener]:
    return World(yaml).listeners(gateway(**proxy))


def described(listener: Listener) -> list[tuple[tuple[str, ...], str, bool]]:
    return [
        (tuple(chain.filter_chain_match.server_names), leads_to(chain), chain.HasField("transport_socket"))
        for chain in chains(listener)
    ]


DB = service("db", "{name: tcp, port: 5432}", namespace="default")
TO_DB = "route: [{destination: {host: db}}]"
DB_CLUSTER = "tcp:outbound|5432||db.default.svc.cluster.local"


@pytest.mark.parametrize(
    ("yaml", "expected"),
    [
        pytest.param(gateway_resource(HTTP80), {"0.0.0.0_80": [((), "rds:http.80", False)]}, id="http"),
        pytest.param(
            gateway_resource(HTTPS_A, HTTPS_B),
            {
                "0.0.0.0_443": [
                    (("a.com",), "rds:https.443.a.gw.default", True),
                    (("b.com",), "rds:https.443.b.gw.default", True),
                ]
            },
            id="https-by-name",
        ),
        pytest.param(
            gateway_resource(server(443, "HTTPS", "hosts: [x/a.com, x/b.com]", name="a", more=tls("SIMPLE")))
            + gateway_resource(
                server(443, "HTTPS", "hosts: [y/b.com, y/c.com]", name="b", more=tls("SIMPLE")), name="gx"
            ),
            {
                "0.0.0.0_443": [
                    (("a.com", "b.com"), "rds:https.443.a.gw.default", True),
                    (("c.com",), "rds:https.443.b.gx.default", True),
                ]
            },
            id="https-name-belongs-to-the-first",
        ),
        pytest.param(gateway_resource(TCP80), {}, id="tcp-without-route"),
        pytest.param(
            DB + gateway_resource(TCP80) + routed(f"hosts: ['*'], tcp: [{{match: [{{port: 80}}], {TO_DB}}}]"),
            {"0.0.0.0_80": [((), DB_CLUSTER, False)]},
            id="tcp",
        ),
        pytest.param(
            DB + gateway_resource(TCP80) + routed(f"hosts: ['*'], tcp: [{{match: [{{port: 81}}], {TO_DB}}}]"),
            {},
            id="tcp-other-port",
        ),
        pytest.param(
            DB
            + gateway_resource(server(443, "TLS", "hosts: [a.com]", more=tls("SIMPLE")))
            + routed(f"hosts: [a.com], tcp: [{{{TO_DB}}}]"),
            {"0.0.0.0_443": [(("a.com",), DB_CLUSTER, True)]},
            id="tls-ends",
        ),
        pytest.param(
            DB
            + gateway_resource(server(443, "TLS", "hosts: ['*.a.com']", more=tls("PASSTHROUGH", "")))
            + routed(f"hosts: ['*.a.com'], tls: [{{match: [{{sniHosts: [x.a.com]}}], {TO_DB}}}]")
            + routed(f"hosts: ['*.a.com'], tls: [{{match: [{{sniHosts: [x.a.com]}}], {TO_DB}}}]", name="zz"),
            {"0.0.0.0_443": [(("x.a.com",), DB_CLUSTER, False)]},
            id="tls-passes-once-a-name",
        ),
        pytest.param(
            DB
            + gateway_resource(
                server(443, "TLS", "hosts: ['*.a.com']", name="t", more=tls("PASSTHROUGH", "")),
                server(443, "HTTPS", "hosts: ['*.b.com']", name="h", more=tls("PASSTHROUGH", "")),
            )
            + routed(
                "hosts: ['*.a.com', '*.b.com'], tls: [{match: [{sniHosts: [x.a.com]}], "
                + TO_DB
                + "}, {match: [{sniHosts: [x.a.com, y.b.com]}], "
                + TO_DB
                + "}]"
            ),
            {"0.0.0.0_443": [(("x.a.com",), DB_CLUSTER, False)]},
            id="tls-passes-once-a-name-on-all-servers",
        ),
        pytest.param(
            DB
            + entry("ext", "hosts: [x.ext], resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}]")
            + gateway_resource(server(15443, "TLS", "hosts: ['*.local']", more=tls("AUTO_PASSTHROUGH", ""))),
            {
                "0.0.0.0_15443": [
                    (
                        ("outbound_.5432_._.db.default.svc.cluster.local",),
                        "tcp:outbound_.5432_._.db.default.svc.cluster.local",
                        False,
                    )
                ]
            },
            id="mesh-forwarded",
        ),
        pytest.param(
            gateway_resource(HTTP80 + BOUND), {"10.0.0.9_80": [((), "rds:http.80.10.0.0.9", False)]}, id="bound"
        ),
    ],
)
def test_listeners(yaml: str, expected: dict[str, Any]) -> None:
    assert {name: described(held) for name, held in listeners(yaml).items()} == expected


GATEWAY_SERVICE = """
---
apiVersion: v1
kind: Service
metadata: {name: ingress, namespace: default}
spec: {clusterIP: 10.0.0.20, selector: {istio: ingressgateway}, ports: [{name: http, port: 80, targetPort: 8080}]}
"""


def test_target_port() -> None:
    """The proxy listens on the port that its service sends the Gateway's port to."""
    found = listeners(GATEWAY_SERVICE + gateway_resource(HTTP80))
    assert {name: described(held) for name, held in found.items()} == {"0.0.0.0_8080": [((), "rds:http.8080", False)]}


def test_unprivileged() -> None:
    assert listeners(gateway_resource(HTTP80), metadata={"UNPRIVILEGED_POD": "true"}) == {}


def test_connection_manager() -> None:
    manager = connection_manager(listeners(gateway_resource(HTTP80))["0.0.0.0_80"].filter_chains[0])
    assert (manager.stat_prefix, manager.use_remote_address.value) == ("outbound_0.0.0.0_80;", True)
    assert manager.forward_client_cert_details == manager.SANITIZE_SET
    details = manager.set_current_client_cert_details
    assert (details.subject.value, details.cert, details.dns, details.uri) == (True, True, True, True)
    assert (manager.server_name, manager.HasField("http_protocol_options")) == ("istio-envoy", True)


def context(mode: str, more: str) -> DownstreamTlsContext:
    yaml = gateway_resource(server(443, "HTTPS", "hosts: [a.com]", more=tls(mode, more)))
    chain = listeners(yaml)["0.0.0.0_443"].filter_chains[0]
    return DownstreamTlsContext.FromString(chain.transport_socket.typed_config.value)


FILES = "serverCertificate: /c, privateKey: /k"


@pytest.mark.parametrize(
    ("mode", "more", "certificates", "root", "required"),
    [
        pytest.param("SIMPLE", "credentialName: x", ["kubernetes://x"], "", False, id="simple"),
        pytest.param("MUTUAL", "credentialName: x", ["kubernetes://x"], "kubernetes://x-cacert", True, id="mutual"),
        pytest.param(
            "OPTIONAL_MUTUAL", "credentialName: x", ["kubernetes://x"], "kubernetes://x-cacert", False, id="optional"
        ),
        pytest.param(
            "SIMPLE", "credentialNames: [x, z]", ["kubernetes://x", "kubernetes://z"], "", False, id="two-certificates"
        ),
        pytest.param("SIMPLE", FILES, ["file-cert:/c~/k"], "", False, id="files"),
        pytest.param(
            "MUTUAL", f"{FILES}, caCertificates: /ca", ["file-cert:/c~/k"], "file-root:/ca", True, id="mutual-files"
        ),
        pytest.param("ISTIO_MUTUAL", "", ["default"], "ROOTCA", True, id="istio-mutual"),
    ],
)
def test_certificates(mode: str, more: str, certificates: list[str], root: str, *, required: bool) -> None:
    found = context(mode, more)
    common = found.common_tls_context
    assert [each.name for each in common.tls_certificate_sds_secret_configs] == certificates
    assert common.combined_validation_context.validation_context_sds_secret_config.name == root
    assert found.require_client_certificate.value is required
    assert list(common.alpn_protocols) == ["h2", "http/1.1"]
    for secret in common.tls_certificate_sds_secret_configs:
        assert secret.sds_config.HasField("ads") is secret.name.startswith("kubernetes://")


@pytest.mark.parametrize(
    ("mode", "more", "file"),
    [
        ("ISTIO_MUTUAL", "", "/crl"),
        ("MUTUAL", f"{FILES}, caCertificates: /ca", "/crl"),
        ("MUTUAL", "credentialName: x", ""),
    ],
)
def test_revoked_certificates_of_callers(mode: str, more: str, file: str) -> None:
    """A credential has its own; a file is for certificates of the mesh, and for those in files."""
    common = context(mode, f"{more}{', ' if more else ''}caCrl: /crl").common_tls_context
    assert common.combined_validation_context.default_validation_context.crl.filename == file


SECRETS = """
---
apiVersion: v1
kind: Service
metadata: {name: secrets, namespace: spire}
spec: {clusterIP: 10.0.0.9, ports: [{name: grpc, port: 8443}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: "{extensionProviders: [{name: vault, sds: {service: SERVICE, port: 8443}}]}"}
"""
HOST = "secrets.spire.svc.cluster.local"


@pytest.mark.parametrize(
    ("provider", "names"),
    [
        pytest.param(f"spire/{HOST}", ["x", "x-cacert"], id="namespace-and-host"),
        pytest.param(HOST, ["x", "x-cacert"], id="host"),
        pytest.param("spire/gone.com", ["kubernetes://x", "kubernetes://x-cacert"], id="unknown-service"),
        pytest.param("", ["kubernetes://x", "kubernetes://x-cacert"], id="no-provider"),
    ],
)
def test_secrets_of_a_provider(provider: str, names: list[str]) -> None:
    """``sds://x`` names a secret of the mesh's SDS server; without one it is a Secret like any other."""
    yaml = gateway_resource(server(443, "HTTPS", "hosts: [a.com]", more=tls("MUTUAL", "credentialName: 'sds://x'")))
    yaml += SECRETS.replace("SERVICE", provider) if provider else ""
    (chain,) = chains(World(yaml).listeners(gateway())["0.0.0.0_443"])
    common = DownstreamTlsContext.FromString(chain.transport_socket.typed_config.value).common_tls_context
    (certificate,) = common.tls_certificate_sds_secret_configs
    root = common.combined_validation_context.validation_context_sds_secret_config
    assert [certificate.name, root.name] == names
    for secret in (certificate, root):
        if names[0] == "x":
            (grpc,) = secret.sds_config.api_config_source.grpc_services
            assert (grpc.envoy_grpc.cluster_name, grpc.envoy_grpc.authority) == (f"outbound|8443||{HOST}", HOST)
        else:
            assert secret.sds_config.HasField("ads")


def test_tls_parameters() -> None:
    more = "credentialName: x, minProtocolVersion: TLSV1_2, maxProtocolVersion: TLSV1_3, "
    more += "cipherSuites: [ECDHE-RSA-AES128-GCM-SHA256]"
    found = context("SIMPLE", more).common_tls_context.tls_params
    assert (found.tls_minimum_protocol_version, found.tls_maximum_protocol_version) == (
        TlsParameters.TLSv1_2,
        TlsParameters.TLSv1_3,
    )
    assert list(found.cipher_suites) == ["ECDHE-RSA-AES128-GCM-SHA256"]
    assert not context("SIMPLE", "credentialName: x").common_tls_context.HasField("tls_params")


def test_validation() -> None:
    more = "credentialName: x, subjectAltNames: [client.com], insecureSkipVerify: true"
    combined = context("MUTUAL", more).common_tls_context.combined_validation_context
    found = combined.default_validation_context
    assert [each.exact for each in found.match_subject_alt_names] == ["client.com"]
    assert found.trust_chain_verification == CertificateValidationContext.ACCEPT_UNTRUSTED
