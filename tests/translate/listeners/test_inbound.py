"""Inbound listeners: chains by protocol and PeerAuthentication, inspectors, inline routes."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.listener.v3.listener_components_pb2 import FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import DownstreamTlsContext

from controlplane.snapshots import ResourceType
from controlplane.translate.listeners.inbound import inspectors
from tests.translate.listeners.world import World, chains, connection_manager, leads_to, sidecar

WEB = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: ns1}
spec:
  clusterIP: 10.0.0.5
  selector: {app: web}
  ports: [{name: %s, port: 80, targetPort: 8080}]
"""
POLICY = """
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: ns1}
spec: {mtls: {mode: %s}}
"""
WORKLOAD_POLICY = """
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: web, namespace: ns1}
spec:
  selector: {matchLabels: {app: web}}
  mtls: {mode: STRICT}
  portLevelMtls: {9000: {mode: DISABLE}, 8080: {mode: PERMISSIVE}}
"""
INGRESS = """
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: sc, namespace: ns1}
spec:
  ingress:
  - port: {number: 9080, protocol: HTTP, name: http}
    defaultEndpoint: 127.0.0.1:8080
  - port: {number: 9081, protocol: TCP, name: tcp}
    bind: 127.0.0.1
    captureMode: NONE
"""
ISTIO = ["istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2"]
MTLS_HTTP = ["istio-http/1.0", "istio-http/1.1", "istio-h2"]
MTLS_TCP = ["istio-peer-exchange", "istio"]
PLAIN = ["http/1.1", "h2c"]
WEB_PROXY = sidecar("ns1", labels={"app": "web"})


def inbound(yaml: str, **proxy: Any) -> Listener:
    return World(yaml).listeners(sidecar("ns1", labels={"app": "web"}, **proxy))["virtualInbound"]


def on_port(listener: Listener, port: int) -> list[FilterChain]:
    return [chain for chain in listener.filter_chains if chain.filter_chain_match.destination_port.value == port]


def described(chain: FilterChain) -> tuple[str, list[str], str, bool]:
    match = chain.filter_chain_match
    kind = leads_to(chain).split(":", 1)[0]
    return match.transport_protocol, list(match.application_protocols), kind, chain.HasField("transport_socket")


@pytest.mark.parametrize(
    ("port", "mode", "expected"),
    [
        pytest.param(
            "http",
            "PERMISSIVE",
            [("tls", ISTIO, "http", True), ("raw_buffer", [], "http", False)],
            id="http-permissive",
        ),
        pytest.param("http", "STRICT", [("tls", [], "http", True)], id="http-strict"),
        pytest.param("http", "DISABLE", [("raw_buffer", [], "http", False)], id="http-disable"),
        pytest.param(
            "tcp",
            "PERMISSIVE",
            [("tls", ISTIO, "tcp", True), ("tls", [], "tcp", False), ("raw_buffer", [], "tcp", False)],
            id="tcp-permissive",
        ),
        pytest.param("https", "STRICT", [("tls", [], "tcp", True)], id="https-strict"),
        pytest.param("tcp", "DISABLE", [("raw_buffer", [], "tcp", False)], id="tcp-disable"),
        pytest.param(
            "foo",
            "PERMISSIVE",
            [
                ("tls", MTLS_HTTP, "http", True),
                ("raw_buffer", PLAIN, "http", False),
                ("tls", MTLS_TCP, "tcp", True),
                ("raw_buffer", [], "tcp", False),
                ("tls", [], "tcp", False),
            ],
            id="auto-permissive",
        ),
        pytest.param("foo", "STRICT", [("tls", MTLS_HTTP, "http", True), ("tls", [], "tcp", True)], id="auto-strict"),
        pytest.param(
            "foo",
            "DISABLE",
            [("raw_buffer", PLAIN, "http", False), ("raw_buffer", [], "tcp", False)],
            id="auto-disable",
        ),
    ],
)
def test_chains(port: str, mode: str, expected: list[tuple[str, list[str], str, bool]]) -> None:
    found = on_port(inbound(WEB % port + POLICY % mode), 8080)
    assert [described(chain) for chain in found] == expected
    assert {chain.name for chain in found} == {"0.0.0.0_8080"}


def test_no_service() -> None:
    """Without services there are the black hole and the passthrough, five ways."""
    listener = inbound("")
    assert [chain.name for chain in listener.filter_chains] == [
        "virtualInbound-blackhole",
        "virtualInbound-catchall-http",
        "virtualInbound-catchall-http",
        "virtualInbound",
        "virtualInbound",
        "virtualInbound",
    ]
    assert leads_to(listener.filter_chains[0]) == "tcp:BlackHoleCluster"
    assert {leads_to(chain).split(":")[1] for chain in listener.filter_chains[1:]} == {"InboundPassthroughCluster"}
    assert listener.address.socket_address.port_value == 15006
    assert listener.bind_to_port.value is False  # left out: it is bound
    assert not listener.HasField("bind_to_port")
    detection = [each for each in listener.listener_filters if each.HasField("filter_disabled")]
    assert [each.name.rsplit(".", 1)[1] for each in detection] == ["tls_inspector", "http_inspector"]
    for each in detection:
        assert (each.filter_disabled.destination_port_range.start, each.filter_disabled.destination_port_range.end) == (
            15006,
            15007,
        )


def test_worked_example() -> None:
    """The route of an inbound HTTP port names the service's port, the cluster the workload's."""
    world = World(WEB % "http")
    resource = world.resources(WEB_PROXY)["virtualInbound"]
    assert resource.named(ResourceType.CLUSTER) == {"inbound|8080||", "InboundPassthroughCluster", "BlackHoleCluster"}
    manager = connection_manager(on_port(Listener.FromString(resource.body), 8080)[1])
    assert manager.stat_prefix == "inbound_0.0.0.0_8080;"
    assert (manager.server_name, manager.use_remote_address.value) == ("istio-envoy", False)
    routes = manager.route_config
    assert (routes.name, routes.virtual_hosts[0].name) == ("inbound|8080||", "inbound|http|80")
    route = routes.virtual_hosts[0].routes[0]
    assert route.decorator.operation == "web.ns1.svc.cluster.local:80/*"
    assert (route.route.retry_policy.num_retries.value, route.route.retry_policy.retry_on) == (
        2,
        "reset-before-request",
    )


MESH = """
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: '{defaultInboundHttpRetryPolicy: %s}'}
"""


@pytest.mark.parametrize(
    ("port", "policy", "retries"),
    [
        pytest.param("http", "", (2, "reset-before-request", 0), id="default"),
        pytest.param("grpc", "", None, id="grpc"),
        pytest.param("grpc-web", "", None, id="grpc-web"),
        pytest.param(
            "http",
            '{attempts: 5, retryOn: "reset,connect-failure", backoff: 10ms}',
            (5, "reset,connect-failure", 10),
            id="mesh",
        ),
        pytest.param("http", "{}", None, id="mesh-none"),
    ],
)
def test_retries(port: str, policy: str, retries: tuple[int, str, int] | None) -> None:
    listener = inbound(WEB % port + (MESH % policy if policy else ""))
    action = connection_manager(on_port(listener, 8080)[0]).route_config.virtual_hosts[0].routes[0].route
    if retries is None:
        assert not action.HasField("retry_policy")
    else:
        found = action.retry_policy
        milliseconds = found.retry_back_off.base_interval.nanos // 1_000_000
        assert (found.num_retries.value, found.retry_on, milliseconds) == retries


@pytest.mark.parametrize("istio", [True, False], ids=["istio-proxy", "stock"])
def test_mutual_tls(*, istio: bool) -> None:
    """A stock Envoy exchanges no metadata, so it must not offer to."""
    found = on_port(inbound(WEB % "foo" + POLICY % "STRICT", istio=istio), 8080)
    http, tcp = (DownstreamTlsContext.FromString(chain.transport_socket.typed_config.value) for chain in found)
    assert list(http.common_tls_context.alpn_protocols) == ["h2", "http/1.1"]
    offered = ["istio-peer-exchange", "h2", "http/1.1"] if istio else ["h2", "http/1.1"]
    assert list(tcp.common_tls_context.alpn_protocols) == offered
    assert tcp.require_client_certificate.value
    common = tcp.common_tls_context
    assert [each.name for each in common.tls_certificate_sds_secret_configs] == ["default"]
    combined = common.combined_validation_context
    assert combined.validation_context_sds_secret_config.name == "ROOTCA"
    assert [each.prefix for each in combined.default_validation_context.match_subject_alt_names] == [
        "spiffe://cluster.local/"
    ]
    exchange = [each.name for each in found[1].filters if each.name == "istio.metadata_exchange"]
    assert bool(exchange) is istio


def test_port_level_policy() -> None:
    """A port that a policy names and no service has gets chains of its own; a service's port takes its mode."""
    listener = inbound(WEB % "http" + WORKLOAD_POLICY)
    assert [described(chain)[0] for chain in on_port(listener, 9000)] == ["raw_buffer", "raw_buffer"]
    assert {leads_to(chain).split(":")[1] for chain in on_port(listener, 9000)} == {"InboundPassthroughCluster"}
    assert [described(chain)[0] for chain in on_port(listener, 8080)] == ["tls", "raw_buffer"]
    assert [described(chain)[0] for chain in on_port(listener, 0)] == ["tls", "tls"]


def chain(port: int, transport: str = "", *protocols: str) -> FilterChain:
    made = FilterChain()
    if port:
        made.filter_chain_match.destination_port.value = port
    made.filter_chain_match.transport_protocol = transport
    made.filter_chain_match.application_protocols.extend(protocols)
    return made


BLACK_HOLE = chain(15006)


@pytest.mark.parametrize(
    ("given", "tls", "http"),
    [
        pytest.param([chain(0, "tls"), BLACK_HOLE], "off:15006", "absent", id="strict"),
        pytest.param([chain(0, "raw_buffer"), BLACK_HOLE], "absent", "absent", id="disabled"),
        pytest.param([chain(0, "raw_buffer"), chain(81, "tls"), BLACK_HOLE], "on:81", "absent", id="one-port"),
        pytest.param(
            [chain(0, "tls"), chain(0, "raw_buffer", "h2c"), chain(80, "raw_buffer"), BLACK_HOLE],
            "off:80,15006",
            "off:80,15006",
            id="plain-port",
        ),
        pytest.param([chain(0, "tls"), chain(0, "raw_buffer", "http/1.1")], "everywhere", "everywhere", id="all"),
        pytest.param([chain(0, "tls"), chain(81, "raw_buffer", "http/1.1")], "off:81", "off:0", id="http-one-port"),
    ],
)
def test_inspectors(given: list[FilterChain], tls: str, http: str) -> None:
    def ports(predicate: Any) -> str:
        rules = predicate.or_match.rules or [predicate]
        return ",".join(str(rule.destination_port_range.start) for rule in rules)

    found = {"tls_inspector": "absent", "http_inspector": "absent"}
    for each in inspectors(given):
        disabled = each.filter_disabled
        if not each.HasField("filter_disabled"):
            text = "everywhere"
        elif disabled.HasField("not_match"):
            text = f"on:{ports(disabled.not_match)}"
        else:
            text = f"off:{ports(disabled)}"
        found[each.name.rsplit(".", 1)[1]] = text
    assert found == {"tls_inspector": tls, "http_inspector": http}


def test_sidecar_ingress() -> None:
    """A stated port replaces those of services; one that is not captured gets a listener of its own."""
    listeners = World(WEB % "http" + "---" + INGRESS).listeners(WEB_PROXY)
    captured = on_port(listeners["virtualInbound"], 9080)
    assert [chain.name for chain in captured] == ["10.9.0.1_9080", "10.9.0.1_9080"]
    assert not on_port(listeners["virtualInbound"], 8080)
    manager = connection_manager(captured[0])
    assert manager.stat_prefix == "inbound_10.9.0.1_9080;"
    assert manager.route_config.virtual_hosts[0].routes[0].decorator.operation == "sc.ns1:9080/*"
    origin = captured[0].metadata.filter_metadata["istio"].fields["config"].string_value
    assert origin == "/apis/networking.istio.io/v1/namespaces/ns1/sidecar/sc"
    own = listeners["127.0.0.1_9081"]
    assert own.address.socket_address.address == "127.0.0.1"
    assert [described(chain)[:2] for chain in chains(own)] == [("tls", ISTIO), ("tls", []), ("raw_buffer", [])]
    assert [each.name.rsplit(".", 1)[1] for each in own.listener_filters] == ["tls_inspector"]
    assert not any(chain.filter_chain_match.HasField("destination_port") for chain in own.filter_chains)


@pytest.mark.parametrize(
    ("mode", "names"),
    [
        pytest.param("REDIRECT", {"virtualInbound", "127.0.0.1_9081"}, id="redirect"),
        pytest.param("NONE", {"10.9.0.1_9080", "127.0.0.1_9081"}, id="none"),
    ],
)
def test_interception(mode: str, names: set[str]) -> None:
    found = World(INGRESS).listeners(sidecar("ns1", metadata={"INTERCEPTION_MODE": mode}))
    assert {name for name in found if name != "virtualOutbound"} == names


def test_tproxy() -> None:
    listener = inbound("", metadata={"INTERCEPTION_MODE": "TPROXY"})
    assert listener.transparent.value
    assert [each.name.rsplit(".", 1)[1] for each in listener.listener_filters][:2] == ["original_dst", "original_src"]


def test_oldest_service_decides() -> None:
    """Two services on one port of the workload: the older one's protocol counts."""
    other = WEB.replace("web, namespace", "aaa, namespace").replace("10.0.0.5", "10.0.0.6")
    dated = "metadata: {creationTimestamp: '%s', name"
    older = (WEB % "http").replace("metadata: {name", dated % "2020-01-01T00:00:00Z")
    newer = (other % "tcp").replace("metadata: {name", dated % "2021-01-01T00:00:00Z")
    found = on_port(inbound(f"{newer}---{older}"), 8080)
    assert {leads_to(chain) for chain in found} == {"http:inbound|8080||"}
