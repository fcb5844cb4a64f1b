"""Istiod's environment variables that change what proxies are served."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import TlsParameters
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import DownstreamTlsContext, UpstreamTlsContext

from controlplane.compiler.clusters import outbound_clusters
from controlplane.model.compliance import COMPLIANCE_POLICY, FIPS_140_2, FIPS_140_3, POST_QUANTUM
from controlplane.model.proxy_class import ClientScope
from controlplane.registry import environment
from tests.translate.listeners.world import World, connection_manager, gateway, sidecar

DEPLOY = (Path(__file__).parents[2] / "deploy" / "README.md").read_text()
WEB = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {clusterIP: 10.0.0.5, selector: {app: web}, ports: [{name: any, port: 9000, targetPort: 9000}]}
---
apiVersion: v1
kind: Pod
metadata: {name: app, namespace: default, labels: {app: web}}
spec: {containers: []}
status: {podIP: 10.9.0.1}
"""
GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: other}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
"""


@pytest.mark.parametrize(
    ("value", "detected"),
    [("", ["http/1.1", "h2c"]), ("true", ["http/1.0", "http/1.1", "h2c"]), ("no", ["http/1.1", "h2c"])],
)
def test_http10(value: str, detected: list[str]) -> None:
    """HTTP/1.0 is taken by each side, and told from other bytes where the protocol of a port is not declared."""
    found = World(WEB, {environment.HTTP10: value}).listeners(sidecar())
    for name in ("10.0.0.5_9000", "virtualInbound"):
        chains = [
            chain for chain in found[name].filter_chains if "h2c" in chain.filter_chain_match.application_protocols
        ]
        assert chains
        for chain in chains:
            assert list(chain.filter_chain_match.application_protocols) == detected
            assert connection_manager(chain).http_protocol_options.accept_http_10 is (len(detected) == 3)


@pytest.mark.parametrize(
    ("value", "namespace", "served"),
    [("", "default", True), ("true", "default", False), ("true", "other", True)],
)
def test_gateways_by_namespace(value: str, namespace: str, *, served: bool) -> None:
    world = World(GATEWAY, {environment.GATEWAYS_BY_NAMESPACE: value})
    assert bool(world.listeners(gateway(namespace))) is served


@pytest.mark.parametrize(
    ("value", "stated", "percent"),
    [
        pytest.param("", "{}", 1, id="default"),
        pytest.param("25", "{}", 25, id="environment"),
        pytest.param("0", "{}", 0, id="environment-says-nothing"),
        pytest.param("25", "{sampling: 50}", 50, id="mesh"),
        pytest.param("25", "{sampling: 0}", 25, id="zero-is-not-stated"),
        pytest.param("", "{sampling: 0}", 1, id="zero-is-the-default"),
        pytest.param("lots", "{}", 1, id="no-number"),
        pytest.param("101", "{}", 1, id="no-percentage"),
    ],
)
def test_trace_sampling(value: str, stated: str, percent: float) -> None:
    mesh = f"""
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: istio, namespace: istio-system}}
data: {{mesh: "{{defaultConfig: {{tracing: {stated}}}}}"}}
"""
    found = World(WEB + mesh, {environment.TRACE_SAMPLING: value}).listeners(sidecar())
    (chain,) = found["10.0.0.5_9000"].filter_chains
    assert connection_manager(chain).tracing.random_sampling.value == percent


SECURED = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 443, name: https, protocol: HTTPS}
    hosts: [web.test]
    tls:
      mode: SIMPLE
      credentialName: web
      minProtocolVersion: TLSV1_3
      cipherSuites: [ECDHE-RSA-AES128-GCM-SHA256, AES128-SHA]
      ecdhCurves: [X25519]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: default}
spec: {hosts: [web.test], gateways: [gw], http: [{route: [{destination: {host: web}}]}]}
"""
FIPS = ("TLSv1_2", "TLSv1_2")
MESH_FIPS = {
    f"ECDHE-{key}-{cipher}" for key in ("ECDSA", "RSA") for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384")
}


Bounds = tuple[tuple[str, str], set[str], set[str], list[int]]


def bounds(context: DownstreamTlsContext | UpstreamTlsContext) -> Bounds:
    """Return the versions, ciphers, curves and policies of a context."""
    held = context.common_tls_context.tls_params
    name = TlsParameters.TlsProtocol.Name
    versions = (name(held.tls_minimum_protocol_version), name(held.tls_maximum_protocol_version))
    return versions, set(held.cipher_suites), set(held.ecdh_curves), list(held.compliance_policies)


Context = TypeVar("Context", DownstreamTlsContext, UpstreamTlsContext)


def unpacked(socket: TransportSocket, kind: Context) -> Context:
    assert socket.typed_config.Unpack(kind)
    return kind


@pytest.mark.parametrize("policy", ["", "fips", FIPS_140_2, FIPS_140_3, POST_QUANTUM])
def test_a_policy_for_cryptography_bounds_every_side(policy: str) -> None:
    """What FIPS does not know is left out at gateways, at sidecars and of what clients ask for."""
    world = World(f"{WEB}---{SECURED}", {COMPLIANCE_POLICY: policy})
    (listener,) = world.listeners(gateway("default")).values()
    own = bounds(unpacked(listener.filter_chains[0].transport_socket, DownstreamTlsContext()))
    sockets = (chain.transport_socket for chain in world.listeners(sidecar())["virtualInbound"].filter_chains)
    peers = [bounds(unpacked(each, DownstreamTlsContext())) for each in sockets if each.name]
    get = world.registry.memo.get
    target = get(outbound_clusters, ClientScope("default")).targets["outbound|9000||web.default.svc.cluster.local"]
    cluster = Cluster.FromString(get(target.query, target.key).body)
    asked = bounds(unpacked(cluster.transport_socket_matches[0].transport_socket, UpstreamTlsContext()))
    assert peers
    if policy == FIPS_140_2:
        assert own == (FIPS, {"ECDHE-RSA-AES128-GCM-SHA256"}, set(), [])
        assert all(each == (FIPS, MESH_FIPS, set(), []) for each in peers)
        assert asked == (FIPS, set(), set(), [])
        return
    if policy == POST_QUANTUM:
        only: Bounds = (("TLSv1_3", "TLSv1_3"), MESH_FIPS, {"X25519MLKEM768"}, [])
        assert (own, asked) == (only, only)
        assert all(each == only for each in peers)
        return
    policies = [TlsParameters.FIPS_202205] if policy == FIPS_140_3 else []
    stated = {"ECDHE-RSA-AES128-GCM-SHA256", "AES128-SHA"}
    assert own == (("TLSv1_3", "TLS_AUTO"), stated, {"X25519"}, policies)
    usual = (("TLSv1_2", "TLSv1_3"), policies)
    assert all((each[0], each[3]) == usual for each in peers)
    assert (asked[0], asked[3]) == usual


@pytest.mark.parametrize(
    ("value", "domains"), [("", ["spiffe://cluster.local/"]), ("true", []), ("x", ["spiffe://cluster.local/"])]
)
def test_callers_of_any_trust_domain(value: str, domains: list[str]) -> None:
    own = World(WEB, {environment.ANY_TRUST_DOMAIN: value}).listeners(sidecar(labels={"app": "web"}))["virtualInbound"]
    asked = [
        DownstreamTlsContext.FromString(chain.transport_socket.typed_config.value).common_tls_context
        for chain in own.filter_chains
        if chain.transport_socket.name
    ]
    assert asked
    for each in asked:
        checked = each.combined_validation_context.default_validation_context.match_subject_alt_names
        assert [name.prefix for name in checked] == domains


@pytest.mark.parametrize("name", environment.UNDERSTOOD)
def test_it_is_documented(name: str) -> None:
    assert f"`{name}`" in DEPLOY
