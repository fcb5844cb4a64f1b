"""Envoy's messages as JSON with the names of the proto fields, as Envoy writes them; large ones part by part."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

from google.protobuf import any_pb2, json_format, message_factory
from google.protobuf.message import Message

from controlplane.admin.json_text import Items, Members, Value
from controlplane.admin.message_parts import divided
from controlplane.admin.pace import PAUSE, Pause
from controlplane.ads.fields import sized
from controlplane.published import REDACTED, hide, is_sensitive, publish, unpacked
from controlplane.rope import Body, Rope

_WELL_KNOWN = "google.protobuf."
_AT_ONCE_BYTES = 2_000
"""Of a message that is turned into JSON in one step, which takes half a millisecond."""
_PARSED_AT_ONCE_BYTES = 200_000
"""Of a message that is parsed in one step, which takes as long."""


def message_json(message: Message) -> Value:
    """Return a message as a JSON value, which may be made as it is written.

    An Any whose type this program does not know is shown as a ``google.protobuf.Struct`` of its ``type_url`` and its
    ``base64`` bytes. The message is used up: it must not be looked at afterwards.
    """
    if isinstance(message, any_pb2.Any):
        return _any_json(message)
    if message.DESCRIPTOR.full_name.startswith(_WELL_KNOWN) or message.ByteSize() <= _AT_ONCE_BYTES:
        publish(message)
        return json_format.MessageToDict(message, preserving_proto_field_name=True)
    return Members(_members(message))


def typed_json(type_url: str, make: Callable[[], Message], body: Body) -> Value:
    """Return a serialised message as ``message_json`` does, with its ``@type`` before its fields."""
    if len(body) > _PARSED_AT_ONCE_BYTES:
        return Members(chain([("@type", type_url)], serialised_members(make, body)))
    message = make()
    message.ParseFromString(bytes(body))
    if len(body) > _AT_ONCE_BYTES:
        return Members(_typed(type_url, message))
    publish(message)
    return {"@type": type_url, **json_format.MessageToDict(message, preserving_proto_field_name=True)}


def serialised_members(make: Callable[[], Message], body: Body) -> Iterator[tuple[str, Value] | Pause]:
    """Yield the fields of a message that is too large to be parsed, or joined, at once, with pauses."""
    rest, parts = bytearray(), dict[int, list[bytes]]()
    message = make()
    yield from _divided(message, body, rest, parts)
    message.ParseFromString(bytes(rest))
    fields = message.DESCRIPTOR.fields_by_name
    members = {fields[name].number: (name, value) for name, value in _members(message)}
    for number, held in parts.items():
        field = message.DESCRIPTOR.fields_by_number[number]
        if is_sensitive(field):
            members[number] = (field.name, REDACTED)
            continue
        make_part = message_factory.GetMessageClass(field.message_type)  # type: ignore[arg-type]
        members[number] = (field.name, Items(message_json(make_part.FromString(part)) for part in held))
    for _, member in sorted(members.items(), key=lambda each: each[0]):
        yield member


def _divided(message: Message, body: Body, rest: bytearray, parts: dict[int, list[bytes]]) -> Iterator[Pause]:
    """Divide a message of this type as ``divided`` does; a rope is joined first, a run at a time."""
    joined = bytearray()
    for run in body.runs() if isinstance(body, Rope) else ():
        joined += run
        yield PAUSE
    yield from divided(message.DESCRIPTOR, joined if isinstance(body, Rope) else body, rest, parts)


def published_parts(make: Callable[[], Message], body: Body, into: list[bytes]) -> Iterator[Pause]:
    """Add the bytes of a message as it may be shown; a large one part by part, with pauses. See ``publish``.

    What is in types that this program does not know stays as it is.
    """
    if len(body) <= _PARSED_AT_ONCE_BYTES:
        into.append(_published(make(), bytes(body)))
        return
    rest, parts = bytearray(), dict[int, list[bytes]]()
    fields = make().DESCRIPTOR.fields_by_number
    yield from _divided(make(), body, rest, parts)
    into.append(_published(make(), bytes(rest)))
    for number, held in parts.items():
        if is_sensitive(fields[number]):
            continue
        make_part = message_factory.GetMessageClass(fields[number].message_type)  # type: ignore[arg-type]
        for part in held:
            into.append(sized(number, _published(make_part(), part)))
            yield PAUSE


def _published(message: Message, body: bytes) -> bytes:
    message.ParseFromString(body)
    publish(message, as_json=False)
    return message.SerializeToString(deterministic=True)


def _any_json(packed: any_pb2.Any) -> Value:
    """Return what an Any holds beside its ``@type``; a well-known type is its ``value`` there."""
    inner = unpacked(packed)
    if inner is None or len(packed.value) <= _AT_ONCE_BYTES or inner.DESCRIPTOR.full_name.startswith(_WELL_KNOWN):
        publish(packed)
        return json_format.MessageToDict(packed, preserving_proto_field_name=True)
    return Members(_typed(packed.type_url, inner))


def _typed(type_url: str, message: Message) -> Iterator[tuple[str, Value]]:
    yield "@type", type_url
    yield from _members(message)


def _members(message: Message) -> Iterator[tuple[str, Value]]:
    """Yield the fields of a message; those that hold no messages by means of a message that has them alone."""
    for field, value in message.ListFields():
        if is_sensitive(field):
            hidden = type(message)()
            hidden.MergeFrom(message)
            hide(hidden, field)
            yield field.name, json_format.MessageToDict(hidden, preserving_proto_field_name=True).get(field.name)
        elif field.message_type is None:
            alone = type(message)()
            if isinstance(value, str | bytes | int | float):
                setattr(alone, field.name, value)
            else:
                getattr(alone, field.name).extend(value)
            yield from json_format.MessageToDict(alone, preserving_proto_field_name=True).items()
        elif field.message_type.GetOptions().map_entry:
            yield field.name, _map_json(message, field, value)
        elif isinstance(value, Message):
            yield field.name, message_json(value)
        else:
            yield field.name, Items(message_json(each) for each in value)


def _map_json(message: Message, field: Any, value: Any) -> Value:  # noqa: ANN401 - protobuf's field and map
    """Return a map; one without messages at once."""
    if field.message_type.fields_by_name["value"].message_type is not None:
        return Members((_key(key), message_json(value[key])) for key in value)
    alone = type(message)()
    getattr(alone, field.name).update(value)
    return json_format.MessageToDict(alone, preserving_proto_field_name=True)[field.name]


def _key(key: str | int | bool) -> str:  # noqa: FBT001 - a map's key
    return str(key).lower() if isinstance(key, bool) else str(key)
