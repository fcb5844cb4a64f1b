"""Route configurations of gateways."""

from __future__ import annotations

import pytest
from envoy.config.route.v3.route_components_pb2 import VirtualHost

from controlplane.compiler.clusters import outbound_clusters
from controlplane.model import kinds
from controlplane.model.objects import ObjectKey
from controlplane.model.proxy_class import ClientScope, InboundTarget
from controlplane.model.service import ServiceKey
from tests.translate.routes.world import World, clusters, istio, names, plain, service, virtual_host, virtual_service

OLD, NEW = "2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z"


def gateway(*hosts: str, tls: str = "", number: int = 80, protocol: str = "HTTP", name: str = "gw") -> str:
    stated = f", tls: {tls}" if tls else ""
    port = f"{{number: {number}, name: {protocol.lower()}, protocol: {protocol}}}"
    server = f"{{port: {port}, hosts: {list(hosts) or ['*']}{stated}}}"
    return istio("Gateway", name, f"{{selector: {{istio: ingressgateway}}, servers: [{server}]}}")


def bound(name: str, host: str, to: str = "a", match: str = "", created: str = "", extra: str = "") -> str:
    rule = f"{{{match} route: [{{destination: {{host: {to}}}}}]}}"
    spec = f"{{hosts: ['{host}'], gateways: [gw], {extra} http: [{rule}]}}"
    return virtual_service(name, spec, created=created)


def test_no_such_route() -> None:
    assert plain(World(gateway()).gateway_routes("http.81")) == {"name": "http.81", "validate_clusters": False}


def test_no_virtual_service() -> None:
    found = World(gateway()).gateway_routes("http.80")
    assert [(host.name, list(host.domains), len(host.routes)) for host in found.virtual_hosts] == [
        ("blackhole:80", ["*"], 0)
    ]
    assert not found.virtual_hosts[0].include_request_attempt_count
    found.ClearField("virtual_hosts")
    assert plain(found) == {
        "name": "http.80",
        "validate_clusters": False,
        "max_direct_response_body_size_bytes": 1048576,
        "ignore_port_in_host_matching": True,
    }


def test_virtual_service() -> None:
    world = World(gateway(), service("a", ports=[9000]), bound("v", "example.org"))
    host = virtual_host(world.gateway_routes("http.80"), "example.org:80")
    assert (list(host.domains), host.include_request_attempt_count) == (["example.org"], True)
    assert host.routes[0].route.cluster == "outbound|9000||a.default.svc.cluster.local"


@pytest.mark.parametrize(
    ("hosts", "host", "expected"),
    [
        pytest.param(["*"], "example.org", ["example.org:80"], id="any"),
        pytest.param(["*.org"], "example.org", ["example.org:80"], id="narrower-virtual-service"),
        pytest.param(["example.org"], "*.org", ["example.org:80"], id="narrower-gateway"),
        pytest.param(["default/*"], "example.org", ["example.org:80"], id="namespace"),
        pytest.param(["./*"], "example.org", ["example.org:80"], id="own-namespace"),
        pytest.param(["shop/*"], "example.org", ["blackhole:80"], id="other-namespace"),
        pytest.param(["b.org"], "example.org", ["blackhole:80"], id="disjoint"),
    ],
)
def test_hosts_in_common(hosts: list[str], host: str, expected: list[str]) -> None:
    assert names(World(gateway(*hosts), bound("v", host)).gateway_routes("http.80")) == expected


@pytest.mark.parametrize("second", ["example.org", "Example.org"])
def test_routes_of_one_host_are_joined_catch_all_last(second: str) -> None:
    world = World(
        gateway(),
        bound("v", "example.org", "all", created=OLD),
        bound("w", second, "a", "match: [{uri: {prefix: /a}}],", created=NEW),
    )
    found = world.gateway_routes("http.80")
    assert clusters(found, "example.org:80") == [
        "outbound|80||a.default.svc.cluster.local",
        "outbound|80||all.default.svc.cluster.local",
    ]


def test_hosts_with_the_same_routes_share_a_virtual_host() -> None:
    spec = "{hosts: [b.org, a.org, '*.c.org', long.a.org], gateways: [gw], http: [{route: [{destination: {host: a}}]}]}"
    found = World(gateway(), virtual_service("v", spec), bound("w", "d.org")).gateway_routes("http.80")
    assert [(host.name, list(host.domains)) for host in found.virtual_hosts] == [
        ("d.org:80", ["d.org"]),
        ("long.a.org:80", ["long.a.org", "a.org", "b.org", "*.c.org"]),
    ]


REDIRECT = "{httpsRedirect: true}"


def test_https_redirect() -> None:
    """All plaintext requests are redirected, whether or not there are routes behind."""
    world = World(gateway("example.org", "b.org", tls=REDIRECT), bound("v", "example.org"))
    found = world.gateway_routes("http.80")
    assert [(host.name, len(host.routes), host.require_tls) for host in found.virtual_hosts] == [
        ("b.org:80", 0, VirtualHost.ALL),
        ("example.org:80", 1, VirtualHost.ALL),
    ]


def test_https_server() -> None:
    tls = "{mode: SIMPLE, credentialName: c}"
    world = World(
        gateway("example.org", tls=tls, number=443, protocol="HTTPS"),
        virtual_service(
            "v",
            "{hosts: [example.org], gateways: [gw], http: [{redirect: {derivePort: FROM_REQUEST_PORT, uri: /x}}]}",
        ),
    )
    found = world.gateway_routes("https.443.https.gw.default")
    redirect = virtual_host(found, "example.org:443").routes[0].redirect
    assert (redirect.path_redirect, redirect.port_redirect) == ("/x", 0), "443 is https's own port"


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        pytest.param("match: [{gateways: [gw]}],", ["example.org:80"], id="this-gateway"),
        pytest.param("match: [{gateways: [mesh]}],", ["blackhole:80"], id="sidecars"),
        pytest.param("match: [{port: 80}],", ["example.org:80"], id="port"),
        pytest.param("match: [{port: 8080}],", ["blackhole:80"], id="port-of-the-proxy"),
        pytest.param("match: [{sourceLabels: {istio: ingressgateway}}],", ["example.org:80"], id="labels"),
        pytest.param("match: [{sourceNamespace: default}],", ["blackhole:80"], id="source-namespace"),
    ],
)
def test_static_matches(match: str, expected: list[str]) -> None:
    """The server's own port counts where the proxy listens on another; the source is the gateway itself."""
    key = ServiceKey("gw.istio-system.svc.cluster.local", ObjectKey(kinds.SERVICE, "istio-system", "gw"))
    world = World(service("gw", "istio-system"), gateway(), bound("v", "example.org", match=match))
    targets = (InboundTarget(key, 80, 8080),)
    assert names(world.gateway_routes("http.8080", targets=targets)) == expected


def test_export() -> None:
    world = World(gateway(), bound("v", "example.org", extra="exportTo: ['.'],"))
    assert names(world.gateway_routes("http.80")) == ["blackhole:80"]
    assert names(world.gateway_routes("http.80", "default")) == ["example.org:80"]


def test_destination_in_the_virtual_services_namespace_comes_first() -> None:
    """Two ServiceEntries state one host; the port of the VirtualService's own counts."""

    def entry(namespace: str, number: int) -> str:
        port = f"{{number: {number}, name: http, protocol: HTTP}}"
        return istio("ServiceEntry", "e", f"{{hosts: [ext.com], ports: [{port}]}}", namespace)

    world = World(gateway(), entry("istio-system", 81), entry("default", 82), bound("v", "example.org", "ext.com"))
    assert clusters(world.gateway_routes("http.80"), "example.org:80") == ["outbound|82||ext.com"]


def test_port_of_a_destination_that_several_objects_state() -> None:
    """In the VirtualService's namespace the oldest of them has its say; elsewhere their ports are put together."""

    def entry(name: str, namespace: str, number: int, created: str) -> str:
        port = f"{{number: {number}, name: http-{number}, protocol: HTTP}}"
        return istio("ServiceEntry", name, f"{{hosts: [ext.com], ports: [{port}]}}", namespace, created)

    route = bound("v", "example.org", "ext.com")
    own = World(gateway(), entry("a", "default", 81, NEW), entry("b", "default", 82, OLD), route)
    assert clusters(own.gateway_routes("http.80"), "example.org:80") == ["outbound|82||ext.com"]
    other = World(gateway(), entry("a", "shop", 81, NEW), entry("b", "shop", 82, OLD), route)
    assert clusters(other.gateway_routes("http.80"), "example.org:80") == ["outbound|80||ext.com"]


def test_oldest_of_one_host_is_a_gateways_own_is_a_sidecars() -> None:
    def entry(namespace: str, number: int, created: str) -> str:
        port = f"{{number: {number}, name: http, protocol: HTTP}}"
        return istio("ServiceEntry", "e", f"{{hosts: [ext.com], ports: [{port}]}}", namespace, created)

    world = World(
        gateway(), entry("istio-system", 82, NEW), entry("shop", 81, OLD), bound("v", "example.org", "ext.com")
    )
    assert clusters(world.gateway_routes("http.80"), "example.org:80") == ["outbound|81||ext.com"]

    get = world.registry.memo.get
    assert [*get(outbound_clusters, ClientScope("istio-system", router=True)).targets] == ["outbound|81||ext.com"]
    assert [*get(outbound_clusters, ClientScope("istio-system")).targets] == ["outbound|82||ext.com"]


@pytest.mark.parametrize(
    ("target", "cluster"),
    [
        pytest.param("a.default.svc.cluster.local", "outbound|80||a.default.svc.cluster.local", id="known"),
        pytest.param("b.default.svc.cluster.local", "outbound|81||b.default.svc.cluster.local", id="its-only-port"),
        pytest.param("nobody.com", "outbound|80||nobody.com", id="unknown"),
    ],
)
@pytest.mark.parametrize("ports", [(80,), ()])
def test_alias_destination(ports: tuple[int, ...], target: str, cluster: str) -> None:
    alias = service("old", type="ExternalName", externalName=target, ports=ports)
    world = World(gateway(), service("a"), service("b", ports=(81,)), alias, bound("v", "example.org", "old"))
    assert clusters(world.gateway_routes("http.80"), "example.org:80") == [cluster]


def test_redirect_only_host_is_named_after_the_server_that_redirects() -> None:
    """The Gateway's service sends ports 80 and 81 to one port of the proxy, so that both share routes."""
    servers = ", ".join(
        f"{{port: {{number: {number}, name: p{number}, protocol: HTTP}}, hosts: [example.org]{more}}}"
        for number, more in ((80, f", tls: {REDIRECT}"), (81, ""))
    )
    both = istio("Gateway", "gw", f"{{selector: {{istio: ingressgateway}}, servers: [{servers}]}}")
    edge = service("edge", "istio-system", ports=[80, 81])
    key = ServiceKey("edge.istio-system.svc.cluster.local", ObjectKey(kinds.SERVICE, "istio-system", "edge"))
    targets = tuple(InboundTarget(key, number, 8080) for number in (80, 81))
    world = World(both, edge, bound("v", "example.org", match="match: [{port: 81}],"))
    (host,) = world.gateway_routes("http.8080", targets=targets).virtual_hosts
    assert (host.name, len(host.routes), host.require_tls) == ("example.org:80", 1, VirtualHost.ALL)


def test_hash_policy() -> None:
    rule = "{host: a, trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x}}}}"
    world = World(gateway(), service("a"), bound("v", "example.org"), istio("DestinationRule", "a", rule))
    action = virtual_host(world.gateway_routes("http.80"), "example.org:80").routes[0].route
    assert action.hash_policy[0].header.header_name == "x"


def test_change_of_one_virtual_service_encodes_one_virtual_host() -> None:
    world = World(gateway(), *(bound(f"v{i}", f"h{i}.org") for i in range(5)))
    world.gateway_routes("http.80")
    runs = dict(world.registry.memo.runs)
    world.add(bound("v1", "h1.org", "other"))
    world.gateway_routes("http.80")
    changed = {name: count - runs[name] for name, count in world.registry.memo.runs.items()}
    assert (changed["http_routes"], changed["gateway_virtual_host"], changed["merged_route_configuration"]) == (1, 1, 1)
