"""Random EnvoyFilters: patches of all kinds of things, with filters that people insert and fields of Envoy's messages.

Fields come from the descriptors of the messages, so most values are such as Envoy takes, and some are not.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from controlplane.apis.envoy_filter import ApplyTo
from controlplane.patches.messages import MESSAGES
from tests.compiler.histories import manifest

Json = dict[str, Any]
TYPES = "type.googleapis.com/envoy.extensions"
_FILTERS = f"{TYPES}.filters"


def _typed(name: str, type_: str, **fields: Any) -> Json:
    return {"name": name, "typed_config": {"@type": f"{_FILTERS}.{type_}", **fields}}


_PERCENT = {"numerator": 100, "denominator": "HUNDRED"}
HTTP: Sequence[Json] = (
    _typed("envoy.filters.http.lua", "http.lua.v3.Lua", default_source_code={"inline_string": "function a() end"}),
    _typed("envoy.filters.http.lua", "http.lua.v3.Lua", inline_code="this is no Lua ("),
    _typed(
        "envoy.filters.http.local_ratelimit",
        "http.local_ratelimit.v3.LocalRateLimit",
        stat_prefix="limit",
        token_bucket={"max_tokens": 4, "tokens_per_fill": 4, "fill_interval": "60s"},
        filter_enabled={"runtime_key": "a", "default_value": _PERCENT},
    ),
    _typed("envoy.filters.http.local_ratelimit", "http.local_ratelimit.v3.LocalRateLimit"),
    _typed("envoy.filters.http.buffer", "http.buffer.v3.Buffer", max_request_bytes=100),
    _typed("envoy.filters.http.fault", "http.fault.v3.HTTPFault", abort={"http_status": 503, "percentage": _PERCENT}),
    _typed("envoy.filters.http.fault", "http.fault.v3.HTTPFault", abort={"http_status": 99, "percentage": _PERCENT}),
    _typed("envoy.filters.http.router", "http.router.v3.Router"),
    _typed("envoy.filters.http.rbac", "http.rbac.v3.RBAC", rules={}),
    _typed("envoy.filters.http.grpc_web", "http.grpc_web.v3.GrpcWeb"),
    _typed("envoy.filters.http.cors", "http.cors.v3.Cors"),
    _typed("envoy.filters.http.nobody", "http.nobody.v3.Nobody"),
    {"name": "envoy.filters.http.cors"},
    {
        "name": "fetched",
        "config_discovery": {
            "config_source": {"ads": {}, "initial_fetch_timeout": "0s"},
            "type_urls": [f"{_FILTERS}.http.lua.v3.Lua"],
        },
    },
)
NETWORK: Sequence[Json] = (
    _typed(
        "envoy.filters.network.connection_limit",
        "network.connection_limit.v3.ConnectionLimit",
        stat_prefix="a",
        max_connections=3,
    ),
    _typed("envoy.filters.network.connection_limit", "network.connection_limit.v3.ConnectionLimit"),
    _typed("envoy.filters.network.rbac", "network.rbac.v3.RBAC", stat_prefix="a", rules={}),
    _typed("envoy.filters.network.tcp_proxy", "network.tcp_proxy.v3.TcpProxy", stat_prefix="mine", cluster="x"),
    _typed("envoy.filters.network.tcp_proxy", "network.tcp_proxy.v3.TcpProxy", idle_timeout="5s"),
    _typed("envoy.filters.network.echo", "network.echo.v3.Echo"),
    _typed(
        "envoy.filters.network.http_connection_manager",
        "network.http_connection_manager.v3.HttpConnectionManager",
        use_remote_address=True,
        stream_idle_timeout="7s",
    ),
    _typed(
        "envoy.filters.network.local_ratelimit",
        "network.local_ratelimit.v3.LocalRateLimit",
        stat_prefix="a",
        token_bucket={"max_tokens": 4, "fill_interval": "1s"},
    ),
    {"name": "envoy.filters.network.tcp_proxy"},
)
LISTENER: Sequence[Json] = (
    _typed("envoy.filters.listener.tls_inspector", "listener.tls_inspector.v3.TlsInspector"),
    _typed("envoy.filters.listener.http_inspector", "listener.http_inspector.v3.HttpInspector"),
    _typed("envoy.filters.listener.proxy_protocol", "listener.proxy_protocol.v3.ProxyProtocol"),
    _typed("envoy.filters.listener.original_dst", "listener.original_dst.v3.OriginalDst"),
    {"name": "envoy.filters.listener.tls_inspector"},
)
_ROUTE: Json = {"name": "mine", "match": {"prefix": "/mine"}, "direct_response": {"status": 200}}
_HOST: Json = {"name": "mine", "domains": ["mine.example.com"], "routes": [_ROUTE]}
_SOCKETS: Sequence[Json] = (
    {
        "name": "envoy.transport_sockets.raw_buffer",
        "typed_config": {"@type": f"{TYPES}.transport_sockets.raw_buffer.v3.RawBuffer"},
    },
    {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {"@type": f"{TYPES}.transport_sockets.tls.v3.UpstreamTlsContext", "sni": "a.example.com"},
    },
    {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {"@type": f"{TYPES}.transport_sockets.tls.v3.DownstreamTlsContext"},
    },
)
_ADDRESS = {"socket_address": {"address": "127.0.0.1", "port_value": 6060}}
_WHOLE: Mapping[ApplyTo, Sequence[Json]] = {
    ApplyTo.HTTP_FILTER: HTTP,
    ApplyTo.NETWORK_FILTER: NETWORK,
    ApplyTo.LISTENER_FILTER: LISTENER,
    ApplyTo.HTTP_ROUTE: (
        _ROUTE,
        {"route": {"timeout": "3s"}},
        {"route": {"cluster": "x", "timeout": "-3s"}},
        {"match": {"safe_regex": {"regex": "("}}},
        {"redirect": {"path_redirect": "/x"}},
        {"typed_per_filter_config": {"a": HTTP[4]["typed_config"]}},
        {"typed_per_filter_config": {"envoy.filters.http.nobody": {"@type": f"{_FILTERS}.http.nobody.v3.Nobody"}}},
    ),
    ApplyTo.VIRTUAL_HOST: (_HOST, {**_HOST, "domains": ["*"]}, {"domains": ["web"]}, {"rate_limits": [{}]}),
    ApplyTo.ROUTE_CONFIGURATION: (
        {"virtual_hosts": [_HOST]},
        {"name": "renamed"},
        {"request_headers_to_remove": ["a"]},
    ),
    ApplyTo.FILTER_CHAIN: (
        {"filter_chain_match": {"server_names": ["a.example.com"]}, "filters": [NETWORK[5]]},
        {"filter_chain_match": {"destination_port": 80}},
        {"transport_socket": _SOCKETS[2]},
        {"transport_socket": _SOCKETS[0]},
        {"filters": [NETWORK[0]]},
    ),
    ApplyTo.LISTENER: (
        {"name": "mine", "address": _ADDRESS, "filter_chains": [{"filters": [NETWORK[5]]}]},
        {"name": "mine", "address": _ADDRESS},
        {"name": "0.0.0.0_80", "address": _ADDRESS, "filter_chains": [{"filters": [NETWORK[5]]}]},
        {"per_connection_buffer_limit_bytes": 32768},
        {"address": {"socket_address": {"address": "nowhere.example.com"}}},
    ),
    ApplyTo.CLUSTER: (
        {"name": "mine", "type": "STATIC", "connect_timeout": "1s"},
        {"name": "mine", "type": "EDS"},
        {"name": "mine", "type": "STRICT_DNS", "load_assignment": {"cluster_name": "mine"}},
        {"type": "EDS"},
        {"lb_policy": "RING_HASH"},
        {"lb_policy": "CLUSTER_PROVIDED"},
        {"circuit_breakers": {"thresholds": [{"max_connections": 3}]}},
        *({"transport_socket": socket} for socket in _SOCKETS),
    ),
    ApplyTo.EXTENSION_CONFIG: tuple({**each, "name": "fetched"} for each in HTTP if "typed_config" in each),
    ApplyTo.BOOTSTRAP: ({"stats_sinks": [{"name": "a"}]},),
}
_NAMES: Mapping[ApplyTo, Sequence[str]] = {
    ApplyTo.HTTP_FILTER: tuple(each["name"] for each in HTTP),
    ApplyTo.NETWORK_FILTER: tuple(each["name"] for each in NETWORK),
    ApplyTo.LISTENER_FILTER: tuple(each["name"] for each in LISTENER),
}
_OPERATIONS = (
    "MERGE", "MERGE", "ADD", "ADD", "REMOVE", "REPLACE", "INSERT_BEFORE", "INSERT_AFTER", "INSERT_FIRST",
    "MERGE_AND_REPLACE_LIST",
)  # fmt: skip
_ROUTES = frozenset({ApplyTo.HTTP_ROUTE, ApplyTo.VIRTUAL_HOST, ApplyTo.ROUTE_CONFIGURATION})


def envoy_filter(chance: random.Random) -> Json:
    """Return an EnvoyFilter of one to four patches."""
    spec: Json = {"configPatches": [_patch(chance) for _ in range(chance.randint(1, 4))]}
    if chance.random() < 0.3:
        spec["priority"] = chance.choice([-5, 5])
    namespace = chance.choice(["istio-system", "shop"])
    return manifest("networking.istio.io/v1alpha3", "EnvoyFilter", namespace, "fuzz", spec=spec)


def _patch(chance: random.Random) -> Json:
    apply_to = chance.choice([each for each in MESSAGES if each is not ApplyTo.BOOTSTRAP])
    operation = chance.choice(_OPERATIONS)
    change: Json = {"operation": operation}
    if operation != "REMOVE":
        change["value"] = _value(chance, apply_to)
    match: Json = {"context": chance.choice(["ANY", "SIDECAR_OUTBOUND", "SIDECAR_INBOUND", "GATEWAY"])}
    if chance.random() < 0.6:
        match |= _match(chance, apply_to)
    return {"applyTo": apply_to.value, "match": match, "patch": change}


def _value(chance: random.Random, apply_to: ApplyTo) -> Json:
    value = dict(chance.choice(_WHOLE[apply_to]))
    if apply_to in _NAMES or apply_to is ApplyTo.EXTENSION_CONFIG or chance.random() < 0.5:
        return value
    return {**value, **_fields(chance, MESSAGES[apply_to].DESCRIPTOR, depth=2)}


def _match(chance: random.Random, apply_to: ApplyTo) -> Json:
    if apply_to is ApplyTo.CLUSTER:
        return {
            "cluster": chance.choice(
                [{"portNumber": 80}, {"service": "web.shop.svc.cluster.local"}, {"name": "BlackHoleCluster"}, {}]
            )
        }
    if apply_to in _ROUTES:
        host: Json = chance.choice([{}, {"name": "allow_any"}, {"name": "web.shop.svc.cluster.local:80"}])
        if chance.random() < 0.5:
            host = {**host, "route": chance.choice([{"name": "default"}, {"action": "ROUTE"}])}
        configuration: Json = chance.choice([{}, {"name": "80"}, {"portNumber": 80}])
        return {"routeConfiguration": {**configuration, "vhost": host}}
    if apply_to is ApplyTo.EXTENSION_CONFIG:
        return {}
    listener: Json = chance.choice([{}, {"name": "virtualInbound"}, {"portNumber": 80}, {"name": "0.0.0.0_80"}])
    name = chance.choice(_NAMES.get(apply_to, ("",)))
    if apply_to is ApplyTo.LISTENER_FILTER:
        return {"listener": {**listener, "listenerFilter": name}}
    if apply_to is ApplyTo.NETWORK_FILTER:
        return {"listener": {**listener, "filterChain": {"filter": {"name": name}}}}
    if apply_to is ApplyTo.HTTP_FILTER:
        manager = {"name": "envoy.filters.network.http_connection_manager", "subFilter": {"name": name}}
        return {"listener": {**listener, "filterChain": {"filter": manager}}}
    return {"listener": listener}


def _fields(chance: random.Random, descriptor: Any, depth: int) -> Json:
    fields = [each for each in descriptor.fields if not each.GetOptions().deprecated and each.name not in _LEFT_ALONE]
    found: Json = {}
    oneofs: set[str] = set()
    for field in chance.sample(fields, min(len(fields), chance.randint(1, 2))):
        oneof = field.containing_oneof.name if field.containing_oneof is not None else ""
        value = _field(chance, field, depth)
        if value is not None and oneof not in oneofs:
            found[field.name] = value
            oneofs.update({oneof} - {""})
    return found


_LEFT_ALONE = frozenset(
    {
        "name", "address", "additional_addresses", "udp_listener_config", "filter_chain_matcher", "api_listener",
        "enable_reuse_port", "transparent", "reuse_port", "bind_to_port", "use_original_dst",
    }
)  # fmt: skip
"""Fields that depend on the machine, or that another test is about."""


def _field(chance: random.Random, field: FieldDescriptor, depth: int) -> Any:
    message = field.message_type
    if message is not None and message.GetOptions().map_entry:
        return None
    value = _single(chance, field, depth)
    return value if value is None or not field.is_repeated else [value]


_KNOWN: Mapping[str, Callable[[random.Random], Any]] = {
    "google.protobuf.Duration": lambda chance: chance.choice(["1s", "0.001s", "0s", "-1s"]),
    "google.protobuf.UInt32Value": lambda chance: chance.choice([0, 1, 100, 2**32 - 1]),
    "google.protobuf.UInt64Value": lambda chance: chance.choice([0, 1, 100]),
    "google.protobuf.BoolValue": lambda chance: chance.random() < 0.5,
    "google.protobuf.DoubleValue": lambda chance: chance.choice([0.5, 100.0]),
    "google.protobuf.StringValue": lambda chance: chance.choice(["", "x"]),
}


def _single(chance: random.Random, field: FieldDescriptor, depth: int) -> Any:
    message = field.message_type
    if message is not None:
        if message.full_name in _KNOWN:
            return _KNOWN[message.full_name](chance)
        if depth and message.full_name.startswith(("envoy.config.", "envoy.type.")):
            return _fields(chance, message, depth - 1)
        return None
    if field.enum_type is not None:
        return chance.choice([each.name for each in field.enum_type.values])
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return None if field.type == FieldDescriptor.TYPE_BYTES else chance.choice(["", "x", "a.example.com", "/x"])
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return chance.random() < 0.5
    return chance.choice([0, 1, 100])
