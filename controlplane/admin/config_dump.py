"""``/debug/config_dump``: a snapshot in the shape of Envoy's own configuration dump.

Shape: ``envoy.admin.v3.ConfigDump`` as JSON with the names of the proto fields, as Envoy writes it, so that both
dumps can be compared. Private keys are replaced by ``[redacted]``.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

# Imported for their types: what an Any may hold is looked up by name in protobuf's pool.
from envoy.admin.v3 import config_dump_pb2 as _config_dump  # noqa: F401
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from google.protobuf import any_pb2, descriptor_pool, json_format, message_factory, struct_pb2
from google.protobuf.message import DecodeError, Message

from controlplane.snapshots import Resource, ResourceType, Snapshot

MESSAGES: Mapping[ResourceType, Callable[[], Message]] = {
    ResourceType.CLUSTER: Cluster,
    ResourceType.ENDPOINT: ClusterLoadAssignment,
    ResourceType.LISTENER: Listener,
    ResourceType.ROUTE: RouteConfiguration,
    ResourceType.SECRET: Secret,
    ResourceType.EXTENSION: TypedExtensionConfig,
}
_LOADABLE = ("envoy.", "xds.", "udpa.")
_REDACTED = b"[redacted]"
_ADMIN = "type.googleapis.com/envoy.admin.v3."


def config_dump(snapshot: Snapshot, types: Collection[ResourceType]) -> dict[str, Any]:
    """Return the dump with a section for each of these types, in Envoy's order of sections."""
    sections = [section(list(snapshot.of(type_).values())) for type_, section in _SECTIONS.items() if type_ in types]
    return {"configs": sections}


def _clusters(resources: Iterable[Resource]) -> dict[str, Any]:
    entries = [{"version_info": r.version, "cluster": resource_json(r)} for r in _sorted(resources)]
    return {"@type": f"{_ADMIN}ClustersConfigDump", "dynamic_active_clusters": entries}


def _endpoints(resources: Iterable[Resource]) -> dict[str, Any]:
    entries = [{"version_info": r.version, "endpoint_config": resource_json(r)} for r in _sorted(resources)]
    return {"@type": f"{_ADMIN}EndpointsConfigDump", "dynamic_endpoint_configs": entries}


def _listeners(resources: Iterable[Resource]) -> dict[str, Any]:
    entries = [
        {"name": r.name, "active_state": {"version_info": r.version, "listener": resource_json(r)}}
        for r in _sorted(resources)
    ]
    return {"@type": f"{_ADMIN}ListenersConfigDump", "dynamic_listeners": entries}


def _routes(resources: Iterable[Resource]) -> dict[str, Any]:
    entries = [{"version_info": r.version, "route_config": resource_json(r)} for r in _sorted(resources)]
    return {"@type": f"{_ADMIN}RoutesConfigDump", "dynamic_route_configs": entries}


def _secrets(resources: Iterable[Resource]) -> dict[str, Any]:
    entries = [{"name": r.name, "version_info": r.version, "secret": resource_json(r)} for r in _sorted(resources)]
    return {"@type": f"{_ADMIN}SecretsConfigDump", "dynamic_active_secrets": entries}


def _extensions(resources: Iterable[Resource]) -> dict[str, Any]:
    entries = [{"version_info": r.version, "ecds_filter": resource_json(r)} for r in _sorted(resources)]
    return {"@type": f"{_ADMIN}EcdsConfigDump", "ecds_filters": entries}


_SECTIONS: Mapping[ResourceType, Callable[[Iterable[Resource]], dict[str, Any]]] = {
    ResourceType.CLUSTER: _clusters,
    ResourceType.ENDPOINT: _endpoints,
    ResourceType.LISTENER: _listeners,
    ResourceType.ROUTE: _routes,
    ResourceType.SECRET: _secrets,
    ResourceType.EXTENSION: _extensions,
}


def resource_json(resource: Resource) -> dict[str, Any]:
    """Return one resource as Envoy would show it, with its ``@type``.

    An Any whose type this program does not know is shown as a ``google.protobuf.Struct`` of its ``type_url`` and its
    ``base64`` bytes.
    """
    make = MESSAGES.get(resource.type)
    if make is None:
        return {"@type": resource.type.value, "base64": base64.b64encode(resource.body).decode()}
    message = make()
    message.ParseFromString(resource.body)
    if resource.type is ResourceType.SECRET:
        _redact(message)
    _replace_unknown(message)
    shown = json_format.MessageToDict(message, preserving_proto_field_name=True)
    return {"@type": resource.type.value, **shown}


def _redact(secret: Message) -> None:
    for holder in ("tls_certificate.private_key", "tls_certificate.password", "session_ticket_keys", "generic_secret"):
        part: Any = secret
        names = holder.split(".")
        for name in names[:-1]:
            part = getattr(part, name) if part.HasField(name) else None
        if part is None or not part.HasField(names[-1]):
            continue
        value = getattr(part, names[-1])
        value.Clear()
        if "inline_bytes" in value.DESCRIPTOR.fields_by_name:
            value.inline_bytes = _REDACTED


def _replace_unknown(message: Message) -> None:
    """Make every Any inside the message printable, in place."""
    if isinstance(message, any_pb2.Any):
        _make_printable(message)
        return
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            if field.message_type.fields_by_name["value"].message_type is not None:
                for each in value.values():
                    _replace_unknown(each)
        elif isinstance(value, Message):
            _replace_unknown(value)
        else:
            for each in value:
                _replace_unknown(each)


def _make_printable(packed: any_pb2.Any) -> None:
    if not packed.type_url:
        return
    try:
        inner = _message_class(packed.type_url.rpartition("/")[2])()
        inner.ParseFromString(packed.value)
    except (KeyError, DecodeError):
        shown = struct_pb2.Struct()
        shown.update({"type_url": packed.type_url, "base64": base64.b64encode(packed.value).decode()})
        packed.Pack(shown)
        return
    _replace_unknown(inner)
    packed.value = inner.SerializeToString(deterministic=True)


@cache
def _message_class(name: str) -> type[Message]:
    """Return the class of a message by its full name, loading the modules of its package if need be.

    Raises:
        KeyError: there is no such message.
    """
    pool = descriptor_pool.Default()
    try:
        return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
    except KeyError:
        package = name.rpartition(".")[0]
        if not package.startswith(_LOADABLE):
            raise
    try:
        path = import_module(package).__path__
    except ModuleNotFoundError:
        raise KeyError(name) from None
    for module in iter_modules(path):
        if module.name.endswith("_pb2"):
            import_module(f"{package}.{module.name}")
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


def _sorted(resources: Iterable[Resource]) -> list[Resource]:
    return sorted(resources, key=lambda resource: resource.name)
