"""The columns of ``proxy-config``, case by case. Reference: istioctl's tables."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.cli.proxy_config import clusters, endpoints, listeners, routes
from controlplane.cli.proxy_config.dump import Dump, NotADump
from controlplane.cli.proxy_config.origin import origin

_FILTERS = "type.googleapis.com/envoy.extensions.filters.network"


def http(**config: Any) -> dict[str, Any]:
    kind = f"{_FILTERS}.http_connection_manager.v3.HttpConnectionManager"
    return {"filters": [{"name": "http", "typed_config": {"@type": kind, **config}}]}


def tcp(**config: Any) -> dict[str, Any]:
    return {"filters": [{"name": "tcp", "typed_config": {"@type": f"{_FILTERS}.tcp_proxy.v3.TcpProxy", **config}}]}


def inline(*hosts: dict[str, Any]) -> dict[str, Any]:
    return http(route_config={"virtual_hosts": list(hosts)})


def host(domains: list[str], *matches: dict[str, Any], cluster: str = "c") -> dict[str, Any]:
    return {"domains": domains, "routes": [{"match": match, "route": {"cluster": cluster}} for match in matches]}


@pytest.mark.parametrize(
    ("chain", "expected"),
    [
        pytest.param(http(rds={"route_config_name": "80"}), "Route: 80", id="rds"),
        pytest.param(http(), "HTTP", id="http-without-routes"),
        pytest.param(inline(host(["*"], {"prefix": "/"})), "Cluster: c", id="everything-to-one-cluster"),
        pytest.param(
            inline(host(["*"], {"prefix": "/"}, cluster="InboundPassthroughCluster")),
            "InboundPassthroughCluster",
            id="a-cluster-that-says-it-is-one",
        ),
        pytest.param(
            inline(host(["a", "b"], {"prefix": "/x"}, {"path": "/y"}), host(["*"], {"safe_regex": {"regex": ".*"}})),
            "Inline Route: a/b /x*, /y; regex .*",
            id="inline",
        ),
        pytest.param(tcp(cluster="outbound|1||a"), "Cluster: outbound|1||a", id="tcp"),
        pytest.param(tcp(cluster="PassthroughCluster"), "PassthroughCluster", id="tcp-passthrough"),
        pytest.param(
            tcp(weighted_clusters={"clusters": [{"name": "a"}, {"name": "b"}]}), "Cluster: a,b", id="tcp-weighted"
        ),
        pytest.param(tcp(cluster="BlackHoleCluster"), "Non-HTTP/Non-TCP", id="black-hole"),
        pytest.param({}, "Non-HTTP/Non-TCP", id="nothing"),
    ],
)
def test_destination(chain: dict[str, Any], expected: str) -> None:
    assert listeners.destination(chain) == expected


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        pytest.param({}, "ALL", id="none"),
        pytest.param({"server_names": ["a", "b"]}, "SNI: a,b", id="sni"),
        pytest.param({"application_protocols": ["http/1.0", "http/1.1", "h2c"]}, "App: HTTP", id="http"),
        pytest.param(
            {"application_protocols": ["istio", "istio-http/1.0", "istio-http/1.1", "istio-h2"]},
            "App: Istio HTTP Plain",
            id="istio-http",
        ),
        pytest.param(
            {"application_protocols": ["http/1.0", "http/1.1", "h2c", "istio-http/1.0", "istio-http/1.1", "istio-h2"]},
            "App: HTTP TLS",
            id="http-tls",
        ),
        pytest.param({"application_protocols": ["istio-peer-exchange", "istio"]}, "App: TCP TLS", id="tcp-tls"),
        pytest.param({"application_protocols": ["h2"]}, "App: h2", id="other"),
        pytest.param({"destination_port": 8080}, "Addr: *:8080", id="port"),
        pytest.param(
            {
                "transport_protocol": "tls",
                "destination_port": 8080,
                "prefix_ranges": [
                    {"address_prefix": "1.2.3.4", "prefix_len": 32},
                    {"address_prefix": "0.0.0.0"},
                ],
            },
            "Trans: tls; Addr: 1.2.3.4/32,0.0.0.0/0:8080",
            id="several",
        ),
    ],
)
def test_chain_match(match: dict[str, Any], expected: str) -> None:
    assert listeners.chain_match({"filter_chain_match": match}) == expected


def test_rows_of_a_listener_go_from_the_last_destination_to_the_first() -> None:
    listener = {"filter_chains": [tcp(cluster="a"), tcp(cluster="c")], "default_filter_chain": tcp(cluster="b")}
    assert [row[3] for row in listeners.listener_rows(listener)] == ["Cluster: c", "Cluster: b", "Cluster: a"]


def test_addresses() -> None:
    listener = {
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": 80}},
        "additional_addresses": [{"address": {"socket_address": {"address": "::", "port_value": 80}}}],
    }
    assert (listeners.addresses(listener), listeners.port(listener)) == (["0.0.0.0", "::"], 80)
    pipe = {"address": {"pipe": {"path": "/run/x"}}}
    assert (listeners.addresses(pipe), listeners.port(pipe)) == (["/run/x"], 0)
    internal: dict[str, Any] = {"internal_listener": {}}
    assert (listeners.addresses(internal), listeners.port(internal)) == ([], 0)


@pytest.mark.parametrize(
    ("chains", "expected"),
    [
        ([http()], "HTTP"),
        ([tcp(cluster="a")], "TCP"),
        ([http(), tcp(cluster="a")], "HTTP+TCP"),
        ([http(), tcp(cluster="BlackHoleCluster")], "HTTP"),
        ([tcp(cluster="BlackHoleCluster")], "UNKNOWN"),
        ([], "UNKNOWN"),
    ],
)
def test_listener_type(chains: list[dict[str, Any]], expected: str) -> None:
    assert listeners.listener_type({"filter_chains": chains}) == expected


@pytest.mark.parametrize(
    ("domains", "expected"),
    [
        (["*"], "*"),
        (["a:80"], "a:80"),
        (["a", "a:80"], "a"),
        (["a.b", "a.b.svc", "a.b.svc.cluster.local", "10.0.0.1"], "a.b, 10.0.0.1"),
        (["a.b.svc.cluster.local", "x"], "a.b.svc.cluster.local, x"),
        (["[fd00::1]", "[fd00::1]:80", "a"], "[fd00::1], a"),
        (["a", "b", "c", "d"], "a, b + 2 more..."),
    ],
)
def test_domains(domains: list[str], expected: str) -> None:
    assert routes.domains_text(domains) == expected


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ({"prefix": "/a"}, "/a*"),
        ({"path": "/a"}, "/a"),
        ({"path_separated_prefix": "/a"}, "PathPrefix:/a"),
        ({"safe_regex": {"regex": "/a.*"}}, "regex /a.*"),
        ({"connect_matcher": {}}, ""),
    ],
)
def test_match(match: dict[str, Any], expected: str) -> None:
    assert routes.match_text({"match": match}) == expected


def test_routes_that_pass_through_are_hidden_and_hosts_without_routes_answer_404() -> None:
    hosts = [
        {"name": "a", **host(["*"], {"prefix": "/"}, cluster="PassthroughCluster")},
        {"name": "b", "domains": ["*"]},
    ]
    assert routes.route_rows({"name": "80", "virtual_hosts": hosts}) == [["80", "b", "*", "/*", "404"]]


def test_routes_are_by_port_then_by_name() -> None:
    names = ["http.80", "9080", "80", "a"]
    assert [each["name"] for each in routes.selected_routes({"name": name} for name in names)] == [
        "80",
        "9080",
        "a",
        "http.80",
    ]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("/apis/networking.istio.io/v1/namespaces/shop/virtual-service/reviews", "reviews.shop"),
        ("/apis/security.istio.io/v1/namespaces/shop/authorization-policy/a", "<unknown>"),
        ("", ""),
    ],
)
def test_origin(config: str, expected: str) -> None:
    assert origin({"metadata": {"filter_metadata": {"istio": {"config": config}}}}) == expected
    assert origin({}) == ""


def test_clusters_are_by_host_subset_port_and_direction() -> None:
    names = ["outbound|90|v1|b", "outbound|100||b", "outbound|90||b", "inbound|90||b", "agent"]
    chosen = clusters.selected_clusters(({"name": name} for name in names), clusters.ClusterFilter())
    assert [each["name"] for each in chosen] == [
        "agent",
        "inbound|90||b",
        "outbound|90||b",
        "outbound|100||b",
        "outbound|90|v1|b",
    ]


def test_addresses_of_endpoints() -> None:
    internal = {"envoy_internal_address": {"server_listener_name": "inner", "endpoint_id": "1"}}
    statuses = [
        {"address": {"pipe": {"path": "/run/x"}}, "health_status": {"eds_health_status": "DRAINING"}},
        {"address": internal, "health_status": {"failed_outlier_check": True}},
    ]
    dump = Dump.of({"cluster_statuses": [{"name": "c", "host_statuses": statuses}]})
    rows = [each.row for each in endpoints.selected_endpoints(dump, endpoints.EndpointFilter())]
    assert rows == [["envoy://inner/1", "UNKNOWN", "FAILED", "c"], ["unix:///run/x", "DRAINING", "OK", "c"]]


def test_a_dump_in_istiods_spelling() -> None:
    document = {
        "configs": [
            {
                "@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump",
                "dynamicActiveClusters": [
                    {
                        "versionInfo": "1",
                        "cluster": {
                            "name": "c",
                            "connectTimeout": "1s",
                            "metadata": {"filterMetadata": {"istio": {"aKey": 1}}},
                        },
                    }
                ],
            }
        ]
    }
    (cluster,) = Dump.of(document).clusters()
    assert cluster["connect_timeout"] == "1s"
    assert cluster["metadata"]["filter_metadata"] == {"istio": {"aKey": 1}}


def test_warming_resources() -> None:
    document = {
        "configs": [
            {"@type": "x.ClustersConfigDump", "dynamic_warming_clusters": [{"cluster": {"name": "c"}}]},
            {
                "@type": "x.ListenersConfigDump",
                "dynamic_listeners": [{"name": "l", "warming_state": {}}, {"name": "m"}],
            },
        ]
    }
    assert Dump.of(document).warming() == ["c", "l"]


@pytest.mark.parametrize("document", [None, [], {}, "text"])
def test_what_is_no_dump(document: Any) -> None:
    with pytest.raises(NotADump):
        Dump.of(document)


@pytest.mark.parametrize(
    ("section", "name"),
    [
        (7, "configs"),
        ({"dynamic_listeners": [1]}, "dynamic_listeners"),
        ({"dynamicListeners": {"a": 1}}, "dynamic_listeners"),
        ({"dynamic_listeners": [{"active_state": []}]}, "active_state"),
        ({"dynamic_listeners": [{"active_state": {"listener": 5}}]}, "listener"),
        ({"dynamic_route_configs": [{"route_config": {"vhds": {}, "virtual_hosts": [1]}}]}, "virtual_hosts"),
        ({"static_clusters": [{"cluster": None}]}, "cluster"),
        ({"bootstrap": {"node": [1]}}, "node"),
    ],
)
def test_what_no_envoy_writes_is_named(section: Any, name: str) -> None:
    with pytest.raises(NotADump, match=f'"{name}" is no '):
        Dump.of({"configs": [section]})
    Dump.of(
        {
            "configs": [
                {"bootstrap": {"node": {"cluster": "c"}, "static_resources": {"clusters": []}, "dynamic_resources": {}}}
            ]
        }
    )
