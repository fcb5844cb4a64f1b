"""HTTP/3 on gateways: listeners for QUIC beside those of HTTPS, and routes that tell clients of them."""

from __future__ import annotations

import pytest
from envoy.config.core.v3.address_pb2 import SocketAddress
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.transport_sockets.quic.v3.quic_transport_pb2 import QuicDownstreamTransport

from controlplane.registry.environment import HTTP3
from controlplane.snapshots import ResourceType, Snapshot
from tests.envoy.validate import validate
from tests.translate.clusters.world import snapshot
from tests.translate.listeners.world import connection_manager, gateway

ON = {HTTP3: "true"}
ROUTES = """
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: vs, namespace: default}
spec:
  hosts: ["*"]
  gateways: [gw]
  http: [{match: [{uri: {prefix: /r}}], redirect: {uri: /x}}, {route: [{destination: {host: edge}}]}]
"""


def world(mode: str, *, udp: int = 443, protocol: str = "HTTPS", more: str = "credentialName: cred") -> str:
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: edge, namespace: default}}
spec:
  clusterIP: 10.0.0.1
  selector: {{istio: ingressgateway}}
  ports:
  - {{name: https, port: 443, targetPort: 8443}}
  - {{name: http3, port: {udp}, targetPort: 8443, protocol: UDP}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: gw, namespace: default}}
spec:
  selector: {{istio: ingressgateway}}
  servers:
  - {{port: {{number: 443, name: s, protocol: {protocol}}}, hosts: [a.com, b.com], tls: {{mode: {mode}, {more}}}}}
{ROUTES}"""


def listeners(held: Snapshot) -> dict[str, Listener]:
    return {name: Listener.FromString(each.body) for name, each in held.of(ResourceType.LISTENER).items()}


def advertised(held: Snapshot) -> set[tuple[str, ...]]:
    """Return what the routes of a gateway add to answers."""
    found = set()
    for each in held.of(ResourceType.ROUTE).values():
        for host in RouteConfiguration.FromString(each.body).virtual_hosts:
            for route in host.routes:
                found.add(tuple(f"{add.header.key}: {add.header.value}" for add in route.response_headers_to_add))
    return found


def test_a_server_takes_http3_beside_https() -> None:
    held = snapshot(world("SIMPLE"), gateway(istio=False), ON)
    found = listeners(held)
    assert sorted(found) == ["0.0.0.0_8443", "udp_0.0.0.0_8443"]
    quic = found["udp_0.0.0.0_8443"]
    address = quic.address.socket_address
    assert (address.protocol, address.address, address.port_value) == (SocketAddress.UDP, "0.0.0.0", 8443)
    assert quic.udp_listener_config.HasField("quic_options")
    assert not quic.listener_filters
    (chain,) = quic.filter_chains
    assert list(chain.filter_chain_match.server_names) == ["a.com", "b.com"]
    context = QuicDownstreamTransport.FromString(chain.transport_socket.typed_config.value).downstream_tls_context
    common = context.common_tls_context
    assert list(common.alpn_protocols) == ["h3"]
    assert [each.name for each in common.tls_certificate_sds_secret_configs] == ["kubernetes://cred"]
    manager = connection_manager(chain)
    assert manager.codec_type == manager.HTTP3
    (https,) = found["0.0.0.0_8443"].filter_chains
    assert manager.rds.route_config_name == connection_manager(https).rds.route_config_name
    assert advertised(held) == {('alt-svc: h3=":443"; ma=86400',)}
    for resource in held.of(ResourceType.LISTENER).values():
        assert resource.named(ResourceType.SECRET) == {"kubernetes://cred"}
    assert validate(held) is None


def test_at_addresses_of_both_families() -> None:
    both = gateway(metadata={"PROXY_CONFIG": {"proxyMetadata": {"ISTIO_DUAL_STACK": "true"}}}, ip="10.9.0.9")
    both = type(both)(both.type, both.id, ("10.9.0.9", "fd00::9"), both.namespace, both.domain, both.labels,
                      metadata=both.metadata)  # fmt: skip
    held = snapshot(world("OPTIONAL_MUTUAL"), both, ON)
    (further,) = listeners(held)["udp_0.0.0.0_8443"].additional_addresses
    assert (further.address.socket_address.protocol, further.address.socket_address.address) == (1, "::")
    assert validate(held) is None


@pytest.mark.parametrize(
    ("yaml", "environment"),
    [
        pytest.param(world("SIMPLE"), {}, id="not-asked-for"),
        pytest.param(world("SIMPLE", udp=444), ON, id="no-such-udp-port"),
        pytest.param(world("SIMPLE", protocol="TLS"), ON, id="not-http"),
        pytest.param(world("PASSTHROUGH", more=""), ON, id="tls-does-not-end-here"),
        pytest.param(world("MUTUAL"), ON, id="callers-must-show-a-certificate"),
        pytest.param(world("ISTIO_MUTUAL", more=""), ON, id="callers-are-of-the-mesh"),
    ],
)
def test_others_do_not(yaml: str, environment: dict[str, str]) -> None:
    held = snapshot(yaml, gateway(), environment)
    assert not [name for name in listeners(held) if name.startswith("udp_")]
    assert advertised(held) <= {()}
