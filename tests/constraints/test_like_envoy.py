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
BAD_LISTENERS: Mapping[str, Json] = {
    each["name"]: each
    for each in (
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
BAD_CLUSTERS: tuple[Json, ...] = (
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
GOOD_CLUSTERS: tuple[Json, ...] = (EDS, {"type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED"}, {"type": "STATIC"})


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
