"""TLS of a Sidecar's ``ingress``, which has effect by a variable and where nobody calls with the mesh's."""

from __future__ import annotations

import pytest
from envoy.config.listener.v3.listener_components_pb2 import FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import DownstreamTlsContext

from controlplane.registry.environment import SIDECAR_TLS
from tests.envoy.validate import validate
from tests.translate.listeners.world import World, leads_to, sidecar

SIMPLE = "mode: SIMPLE, serverCertificate: /c, privateKey: /k"
MUTUAL = "mode: MUTUAL, serverCertificate: /c, privateKey: /k, caCertificates: /ca"


def world(protocol: str, tls: str, mode: str = "DISABLE", flag: str = "true", more: str = "") -> World:
    return World(
        f"""
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: default, namespace: default}}
spec:
  ingress: [{{port: {{number: 9080, name: a, protocol: {protocol}}}, defaultEndpoint: "127.0.0.1:8080",
             tls: {{{tls}}}{more}}}]
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: default, namespace: default}}
spec: {{mtls: {{mode: {mode}}}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: istio, namespace: istio-system}}
data: {{mesh: "tlsDefaults: {{cipherSuites: [AES128-SHA]}}"}}
""",
        {SIDECAR_TLS: flag},
    )


def of_port(listener: Listener) -> list[FilterChain]:
    return [chain for chain in listener.filter_chains if chain.filter_chain_match.destination_port.value == 9080]


def context(chain: FilterChain) -> DownstreamTlsContext:
    return DownstreamTlsContext.FromString(chain.transport_socket.typed_config.value)


@pytest.mark.parametrize(
    ("protocol", "tls", "leads", "client"),
    [("HTTPS", SIMPLE, "http:inbound|9080||", False), ("TLS", MUTUAL, "tcp:inbound|9080||", True)],
)
def test_tls_ends_at_the_sidecar(protocol: str, tls: str, leads: str, *, client: bool) -> None:
    listeners = world(protocol, tls).resources(sidecar(istio=False))
    (chain,) = of_port(Listener.FromString(listeners["virtualInbound"].body))
    assert chain.name == "10.9.0.1_9080"
    assert chain.filter_chain_match.transport_protocol == "tls"
    assert not chain.filter_chain_match.application_protocols
    assert leads_to(chain) == leads
    held = context(chain)
    common = held.common_tls_context
    assert held.require_client_certificate.value is client
    assert [each.name for each in common.tls_certificate_sds_secret_configs] == ["file-cert:/c~/k"]
    assert list(common.tls_params.cipher_suites) == ["AES128-SHA"]
    roots = common.combined_validation_context.validation_context_sds_secret_config.name
    assert roots == ("file-root:/ca" if client else "")
    assert validate(listeners.values()) is None


def test_it_ends_at_a_listener_of_its_own() -> None:
    found = world("HTTPS", SIMPLE, more=", captureMode: NONE").listeners(sidecar())
    (chain,) = found["10.9.0.1_9080"].filter_chains
    assert context(chain).common_tls_context.tls_certificate_sds_secret_configs[0].name == "file-cert:/c~/k"


@pytest.mark.parametrize(
    ("protocol", "mode", "flag"),
    [
        pytest.param("HTTPS", "DISABLE", "", id="not-asked-for"),
        pytest.param("HTTPS", "STRICT", "true", id="mutual-tls-of-the-mesh"),
        pytest.param("TLS", "PERMISSIVE", "true", id="perhaps-mutual-tls-of-the-mesh"),
    ],
)
def test_else_it_has_no_effect(protocol: str, mode: str, flag: str) -> None:
    with_tls = world(protocol, SIMPLE, mode, flag).listeners(sidecar())["virtualInbound"]
    for chain in of_port(with_tls):
        names = [each.name for each in context(chain).common_tls_context.tls_certificate_sds_secret_configs]
        assert names in ([], ["default"])
