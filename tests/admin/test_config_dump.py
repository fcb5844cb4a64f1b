"""Snapshots in the shape of Envoy's dump."""

from __future__ import annotations

import base64
import json

import pytest
from envoy.config.core.v3.base_pb2 import DataSource
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.basic_auth.v3.basic_auth_pb2 import BasicAuth
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import DownstreamTlsContext
from google.protobuf import any_pb2, json_format
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.wrappers_pb2 import UInt32Value

from controlplane.admin.config_dump import config_dump, config_dump_parts, resource_json
from controlplane.admin.json_text import Members
from controlplane.admin.message_json import published_parts, serialised_members
from controlplane.admin.pace import Pause
from controlplane.rope import Rope
from controlplane.snapshots import Resource, ResourceType, Snapshot
from tests.admin.world import shown as read


def test_sections_have_envoys_names_and_are_sorted() -> None:
    names = ["b", "a"]
    made = {name: Resource.of(ResourceType.LISTENER, name, Listener(name=name).SerializeToString()) for name in names}
    dump = read(config_dump(Snapshot(1, {ResourceType.LISTENER: made}), [ResourceType.LISTENER]))
    (section,) = dump["configs"]
    assert section["@type"] == "type.googleapis.com/envoy.admin.v3.ListenersConfigDump"
    assert [each["name"] for each in section["dynamic_listeners"]] == ["a", "b"]
    first = section["dynamic_listeners"][0]["active_state"]
    assert first["version_info"] == made["a"].version
    assert first["listener"] == {"@type": ResourceType.LISTENER.value, "name": "a"}


def large_route() -> RouteConfiguration:
    """Fields of every sort, in a message that is too large to be written at once."""
    route = RouteConfiguration(name="80", max_direct_response_body_size_bytes=UInt32Value(value=7))
    route.internal_only_headers.extend(["a", "b"])
    route.validate_clusters.value = False
    for number in range(100):
        host = route.virtual_hosts.add(
            name=f"svc-{number}", domains=["a", f"b{number}"], include_request_attempt_count=True
        )
        host.typed_per_filter_config["x"].Pack(UInt32Value(value=3))
        host.metadata.filter_metadata["istio"].update({"n": 1, "list": [True, None]})
        made = host.routes.add(name="r")
        made.match.prefix = "/" + "x" * 50
        made.route.timeout.FromMilliseconds(1500)
        made.route.cluster = f"c{number}"
        inner = TypedExtensionConfig(name="inner")
        inner.typed_config.Pack(TypedExtensionConfig(name="y" * 3000))
        made.typed_per_filter_config["big"].Pack(inner)
    return route


def test_a_large_message_is_written_as_it_would_be_at_once() -> None:
    message = large_route()
    expected = json_format.MessageToDict(message, preserving_proto_field_name=True)
    made = resource_json(Resource.of(ResourceType.ROUTE, "80", message.SerializeToString()))
    assert isinstance(made, Members)
    assert read(made) == {"@type": ResourceType.ROUTE.value, **expected}


def test_a_very_large_message_is_divided_before_it_is_parsed() -> None:
    message = large_route()
    message.most_specific_header_mutations_wins = True
    expected = json_format.MessageToDict(message, preserving_proto_field_name=True)
    members = Members(serialised_members(RouteConfiguration, message.SerializeToString()))
    assert read(members) == expected


def test_a_very_large_message_is_published_part_by_part() -> None:
    message = RouteConfiguration(name="80")
    for number in range(5_000):
        message.virtual_hosts.add(name=f"host-{number}", domains=[f"svc-{number}.shop.svc.cluster.local"])
    pieces: list[bytes] = []
    steps = published_parts(RouteConfiguration, Rope([message.SerializeToString()]), pieces)
    assert sum(isinstance(step, Pause) for step in steps) > 5_000
    assert RouteConfiguration.FromString(b"".join(pieces)) == message
    assert max(map(len, pieces)) < 200


def messages(snapshot: Snapshot, types: set[ResourceType]) -> list[AnyMessage]:
    """Return the parts as whoever asks for them over xDS has them."""
    parts = config_dump_parts(snapshot, types)
    return [AnyMessage.FromString(bytes(part)) for part in parts if not isinstance(part, Pause)]


def test_the_parts_are_the_same_as_messages() -> None:
    """In which secrets are not shown either."""
    secret = Secret(name="edge")
    secret.tls_certificate.private_key.inline_string = "hidden-key"
    held = {
        ResourceType.ROUTE: {"80": Resource.of(ResourceType.ROUTE, "80", large_route().SerializeToString())},
        ResourceType.LISTENER: {"l": Resource.of(ResourceType.LISTENER, "l", Listener(name="l").SerializeToString())},
        ResourceType.SECRET: {"edge": Resource.of(ResourceType.SECRET, "edge", secret.SerializeToString())},
    }
    parts = messages(Snapshot(1, held), set(held))
    shown = [json_format.MessageToDict(part, preserving_proto_field_name=True) for part in parts]
    assert shown == read(config_dump(Snapshot(1, held), set(held)))["configs"]
    assert "hidden" not in str(parts)


def test_private_keys_are_not_shown() -> None:
    secret = Secret(name="edge")
    secret.tls_certificate.certificate_chain.inline_string = "public"
    secret.tls_certificate.private_key.inline_string = "hidden-key"
    secret.tls_certificate.password.inline_string = "hidden-password"
    shown = str(read(resource_json(Resource.of(ResourceType.SECRET, "edge", secret.SerializeToString()))))
    assert "public" in shown
    assert "hidden" not in shown


def test_generic_secrets_are_not_shown() -> None:
    secret = Secret(name="token")
    secret.generic_secret.secret.inline_string = "hidden-token"
    shown = str(read(resource_json(Resource.of(ResourceType.SECRET, "token", secret.SerializeToString()))))
    assert "hidden" not in shown
    assert "aGlkZGVu" not in shown


CANARY = "-----BEGIN PRIVATE KEY----- canary"


def with_keys(chains: int) -> Listener:
    """What an EnvoyFilter may put there: keys and passwords in texts and bytes, packed, and twice so."""
    listener = Listener(name="a")
    for number in range(chains):
        tls = DownstreamTlsContext()
        made = tls.common_tls_context.tls_certificates.add()
        made.private_key.inline_string = CANARY
        made.password.inline_bytes = CANARY.encode()
        made.certificate_chain.inline_string = "public"
        tls.session_ticket_keys.keys.add().inline_bytes = CANARY.encode()
        chain = listener.filter_chains.add(name=str(number))
        chain.transport_socket.name = "tls"
        chain.transport_socket.typed_config.Pack(tls)
        outer = TypedExtensionConfig(name="outer")
        outer.typed_config.Pack(BasicAuth(users=DataSource(inline_string=CANARY)))
        chain.filters.add(name="x").typed_config.Pack(outer)
    return listener


@pytest.mark.parametrize("chains", [1, 40, 1000], ids=["small", "large", "divided"])
def test_what_envoy_marks_as_sensitive_is_not_shown_wherever_it_stands(chains: int) -> None:
    resource = Resource.of(ResourceType.LISTENER, "a", with_keys(chains).SerializeToString())
    told = read(resource_json(resource))
    assert len(told["filter_chains"]) == chains
    first = told["filter_chains"][0]["transport_socket"]["typed_config"]["common_tls_context"]["tls_certificates"][0]
    assert first["private_key"] == {"inline_string": "[redacted]"}
    assert first["certificate_chain"] == {"inline_string": "public"}
    snapshot = Snapshot(1, {ResourceType.LISTENER: {"a": resource}})
    (packed,) = messages(snapshot, {ResourceType.LISTENER})
    dumped = read(config_dump(snapshot, {ResourceType.LISTENER}))["configs"][0]
    assert json_format.MessageToDict(packed, preserving_proto_field_name=True) == dumped
    for text in (json.dumps(told).encode(), packed.SerializeToString()):
        assert b"canary" not in text
        assert base64.b64encode(CANARY.encode()) not in text
        assert b"public" in text


def test_an_unknown_type_is_shown_as_bytes() -> None:
    unknown = any_pb2.Any(type_url="type.googleapis.com/example.v1.Unheard", value=b"\x01\x02")
    extension = TypedExtensionConfig(name="x", typed_config=unknown)
    shown = read(resource_json(Resource.of(ResourceType.EXTENSION, "x", extension.SerializeToString())))
    assert shown["typed_config"]["value"] == {"type_url": unknown.type_url, "base64": "AQI="}


def test_an_unknown_type_inside_a_known_one_is_shown_as_bytes() -> None:
    inner = TypedExtensionConfig(name="inner", typed_config=any_pb2.Any(type_url="type.googleapis.com/example.No"))
    outer = TypedExtensionConfig(name="outer")
    outer.typed_config.Pack(inner)
    shown = read(resource_json(Resource.of(ResourceType.EXTENSION, "outer", outer.SerializeToString())))
    assert shown["typed_config"]["name"] == "inner"
    assert shown["typed_config"]["typed_config"]["value"]["type_url"] == "type.googleapis.com/example.No"


def test_a_type_nobody_loaded_yet_is_found_by_its_name() -> None:
    """An empty message: its bytes say nothing, its type does."""
    name = "envoy.extensions.filters.http.grpc_field_extraction.v3.RequestFieldValueDisposition"
    packed = any_pb2.Any(type_url=f"type.googleapis.com/{name}")
    extension = TypedExtensionConfig(name="x", typed_config=packed)
    shown = read(resource_json(Resource.of(ResourceType.EXTENSION, "x", extension.SerializeToString())))
    assert shown["typed_config"] == {"@type": f"type.googleapis.com/{name}"}


def test_a_type_that_is_no_envoy_message_is_shown_as_bytes() -> None:
    shown = read(resource_json(Resource.of(ResourceType.NAME_TABLE, "table", b"\x0a")))
    assert shown == {"@type": ResourceType.NAME_TABLE.value, "base64": "Cg=="}
