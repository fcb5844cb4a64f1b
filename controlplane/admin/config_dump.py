"""``/debug/config_dump``: a snapshot in the shape of Envoy's own configuration dump.

Shape: ``envoy.admin.v3.ConfigDump`` as JSON with the names of the proto fields, as Envoy writes it, so that both
dumps can be compared; or its sections as messages. Private keys and the like are ``[redacted]``, wherever they stand.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple

from envoy.admin.v3 import config_dump_pb2, config_dump_shared_pb2

from controlplane.admin.json_text import Items, Members, Value
from controlplane.admin.message_json import published_parts, typed_json
from controlplane.admin.pace import PAUSE, Pause, in_order
from controlplane.ads.fields import packed, sized_rope
from controlplane.plan.patches import MESSAGES
from controlplane.rope import Body, Rope, tied
from controlplane.snapshots import Resource, ResourceType, Snapshot

_JOINED_BYTES = 64 << 10


class _Section(NamedTuple):
    """One section: its message, the field with an entry for each resource, and that of the resource in an entry.

    ``named`` entries have the resource's name too; ``state`` is the field with the rest of an entry, if it is not the
    entry itself.
    """

    message: Callable[[], Any]
    entries: str
    resource: str
    named: bool = False
    state: str = ""


_SECTIONS: Mapping[ResourceType, _Section] = {
    ResourceType.CLUSTER: _Section(config_dump_shared_pb2.ClustersConfigDump, "dynamic_active_clusters", "cluster"),
    ResourceType.ENDPOINT: _Section(
        config_dump_shared_pb2.EndpointsConfigDump, "dynamic_endpoint_configs", "endpoint_config"
    ),
    ResourceType.LISTENER: _Section(
        config_dump_shared_pb2.ListenersConfigDump, "dynamic_listeners", "listener", named=True, state="active_state"
    ),
    ResourceType.ROUTE: _Section(config_dump_shared_pb2.RoutesConfigDump, "dynamic_route_configs", "route_config"),
    ResourceType.SECRET: _Section(config_dump_pb2.SecretsConfigDump, "dynamic_active_secrets", "secret", named=True),
    ResourceType.EXTENSION: _Section(config_dump_shared_pb2.EcdsConfigDump, "ecds_filters", "ecds_filter"),
}
"""In Envoy's order of sections."""


def config_dump(snapshot: Snapshot, types: Collection[ResourceType]) -> Value:
    """Return the dump with a section for each of these types, made as it is written."""
    return Members((("configs", Items(_section_json(snapshot, type_) for type_ in _SECTIONS if type_ in types)),))


def config_dump_parts(snapshot: Snapshot, types: Collection[ResourceType]) -> Iterator[Rope | Pause]:
    """Yield the sections of these types as serialised ``Any``, put together piece by piece, with pauses in between."""
    for type_, section in _SECTIONS.items():
        if type_ not in types:
            continue
        entries: list[Body] = []
        for resource in _sorted(snapshot, type_):
            if isinstance(resource, Pause):
                yield resource
                continue
            shown: list[bytes] = []
            yield from published_parts(MESSAGES[resource.type], resource.content, shown)
            entry = sized_rope(_number(section.message, section.entries), _entry(section, resource, Rope(shown)))
            entries.append(tied([entry], _JOINED_BYTES))
            yield PAUSE
        yield packed(_type_url(section), Rope(entries))


def _entry(section: _Section, resource: Resource, body: Rope) -> Rope:
    """Encode the entry of a resource, whose message is given serialised."""
    of = getattr(section.message(), section.entries).add
    entry = of()
    if section.named:
        entry.name = resource.name
    state = getattr(entry, section.state) if section.state else entry
    state.version_info = resource.version
    resource_field = sized_rope(_number(type(state), section.resource), packed(resource.type.value, body))
    if not section.state:
        return Rope([entry.SerializeToString(), resource_field])
    stated = Rope([state.SerializeToString(), resource_field])
    entry.ClearField(section.state)
    return Rope([entry.SerializeToString(), sized_rope(_number(type(entry), section.state), stated)])


def _number(message: Any, name: str) -> int:  # noqa: ANN401 - generated, untyped
    return int(message.DESCRIPTOR.fields_by_name[name].number)


def _type_url(section: _Section) -> str:
    return f"type.googleapis.com/{section.message.DESCRIPTOR.full_name}"  # type: ignore[attr-defined]


def _section_json(snapshot: Snapshot, type_: ResourceType) -> Value:
    section = _SECTIONS[type_]
    return Members((("@type", _type_url(section)), (section.entries, Items(_entries_json(snapshot, type_)))))


def _entries_json(snapshot: Snapshot, type_: ResourceType) -> Iterator[Value | Pause]:
    section = _SECTIONS[type_]
    for resource in _sorted(snapshot, type_):
        if isinstance(resource, Pause):
            yield resource
            continue
        yield PAUSE
        name: list[tuple[str, Value]] = [("name", resource.name)] if section.named else []
        state: list[tuple[str, Value]] = [
            ("version_info", resource.version),
            (section.resource, resource_json(resource)),
        ]
        yield Members([*name, (section.state, Members(state))] if section.state else [*name, *state])


def resource_json(resource: Resource) -> Value:
    """Return one resource as Envoy would show it, with its ``@type``; see ``message_json``."""
    make = MESSAGES.get(resource.type)
    if make is None:
        return {"@type": resource.type.value, "base64": base64.b64encode(resource.body).decode()}
    return typed_json(resource.type.value, make, resource.content)


def _sorted(snapshot: Snapshot, type_: ResourceType) -> Iterator[Resource | Pause]:
    return in_order(snapshot.of(type_).values(), lambda resource: resource.name)
