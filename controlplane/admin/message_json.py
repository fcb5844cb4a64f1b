"""Envoy's messages as JSON with the names of the proto fields, as Envoy writes them; large ones part by part."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from itertools import chain
from pkgutil import iter_modules
from typing import Any

from google.protobuf import any_pb2, descriptor_pool, json_format, message_factory, struct_pb2
from google.protobuf.message import DecodeError, Message

from controlplane.admin.json_text import Items, Members, Value
from controlplane.admin.message_parts import divided
from controlplane.admin.pace import Pause

_LOADABLE = ("envoy.", "xds.", "udpa.")
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
        _replace_unknown(message)
        return json_format.MessageToDict(message, preserving_proto_field_name=True)
    return Members(_members(message))


def typed_json(type_url: str, make: Callable[[], Message], body: bytes) -> Value:
    """Return a serialised message as ``message_json`` does, with its ``@type`` before its fields."""
    if len(body) > _PARSED_AT_ONCE_BYTES:
        return Members(chain([("@type", type_url)], serialised_members(make, body)))
    message = make()
    message.ParseFromString(body)
    if len(body) > _AT_ONCE_BYTES:
        return Members(_typed(type_url, message))
    _replace_unknown(message)
    return {"@type": type_url, **json_format.MessageToDict(message, preserving_proto_field_name=True)}


def serialised_members(make: Callable[[], Message], body: bytes) -> Iterator[tuple[str, Value] | Pause]:
    """Yield the fields of a message that is too large to be parsed at once, with pauses."""
    rest, parts = bytearray(), dict[int, list[bytes]]()
    message = make()
    yield from divided(message.DESCRIPTOR, body, rest, parts)
    message.ParseFromString(bytes(rest))
    fields = message.DESCRIPTOR.fields_by_name
    members = {fields[name].number: (name, value) for name, value in _members(message)}
    for number, held in parts.items():
        field = message.DESCRIPTOR.fields_by_number[number]
        make_part = message_factory.GetMessageClass(field.message_type)  # type: ignore[arg-type]
        members[number] = (field.name, Items(message_json(make_part.FromString(part)) for part in held))
    for _, member in sorted(members.items(), key=lambda each: each[0]):
        yield member


def _any_json(packed: any_pb2.Any) -> Value:
    """Return what an Any holds beside its ``@type``; a well-known type is its ``value`` there."""
    inner = _unpacked(packed)
    if inner is None or len(packed.value) <= _AT_ONCE_BYTES or inner.DESCRIPTOR.full_name.startswith(_WELL_KNOWN):
        _replace_unknown(packed)
        return json_format.MessageToDict(packed, preserving_proto_field_name=True)
    return Members(_typed(packed.type_url, inner))


def _typed(type_url: str, message: Message) -> Iterator[tuple[str, Value]]:
    yield "@type", type_url
    yield from _members(message)


def _members(message: Message) -> Iterator[tuple[str, Value]]:
    """Yield the fields of a message; those that hold no messages by means of a message that has them alone."""
    for field, value in message.ListFields():
        if field.message_type is None:
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
    inner = _unpacked(packed)
    if inner is None:
        shown = struct_pb2.Struct()
        shown.update({"type_url": packed.type_url, "base64": base64.b64encode(packed.value).decode()})
        packed.Pack(shown)
        return
    _replace_unknown(inner)
    packed.value = inner.SerializeToString(deterministic=True)


def _unpacked(packed: any_pb2.Any) -> Message | None:
    """Return the message in an Any, ``None`` where its type is not known or it is malformed."""
    try:
        inner = _message_class(packed.type_url.rpartition("/")[2])()
        inner.ParseFromString(packed.value)
    except (KeyError, DecodeError):
        return None
    return inner


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
