"""One feature of a VirtualService's HTTP route at a time: what is written, and the Envoy route it becomes."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from controlplane.apis.virtual_service import HTTPMatchRequest, StringMatch
from controlplane.translate.routes.matches import route_match
from tests.translate.routes.world import World, mesh, plain, service, virtual_host, virtual_service

RETRY = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
PREVIOUS_HOSTS = [
    {
        "name": "envoy.retry_host_predicates.previous_hosts",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
        },
    }
]
DESTINATION = "route: [{destination: {host: reviews}}]"


def route(rule: str) -> dict[str, Any]:
    """Return the first route of a VirtualService with one rule, as plain values."""
    world = World(
        service("reviews"),
        virtual_service("reviews", yaml.safe_dump({"hosts": ["reviews"], "http": [yaml.safe_load(rule)]})),
    )
    found: dict[str, Any] = plain(world.only_route())
    return found


def test_whole_route() -> None:
    """Everything a plain destination gets, defaults included."""
    assert route(f"{{name: first, {DESTINATION}}}") == {
        "name": "first",
        "match": {"prefix": "/"},
        "route": {
            "cluster": "outbound|80||reviews.default.svc.cluster.local",
            "timeout": "0s",
            "max_grpc_timeout": "0s",
            "retry_policy": {
                "retry_on": RETRY,
                "num_retries": 2,
                "host_selection_retry_max_attempts": "5",
                "retry_host_predicate": PREVIOUS_HOSTS,
            },
        },
        "metadata": {
            "filter_metadata": {
                "istio": {"config": "/apis/networking.istio.io/v1/namespaces/default/virtual-service/reviews"}
            }
        },
        "decorator": {"operation": "reviews.default.svc.cluster.local:80/*"},
    }


def header(name: str, **matcher: Any) -> dict[str, Any]:
    return {"name": name, **matcher}


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        pytest.param("{uri: {exact: /a}}", {"path": "/a", "case_sensitive": True}, id="exact-path"),
        pytest.param("{uri: {prefix: /a}}", {"prefix": "/a", "case_sensitive": True}, id="prefix"),
        pytest.param("{uri: {prefix: /a}, ignoreUriCase: true}", {"prefix": "/a", "case_sensitive": False}, id="case"),
        pytest.param(
            "{uri: {regex: '/a.*'}}", {"safe_regex": {"regex": "/a.*"}, "case_sensitive": True}, id="regex-path"
        ),
        pytest.param(
            "{headers: {b: {exact: x}, a: {prefix: y}, c: {regex: z+}}}",
            {
                "prefix": "/",
                "case_sensitive": True,
                "headers": [
                    header("a", string_match={"prefix": "y"}),
                    header("b", string_match={"exact": "x"}),
                    header("c", string_match={"safe_regex": {"regex": "z+"}}),
                ],
            },
            id="headers-sorted",
        ),
        pytest.param(
            "{headers: {a: {}}}",
            {"prefix": "/", "case_sensitive": True, "headers": [header("a", present_match=True)]},
            id="header-present",
        ),
        pytest.param(
            "{withoutHeaders: {a: {exact: x}, b: {regex: '*'}}}",
            {
                "prefix": "/",
                "case_sensitive": True,
                "headers": [
                    header("a", string_match={"exact": "x"}, invert_match=True, treat_missing_header_as_empty=True),
                    header("b", present_match=True, invert_match=True),
                ],
            },
            id="without-headers",
        ),
        pytest.param(
            "{method: {exact: GET}, authority: {prefix: a}, scheme: {exact: https}, headers: {z: {exact: x}}}",
            {
                "prefix": "/",
                "case_sensitive": True,
                "headers": [
                    header("z", string_match={"exact": "x"}),
                    header(":method", string_match={"exact": "GET"}),
                    header(":authority", string_match={"prefix": "a"}),
                    header(":scheme", string_match={"exact": "https"}),
                ],
            },
            id="pseudo-headers-last",
        ),
        pytest.param(
            "{queryParams: {b: {exact: x}, a: {}}}",
            {
                "prefix": "/",
                "case_sensitive": True,
                "query_parameters": [
                    {"name": "a", "present_match": True},
                    {"name": "b", "string_match": {"exact": "x"}},
                ],
            },
            id="query",
        ),
    ],
)
def test_match(match: str, expected: dict[str, Any]) -> None:
    assert route(f"{{match: [{match}], {DESTINATION}}}")["match"] == expected


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        pytest.param("@request.auth.claims.a.b", ["payload", "a", "b"], id="dots-separate"),
        pytest.param("@Request.Auth.Claims[a.b][c]", ["payload", "a.b", "c"], id="brackets-keep-dots"),
    ],
)
def test_claim(name: str, keys: list[str]) -> None:
    """A claim is matched in what the JWT filter left, as itself or as an item of a list."""
    matched = plain(route_match(HTTPMatchRequest(without_headers={name: StringMatch(exact="x")})))
    assert matched == {
        "prefix": "/",
        "case_sensitive": True,
        "dynamic_metadata": [
            {
                "filter": "envoy.filters.http.jwt_authn",
                "path": [{"key": key} for key in keys],
                "value": {
                    "or_match": {
                        "value_matchers": [
                            {"list_match": {"one_of": {"string_match": {"exact": "x"}}}},
                            {"string_match": {"exact": "x"}},
                        ]
                    }
                },
                "invert": True,
            }
        ],
    }


def test_prefix_of_derived_routes_means_whole_segments() -> None:
    match = HTTPMatchRequest(uri=StringMatch(prefix="/a/"))
    assert plain(route_match(match, derived=True)) == {"path_separated_prefix": "/a", "case_sensitive": True}


@pytest.mark.parametrize(
    ("match", "name"),
    [
        pytest.param("[]", "rule", id="rule-only"),
        pytest.param("[{name: m}]", "rule.m", id="both"),
    ],
)
def test_name(match: str, name: str) -> None:
    assert route(f"{{name: rule, match: {match}, {DESTINATION}}}")["name"] == name


@pytest.mark.parametrize(
    ("match", "operation"),
    [
        pytest.param("{uri: {exact: /a}}", "/a", id="path"),
        pytest.param("{uri: {prefix: /a}}", "/a*", id="prefix"),
        pytest.param("{uri: {regex: '/a.+'}}", "/a.+", id="regex"),
    ],
)
def test_decorator(match: str, operation: str) -> None:
    found = route(f"{{match: [{match}], {DESTINATION}}}")
    assert found["decorator"] == {"operation": f"reviews.default.svc.cluster.local:80{operation}"}


def test_decorator_without_a_single_cluster() -> None:
    assert route("{redirect: {uri: /x}}")["decorator"] == {"operation": "reviews:80/*"}


@pytest.mark.parametrize(
    ("retries", "expected"),
    [
        pytest.param("{attempts: 0}", None, id="disabled"),
        pytest.param(
            "{attempts: 3, perTryTimeout: 2s, backoff: 10ms}",
            {
                "retry_on": RETRY,
                "num_retries": 3,
                "per_try_timeout": "2s",
                "host_selection_retry_max_attempts": "5",
                "retry_host_predicate": PREVIOUS_HOSTS,
                "retry_back_off": {"base_interval": "0.010s"},
            },
            id="times",
        ),
        pytest.param(
            "{attempts: 1, retryOn: '503,reset'}",
            {
                "retry_on": "reset,retriable-status-codes",
                "retriable_status_codes": [503],
                "num_retries": 1,
                "host_selection_retry_max_attempts": "5",
                "retry_host_predicate": PREVIOUS_HOSTS,
            },
            id="codes-and-conditions",
        ),
        pytest.param(
            "{attempts: 1, retryOn: '503'}",
            {
                "retry_on": ",retriable-status-codes",
                "retriable_status_codes": [503],
                "num_retries": 1,
                "host_selection_retry_max_attempts": "5",
                "retry_host_predicate": PREVIOUS_HOSTS,
            },
            id="codes-only",
        ),
        pytest.param(
            "{attempts: 1, retryIgnorePreviousHosts: false, retryRemoteLocalities: true}",
            {
                "retry_on": RETRY,
                "num_retries": 1,
                "host_selection_retry_max_attempts": "5",
                "retry_priority": {
                    "name": "envoy.retry_priorities.previous_priorities",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3."
                        "PreviousPrioritiesConfig",
                        "update_frequency": 2,
                    },
                },
            },
            id="hosts-and-localities",
        ),
    ],
)
def test_retries(retries: str, expected: dict[str, Any] | None) -> None:
    assert route(f"{{retries: {retries}, {DESTINATION}}}")["route"].get("retry_policy") == expected


def test_timeout() -> None:
    action = route(f"{{timeout: 1500ms, {DESTINATION}}}")["route"]
    assert (action["timeout"], action["max_grpc_timeout"]) == ("1.500s", "1.500s")


def test_weights_skip_zero_and_keep_headers_apart() -> None:
    action = route("""
route:
- {destination: {host: reviews, subset: v1}, weight: 75, headers: {request: {set: {a: x}}}}
- {destination: {host: reviews, subset: v2}, weight: 25, headers: {request: {set: {Host: other}}}}
- {destination: {host: reviews, subset: v3}, weight: 0}
""")["route"]
    assert action["weighted_clusters"] == {
        "clusters": [
            {
                "name": "outbound|80|v1|reviews.default.svc.cluster.local",
                "weight": 75,
                "request_headers_to_add": [
                    {"header": {"key": "a", "value": "x"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
                ],
            },
            {
                "name": "outbound|80|v2|reviews.default.svc.cluster.local",
                "weight": 25,
                "host_rewrite_literal": "other",
            },
        ]
    }


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        pytest.param("rewrite: {uri: /b}", {"prefix_rewrite": "/b"}, id="path"),
        pytest.param("rewrite: {authority: b.com}", {"host_rewrite_literal": "b.com"}, id="authority"),
        pytest.param(
            "rewrite: {uriRegexRewrite: {match: '/a/(.*)', rewrite: '/\\1'}}",
            {"regex_rewrite": {"pattern": {"regex": "/a/(.*)"}, "substitution": "/\\1"}},
            id="expression",
        ),
        pytest.param("headers: {request: {set: {':authority': c}}}", {"host_rewrite_literal": "c"}, id="header"),
    ],
)
def test_rewrite(rule: str, expected: dict[str, Any]) -> None:
    action = route(f"{DESTINATION}\n{rule}")["route"]
    fields = ("prefix_rewrite", "host_rewrite_literal", "regex_rewrite")
    assert {name: action[name] for name in fields if name in action} == expected


def test_header_operations_are_sorted_and_host_is_none() -> None:
    found = route(f"""
{DESTINATION}
headers:
  request: {{set: {{b: '1', a: '2', host: x}}, add: {{c: '3'}}, remove: [d]}}
  response: {{set: {{e: '4'}}, remove: [f]}}
""")
    overwrite, append = "OVERWRITE_IF_EXISTS_OR_ADD", "APPEND_IF_EXISTS_OR_ADD"
    assert [(o["header"]["key"], o.get("append_action", append)) for o in found["request_headers_to_add"]] == [
        ("a", overwrite),
        ("b", overwrite),
        ("c", append),
    ]
    assert found["request_headers_to_remove"] == ["d"]
    assert [(o["header"]["key"], o["append_action"]) for o in found["response_headers_to_add"]] == [("e", overwrite)]
    assert found["response_headers_to_remove"] == ["f"]


@pytest.mark.parametrize(
    ("redirect", "expected"),
    [
        pytest.param("{uri: /b}", {"path_redirect": "/b"}, id="path"),
        pytest.param("{authority: b.com, uri: ''}", {"host_redirect": "b.com", "path_redirect": ""}, id="authority"),
        pytest.param(
            "{prefixRewrite: /b, redirectCode: 308}",
            {"prefix_rewrite": "/b", "response_code": "PERMANENT_REDIRECT"},
            id="prefix",
        ),
        pytest.param(
            "{scheme: https, port: 8443}",
            {"scheme_redirect": "https", "port_redirect": 8443, "path_redirect": ""},
            id="port",
        ),
        pytest.param("{scheme: https, port: 443}", {"scheme_redirect": "https", "path_redirect": ""}, id="usual-port"),
        pytest.param("{derivePort: FROM_REQUEST_PORT}", {"path_redirect": ""}, id="request-port-elided"),
        pytest.param(
            "{derivePort: FROM_REQUEST_PORT, scheme: https}",
            {"scheme_redirect": "https", "port_redirect": 80, "path_redirect": ""},
            id="request-port",
        ),
        pytest.param("{redirectCode: 303, uri: /}", {"path_redirect": "/", "response_code": "SEE_OTHER"}, id="303"),
    ],
)
def test_redirect(redirect: str, expected: dict[str, Any]) -> None:
    assert route(f"{{redirect: {redirect}}}")["redirect"] == expected


def test_direct_response() -> None:
    assert route("{directResponse: {status: 418, body: {string: tea}}}")["direct_response"] == {
        "status": 418,
        "body": {"inline_string": "tea"},
    }


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        pytest.param(
            "{delay: {fixedDelay: 5s, percentage: {value: 12.5}}}",
            {"delay": {"fixed_delay": "5s", "percentage": {"numerator": 125000, "denominator": "MILLION"}}},
            id="delay",
        ),
        pytest.param(
            "{abort: {httpStatus: 503, percentage: {value: 100}}}",
            {"abort": {"http_status": 503, "percentage": {"numerator": 1000000, "denominator": "MILLION"}}},
            id="abort",
        ),
        pytest.param("{abort: {grpcStatus: UNAVAILABLE}}", {"abort": {"grpc_status": 14}}, id="grpc-without-share"),
    ],
)
def test_fault(fault: str, expected: dict[str, Any]) -> None:
    config = route(f"{{fault: {fault}, {DESTINATION}}}")["typed_per_filter_config"]["envoy.filters.http.fault"]
    assert config.pop("@type") == "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"
    assert config == expected


@pytest.mark.parametrize(
    ("cors", "expected"),
    [
        pytest.param(
            "{allowOrigins: [{exact: a}, {regex: b.*}], allowMethods: [GET, PUT], allowHeaders: [x, y],"
            " exposeHeaders: [z], maxAge: 24h, allowCredentials: true}",
            {
                "allow_origin_string_match": [{"exact": "a"}, {"safe_regex": {"regex": "b.*"}}],
                "allow_methods": "GET,PUT",
                "allow_headers": "x,y",
                "expose_headers": "z",
                "max_age": "86400",
                "allow_credentials": True,
                "forward_not_matching_preflights": True,
            },
            id="all",
        ),
        pytest.param(
            "{allowOrigin: [a], unmatchedPreflights: IGNORE}",
            {"allow_origin_string_match": [{"exact": "a"}], "forward_not_matching_preflights": False},
            id="old-origins-ignore",
        ),
    ],
)
def test_cors(cors: str, expected: dict[str, Any]) -> None:
    config = route(f"{{corsPolicy: {cors}, {DESTINATION}}}")["typed_per_filter_config"]["envoy.filters.http.cors"]
    assert config.pop("@type") == "type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy"
    assert config.pop("filter_enabled") == {"default_value": {"numerator": 100}}
    assert config == expected


@pytest.mark.parametrize(
    ("mirror", "expected"),
    [
        pytest.param("mirror: {host: copy}", [{"numerator": 100}], id="all"),
        pytest.param(
            "mirror: {host: copy}\nmirrorPercentage: {value: 0.5}",
            [{"numerator": 5000, "denominator": "MILLION"}],
            id="share",
        ),
        pytest.param("mirror: {host: copy}\nmirrorPercent: 7", [{"numerator": 7}], id="old-share"),
        pytest.param("mirror: {host: copy}\nmirrorPercentage: {value: 0}", [], id="none"),
        pytest.param(
            "mirrors: [{destination: {host: copy}}, {destination: {host: copy}, percentage: {value: 1}}]",
            [{"numerator": 100}, {"numerator": 10000, "denominator": "MILLION"}],
            id="several",
        ),
    ],
)
def test_mirror(mirror: str, expected: list[dict[str, Any]]) -> None:
    policies = route(f"{DESTINATION}\n{mirror}")["route"].get("request_mirror_policies", [])
    assert policies == [
        {
            "cluster": "outbound|80||copy.default.svc.cluster.local",
            "runtime_fraction": {"default_value": share},
            "trace_sampled": False,
            "disable_shadow_host_suffix_append": True,
        }
        for share in expected
    ]


@pytest.mark.parametrize(
    ("destination", "cluster"),
    [
        pytest.param("{host: reviews, subset: v1}", "outbound|80|v1|reviews.default.svc.cluster.local", id="subset"),
        pytest.param(
            "{host: reviews, port: {number: 90}}", "outbound|90||reviews.default.svc.cluster.local", id="port"
        ),
        pytest.param("{host: nobody}", "outbound|80||nobody.default.svc.cluster.local", id="unknown-service"),
        pytest.param("{host: a.example.com}", "outbound|80||a.example.com", id="full-name"),
    ],
)
def test_cluster_name(destination: str, cluster: str) -> None:
    assert route(f"{{route: [{{destination: {destination}}}]}}")["route"]["cluster"] == cluster


def test_mesh_retry_policy_applies_where_none_is_stated() -> None:
    world = World(service("reviews"), service("other"), mesh("defaultHttpRetryPolicy: {attempts: 5, retryOn: reset}"))
    world.add(virtual_service("reviews", f"{{hosts: [reviews], http: [{{{DESTINATION}}}]}}"))
    for host in ("reviews", "other"):
        policy = virtual_host(world.routes(), f"{host}.default.svc.cluster.local:80").routes[0].route.retry_policy
        assert (policy.num_retries.value, policy.retry_on) == (5, "reset")
