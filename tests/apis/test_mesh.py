"""MeshConfig: defaults and how layers merge."""

from __future__ import annotations

from datetime import timedelta

import pytest

from controlplane.apis.mesh import InvalidMeshConfigError, MeshConfig


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
        defaultConfig: {proxyMetadata: {B: c}, extraStatTags: [y]}
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
    assert mesh.default_config.extra_stat_tags == ("y",)
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
    ],
)
def test_refused(text: str, problem: str) -> None:
    with pytest.raises(InvalidMeshConfigError, match=problem):
        MeshConfig.parse(text)
