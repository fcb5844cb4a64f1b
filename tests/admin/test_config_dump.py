"""Snapshots in the shape of Envoy's dump."""

from __future__ import annotations

from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from google.protobuf import any_pb2

from controlplane.admin.config_dump import config_dump, resource_json
from controlplane.snapshots import Resource, ResourceType, Snapshot


def test_sections_have_envoys_names_and_are_sorted() -> None:
    names = ["b", "a"]
    made = {name: Resource.of(ResourceType.LISTENER, name, Listener(name=name).SerializeToString()) for name in names}
    dump = config_dump(Snapshot(1, {ResourceType.LISTENER: made}), [ResourceType.LISTENER])
    (section,) = dump["configs"]
    assert section["@type"] == "type.googleapis.com/envoy.admin.v3.ListenersConfigDump"
    assert [each["name"] for each in section["dynamic_listeners"]] == ["a", "b"]
    first = section["dynamic_listeners"][0]["active_state"]
    assert first["version_info"] == made["a"].version
    assert first["listener"] == {"@type": ResourceType.LISTENER.value, "name": "a"}


def test_private_keys_are_not_shown() -> None:
    secret = Secret(name="edge")
    secret.tls_certificate.certificate_chain.inline_string = "public"
    secret.tls_certificate.private_key.inline_string = "hidden-key"
    secret.tls_certificate.password.inline_string = "hidden-password"
    shown = str(resource_json(Resource.of(ResourceType.SECRET, "edge", secret.SerializeToString())))
    assert "public" in shown
    assert "hidden" not in shown


def test_generic_secrets_are_not_shown() -> None:
    secret = Secret(name="token")
    secret.generic_secret.secret.inline_string = "hidden-token"
    shown = str(resource_json(Resource.of(ResourceType.SECRET, "token", secret.SerializeToString())))
    assert "hidden" not in shown
    assert "aGlkZGVu" not in shown


def test_an_unknown_type_is_shown_as_bytes() -> None:
    unknown = any_pb2.Any(type_url="type.googleapis.com/example.v1.Unheard", value=b"\x01\x02")
    extension = TypedExtensionConfig(name="x", typed_config=unknown)
    shown = resource_json(Resource.of(ResourceType.EXTENSION, "x", extension.SerializeToString()))
    assert shown["typed_config"]["value"] == {"type_url": unknown.type_url, "base64": "AQI="}


def test_an_unknown_type_inside_a_known_one_is_shown_as_bytes() -> None:
    inner = TypedExtensionConfig(name="inner", typed_config=any_pb2.Any(type_url="type.googleapis.com/example.No"))
    outer = TypedExtensionConfig(name="outer")
    outer.typed_config.Pack(inner)
    shown = resource_json(Resource.of(ResourceType.EXTENSION, "outer", outer.SerializeToString()))
    assert shown["typed_config"]["name"] == "inner"
    assert shown["typed_config"]["typed_config"]["value"]["type_url"] == "type.googleapis.com/example.No"


def test_a_type_nobody_loaded_yet_is_found_by_its_name() -> None:
    """An empty message: its bytes say nothing, its type does."""
    name = "envoy.extensions.filters.http.grpc_field_extraction.v3.RequestFieldValueDisposition"
    packed = any_pb2.Any(type_url=f"type.googleapis.com/{name}")
    extension = TypedExtensionConfig(name="x", typed_config=packed)
    shown = resource_json(Resource.of(ResourceType.EXTENSION, "x", extension.SerializeToString()))
    assert shown["typed_config"] == {"@type": f"type.googleapis.com/{name}"}


def test_a_type_that_is_no_envoy_message_is_shown_as_bytes() -> None:
    shown = resource_json(Resource.of(ResourceType.NAME_TABLE, "table", b"\x0a"))
    assert shown == {"@type": ResourceType.NAME_TABLE.value, "base64": "Cg=="}
