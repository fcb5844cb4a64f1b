"""Which virtual hosts a sidecar's route configuration has, and where they lead."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controlplane.model import kinds
from controlplane.model.objects import ObjectKey
from controlplane.model.proxy_class import ClientScope
from controlplane.registry.scopes import EgressKey, egress_scope
from tests.translate.routes.world import (
    CLIENT,
    World,
    client,
    clusters,
    istio,
    mesh,
    names,
    plain,
    service,
    virtual_host,
    virtual_service,
)

TO_OTHER = "http: [{route: [{destination: {host: other.com}}]}]"
OLD, NEW = "2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z"
HOST = "known.default.svc.cluster.local"


def test_default_route() -> None:
    assert plain(World(service("reviews")).only_route()) == {
        "name": "default",
        "match": {"prefix": "/"},
        "route": {
            "cluster": "outbound|80||reviews.default.svc.cluster.local",
            "timeout": "0s",
            "max_grpc_timeout": "0s",
            "retry_policy": {
                "retry_on": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
                "num_retries": 2,
                "host_selection_retry_max_attempts": "5",
                "retry_host_predicate": [
                    {
                        "name": "envoy.retry_host_predicates.previous_hosts",
                        "typed_config": {
                            "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3."
                            "PreviousHostsPredicate"
                        },
                    }
                ],
            },
        },
        "decorator": {"operation": "reviews.default.svc.cluster.local:80/*"},
    }


def test_settings_and_order() -> None:
    found = World(service("b"), service("a"), service("c", ports=[8080])).routes()
    assert names(found) == ["a.default.svc.cluster.local:80", "b.default.svc.cluster.local:80", "allow_any"]
    assert all(host.include_request_attempt_count for host in found.virtual_hosts)
    found.ClearField("virtual_hosts")
    assert plain(found) == {
        "name": "80",
        "validate_clusters": False,
        "max_direct_response_body_size_bytes": 1048576,
        "ignore_port_in_host_matching": True,
    }


@pytest.mark.parametrize("name", ["nonsense", "a:b", "80a", "a:8080:1"])
def test_meaningless_name_is_answered_without_hosts(name: str) -> None:
    assert plain(World(service("a")).routes(name)) == {"name": name, "validate_clusters": False}


@pytest.mark.parametrize(
    ("mesh_mode", "sidecar", "expected"),
    [
        pytest.param("", "", ["allow_any", "PassthroughCluster"], id="default"),
        pytest.param("REGISTRY_ONLY", "", ["block_all", ""], id="mesh-blocks"),
        pytest.param("REGISTRY_ONLY", "{mode: ALLOW_ANY}", ["allow_any", "PassthroughCluster"], id="sidecar-allows"),
        pytest.param("ALLOW_ANY", "{mode: REGISTRY_ONLY}", ["block_all", ""], id="sidecar-blocks"),
        pytest.param(
            "",
            "{mode: ALLOW_ANY, egressProxy: {host: out.com, port: {number: 8080}}}",
            ["allow_any", "outbound|8080||out.com"],
            id="egress-proxy",
        ),
    ],
)
def test_unknown_hosts(mesh_mode: str, sidecar: str, expected: list[str]) -> None:
    world = World()
    who = CLIENT
    if mesh_mode:
        world.add(mesh(f"outboundTrafficPolicy: {{mode: {mesh_mode}}}"))
    if sidecar:
        world.add(istio("Sidecar", "s", f"{{outboundTrafficPolicy: {sidecar}, egress: [{{hosts: ['*/*']}}]}}"))
        who = client("default", sidecar=ObjectKey(kinds.SIDECAR, "default", "s"))
    last = world.routes("9000", who).virtual_hosts[-1]
    assert [last.name, last.routes[0].route.cluster] == expected
    assert list(last.domains) == ["*"]
    if not expected[1]:
        assert last.routes[0].direct_response.status == 502


def test_mesh_settings_of_headers() -> None:
    world = World(service("a"), mesh("defaultConfig: {proxyHeaders: {attemptCount: {disabled: true}}}"))
    assert not any(host.include_request_attempt_count for host in world.routes().virtual_hosts)


@pytest.mark.parametrize(
    ("spec", "name", "expected"),
    [
        pytest.param(f"{{hosts: [known], {TO_OTHER}}}", "80", "outbound|80||other.com", id="claimed"),
        pytest.param(f"{{hosts: [known], {TO_OTHER}}}", "8080", "outbound|8080||other.com", id="every-port"),
        pytest.param(
            f"{{hosts: ['*.cluster.local'], {TO_OTHER}}}", "80", "outbound|80||other.com", id="wildcard-expands"
        ),
        pytest.param(
            f"{{hosts: [known], gateways: [a/b], {TO_OTHER}}}", "80", f"outbound|80||{HOST}", id="gateway-only"
        ),
        pytest.param(
            "{hosts: [known], http: [{match: [{port: 8080}], route: [{destination: {host: other.com}}]}]}",
            "80",
            f"outbound|80||{HOST}",
            id="other-port-claims-nothing",
        ),
        pytest.param(
            "{hosts: [known], http: [{match: [{sourceLabels: {app: x}}], route: [{destination: {host: other.com}}]}]}",
            "80",
            f"outbound|80||{HOST}",
            id="other-labels",
        ),
        pytest.param(
            "{hosts: [known], http: [{match: [{sourceNamespace: x}], route: [{destination: {host: other.com}}]}]}",
            "80",
            f"outbound|80||{HOST}",
            id="other-namespace",
        ),
        pytest.param(
            "{hosts: [known], http: [{match: [{sourceNamespace: x, gateways: [mesh]}],"
            " route: [{destination: {host: other.com}}]}]}",
            "80",
            "outbound|80||other.com",
            id="gateways-say-it-all",
        ),
    ],
)
def test_claims(spec: str, name: str, expected: str) -> None:
    world = World(service("known", ports=[80, 8080]), virtual_service("v", spec))
    assert clusters(world.routes(name), f"{HOST}:{name}") == [expected]


def test_source_labels_of_the_client() -> None:
    rule = "{match: [{sourceLabels: {app: x}}], route: [{destination: {host: other.com}}]}"
    world = World(service("known"), virtual_service("v", f"{{hosts: [known], http: [{rule}]}}"))
    who = client("default", labels=frozenset({("app", "x")}))
    assert clusters(world.routes("80", who), f"{HOST}:80") == ["outbound|80||other.com"]


def test_routes_end_with_the_first_that_catches_all() -> None:
    world = World(
        service("known"),
        virtual_service(
            "v",
            """
hosts: [known]
http:
- {match: [{uri: {prefix: /a}}, {uri: {prefix: /}}, {uri: {prefix: /b}}], route: [{destination: {host: a}}]}
- {route: [{destination: {host: b}}]}
""",
        ),
    )
    host = virtual_host(world.routes(), f"{HOST}:80")
    assert [route.match.prefix for route in host.routes] == ["/a", "/"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param("'*.cluster.local'", "known", id="exact-beats-older-wildcard"),
        pytest.param("'*.local'", "'*.default.svc.cluster.local'", id="longer-wildcard"),
    ],
)
def test_most_specific_host_wins(first: str, second: str) -> None:
    world = World(
        service("known"),
        virtual_service("wide", f"{{hosts: [{first}], {TO_OTHER}}}", created=OLD),
        virtual_service("narrow", f"{{hosts: [{second}], {TO_OTHER.replace('other', 'narrow')}}}", created=NEW),
    )
    assert clusters(world.routes(), f"{HOST}:80") == ["outbound|80||narrow.com"]


@pytest.mark.parametrize("host", ["'*.foo.global'", "'*.global'"])
def test_wildcard_within_a_service_of_that_kind_is_no_host_of_its_own(host: str) -> None:
    """What a wildcard service covers is its own; only a VirtualService as wide as the service takes it over."""
    entry = "{hosts: ['*.global'], resolution: NONE, ports: [{number: 80, name: http, protocol: HTTP}]}"
    world = World(istio("ServiceEntry", "wide", entry), virtual_service("v", f"{{hosts: [{host}], {TO_OTHER}}}"))
    assert names(world.routes()) == ["*.global:80", "allow_any"]
    taken = host == "'*.global'"
    assert clusters(world.routes(), "*.global:80") == ["outbound|80||other.com" if taken else "outbound|80||*.global"]


def test_oldest_of_equal_hosts_wins() -> None:
    world = World(
        service("known"),
        virtual_service("a", f"{{hosts: [known], {TO_OTHER}}}", created=NEW),
        virtual_service("b", f"{{hosts: [known], {TO_OTHER.replace('other', 'old')}}}", created=OLD),
    )
    assert clusters(world.routes(), f"{HOST}:80") == ["outbound|80||old.com"]


@pytest.mark.parametrize(
    ("export", "visible"),
    [
        pytest.param("", True, id="default"),
        pytest.param("exportTo: ['.'],", False, id="own-namespace"),
        pytest.param("exportTo: [shop],", True, id="by-name"),
        pytest.param("exportTo: [bank],", False, id="to-others"),
    ],
)
def test_export(export: str, visible: bool) -> None:  # noqa: FBT001 - a column
    world = World(service("known"), virtual_service("v", f"{{hosts: [known], {export} {TO_OTHER}}}"))
    expected = "outbound|80||other.com" if visible else f"outbound|80||{HOST}"
    assert clusters(world.routes("80", client("shop")), f"{HOST}:80") == [expected]


def test_private_virtual_service_beats_an_older_public_one() -> None:
    world = World(
        service("known"),
        virtual_service("a", f"{{hosts: [{HOST}], {TO_OTHER}}}", created=OLD),
        virtual_service(
            "b", f"{{hosts: [{HOST}], exportTo: ['.'], {TO_OTHER.replace('other', 'own')}}}", "shop", created=NEW
        ),
    )
    assert clusters(world.routes("80", client("shop")), f"{HOST}:80") == ["outbound|80||own.com"]
    assert clusters(world.routes("80", CLIENT), f"{HOST}:80") == ["outbound|80||other.com"]


def test_host_without_service_is_routed_on_port_80_only() -> None:
    world = World(service("a", ports=[80, 8080]), virtual_service("v", f"{{hosts: [nobody.com], {TO_OTHER}}}"))
    host = virtual_host(world.routes(), "nobody.com:80")
    assert (list(host.domains), clusters(world.routes(), host.name)) == (["nobody.com"], ["outbound|80||other.com"])
    assert "nobody.com:8080" not in names(world.routes("8080"))


def test_alias_destination_leads_to_its_target() -> None:
    alias = service("old", ports=[80], type="ExternalName", externalName=HOST)
    world = World(service("known"), alias, service("front"))
    world.add(virtual_service("v", "{hosts: [front], http: [{route: [{destination: {host: old}}]}]}"))
    assert clusters(world.routes(), "front.default.svc.cluster.local:80") == [f"outbound|80||{HOST}"]
    world.add(service("old", ports=[80], type="ExternalName", externalName="Nobody.com"))
    assert clusters(world.routes(), "front.default.svc.cluster.local:80") == ["outbound|80||nobody.com"]


CLUSTER_DOMAIN = "cluster.local"
PORTS_OF_ALIASES = [
    pytest.param([80], "", "81", "outbound|80||", id="port-that-the-alias-lacks"),
    pytest.param([], "", "80", "outbound|80||", id="alias-without-ports"),
    pytest.param([], "port: {number: 80}", "81", "outbound|80||", id="stated-port"),
    pytest.param([81], "", "81", "outbound|80||", id="port-that-only-the-alias-has"),
]


@pytest.mark.parametrize("ports", [[], [80]])
@pytest.mark.parametrize("listener", ["80", "81"])
def test_virtual_service_for_an_alias(ports: list[int], listener: str) -> None:
    """It holds at each port of what the alias leads to, and for each of the alias's names."""
    world = World(service("known", ports=[80, 81]), service("other"))
    world.add(service("old", ports=ports, type="ExternalName", externalName=f"known.default.svc.{CLUSTER_DOMAIN}"))
    world.add(virtual_service("v", "{hosts: [old], http: [{route: [{destination: {host: other}}]}]}"))
    host = virtual_host(world.routes(listener), f"old.default.svc.{CLUSTER_DOMAIN}:{listener}")
    assert {"old", "old.default", f"old.default.svc.{CLUSTER_DOMAIN}"} <= set(host.domains)
    assert clusters(world.routes(listener), host.name) == [f"outbound|{listener}||other.default.svc.{CLUSTER_DOMAIN}"]


@pytest.mark.parametrize(
    ("ports", "stated", "listener", "cluster"),
    PORTS_OF_ALIASES,
)
def test_ports_of_an_alias_have_no_effect(ports: list[int], stated: str, listener: str, cluster: str) -> None:
    """A destination that is an ExternalName service leads to what is behind it, at every port of every client."""
    known = service("known", ports=[80])
    second = service("again", ports=ports, type="ExternalName", externalName="old.default.svc.cluster.local")
    old = service("old", ports=ports, type="ExternalName", externalName="known.default.svc.cluster.local")
    route = f"{{destination: {{host: again, {stated}}}}}"
    world = World(known, old, second, service("front", ports=[80, 81]))
    world.add(virtual_service("v", f"{{hosts: [front], http: [{{route: [{route}]}}]}}"))
    world.add(istio("Sidecar", "narrow", "{egress: [{hosts: [./front.default.svc.cluster.local]}]}"))
    expected = [f"{cluster}known.default.svc.cluster.local"]
    front = f"front.default.svc.cluster.local:{listener}"
    assert clusters(world.routes(listener), front) == expected
    narrow = replace(CLIENT, sidecar=ObjectKey(kinds.SIDECAR, "default", "narrow"))
    assert clusters(world.routes(listener, narrow), front) == expected
    scope = world.registry.memo.get(egress_scope, EgressKey("default", narrow.sidecar))
    assert "known.default.svc.cluster.local" in scope.by_host


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        pytest.param("httpHeaderName: x", {"header": {"header_name": "x"}}, id="header"),
        pytest.param(
            "httpCookie: {name: c, ttl: 0s, path: /}", {"cookie": {"name": "c", "ttl": "0s", "path": "/"}}, id="cookie"
        ),
        pytest.param("useSourceIp: true", {"connection_properties": {"source_ip": True}}, id="source"),
        pytest.param("httpQueryParameterName: q", {"query_parameter": {"name": "q"}}, id="query"),
    ],
)
def test_hash_policy(policy: str, expected: dict[str, object]) -> None:
    """A hash hangs on the default route and on the VirtualService's, where it also keeps the host on retries."""
    rule = f"{{host: known, trafficPolicy: {{loadBalancer: {{consistentHash: {{{policy}}}}}}}}}"
    world = World(service("known"), istio("DestinationRule", "known", rule))
    action = virtual_host(world.routes(), f"{HOST}:80").routes[0].route
    assert [plain(held) for held in action.hash_policy] == [expected]
    assert len(action.retry_policy.retry_host_predicate) == 1
    world.add(virtual_service("v", "{hosts: [known], http: [{route: [{destination: {host: known}}]}]}"))
    action = virtual_host(world.routes(), f"{HOST}:80").routes[0].route
    assert [plain(held) for held in action.hash_policy] == [expected]
    assert len(action.retry_policy.retry_host_predicate) == 0
    world.add(service("old", ports=(), type="ExternalName", externalName=HOST))
    world.add(virtual_service("v", "{hosts: [known], http: [{route: [{destination: {host: old}}]}]}"))
    action = virtual_host(world.routes(), f"{HOST}:80").routes[0].route
    assert [plain(held) for held in action.hash_policy] == [expected], "by another name too"


def test_hash_policy_of_a_subset_and_of_a_port() -> None:
    rule = """
host: known
trafficPolicy:
  loadBalancer: {consistentHash: {httpHeaderName: top}}
  portLevelSettings: [{port: {number: 80}, loadBalancer: {consistentHash: {httpHeaderName: port}}}]
subsets:
- {name: v1, trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: subset}}}}
- {name: v2}
"""
    world = World(service("known"), istio("DestinationRule", "known", rule))

    def header(destination: str) -> str:
        world.add(virtual_service("v", f"{{hosts: [known], http: [{{route: [{{destination: {destination}}}]}}]}}"))
        return str(virtual_host(world.routes(), f"{HOST}:80").routes[0].route.hash_policy[0].header.header_name)

    assert virtual_host(world.routes(), f"{HOST}:80").routes[0].route.hash_policy[0].header.header_name == "port"
    assert header("{host: known, subset: v1}") == "subset"
    assert header("{host: known, subset: v2}") == "top"
    assert header("{host: known, subset: v2, port: {number: 80}}") == "port"


def test_destination_without_weight_hashes_nothing() -> None:
    rule = "{host: %s, trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: %s}}}}"
    world = World(
        service("known"),
        service("idle"),
        istio("DestinationRule", "known", rule % ("known", "used")),
        istio("DestinationRule", "idle", rule % ("idle", "unused")),
        virtual_service(
            "v",
            "{hosts: [known], http: [{route: [{destination: {host: known}, weight: 1},"
            " {destination: {host: idle}, weight: 0}]}]}",
        ),
    )
    action = virtual_host(world.routes(), f"{HOST}:80").routes[0].route
    assert [held.header.header_name for held in action.hash_policy] == ["used"]


def test_detected_service_answers_to_any_name() -> None:
    world = World(service("known"), virtual_service("v", f"{{hosts: [known], {TO_OTHER}}}"), service("else"))
    found = world.routes(f"{HOST}:80")
    assert [(host.name, list(host.domains)) for host in found.virtual_hosts] == [(f"{HOST}:80", ["*"])]
    assert clusters(found, f"{HOST}:80") == ["outbound|80||other.com"]


EGRESS = """
egress:
- {port: {number: 8080, protocol: HTTP, name: http}, hosts: [./*]}
- {port: {number: 0, protocol: HTTP, name: uds}, bind: 'unix:///foo/bar/baz', hosts: ['*/bookinfo.com']}
- {port: {number: 9090, protocol: HTTP_PROXY, name: proxy}, hosts: [./*]}
"""


@pytest.fixture
def sidecar_world() -> tuple[World, ClientScope]:
    ports = "[{number: 9999, name: http-a, protocol: HTTP}, {number: 80, name: http-b, protocol: HTTP}]"
    entry = istio("ServiceEntry", "bookinfo", f"{{hosts: [bookinfo.com], ports: {ports}}}")
    world = World(service("a", ports=[80, 8080]), service("b", "shop", ports=[8080]), entry)
    world.add(istio("Sidecar", "s", EGRESS))
    return world, client("default", sidecar=ObjectKey(kinds.SIDECAR, "default", "s"))


def test_egress_listener_with_a_port(sidecar_world: tuple[World, ClientScope]) -> None:
    world, who = sidecar_world
    assert names(world.routes("8080", who)) == ["a.default.svc.cluster.local:8080", "allow_any"]
    assert names(world.routes("80", who)) == ["allow_any"]


def test_unix_socket_has_all_ports_by_name(sidecar_world: tuple[World, ClientScope]) -> None:
    """Away from port 80 a host is told apart by the port in it."""
    world, who = sidecar_world
    found = world.routes("unix:///foo/bar/baz", who)
    assert names(found) == ["bookinfo.com:80", "bookinfo.com:9999", "allow_any"]
    assert list(found.virtual_hosts[1].domains) == ["bookinfo.com:9999", "bookinfo.com.:9999"]
    assert list(found.virtual_hosts[0].domains) == [
        "bookinfo.com",
        "bookinfo.com:80",
        "bookinfo.com.",
        "bookinfo.com.:80",
    ]


def test_proxy_listener_has_all_ports(sidecar_world: tuple[World, ClientScope]) -> None:
    world, who = sidecar_world
    expected = ["a.default.svc.cluster.local:80", "a.default.svc.cluster.local:8080", "bookinfo.com:80"]
    assert names(world.routes("9090", who))[:3] == expected


def test_http_proxy_of_a_default_scope() -> None:
    found = World(service("a", ports=[80, 8080])).routes("http_proxy")
    assert names(found) == ["a.default.svc.cluster.local:80", "a.default.svc.cluster.local:8080", "allow_any"]
    assert "a:8080" in found.virtual_hosts[1].domains
    assert "a" not in found.virtual_hosts[1].domains
