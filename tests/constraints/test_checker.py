"""Faults of messages: the rules of Envoy's protos, what Envoy checks as it loads, and packed messages."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

import envoy
import pytest
import re2
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import HeaderValue
from google.protobuf.descriptor import Descriptor
from validate import validate_pb2

from controlplane.apis.envoy_filter import ApplyTo
from controlplane.constraints import rules
from controlplane.constraints.checker import checker_of, faults
from controlplane.patches.messages import decode

PACKAGE = "type.googleapis.com/envoy"
ADS = {"ads": {}, "resource_api_version": "V3"}
TCP_PROXY = f"{PACKAGE}.extensions.filters.network.tcp_proxy.v3.TcpProxy"
TLS = f"{PACKAGE}.extensions.transport_sockets.tls.v3"


def cluster(**fields: Any) -> dict[str, Any]:
    return {"name": "c", "connect_timeout": "1s", **fields}


def tcp(**fields: Any) -> dict[str, Any]:
    return {"name": "tcp", "typed_config": {"@type": TCP_PROXY, "stat_prefix": "s", "cluster": "c", **fields}}


def chain(*names: str, **match: Any) -> dict[str, Any]:
    return {"filter_chain_match": {"server_names": list(names), **match}, "filters": [tcp()]}


def listener(*chains: dict[str, Any], address: str = "0.0.0.0", **fields: Any) -> dict[str, Any]:
    place = {"socket_address": {"address": address, "port_value": 80}}
    return {"name": "l", "address": place, "filter_chains": list(chains), **fields}


def route(**fields: Any) -> dict[str, Any]:
    return {"match": {"prefix": "/"}, "route": {"cluster": "c"}, **fields}


def host(*domains: str, name: str = "v") -> dict[str, Any]:
    return {"name": name, "domains": list(domains), "routes": [route()]}


def secured(context: str, **fields: Any) -> dict[str, Any]:
    return {"name": "tls", "typed_config": {"@type": f"{TLS}.{context}", **fields}}


SECRET = {"tls_certificate_sds_secret_configs": [{"name": "default", "sds_config": ADS}]}


def nested(descriptor: Descriptor) -> Iterator[Descriptor]:
    yield descriptor
    for each in descriptor.nested_types:
        yield from nested(each)


def test_every_rule_that_envoy_states_is_known() -> None:
    """Each message of the library compiles: a newer one with another sort of rule is noticed here."""
    modules = [each.name for each in pkgutil.walk_packages(envoy.__path__, "envoy.") if each.name.endswith("_pb2")]
    count = 0
    for name in modules:
        if ".v2" in name or "alpha" in name or ".config.filter." in name:
            continue  # forms of old, which nothing makes any more
        for top in importlib.import_module(name).DESCRIPTOR.message_types_by_name.values():
            for descriptor in nested(top):
                checker_of(descriptor).compile()
                count += 1
    assert count > 1000


@pytest.mark.parametrize(
    ("apply_to", "value"),
    [
        pytest.param(ApplyTo.CLUSTER, cluster(), id="cluster"),
        pytest.param(ApplyTo.LISTENER, listener(chain("a.b"), chain("*.b"), chain()), id="listener"),
        pytest.param(
            ApplyTo.LISTENER,
            listener(
                {"filters": [tcp()], "transport_socket": secured("DownstreamTlsContext", common_tls_context=SECRET)}
            ),
            id="tls",
        ),
        pytest.param(ApplyTo.HTTP_ROUTE, route(), id="route"),
        pytest.param(ApplyTo.VIRTUAL_HOST, host("*"), id="virtual-host"),
        pytest.param(
            ApplyTo.ROUTE_CONFIGURATION, {"virtual_hosts": [host("a"), host("b", name="w")]}, id="route-configuration"
        ),
    ],
)
def test_nothing_is_wrong(apply_to: ApplyTo, value: dict[str, Any]) -> None:
    assert list(faults(decode(apply_to, value).message)) == []


WRONG = {
    "required-text": (ApplyTo.CLUSTER, cluster(name=""), "name: must not be empty"),
    "number": (
        ApplyTo.CLUSTER,
        cluster(ring_hash_lb_config={"minimum_ring_size": 8388609}),
        "ring_hash_lb_config.minimum_ring_size: must be at most 8.38861e+06",
    ),
    "duration": (ApplyTo.CLUSTER, cluster(connect_timeout="0s"), "connect_timeout: must be more than 0s"),
    "any-duration": (
        ApplyTo.CLUSTER,
        cluster(upstream_connection_options={}, dns_refresh_rate="5s", cleanup_interval="-1s"),
        "cleanup_interval: must",
    ),
    "enumeration": (ApplyTo.CLUSTER, cluster(dns_lookup_family=99), "dns_lookup_family: is no value"),
    "element": (
        ApplyTo.LISTENER,
        listener({"filters": [{"name": ""}]}),
        "filter_chains[0].filters[0].name: must not be empty",
    ),
    "packed": (
        ApplyTo.LISTENER,
        listener({"filters": [tcp(stat_prefix="")]}),
        "filter_chains[0].filters[0].typed_config.stat_prefix: must not be empty",
    ),
    "choice": (
        ApplyTo.LISTENER,
        listener({"filters": [{"name": "t", "typed_config": {"@type": TCP_PROXY, "stat_prefix": "s"}}]}),
        "filter_chains[0].filters[0].typed_config.cluster_specifier: is required",
    ),
    "pattern": (
        ApplyTo.HTTP_ROUTE,
        route(route={"cluster": "c", "prefix_rewrite": "a\nb"}),
        "route.prefix_rewrite: must match",
    ),
    "message": (ApplyTo.HTTP_ROUTE, {"route": {"cluster": "c"}}, "match: is required"),
    "items": (ApplyTo.VIRTUAL_HOST, {"name": "v"}, "domains: must have at least 1 elements"),
    "map-entry": (
        ApplyTo.HTTP_ROUTE,
        route(route={"cluster": "c", "hash_policy": [{"cookie": {"name": ""}}]}),
        "route.hash_policy[0].cookie.name: must not be empty",
    ),
    "regex": (
        ApplyTo.HTTP_ROUTE,
        route(match={"safe_regex": {"regex": r"\x{100}"}}),
        "match.safe_regex.regex: is not an RE2 expression",
    ),
    "header-command": (
        ApplyTo.HTTP_ROUTE,
        route(request_headers_to_add=[{"header": {"key": "x", "value": "%NO_SUCH%"}}]),
        "request_headers_to_add[0].header.value: %NO_SUCH% is no command",
    ),
    "weights": (
        ApplyTo.HTTP_ROUTE,
        route(route={"weighted_clusters": {"clusters": [{"name": n, "weight": 2**32 - 1} for n in "ab"]}}),
        "route.weighted_clusters.clusters: the sum of weights",
    ),
    "no-weight": (
        ApplyTo.HTTP_ROUTE,
        route(route={"weighted_clusters": {"clusters": [{"name": "a", "weight": 0}]}}),
        "route.weighted_clusters.clusters: the sum of weights is 0",
    ),
    "domains": (
        ApplyTo.ROUTE_CONFIGURATION,
        {"virtual_hosts": [host("a"), host("A", name="w")]},
        "virtual_hosts[1].domains: others have A already",
    ),
    "partial-name": (
        ApplyTo.LISTENER,
        listener(chain("*foo.com")),
        "filter_chains[0].filter_chain_match.server_names[0]: '*foo.com'",
    ),
    "equal-matches": (
        ApplyTo.LISTENER,
        listener(chain("a", "b"), chain("c"), chain("B")),
        "filter_chains[2]: is for connections that filter chain 0 is for",
    ),
    "equal-ranges": (
        ApplyTo.LISTENER,
        listener(
            chain(prefix_ranges=[{"address_prefix": "10.0.0.0", "prefix_len": 8}]),
            chain(prefix_ranges=[{"address_prefix": "10.1.2.3", "prefix_len": 8}]),
        ),
        "filter_chains[1]: is for connections",
    ),
    "no-chain": (ApplyTo.LISTENER, listener(), "filter_chains: none is left"),
    "address": (ApplyTo.LISTENER, listener(chain(), address="a.b"), "address.socket_address.address: 'a.b' is not"),
    "names-without-authority": (
        ApplyTo.CLUSTER,
        cluster(
            transport_socket=secured(
                "UpstreamTlsContext",
                common_tls_context={
                    "validation_context": {
                        "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": "a"}}]
                    }
                },
            )
        ),
        "transport_socket.typed_config.common_tls_context.validation_context: names of the peer",
    ),
    "no-certificate": (
        ApplyTo.LISTENER,
        listener({"filters": [tcp()], "transport_socket": secured("DownstreamTlsContext", common_tls_context={})}),
        "filter_chains[0].transport_socket.typed_config.common_tls_context: has no certificate",
    ),
}


@pytest.mark.parametrize(
    ("apply_to", "value", "expected"), [pytest.param(*row, id=name) for name, row in WRONG.items()]
)
def test_what_is_wrong(apply_to: ApplyTo, value: dict[str, Any], expected: str) -> None:
    found = [f"{fault.path}: {fault.reason}" for fault in faults(decode(apply_to, value).message)]
    assert any(each.startswith(expected) for each in found), found


def test_a_type_that_nobody_knows() -> None:
    message = decode(ApplyTo.LISTENER, listener(chain())).message
    packed = message.filter_chains[0].filters[0].typed_config  # type: ignore[attr-defined]
    packed.type_url = "type.googleapis.com/no.such.Type"
    (fault,) = faults(message)
    assert fault.path == "filter_chains[0].filters[0].typed_config.type_url"
    packed.type_url, packed.value = TCP_PROXY, b"\xff"
    (fault,) = faults(message)
    assert fault.path == "filter_chains[0].filters[0].typed_config.value"


@pytest.mark.parametrize(
    "text", ["a b", "x-a", "X_1", "é", "a\tb", "a\nb", "a\0b", "a\x7fb", ":path", "", "a:b", "-", "a,b"]
)
@pytest.mark.parametrize(("kind", "strict"), list(rules.HEADER_TEXTS))
def test_the_quick_look_at_a_text_says_what_the_expression_says(text: str, kind: int, *, strict: bool) -> None:
    expression = rules.HEADER_TEXTS[kind, strict]
    stated = validate_pb2.StringRules(well_known_regex=kind, strict=strict)
    (test,) = rules.tests_of(validate_pb2.FieldRules(string=stated), HeaderValue.DESCRIPTOR.fields_by_name["key"])
    assert test.is_right(text) == (re2.fullmatch(expression, text) is not None)


def test_a_part_that_was_sound_is_known_again_and_a_wrong_one_is_named_each_time() -> None:
    """Parts are remembered by what they hold: not one that is wrong, and not by their type alone."""
    right, wrong = Cluster(name="a", type=Cluster.EDS), Cluster(name="a", type=Cluster.EDS)
    right.eds_cluster_config.eds_config.ads.SetInParent()
    wrong.eds_cluster_config.eds_config.api_config_source.SetInParent()
    wrong.eds_cluster_config.eds_config.api_config_source.api_type = 99
    for _ in range(3):
        assert not faults(right)
        assert [fault.path for fault in faults(wrong)] == ["eds_cluster_config.eds_config.api_config_source.api_type"]
