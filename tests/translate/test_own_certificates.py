"""Proxies with certificates in files of their own: node metadata ``TLS_CLIENT_*`` and ``TLS_SERVER_*``."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext
from google.protobuf.json_format import MessageToDict

from controlplane.registry.environment import EXTERNAL_BY_RULE
from controlplane.snapshots import ResourceType
from tests.envoy.validate import validate
from tests.translate.clusters.world import clusters, snapshot
from tests.translate.listeners.world import World, gateway, sidecar

CLIENT = {"TLS_CLIENT_CERT_CHAIN": "/c/chain", "TLS_CLIENT_KEY": "/c/key", "TLS_CLIENT_ROOT_CERT": "/c/root"}
SERVER = {"TLS_SERVER_CERT_CHAIN": "/s/chain", "TLS_SERVER_KEY": "/s/key", "TLS_SERVER_ROOT_CERT": "/s/root"}
APART = {"file-credential": "true"}
WORLD = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {clusterIP: 10.0.0.1, selector: {app: web}, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: far, namespace: default}
spec:
  hosts: [far.com]
  location: MESH_EXTERNAL
  resolution: DNS
  ports: [{name: http, number: 80, protocol: HTTP}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 443, name: a, protocol: HTTPS}, hosts: [a.com], tls: {mode: ISTIO_MUTUAL}}
  - {port: {number: 444, name: b, protocol: HTTPS}, hosts: [b.com],
     tls: {mode: MUTUAL, serverCertificate: /g/chain, privateKey: /g/key, caCertificates: /g/root}}
"""
WEB, FAR = "outbound|80||web.default.svc.cluster.local", "outbound|80||far.com"


def rule(host: str, tls: str) -> str:
    return f"""
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: rule, namespace: default}}
spec: {{host: {host}, trafficPolicy: {{tls: {{{tls}}}}}}}
"""


def secrets(message: Any) -> list[tuple[str, str]]:
    """Return the secrets that a message asks for, each with the server it asks."""
    found = []
    held = MessageToDict(message, preserving_proto_field_name=True)

    def look(value: Any) -> None:
        if isinstance(value, dict):
            if "sds_config" in value:
                (service,) = value["sds_config"]["api_config_source"]["grpc_services"]
                found.append((value["name"], service["envoy_grpc"]["cluster_name"]))
            for each in value.values():
                look(each)
        elif isinstance(value, list):
            for each in value:
                look(each)

    look(held)
    return found


OF_CLIENT = [("file-cert:/c/chain~/c/key", "sds-grpc"), ("file-root:/c/root", "sds-grpc")]
OF_MESH = [("default", "sds-grpc"), ("ROOTCA", "sds-grpc")]
FILES = "clientCertificate: /d/chain, privateKey: /d/key, caCertificates: /d/root"
OF_RULE = [("file-cert:/d/chain~/d/key", "sds-grpc"), ("file-root:/d/root", "sds-grpc")]


@pytest.mark.parametrize(
    ("name", "tls", "metadata", "asked"),
    [
        pytest.param(WEB, "", CLIENT, OF_CLIENT, id="in-the-mesh"),
        pytest.param(WEB, "", {}, OF_MESH, id="without"),
        pytest.param(WEB, "mode: ISTIO_MUTUAL", CLIENT, OF_CLIENT, id="mutual-of-the-mesh"),
        pytest.param(WEB, f"mode: MUTUAL, {FILES}", CLIENT, OF_CLIENT, id="rather-than-those-of-a-rule"),
        pytest.param(WEB, f"mode: MUTUAL, {FILES}", {}, OF_RULE, id="those-of-a-rule"),
        pytest.param(WEB, "mode: SIMPLE", CLIENT, [("file-root:system", "sds-grpc")], id="simple"),
        pytest.param(WEB, "mode: DISABLE", CLIENT, [], id="none"),
        pytest.param(FAR, f"mode: MUTUAL, {FILES}", CLIENT, OF_RULE, id="outside"),
        pytest.param(FAR, "", CLIENT, [], id="outside-without-a-rule"),
        pytest.param(WEB, "", {**CLIENT, "TLS_CLIENT_ROOT_CERT": ""}, [OF_CLIENT[0], ("file-root:system", "sds-grpc")],
                     id="roots-of-the-system"),
        pytest.param(WEB, "", {"TLS_CLIENT_CERT_CHAIN": "/c/chain"}, [], id="without-a-key"),
        pytest.param(WEB, "", CLIENT | APART, [(name, "sds-files-grpc") for name, _ in OF_CLIENT], id="apart"),
        pytest.param(WEB, f"mode: MUTUAL, {FILES}", APART, [(name, "sds-files-grpc") for name, _ in OF_RULE],
                     id="rule-apart"),
        pytest.param(WEB, "", APART, OF_MESH, id="mesh-apart"),
    ],
)  # fmt: skip
def test_clients(name: str, tls: str, metadata: dict[str, str], asked: list[tuple[str, str]]) -> None:
    host = "far.com" if name == FAR else "web.default.svc.cluster.local"
    found = clusters(WORLD + (rule(host, tls) if tls else ""), sidecar(metadata=metadata))[name]
    assert secrets(found) == asked


@pytest.mark.parametrize(("value", "asked"), [("", OF_RULE), ("true", OF_RULE), ("false", OF_CLIENT)])
def test_outside_the_mesh_rules_decide_by_a_variable(value: str, asked: list[tuple[str, str]]) -> None:
    stated = WORLD + rule("far.com", f"mode: MUTUAL, {FILES}")
    found = clusters(stated, sidecar(metadata=CLIENT), {EXTERNAL_BY_RULE: value})
    assert secrets(found[FAR]) == asked


def context(cluster: Cluster) -> UpstreamTlsContext:
    return UpstreamTlsContext.FromString(cluster.transport_socket.typed_config.value)


def test_the_names_of_servers_are_checked_and_said() -> None:
    """In the mesh they are its own; with a rule they are the rule's."""
    auto = clusters(WORLD, sidecar(metadata=CLIENT))[WEB]
    assert context(auto).sni == "outbound_.80_._.web.default.svc.cluster.local"
    assert not auto.transport_socket_matches
    stated = rule("web", "mode: ISTIO_MUTUAL, sni: a.com, subjectAltNames: [b.com]")
    ruled = context(clusters(WORLD + stated, sidecar(metadata=CLIENT))[WEB])
    assert ruled.sni == "a.com"
    validation = ruled.common_tls_context.combined_validation_context.default_validation_context
    assert [name.exact for name in validation.match_subject_alt_names] == ["b.com"]


@pytest.mark.parametrize(
    ("metadata", "asked"),
    [
        pytest.param({}, OF_MESH, id="without"),
        pytest.param(SERVER, [("file-cert:/s/chain~/s/key", "sds-grpc"), ("file-root:/s/root", "sds-grpc")], id="all"),
        pytest.param({"TLS_SERVER_CERT_CHAIN": "/s/chain"}, OF_MESH, id="without-a-key"),
        pytest.param({"TLS_SERVER_ROOT_CERT": "/s/root"}, [OF_MESH[0], ("file-root:/s/root", "sds-grpc")], id="roots"),
        pytest.param(SERVER | APART,
                     [("file-cert:/s/chain~/s/key", "sds-files-grpc"), ("file-root:/s/root", "sds-files-grpc")],
                     id="apart"),
    ],
)  # fmt: skip
def test_servers(metadata: dict[str, str], asked: list[tuple[str, str]]) -> None:
    own = World(WORLD).listeners(sidecar(labels={"app": "web"}, metadata=metadata))["virtualInbound"]
    assert list(dict.fromkeys(secrets(own))) == asked
    of_gateway = World(WORLD).listeners(gateway(metadata=metadata))
    assert secrets(of_gateway["0.0.0.0_443"]) == asked
    server = "sds-files-grpc" if "file-credential" in metadata else "sds-grpc"
    assert secrets(of_gateway["0.0.0.0_444"]) == [("file-cert:/g/chain~/g/key", server), ("file-root:/g/root", server)]


NAMED = """
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: named, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 445, name: c, protocol: HTTPS}, hosts: [c.com], tls: {mode: MUTUAL, credentialName: 'sds://x'}}
  - {port: {number: 446, name: d, protocol: HTTPS}, hosts: [d.com],
     tls: {mode: MUTUAL, credentialName: 'sds://x', caCertCredentialName: 'sds://y'}}
  - {port: {number: 447, name: e, protocol: HTTPS}, hosts: [e.com], tls: {mode: SIMPLE, credentialNames: ['sds://x', 'sds://z']}}
"""
OF_SOCKET = [("sds://x", "sds-external"), ("sds://x-cacert", "sds-external")]
MUTUAL_BY_NAME = "mode: MUTUAL, credentialName: 'sds://x'"


def test_a_server_of_secrets_at_the_proxy_has_what_is_named_so() -> None:
    """A gateway's servers and clients ask it for the whole name; other names are not its."""
    proxy = gateway(metadata={"credential": "true"}, istio=False)
    found = World(WORLD + NAMED).listeners(proxy)
    assert secrets(found["0.0.0.0_445"]) == OF_SOCKET
    assert secrets(found["0.0.0.0_446"]) == [OF_SOCKET[0], ("sds://y", "sds-external")]
    assert secrets(found["0.0.0.0_447"]) == [OF_SOCKET[0], ("sds://z", "sds-external")]
    held = clusters(WORLD + rule("far.com", MUTUAL_BY_NAME), proxy)
    assert secrets(held[FAR]) == OF_SOCKET
    (endpoint,) = held["sds-external"].load_assignment.endpoints[0].lb_endpoints
    assert endpoint.endpoint.address.pipe.path == "./var/run/secrets/credential-uds/socket"
    assert validate(snapshot(WORLD + NAMED + rule("far.com", MUTUAL_BY_NAME), proxy)) is None


@pytest.mark.parametrize("value", ["", "false", "True", "1"])
def test_without_a_server_of_secrets_at_the_proxy(value: str) -> None:
    proxy = gateway(metadata={"credential": value})
    held = snapshot(WORLD + NAMED + rule("far.com", MUTUAL_BY_NAME), proxy)
    assert "sds-external" not in held.of(ResourceType.CLUSTER)
    assert {"kubernetes://x", "kubernetes://x-cacert"} <= held.of(ResourceType.LISTENER)["0.0.0.0_445"].named(
        ResourceType.SECRET
    )


def test_a_sidecar_too_has_a_server_of_secrets() -> None:
    """Its rules name credentials where they select workloads, as those of Secrets."""
    stated = rule("far.com", MUTUAL_BY_NAME).replace("spec: {", "spec: {workloadSelector: {matchLabels: {app: web}}, ")
    proxy = sidecar(labels={"app": "web"}, metadata={"credential": "true"})
    assert secrets(clusters(WORLD + stated, proxy)[FAR]) == OF_SOCKET


def test_envoy_takes_them() -> None:
    for proxy in (sidecar(labels={"app": "web"}, metadata=CLIENT | SERVER, istio=False),
                  gateway(metadata=CLIENT | SERVER, istio=False)):  # fmt: skip
        assert validate(snapshot(WORLD, proxy)) is None


def test_a_file_server_of_the_proxy_is_no_cluster_to_wait_for() -> None:
    held = snapshot(WORLD, gateway(metadata=CLIENT | SERVER | APART)).of(ResourceType.LISTENER)
    assert all("sds-files-grpc" not in each.named(ResourceType.CLUSTER) for each in held.values())
