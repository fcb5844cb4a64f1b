"""MeshConfig: defaults and how layers merge."""

from __future__ import annotations

from datetime import timedelta

import pytest

from controlplane.apis.mesh import InvalidMeshConfigError, MeshConfig
from controlplane.apis.mesh_fields import read
from controlplane.apis.mesh_networks import MeshNetworks


def test_defaults() -> None:
    mesh = MeshConfig.parse("")
    assert mesh == MeshConfig.parse()
    assert (mesh.proxy_listen_port, mesh.proxy_inbound_listen_port, mesh.proxy_http_port) == (15001, 15006, 0)
    assert mesh.connect_timeout == timedelta(seconds=10)
    assert mesh.outbound_traffic_policy.mode == "ALLOW_ANY"
    assert mesh.locality_lb_setting is not None
    assert mesh.locality_lb_setting.enabled is True
    assert mesh.default_service_export_to == ("*",)
    assert [each.name for each in mesh.extension_providers] == ["prometheus", "stackdriver", "envoy"]
    assert mesh.default_config.discovery_address == "istiod.istio-system.svc:15012"
    assert mesh.default_http_retry_policy is None


def test_a_message_replaces_its_default_as_a_whole() -> None:
    """``outboundTrafficPolicy: {}`` is protobuf's zero message, not the default of the mesh."""
    assert MeshConfig.parse("outboundTrafficPolicy: {}").outbound_traffic_policy.mode == "REGISTRY_ONLY"


def test_layers_merge_as_istio_merges_them() -> None:
    mesh = MeshConfig.parse(
        """
        trustDomainAliases: [old]
        connectTimeout: 3s
        defaultProviders: {metrics: [prometheus]}
        default_config: {proxyMetadata: {A: a, B: b}, concurrency: 2, extraStatTags: [x]}
        extensionProviders: [{name: envoy, envoyFileAccessLog: {path: /tmp/log}}]
        """,
        """
        trustDomainAliases: [new, old]
        defaultProviders: {tracing: [zipkin]}
        defaultConfig: {proxyMetadata: {B: c}, extraStatTags: [z]}
        extensionProviders: [{name: zipkin, zipkin: {service: z, port: 9411}}]
        meshMTLS: {minProtocolVersion: TLSV1_3}
        someFutureField: {x: 1}
        """,
    )
    assert mesh.trust_domain_aliases == ("old", "new")
    assert mesh.connect_timeout == timedelta(seconds=3)
    assert (mesh.default_providers.metrics, mesh.default_providers.tracing) == (("prometheus",), ("zipkin",))
    assert mesh.default_config.proxy_metadata == {"A": "a", "B": "c"}
    assert mesh.default_config.concurrency == 2
    assert mesh.default_config.extra_stat_tags == ("z",)
    assert [each.name for each in mesh.extension_providers] == ["prometheus", "stackdriver", "envoy", "zipkin"]
    envoy = mesh.provider("envoy")
    assert envoy is not None
    assert envoy.envoy_file_access_log is not None
    assert envoy.envoy_file_access_log.path == "/tmp/log"
    assert mesh.mesh_mtls is not None
    assert mesh.mesh_mtls.min_protocol_version == "TLSV1_3"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("connectTimeout: 5", "connectTimeout", id="not-a-duration"),
        pytest.param("outboundTrafficPolicy: {mode: SOME}", "outboundTrafficPolicy.mode", id="unknown-mode"),
        pytest.param("a: [", "not YAML: line 2: did not find expected node", id="not-yaml"),
        pytest.param("[]", "must be a mapping", id="not-a-mapping"),
        pytest.param("connectTimeout: 0s", "connectTimeout: must be at least 1ms", id="no-time-to-connect"),
        pytest.param("protocolDetectionTimeout: -1s", "protocolDetectionTimeout", id="negative-detection"),
        pytest.param("dnsRefreshRate: 1ms", "dnsRefreshRate", id="constant-refresh"),
        pytest.param("proxyListenPort: 70000", "proxyListenPort: port 70000", id="no-port"),
        pytest.param("proxyInboundListenPort: 15001", "proxyInboundListenPort: port 15001 is taken", id="same-port"),
        pytest.param("proxyHttpPort: 15021", "proxyHttpPort: port 15021 is taken by health", id="port-of-health"),
        pytest.param("accessLogFormat: '%NO_SUCH%'", "accessLogFormat: %NO_SUCH% is no command", id="log-command"),
        pytest.param(
            '{accessLogEncoding: JSON, accessLogFormat: \'{"a": {"b": ["%X%"]}}\'}',
            r"accessLogFormat.a.b\[0\]: %X% is no command",
            id="log-field",
        ),
        pytest.param(
            "extensionProviders: [{name: l, envoyFileAccessLog: {logFormat: {text: '%X%'}}}]",
            r"extensionProviders\[3\].envoyFileAccessLog.logFormat.text",
            id="provider-log",
        ),
        pytest.param(
            "extensionProviders: [{name: l, envoyOtelAls: {service: a, port: 1, logFormat: {labels: {a: '%X%'}}}}]",
            r"extensionProviders\[3\].envoyOtelAls.logFormat.labels.a",
            id="collector-label",
        ),
        pytest.param(
            r'extensionProviders: [{name: z, zipkin: {service: a, port: 1, headers: [{name: "x\n", value: b}]}}]',
            r"extensionProviders\[3\].zipkin.headers\[0\]: must not have line breaks",
            id="collector-header",
        ),
        pytest.param(
            "extensionProviders: [{name: o, opentelemetry: {service: a, port: 1,"
            " http: {headers: [{name: '', value: b}]}}}]",
            r"opentelemetry.http.headers\[0\]: header name must not be empty",
            id="collector-header-without-name",
        ),
        pytest.param(
            "extensionProviders: [{name: o, opentelemetry: {service: a, port: 1,"
            " grpc: {initialMetadata: [{name: x, value: '50%'}]}}}]",
            r"opentelemetry.grpc.initialMetadata\[0\]: '50%' has an unclosed %",
            id="collector-metadata",
        ),
        pytest.param(
            "extensionProviders: [{name: o, opentelemetry: {service: a, port: 1, dynatraceSampler: {httpService:"
            r' {service: b, port: 2, http: {headers: [{name: x, value: "\0"}]}}}}}]',
            r"dynatraceSampler.httpService.http.headers\[0\]: must not have line breaks or NUL",
            id="sampler-header",
        ),
        pytest.param(
            "extensionProviders: [{name: h, envoyExtAuthzHttp: {service: a, port: 1,"
            " includeAdditionalHeadersInCheck: {x: '%NO_SUCH%'}}}]",
            "envoyExtAuthzHttp.includeAdditionalHeadersInCheck: %NO_SUCH% is no command",
            id="authoriser-header",
        ),
        pytest.param(
            "extensionProviders: [{name: z, zipkin: {service: a, port: 1, headers: [{name: Host, value: b}]}}]",
            r"extensionProviders\[3\].zipkin.headers\[0\]: 'Host' cannot be set here",
            id="collector-host",
        ),
        pytest.param(
            "extensionProviders: [{name: g, envoyExtAuthzGrpc: {service: a, port: 1, includeRequestBodyInCheck: {}}}]",
            r"extensionProviders\[3\].envoyExtAuthzGrpc.includeRequestBodyInCheck.maxRequestBytes: must be more than 0",
            id="authoriser-body",
        ),
        pytest.param(
            "extensionProviders: [{name: l, envoyOtelAls: {service: a, port: 1,"
            " logFormat: {labels: {a: '%REQ_WITHOUT_QUERY(x)%'}}}}]",
            r"extensionProviders\[3\].envoyOtelAls.logFormat.labels.a",
            id="collector-label-of-files",
        ),
        pytest.param(
            "defaultTrafficPolicy: {connectionPool: {tcp: {maxConnections: -1}}}",
            "defaultTrafficPolicy.connectionPool.tcp.maxConnections: must not be negative",
            id="policy-of-all",
        ),
        pytest.param("accessLogFile: /var/log/", "accessLogFile: '/var/log/' is a directory", id="log-directory"),
        pytest.param(f"accessLogFile: /{'a' * 256}", "accessLogFile: must have at most", id="log-part"),
        pytest.param(f"accessLogFile: {'/a' * 2048}", "accessLogFile: must have at most", id="log-path"),
        pytest.param(r'accessLogFile: "/a\0b"', "accessLogFile: must not have NUL", id="log-nul"),
        pytest.param(
            f"extensionProviders: [{{name: l, envoyFileAccessLog: {{path: /{'a' * 256}}}}}]",
            r"extensionProviders\[3\].envoyFileAccessLog.path: must have at most",
            id="provider-log-part",
        ),
        pytest.param("defaultHttpRetryPolicy: {attempts: -1}", "defaultHttpRetryPolicy.attempts", id="retries"),
        pytest.param(
            "defaultInboundHttpRetryPolicy: {attempts: 1, retryOn: sometimes}",
            "defaultInboundHttpRetryPolicy.retryOn: unknown: 'sometimes'",
            id="inbound-retries",
        ),
        pytest.param(
            "localityLbSetting: {distribute: [{from: a, to: {b: 50}}]}",
            r"localityLbSetting.distribute\[0\].to: weights must sum to 100",
            id="localities",
        ),
        pytest.param(
            "discoverySelectors: [{matchExpressions: [{key: a, operator: Equals, values: [b]}]}]",
            r"discoverySelectors\[0\].matchExpressions\[0\].operator: 'Equals' is none of",
            id="operator",
        ),
        pytest.param(
            "discoverySelectors: [{matchExpressions: [{key: a, operator: In}]}]",
            r"matchExpressions\[0\].values: are required with In",
            id="no-values",
        ),
        pytest.param(
            "discoverySelectors: [{matchExpressions: [{key: a, operator: Exists, values: [b]}]}]",
            r"matchExpressions\[0\].values: cannot be set with Exists",
            id="needless-values",
        ),
    ],
)
def test_refused(text: str, problem: str) -> None:
    with pytest.raises(InvalidMeshConfigError, match=problem):
        MeshConfig.parse(text)


@pytest.mark.parametrize(
    ("network", "problem"),
    [
        ("endpoints: [{fromCidr: 10.0.0.0}]", "must be a range of addresses"),
        ("endpoints: [{fromCidr: 10.0.0.0/33}]", "must be a range of addresses"),
        ("endpoints: [{fromCidr: 10.0.0.0/8, fromRegistry: a}]", "only one of fromCidr, fromRegistry"),
        ("gateways: [{address: a_b, port: 443}]", "must be an IP address or a host name"),
        ("gateways: [{registryServiceName: 1.1.1.1, port: 443}]", "must be a host name"),
        ("gateways: [{address: 1.1.1.1, port: 0}]", "port"),
        ("gateways: [{address: 1.1.1.1}]", "port"),
        ("endpoints: [{fromCidr: fd00::1/8}, {fromRegistry: a}], gateways: [{address: a.com, port: 443}]", ""),
    ],
)
def test_networks(network: str, problem: str) -> None:
    text = f"networks: {{net: {{{network}}}}}"
    if not problem:
        assert read(MeshNetworks, text).networks["net"].gateways[0].port == 443
        return
    with pytest.raises(InvalidMeshConfigError, match=problem):
        read(MeshNetworks, text)
