"""What patches make and Envoy would refuse: each is found here, and a real Envoy refuses it."""

from __future__ import annotations

import json
import socket
import tracemalloc
from collections.abc import Mapping
from time import process_time
from typing import Any

import pytest

from controlplane.apis.envoy_filter import ApplyTo
from controlplane.constraints.checker import faults
from controlplane.constraints.extensions import lua_problem
from controlplane.patches.messages import decode
from controlplane.snapshots import Resource, ResourceType
from tests.envoy.judge import http_listener, listener, refused, refused_listeners, routed

pytestmark = pytest.mark.slow

Json = dict[str, Any]
EXTENSIONS = "type.googleapis.com/envoy.extensions"
FILTERS = f"{EXTENSIONS}.filters"
LUA = {"@type": f"{FILTERS}.http.lua.v3.Lua"}
ROUTER = {"name": "r", "typed_config": {"@type": f"{FILTERS}.http.router.v3.Router"}}
ECHO = {"name": "e", "typed_config": {"@type": f"{FILTERS}.network.echo.v3.Echo"}}
LIMIT_SETTINGS = {
    "@type": f"{FILTERS}.network.connection_limit.v3.ConnectionLimit",
    "stat_prefix": "a",
    "max_connections": 3,
}
LIMIT = {"name": "l", "typed_config": LIMIT_SETTINGS}
BUFFER = {"@type": f"{FILTERS}.http.buffer.v3.Buffer", "max_request_bytes": 3}
RAW_BUFFER = {"name": "envoy.transport_sockets.raw_buffer"}
TRACER = {"provider": {"name": "envoy.tracers.zipkin"}}
MIRROR = {"cluster": "c", "request_mirror_policies": [{}]}


def requests(name: str, filters: list[Json]) -> Json:
    return http_listener(name, http_filters=filters, route_config={"name": "r"})


def with_lua(name: str, script: str) -> Json:
    lua = {"name": "l", "typed_config": {**LUA, "default_source_code": {"inline_string": script}}}
    return requests(name, [lua, ROUTER])


def with_keys(name: str, *keys: Json) -> Json:
    provider = {"issuer": "a", "local_jwks": {"inline_string": json.dumps({"keys": keys})}}
    tokens = {"@type": f"{FILTERS}.http.jwt_authn.v3.JwtAuthentication", "providers": {"p": provider}}
    return requests(name, [{"name": "j", "typed_config": tokens}, ROUTER])


SHORT = {"kty": "RSA", "n": "AQAB", "e": "AQAB"}
POINT = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}
BAD_KEYS: tuple[Json, ...] = (
    SHORT,
    {**SHORT, "alg": "HS256"},
    {"kty": "oct", "k": "A"},
    {"kty": "oct", "k": "AAAA", "alg": "RS256"},
    {"kty": "DSA"},
    {**POINT, "y": POINT["x"]},
    {**POINT, "crv": "secp256k1"},
    {**POINT, "crv": 5},
    {**POINT, "alg": "ES384"},
    {**POINT, "x": POINT["x"] + "=="},
    {"kty": "OKP", "crv": "X25519", "x": POINT["x"]},
    {"kty": "OKP", "crv": "Ed25519", "x": "AAAA"},
)


def with_template(name: str, template: str) -> Json:
    """Return a listener with a route whose path a template matches."""
    settings = {"@type": f"{EXTENSIONS}.path.match.uri_template.v3.UriTemplateMatchConfig", "path_template": template}
    policy = {"name": "envoy.path.match.uri_template.uri_template_matcher", "typed_config": settings}
    return routed(name, match={"path_match_policy": policy})


BAD_TEMPLATES = (
    *("a", "*", "//", "/*//", "/{", "/{}", "/{1}", "/{a=}", "/{a=x/}", "/ ", "/é", "/?", "/**/*"),
    *("/**/{a}", "/{a=**}/*", "/{a}/{a}", "/{abcdefghijklmnopq}", "/{a}/{b}/{c}/{d}/{e}/{f}", "/{a}{b}"),
)
GOOD_TEMPLATES = (
    "/",
    "/a/",
    "/*",
    "/*/",
    "/**",
    "/**.mpd",
    "/**/a",
    "/*/a=b",
    "/{a}.x",
    "/{a=x/**}/y",
    "/{a}/{b=*}/**",
)
HTTP_URI = {"uri": "http://a.example.com/x", "cluster": "c", "timeout": "1s"}
KEYS_AT = {"p": {"issuer": "a", "remote_jwks": {"http_uri": HTTP_URI}}}
BUCKET = {"max_tokens": 4, "fill_interval": "60s"}
SERVICE = {"envoy_grpc": {"cluster_name": "c"}}
DUPLEX = {"request_body_mode": "FULL_DUPLEX_STREAMED"}
ANYBODY = [{"any": True}]
ZIPKIN = {"@type": "type.googleapis.com/envoy.config.trace.v3.ZipkinConfig", "collector_cluster": "c"}
FILE_LOG = {"@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog", "path": "/dev/null"}
EMPTY_FILTER: Json = {"extension_filter": {}}
TCP = {"@type": f"{FILTERS}.network.tcp_proxy.v3.TcpProxy", "stat_prefix": "a", "cluster": "c"}


def with_filter(name: str, kind: str, **settings: Any) -> Json:
    return requests(name, [{"name": "f", "typed_config": {"@type": f"{FILTERS}.http.{kind}", **settings}}, ROUTER])


def with_tokens(name: str, **settings: Any) -> Json:
    return with_filter(name, "jwt_authn.v3.JwtAuthentication", **{"providers": KEYS_AT, **settings})


def with_descriptors(name: str, *descriptors: Json, **settings: Any) -> Json:
    stated = {"stat_prefix": "a", "token_bucket": BUCKET, "descriptors": descriptors, **settings}
    return with_filter(name, "local_ratelimit.v3.LocalRateLimit", **stated)


def descriptor(value: str, fill: str = "60s") -> Json:
    return {"entries": [{"key": "a", "value": value}], "token_bucket": {**BUCKET, "fill_interval": fill}}


def asking(name: str, *headers: Json) -> Json:
    server = {"uri": "http://a", "cluster": "c", "timeout": "1s"}
    service = {"server_uri": server, "authorization_request": {"headers_to_add": headers}}
    return with_filter(name, "ext_authz.v3.ExtAuthz", http_service=service, transport_api_version="V3")


def with_port_range(name: str, start: int, end: int) -> Json:
    allowed = {"permissions": [{"destination_port_range": {"start": start, "end": end}}], "principals": ANYBODY}
    return with_filter(name, "rbac.v3.RBAC", rules={"policies": {"a": allowed}})


def with_log(name: str, log_filter: Json | None = None, **log: Any) -> Json:
    filtered = {"filter": log_filter} if log_filter else {}
    logs = [{"name": "f", "typed_config": {**FILE_LOG, **log}, **filtered}]
    return http_listener(name, http_filters=[ROUTER], route_config={"name": "r"}, access_log=logs)


def expressed(expression: str) -> Json:
    settings = {"@type": f"{EXTENSIONS}.access_loggers.filters.cel.v3.ExpressionFilter", "expression": expression}
    return {"extension_filter": {"name": "c", "typed_config": settings}}


def traced(name: str, **stated: Any) -> Json:
    tracing = {"provider": {"name": "z", "typed_config": {**ZIPKIN, **stated}}}
    return http_listener(name, http_filters=[ROUTER], route_config={"name": "r"}, tracing=tracing)


def with_header(name: str, key: str, *, field: str = "request_headers_to_add") -> Json:
    return routed(name, **{field: [{"header": {"key": key, "value": "x"}}] if field.endswith("_add") else [key]})


def served(name: str, **host: Any) -> Json:
    routes = [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}]
    stated = {"name": "v", "domains": ["*"], "routes": routes, **host}
    return http_listener(name, http_filters=[ROUTER], route_config={"name": "r", "virtual_hosts": [stated]})


def with_network(name: str, kind: str, **settings: Any) -> Json:
    settings = {"@type": f"{FILTERS}.network.{kind}", "stat_prefix": "a", **settings}
    return listener(name, [{"name": "f", "typed_config": settings}, ECHO])


def with_users(name: str, users: str) -> Json:
    return with_filter(name, "basic_auth.v3.BasicAuth", users={"inline_string": users})


USER = "a:{SHA}tESsBmE/yNY3lb6a0L6vVQEZNqw="
WEIGHED = {"weighted_clusters": {"clusters": [{"name": "c", "cluster_header": "x", "weight": 1}]}}
RULES_OF_HEADERS = "header_to_metadata.v3.Config"
PRESENT = {"on_header_present": {"metadata_namespace": "a", "key": "k"}}
PROCESSOR = "ext_proc.v3.ExternalProcessor"

BAD_LISTENERS: Mapping[str, Json] = {
    each["name"]: each
    for each in (
        with_header("host is changed", "Host"),
        with_header("path is changed", ":path"),
        with_header("host is removed", "host", field="request_headers_to_remove"),
        with_header("status is removed", ":status", field="response_headers_to_remove"),
        with_filter(
            "host is mutated",
            "header_mutation.v3.HeaderMutation",
            mutations={"request_mutations": [{"append": {"header": {"key": "host", "value": "x"}}}]},
        ),
        routed(
            "host is copied", route={"cluster": "c", "internal_redirect_policy": {"response_headers_to_copy": ["host"]}}
        ),
        routed("command of a host", route={"cluster": "c", "host_rewrite": "%NOTHING%"}),
        routed("command of a path", route={"cluster": "c", "path_rewrite": "50%"}),
        routed("command of a span", tracing={"operation": "%NOTHING%"}),
        routed("cluster by name and header", route=WEIGHED),
        routed("plugin without name", route={"cluster_specifier_plugin": ""}),
        routed("retries by name", route={"cluster": "c", "retry_policy": {"retry_host_predicate": [{"name": "a"}]}}),
        with_descriptors("same descriptors", descriptor("b"), descriptor("b")),
        with_descriptors("descriptor filled too fast", descriptor("b", "0.049s")),
        with_descriptors("bucket filled too fast", token_bucket={**BUCKET, "fill_interval": "0.049s"}),
        with_descriptors("stage of a local limit", rate_limits=[{"stage": 1, "actions": [{"remote_address": {}}]}]),
        with_descriptors("cluster of the proxy", local_cluster_rate_limit={}),
        with_filter(
            "protocol of old",
            "ext_authz.v3.ExtAuthz",
            grpc_service=SERVICE,
            transport_api_version="V2",
        ),
        with_filter(
            "prefix without slash",
            "ext_authz.v3.ExtAuthz",
            http_service={"server_uri": HTTP_URI, "path_prefix": "a"},
            transport_api_version="V3",
        ),
        with_filter("no processor", PROCESSOR),
        with_filter("trailers of a duplex", PROCESSOR, grpc_service=SERVICE, processing_mode=DUPLEX),
        with_filter("attribute", PROCESSOR, grpc_service=SERVICE, request_attributes=["1 +"]),
        with_port_range("no ports", 80, 80),
        with_port_range("ports beyond all", 80, 65537),
        with_port_range("ports before all", -1, 80),
        asking("host of an authoriser", {"key": "Host", "value": "a"}),
        with_filter(
            "empty condition",
            "rbac.v3.RBAC",
            rules={"policies": {"a": {"permissions": ANYBODY, "principals": ANYBODY, "condition": {}}}},
        ),
        with_tokens("unknown provider", rules=[{"match": {"prefix": "/"}, "requires": {"provider_name": "q"}}]),
        with_tokens("unknown requirement", rules=[{"match": {"prefix": "/"}, "requirement_name": "q"}]),
        with_tokens(
            "unknown in a map", requirement_map={"a": {"requires_any": {"requirements": 2 * [{"provider_name": "q"}]}}}
        ),
        with_tokens(
            "keys at a host of no name",
            providers={"p": {"remote_jwks": {"http_uri": {**HTTP_URI, "uri": "http://a_b/c"}}}},
        ),
        with_tokens("keys nowhere", providers={"p": {"remote_jwks": {"http_uri": {**HTTP_URI, "uri": "nowhere"}}}}),
        with_filter("header and cookie", RULES_OF_HEADERS, request_rules=[{"header": "a", "cookie": "b", **PRESENT}]),
        with_filter("header without use", RULES_OF_HEADERS, request_rules=[{"header": "a"}]),
        with_filter(
            "missing without value",
            RULES_OF_HEADERS,
            request_rules=[{"header": "a", "on_header_missing": {"metadata_namespace": "a", "key": "k"}}],
        ),
        with_users("user without digest", "a:b"),
        with_users("short digest", "a:{SHA}b"),
        with_users("user twice", f"{USER}\n{USER}"),
        with_users("users of another system", f"{USER}\r\nb{USER}\r\n"),
        with_filter("nowhere for a key", "api_key_auth.v3.ApiKeyAuth", key_sources=[{}]),
        with_log("command in a log", format="%NOTHING%"),
        with_log("command in JSON", json_format={"a": ["%NOTHING%"]}),
        with_log("empty filter of a log", EMPTY_FILTER),
        with_log("no expression for a log", expressed("request.path ==")),
        with_log("unknown function for a log", expressed("nothing(request.path)")),
        traced("no endpoint of spans", collector_endpoint_version="HTTP_JSON"),
        traced("no version of spans", collector_endpoint="/"),
        http_listener("filters of an upgrade", http_filters=[ROUTER], upgrade_configs=[{"filters": [{"name": "a"}]}]),
        http_listener("routes from nowhere", http_filters=[ROUTER], rds={"route_config_name": "r"}),
        http_listener(
            "response headers of a listener",
            http_filters=[ROUTER],
            route_config={"name": "r"},
            common_http_protocol_options={"max_response_headers_kb": 5},
        ),
        requests("end that is disabled", [{**ROUTER, "disabled": True}]),
        listener("no other address", [ECHO], additional_addresses=[{}]),
        listener("chains from nowhere", [ECHO], fcds_config={"name": "a"}),
        served("matcher and routes", matcher={}),
        served("virtual cluster without headers", virtual_clusters=[{"name": "a"}]),
        with_network("limit of nothing", "connection_limit.v3.ConnectionLimit"),
        listener(
            "command of a tunnel", [{"name": "t", "typed_config": {**TCP, "tunneling_config": {"hostname": "50%"}}}]
        ),
        listener("empty TLV", [{"name": "t", "typed_config": {**TCP, "proxy_protocol_tlvs": [{"type": 1}]}}]),
        listener("filters after the end", [ECHO, LIMIT]),
        listener("no end", [LIMIT]),
        listener("found by name", [{"name": "envoy.filters.network.echo"}]),
        listener(
            "listener filter by name", [ECHO], listener_filters=[{"name": "envoy.filters.listener.tls_inspector"}]
        ),
        listener("suffix", [], filter_chains=[{"filter_chain_match": {"suffix_len": 3}, "filters": [ECHO]}]),
        listener("access log without settings", [ECHO], access_log=[{}]),
        listener("socket by name", [], filter_chains=[{"filters": [ECHO], "transport_socket": RAW_BUFFER}]),
        http_listener("tracer by name", http_filters=[ROUTER], route_config={"name": "r"}, tracing=TRACER),
        requests("no router", [{"name": "l", "typed_config": LUA}]),
        requests("two routers", [ROUTER, ROUTER]),
        with_lua("no Lua", "function envoy_on_request(h) en"),
        with_keys("no keys"),
        *(with_keys(f"key {number}", key) for number, key in enumerate(BAD_KEYS)),
        routed("settings of the filter", typed_per_filter_config={"b": BUFFER}),
        routed("nothing for routes", typed_per_filter_config={"r": ROUTER["typed_config"]}),
        *(with_template(f"template {template}", template) for template in BAD_TEMPLATES),
        routed("mirror to nobody", route=MIRROR),
        routed("plugin that is not there", route={"cluster_specifier_plugin": "a"}),
    )
}
GOOD_LISTENERS = (
    served("virtual cluster", virtual_clusters=[{"name": "a", "headers": [{"name": "x"}]}]),
    with_header("another header is changed", "x-host"),
    with_header("another header is removed", "x-host", field="request_headers_to_remove"),
    routed("host by a command", route={"cluster": "c", "host_rewrite": "%REQ(x)%.a.example.com"}),
    with_descriptors("other descriptors", descriptor("b", "0.05s"), descriptor("c")),
    with_descriptors("bucket filled all the time", token_bucket={**BUCKET, "fill_interval": "0.0001s"}),
    with_filter("processor", PROCESSOR, grpc_service=SERVICE, request_attributes=["request.path"]),
    with_filter("duplex", PROCESSOR, grpc_service=SERVICE, processing_mode={**DUPLEX, "request_trailer_mode": "SEND"}),
    with_port_range("a port", 80, 81),
    with_port_range("all ports", 0, 65536),
    asking("header for an authoriser", {"key": "x-a", "value": "a"}),
    with_tokens("known provider", rules=[{"match": {"prefix": "/"}, "requires": {"provider_name": "p"}}]),
    with_users("users", f"# who\n{USER}\n\nb{USER}"),
    with_log("commands in a log", format="%REQ(x)% 100%%"),
    with_log("expression for a log", expressed("request.path == 'a'")),
    traced("spans", collector_endpoint="/", collector_endpoint_version="HTTP_JSON"),
    with_network("limit of connections", "connection_limit.v3.ConnectionLimit", max_connections=3),
    listener("limit first", [LIMIT, ECHO]),
    with_lua("Lua", "function envoy_on_request(h) end"),
    with_keys("one of many", *BAD_KEYS, POINT),
    with_keys("no curve", {name: value for name, value in POINT.items() if name != "crv"}),
    with_keys("Edwards", {"kty": "OKP", "crv": "Ed25519", "x": POINT["x"]}),
    with_keys("secret", {"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"}),
    *(with_template(f"template {template}", template) for template in GOOD_TEMPLATES),
    routed("of the route", typed_per_filter_config={"b": {"@type": f"{BUFFER['@type']}PerRoute", "disabled": True}}),
)
TIMES = {"name": "c", "connect_timeout": "1s"}
EDS = {"type": "EDS", "eds_cluster_config": {"eds_config": {"ads": {}, "resource_api_version": "V3"}}}
KEYS_SUBSET = {"fallback_policy": "KEYS_SUBSET", "fallback_keys_subset": ["c"]}
CHECK = {"timeout": "1s", "interval": "1s", "unhealthy_threshold": 1, "healthy_threshold": 1}
STATIC = {"type": "STATIC"}
UPSTREAMS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
HTTP3: Json = {"http3_protocol_options": {}}
CODEC = {"name": "c", "typed_config": {"@type": f"{FILTERS}.http.upstream_codec.v3.UpstreamCodec"}}
MUTATION = {"name": "m", "typed_config": {"@type": f"{FILTERS}.http.header_mutation.v3.HeaderMutation"}}
CODEC_IN_STRUCT = {
    "name": "c",
    "typed_config": {
        "@type": "type.googleapis.com/xds.type.v3.TypedStruct",
        "type_url": f"{FILTERS}.http.upstream_codec.v3.UpstreamCodec",
        "value": {},
    },
}
AUTOMATIC: Json = {"explicit_http_config": None, "auto_config": {}}
RAW_BY_TYPE = {"name": "t", "typed_config": {"@type": f"{EXTENSIONS}.transport_sockets.raw_buffer.v3.RawBuffer"}}
UPSTREAM_TLS = {"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"}
BY_HOST_NAME = {"common_lb_config": {"consistent_hashing_lb_config": {"use_hostname_for_hashing": True}}}
NOBODY, SOMEBODY = (
    {"cluster_name": "c", "endpoints": [{"lb_endpoints": [endpoint]}]}
    for endpoint in ({}, {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 1}}}})
)


def asked(**check: Any) -> Json:
    return {**STATIC, "health_checks": [{**CHECK, "http_health_check": {"path": "/", **check}}]}


def speaking(name: str = UPSTREAMS, **options: Any) -> Json:
    options = {
        "@type": f"type.googleapis.com/{UPSTREAMS}",
        "explicit_http_config": {"http_protocol_options": {}},
    } | options
    return {**STATIC, "typed_extension_protocol_options": {name: options}}


BAD_CLUSTERS: tuple[Json, ...] = (
    {**asked(codec_client_type="HTTP3"), "load_assignment": SOMEBODY},
    asked(expected_statuses=[{"start": 200, "end": 200}]),
    asked(retriable_statuses=[{"start": 201, "end": 200}]),
    asked(send={"text": "00"}),
    asked(receive=[{"text": "zz"}]),
    asked(request_headers_to_remove=["host"]),
    {**STATIC, "health_checks": 2 * [{**CHECK, "tcp_health_check": {}}]},
    {**STATIC, "health_checks": [{**CHECK, "custom_health_check": {"name": "a"}}]},
    {**STATIC, "outlier_detection": {"max_ejection_time": "29s"}},
    {**STATIC, "outlier_detection": {"max_ejection_time": "9s", "base_ejection_time": "10s"}},
    speaking(explicit_http_config=HTTP3),
    speaking("a"),
    speaking(http_filters=[MUTATION]),
    speaking(http_filters=[{"name": "a"}, CODEC]),
    speaking(http_filters=[{**CODEC, "disabled": True}]),
    speaking(**AUTOMATIC),
    {**speaking(**AUTOMATIC), "transport_socket": RAW_BY_TYPE},
    {**STATIC, "filters": [{"name": "a"}]},
    {**STATIC, "transport_socket_matches": [{"name": "a"}]},
    {**STATIC, "transport_socket": {"name": "t", "typed_config": {**UPSTREAM_TLS, "auto_sni_san_validation": True}}},
    {**STATIC, "load_assignment": NOBODY},
    {**STATIC, **BY_HOST_NAME},
    {"cluster_type": {"name": "a"}},
    {"type": "STRICT_DNS", "dns_resolvers": [{"pipe": {"path": "a"}}]},
    {"type": "EDS", "eds_cluster_config": {"eds_config": {"self": {}, "resource_api_version": "V3"}}},
    {
        "type": "EDS",
        "eds_cluster_config": {
            "eds_config": {
                "api_config_source": {"api_type": "GRPC", "transport_api_version": "V3"},
                "resource_api_version": "V3",
            }
        },
    },
    {"type": "EDS"},
    {"type": "STATIC", "eds_cluster_config": EDS["eds_cluster_config"]},
    {"type": "ORIGINAL_DST"},
    {"type": "STATIC", "lb_policy": "CLUSTER_PROVIDED"},
    {"type": "STATIC", "upstream_bind_config": {"source_address": {"address": "127.0.0.1", "named_port": "x"}}},
    {"type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED", "load_assignment": {"cluster_name": "c"}},
    {"type": "STATIC", "lb_subset_config": {"subset_selectors": [{"keys": ["a"]}], "locality_weight_aware": True}},
    {"type": "STATIC", "lb_policy": "RING_HASH", "ring_hash_lb_config": {"maximum_ring_size": 3}},
    {"type": "STATIC", "lb_subset_config": {"subset_selectors": [{"keys": ["a"], "fallback_keys_subset": ["a"]}]}},
    {"type": "STATIC", "lb_subset_config": {"subset_selectors": [{"keys": ["a", "b"], **KEYS_SUBSET}]}},
    {"type": "LOGICAL_DNS", "load_assignment": {"cluster_name": "c"}},
    {"type": "STATIC", "load_balancing_policy": {"policies": [{}]}},
    {"type": "STATIC", "circuit_breakers": {"per_host_thresholds": [{"max_requests": 3}]}},
    {**EDS, "lrs_server": {"api_config_source": {}}},
)
GOOD_CLUSTERS: tuple[Json, ...] = (
    EDS,
    {"type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED"},
    STATIC,
    asked(expected_statuses=[{"start": 200, "end": 201}], send={"text": "00"}, method="POST"),
    {**STATIC, "outlier_detection": {"max_ejection_time": "30s"}},
    {**STATIC, "outlier_detection": {"base_ejection_time": "400s"}},
    speaking(http_filters=[MUTATION, CODEC]),
    speaking(http_filters=[MUTATION, CODEC_IN_STRUCT]),
    speaking("envoy.upstreams.http.http_protocol_options"),
    {**speaking(**AUTOMATIC), "transport_socket": {"name": "t", "typed_config": UPSTREAM_TLS}},
    {
        "type": "STRICT_DNS",
        **BY_HOST_NAME,
        "dns_resolvers": [{"socket_address": {"address": "127.0.0.1", "port_value": 53}}],
    },
)


def cluster(fields: Json) -> Resource:
    body = decode(ApplyTo.CLUSTER, TIMES | fields).message.SerializeToString(deterministic=True)
    return Resource.of(ResourceType.CLUSTER, "c", body)


def test_listeners_are_judged_as_envoy_judges_them() -> None:
    listeners = [*BAD_LISTENERS.values(), *GOOD_LISTENERS]
    ours = {each["name"] for each in listeners if faults(decode(ApplyTo.LISTENER, each).message)}
    assert ours == BAD_LISTENERS.keys()
    assert refused_listeners(listeners).keys() == BAD_LISTENERS.keys()


def test_a_listener_that_envoy_crashes_of_is_refused() -> None:
    """Unless it is bound."""
    address = {"socket_address": {"address": "127.9.9.9", "port_value": 18_999}}
    (crashing, bound) = (
        listener(name, [ECHO], address=address, transparent=True, bind_to_port=bind)
        for name, bind in (("crashing", False), ("bound", True))
    )
    ours = [str(faults(decode(ApplyTo.LISTENER, each).message)) for each in (crashing, bound)]
    assert "transparent" in ours[0]
    assert "transparent" not in ours[1]
    assert refused_listeners([crashing]).keys() == {"crashing"}


def test_a_policy_that_envoy_crashes_of_is_refused() -> None:
    """Of a template that it cannot read, where a route with it is only refused."""
    settings = {"@type": f"{EXTENSIONS}.path.match.uri_template.v3.UriTemplateMatchConfig", "path_template": "*"}
    permission = {"uri_template": {"name": "uri-template", "typed_config": settings}}
    rules = {"policies": {"p": {"permissions": [permission], "principals": [{"any": True}]}}}
    policies = {"@type": f"{FILTERS}.http.rbac.v3.RBAC", "rules": rules}
    crashing = requests("crashing", [{"name": "p", "typed_config": policies}, ROUTER])
    assert "path_template" in str(faults(decode(ApplyTo.LISTENER, crashing).message))
    assert refused_listeners([crashing]).keys() == {"crashing"}


def test_clusters_are_judged_as_envoy_judges_them() -> None:
    fields = [*BAD_CLUSTERS, *GOOD_CLUSTERS]
    ours = [bool(faults(decode(ApplyTo.CLUSTER, TIMES | each).message)) for each in fields]
    assert ours == [True] * len(BAD_CLUSTERS) + [False] * len(GOOD_CLUSTERS)
    theirs = refused([cluster(each) for each in fields])
    assert sorted(theirs) == list(range(len(BAD_CLUSTERS)))


def test_many_faults_take_as_long_as_they_are_many() -> None:
    """Not as long as the square of that, in which no proxy is served."""
    chains = [{"filters": [{"name": "x"}]}] * 40_000
    message = decode(ApplyTo.LISTENER, {"name": "a", "filterChains": chains}).message
    before = process_time()
    assert len(faults(message)) > len(chains)
    assert process_time() - before < 60


def test_a_script_is_compiled_and_never_run() -> None:
    assert lua_problem("while true do end") == ""
    assert lua_problem("os.exit(3)") == ""
    assert "expected near" in lua_problem("end")
    assert lua_problem("\x1bLJ\x02") != ""
    assert lua_problem("x = '\ud800'") != ""


@pytest.mark.parametrize("script", ["return " + "a and b or " * 40_000 + "c", "if a then " + "elseif a then " * 60_000])
def test_a_script_that_takes_long_to_compile_is_not_compiled(script: str) -> None:
    """Everything else would wait for it."""
    assert "branches" in lua_problem(script)
    assert lua_problem(f"-- {script[:50_000]}") == ""


def test_what_is_known_of_scripts_takes_no_room_for_them() -> None:
    lua_problem("local warm = 1")
    tracemalloc.start()
    try:
        for number in range(40):
            assert lua_problem(f"--{number}{'x' * 500_000}") == ""
        assert "expected near" in lua_problem("end")
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 2_000_000


def test_what_is_judged_does_not_meet_what_others_judge() -> None:
    """Listeners stand at names that the whole machine shares, and tests run two files at a time."""
    with socket.socket(socket.AF_UNIX) as elsewhere:
        elsewhere.bind("\0judged elsewhere")
        assert refused_listeners([routed("judged elsewhere")]) == {}
