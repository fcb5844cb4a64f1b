"""EnvoyFilters as ``validate`` and the webhook judge them: is a patch a message of Envoy, and will it stay one?"""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import pytest

from controlplane.validation.verdict import Verdict, verdict
from tests.patience import PATIENCE_SECONDS

TYPES = "type.googleapis.com/envoy.extensions.filters"
LUA = {"@type": f"{TYPES}.http.lua.v3.Lua", "defaultSourceCode": {"inlineString": "x"}}
TLS_INSPECTOR = f"{TYPES}.listener.tls_inspector.v3.TlsInspector"
HCM = f"{TYPES}.network.http_connection_manager.v3"
VALUE = "spec.configPatches[0].patch.value"


def checked(apply_to: str, value: dict[str, Any], operation: str = "MERGE", **match: Any) -> Verdict:
    change = {"applyTo": apply_to, "patch": {"operation": operation, "value": value}}
    spec = {"configPatches": [change | ({"match": match} if match else {})]}
    obj = {"apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter", "metadata": {"name": "x"}, "spec": spec}
    found = verdict(obj)
    assert found is not None
    return found


def test_types_of_istio_proxy_need_nothing_else_loaded() -> None:
    """A command that translates nothing judges like the control plane."""
    value = {"name": "a", "typed_config": {"@type": "type.googleapis.com/stats.PluginConfig"}}
    code = f"""
from controlplane.apis.envoy_filter import ApplyTo
from controlplane.patches.messages import decode
decode(ApplyTo.HTTP_FILTER, {value})
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE_SECONDS)


def warnings(found: Verdict) -> list[str]:
    """Those beside the one that every EnvoyFilter gets."""
    assert not found.errors
    first, *others = map(str, found.warnings)
    assert first.startswith("spec: EnvoyFilter changes")
    return others


@pytest.mark.parametrize(
    ("apply_to", "value"),
    [
        ("LISTENER", {"listener_filters_timeout": "1s"}),
        ("FILTER_CHAIN", {"filterChainMatch": {"serverNames": ["a"]}}),
        ("NETWORK_FILTER", {"name": "a", "typed_config": {"@type": f"{TYPES}.network.echo.v3.Echo"}}),
        (
            "LISTENER_FILTER",
            {"name": "a", "typed_config": {"@type": TLS_INSPECTOR}},
        ),
        ("HTTP_FILTER", {"name": "a", "typed_config": LUA}),
        ("HTTP_FILTER", {"name": "a", "config_discovery": {"type_urls": ["x"]}}),
        ("VIRTUAL_HOST", {"rate_limits": [{"actions": [{"request_headers": {"header_name": "a"}}]}]}),
        ("HTTP_ROUTE", {"route": {"timeout": "1.5s"}, "typed_per_filter_config": {"a": LUA}}),
        ("CLUSTER", {"connect_timeout": "1s", "lb_policy": "RANDOM"}),
        ("EXTENSION_CONFIG", {"name": "a", "typed_config": LUA}),
    ],
)
def test_a_message_of_the_kind_that_it_is_applied_to(apply_to: str, value: dict[str, Any]) -> None:
    assert warnings(checked(apply_to, value, "ADD")) == []


NAMED = {"filterChain": {"filter": {"name": "envoy.filters.network.http_connection_manager"}}}
BELOW = {"filterChain": {"filter": {**NAMED["filterChain"]["filter"], "subFilter": {"name": "a"}}}}


@pytest.mark.parametrize(
    ("apply_to", "operation", "match", "idle"),
    [
        ("ROUTE_CONFIGURATION", "MERGE", {}, False),
        ("ROUTE_CONFIGURATION", "ADD", {}, True),
        ("ROUTE_CONFIGURATION", "INSERT_FIRST", {}, True),
        ("BOOTSTRAP", "MERGE", {}, True),
        ("CLUSTER", "MERGE", {"context": "WAYPOINT", "waypoint": {"portNumber": 80}}, True),
        ("CLUSTER", "REPLACE", {}, True),
        ("LISTENER", "REPLACE", {}, True),
        ("HTTP_ROUTE", "REPLACE", {}, True),
        ("VIRTUAL_HOST", "REPLACE", {}, False),
        ("EXTENSION_CONFIG", "MERGE", {}, True),
        ("EXTENSION_CONFIG", "INSERT_FIRST", {}, False),
        ("HTTP_FILTER", "MERGE", {}, False),
        ("HTTP_FILTER", "MERGE_AND_REPLACE_LIST", {}, True),
        ("HTTP_FILTER", "REMOVE", {}, True),
        ("HTTP_FILTER", "REMOVE", {"listener": NAMED}, True),
        ("HTTP_FILTER", "REMOVE", {"listener": BELOW}, False),
        ("NETWORK_FILTER", "REPLACE", {"listener": {"portNumber": 80}}, True),
        ("NETWORK_FILTER", "REPLACE", {"listener": NAMED}, False),
        ("LISTENER_FILTER", "MERGE", {}, True),
        ("LISTENER_FILTER", "REMOVE", {"listener": {"listenerFilter": "a"}}, False),
    ],
)
def test_what_can_change_nothing_is_warned_of(apply_to: str, operation: str, match: dict[str, Any], idle: bool) -> None:  # noqa: FBT001 - a column
    value: dict[str, Any] = {"name": "a"}
    if apply_to in {"HTTP_FILTER", "EXTENSION_CONFIG"}:
        value["typed_config"] = LUA
    if apply_to in {"NETWORK_FILTER", "LISTENER_FILTER"}:
        value["typed_config"] = {"@type": f"{TYPES}.network.echo.v3.Echo"}
    if apply_to == "BOOTSTRAP":
        value = {"stats_sinks": [{"name": "a"}]}
    found = [each for each in warnings(checked(apply_to, value, operation, **match)) if "changes nothing: " in each]
    assert bool(found) is idle
    assert all(each.startswith("spec.configPatches[0]: changes nothing: ") for each in found)


STRUCT, ANY = (f"type.googleapis.com/google.protobuf.{name}" for name in ("Struct", "Any"))


@pytest.mark.parametrize(
    ("apply_to", "value", "reason"),
    [
        pytest.param("CLUSTER", {"connect_timeout": "soon"}, "connect_timeout", id="duration"),
        pytest.param("CLUSTER", {"lb_policy": "BEST"}, "lb_policy", id="enumeration"),
        pytest.param("LISTENER", {"filter_chains": {"a": 1}}, "filter_chains", id="not-a-list"),
        pytest.param("CLUSTER", {"type": "STATIC", "cluster_type": {"name": "x"}}, "oneof", id="two-of-one"),
        pytest.param(
            "HTTP_FILTER", {"name": "a", "typed_config": {"@type": f"{TYPES}.http.lua.v2.Lua"}}, "v2.Lua", id="old-type"
        ),
        pytest.param("HTTP_FILTER", {"name": "a", "typed_config": {"@type": "x"}}, "typed_config", id="unknown-type"),
        pytest.param("HTTP_FILTER", {"name": "a", "typed_config": {"inlineCode": "x"}}, "@type", id="no-type"),
        pytest.param(
            "HTTP_FILTER", {"name": "a", "typed_config": LUA | {"inlineCode": []}}, "inline", id="within-typed"
        ),
        pytest.param(
            "HTTP_FILTER", {"name": "a", "typed_config": {"@type": STRUCT}}, "'value'", id="struct-of-nothing"
        ),
        pytest.param("HTTP_FILTER", {"name": "a", "typed_config": {"@type": 1.5}}, "@type", id="type-no-text"),
        pytest.param(
            "HTTP_FILTER",
            {"name": "a", "typed_config": {"@type": ANY, "value": {"@type": None}}},
            "@type",
            id="inner-type-no-text",
        ),
        pytest.param("CLUSTER", {"type": math.inf}, "infinite", id="infinite"),
    ],
)
def test_what_is_no_message_is_refused(apply_to: str, value: dict[str, Any], reason: str) -> None:
    found = checked(apply_to, value)
    (error,) = map(str, found.errors)
    assert error.startswith(f"{VALUE}: is no message of Envoy for applyTo {apply_to}: ")
    assert reason in error
    assert "\n" not in error


@pytest.mark.parametrize(
    ("apply_to", "value", "reason"),
    [
        ("CLUSTER", {"conect_timeout": "1s"}, "conect_timeout"),
        ("HTTP_FILTER", {"name": "a", "typed_config": LUA | {"inline": "x"}}, "inline"),
    ],
)
def test_unknown_fields_are_warned_of(apply_to: str, value: dict[str, Any], reason: str) -> None:
    (warning,) = warnings(checked(apply_to, value))
    assert warning.startswith(f"{VALUE}: has what is passed over: ")
    assert reason in warning


def test_a_filter_without_its_configuration_is_warned_of() -> None:
    (warning,) = warnings(checked("HTTP_FILTER", {"name": "envoy.filters.http.cors"}, "INSERT_BEFORE"))
    assert warning.startswith(f"{VALUE}: has no typed_config")
    assert warnings(checked("HTTP_FILTER", {"name": "envoy.filters.http.cors"})) == []  # merged into what has one


@pytest.mark.parametrize(
    ("apply_to", "value", "name"),
    [
        ("CLUSTER", {"http2_protocol_options": {}}, "envoy.config.cluster.v3.Cluster.http2_protocol_options"),
        (
            "NETWORK_FILTER",
            {"name": "a", "typed_config": {"@type": f"{HCM}.HttpConnectionManager", "access_log_flush_interval": "1s"}},
            f"{HCM.rpartition('/')[2]}.HttpConnectionManager.access_log_flush_interval",
        ),
    ],
)
def test_what_envoy_has_deprecated_is_warned_of(apply_to: str, value: dict[str, Any], name: str) -> None:
    (warning,) = warnings(checked(apply_to, value))
    assert warning == f"{VALUE}: uses {name}, which Envoy has deprecated"


HTTP = "envoy.filters.network.http_connection_manager"


@pytest.mark.parametrize(
    ("match", "path", "name"),
    [
        (
            {"filterChain": {"filter": {"name": "envoy.http_connection_manager"}}},
            "filterChain.filter.name",
            HTTP,
        ),
        (
            {"filterChain": {"filter": {"name": HTTP, "subFilter": {"name": "envoy.router"}}}},
            "filterChain.filter.subFilter.name",
            "envoy.filters.http.router",
        ),
        ({"listenerFilter": "envoy.listener.tls_inspector"}, "listenerFilter", "envoy.filters.listener.tls_inspector"),
    ],
)
def test_an_old_name_is_warned_of(match: dict[str, Any], path: str, name: str) -> None:
    found = checked("HTTP_FILTER", {"name": "a", "typed_config": LUA}, "INSERT_BEFORE", listener=match)
    (warning,) = warnings(found)
    assert warning.startswith(f"spec.configPatches[0].match.listener.{path}: is the old name of {name}")


def test_a_waypoints_match_is_not_compared() -> None:
    found = checked("CLUSTER", {"name": "a"}, context="WAYPOINT", waypoint={"portNumber": 80})
    (warning,) = warnings(found)
    assert warning == "spec.configPatches[0]: changes nothing: nothing has the context WAYPOINT"


KEY = "-----BEGIN PRIVATE KEY----- canary at which is canary " * 3
DOWNSTREAM = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"


@pytest.mark.parametrize(
    "certificates",
    [
        {"private_key": {"inline_string": KEY}},
        [{"private_key": [KEY]}],
        [{"private_key": {KEY: 1}}],
        [{"private_key": {"inline_string": [KEY]}}],
        [{"private_key": {"inline_string": KEY, "inline_bytes": KEY}}],
        [[KEY]],
        KEY,
    ],
    ids=["no-list", "list", "name", "list-of-texts", "twice", "lists", "text"],
)
def test_no_reason_quotes_what_may_be_a_key(certificates: Any) -> None:
    """Reasons are in logs, conditions and pages; the library tells what stands in the wrong place."""
    held = {"@type": DOWNSTREAM, "common_tls_context": {"tls_certificates": certificates}}
    found = checked("CLUSTER", {"name": "x", "transport_socket": {"name": "tls", "typed_config": held}})
    said = repr(found)
    assert "tls_certificates" in said
    assert "canary" not in said
